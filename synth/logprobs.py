"""Token logprobs of one answer: flat, as they are read and as they are stored.

    signal = TokenLogprobs.of(token_bytes=(b"Yes",), token_logprobs=(-0.5,),
                              top_bytes=((b"Yes", b"No"),), top_logprobs=((-0.5, -1.25),))
    unpacked(packed(signal)) == signal        # its probabilities as float32

200 tokens with 20 candidates are 4,200 pieces of text and as many numbers. A tuple for each token
cost as much CPU as reading them out of the reply, and nobody needs one before a dataset is frozen.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate, chain
from typing import Self, TypeVar

T = TypeVar("T")
SHORT = 2**31  # beside the number of tokens: each piece of text has at most 255 bytes


@dataclass(frozen=True, slots=True)
class TokenLogprobs:
    """Teacher evidence per sampled token: T tokens, each with up to k candidates, as bytes.

    Columns of T + C entries: the tokens, then the candidates of the first, of the second, ...
    Empty bytes mark a token without text (the end of the turn).
    """

    counts: tuple[int, ...] = ()
    """Candidates of each token."""
    sizes: tuple[int, ...] = ()
    """Bytes of each entry."""
    values: tuple[float, ...] = ()
    """Natural logarithms of probabilities."""
    pieces: bytes = b""
    """The bytes of all entries without a gap."""
    token_ids: tuple[int, ...] = ()
    """The server's, where it gives them, else empty."""
    candidate_ids: tuple[int, ...] = ()
    """The same of all candidates, where each has one, else empty."""
    place: tuple[int, int] = field(default=(0, 0), compare=False, repr=False)
    """Where they began and ended in the reply, if they were all that stood there."""

    @classmethod
    def of(
        cls,
        token_bytes: Sequence[bytes] = (),
        token_logprobs: Sequence[float] = (),
        token_ids: Sequence[int] = (),
        top_bytes: Sequence[Sequence[bytes]] = (),
        top_logprobs: Sequence[Sequence[float]] = (),
        top_ids: Sequence[Sequence[int]] = (),
    ) -> Self:
        """From a row of candidates for each token."""
        counts = tuple(map(len, top_bytes)) or (0,) * len(token_bytes)
        pieces = [*token_bytes, *chain.from_iterable(top_bytes)]
        whole = tuple(map(len, top_ids)) == counts
        return cls(
            counts=counts,
            sizes=tuple(map(len, pieces)),
            values=(*token_logprobs, *chain.from_iterable(top_logprobs)),
            pieces=b"".join(pieces),
            token_ids=tuple(token_ids),
            candidate_ids=tuple(chain.from_iterable(top_ids)) if whole else (),
        )

    @property
    def token_bytes(self) -> tuple[bytes, ...]:
        """The sampled tokens: (T,)."""
        return self._texts()[: len(self.counts)]

    @property
    def token_logprobs(self) -> tuple[float, ...]:
        """(T,)."""
        return self.values[: len(self.counts)]

    @property
    def top_bytes(self) -> tuple[tuple[bytes, ...], ...]:
        """Candidates of each token: (T, up to k)."""
        return self._rows(self._texts()[len(self.counts) :])

    @property
    def top_logprobs(self) -> tuple[tuple[float, ...], ...]:
        """(T, up to k)."""
        return self._rows(self.values[len(self.counts) :])

    @property
    def top_ids(self) -> tuple[tuple[int, ...], ...]:
        """(T, up to k), or T times nothing."""
        return self._rows(self.candidate_ids) if self.candidate_ids else ((),) * len(self.counts)

    def _texts(self) -> tuple[bytes, ...]:
        ends = list(accumulate(self.sizes))
        starts = [0, *ends]
        return tuple([self.pieces[at:end] for at, end in zip(starts, ends, strict=False)])

    def _rows(self, flat: tuple[T, ...]) -> tuple[tuple[T, ...], ...]:
        ends = list(accumulate(self.counts))
        starts = [0, *ends]
        return tuple([flat[at:end] for at, end in zip(starts, ends, strict=False)])


NO_LOGPROBS = TokenLogprobs()


def packed(signal: TokenLogprobs) -> bytes:
    """Token logprobs as one value, little-endian; nothing where there are none.

    Counts of tokens, candidates, token ids and candidate ids, then candidates per token, sizes of
    the pieces of text, the probabilities as float32, the ids, and the pieces without a gap. With
    the first count's top bit set, which is so unless a piece is too long, a size is one byte. As
    seven columns of lists the same row took DuckDB ten times as long (docs/performance.md).
    """
    if not signal.counts:
        return b""
    tokens, ids = len(signal.counts), (*signal.token_ids, *signal.candidate_ids)
    try:
        short, sizes = SHORT, bytes(signal.sizes)
    except ValueError:
        short, sizes = 0, struct.pack(f"<{len(signal.sizes)}I", *signal.sizes)
    numbers = (
        *(short + tokens, len(signal.sizes) - tokens),
        *(len(signal.token_ids), len(signal.candidate_ids)),
        *signal.counts,
    )
    return b"".join(
        (
            struct.pack(f"<{len(numbers)}I", *numbers),
            sizes,
            struct.pack(f"<{len(signal.values)}f", *signal.values),
            struct.pack(f"<{len(ids)}I", *ids),
            signal.pieces,
        )
    )


def unpacked(data: bytes) -> TokenLogprobs:
    """Token logprobs back from what `packed` wrote. Raises struct.error for anything else."""
    if not data:
        return NO_LOGPROBS
    tokens, candidates, ids, top_ids = struct.unpack_from("<4I", data)
    of_size, tokens = ("B", tokens - SHORT) if tokens >= SHORT else ("I", tokens)
    counts = struct.unpack_from(f"<{tokens}I", data, 16)
    sizes = struct.unpack_from(
        form := f"<{tokens + candidates}{of_size}", data, at := 16 + 4 * tokens
    )
    values = struct.unpack_from(f"<{len(sizes)}f", data, at := at + struct.calcsize(form))
    numbers = struct.unpack_from(f"<{ids + top_ids}I", data, at := at + 4 * len(sizes))
    pieces = data[at + 4 * len(numbers) :]
    if len(pieces) != sum(sizes) or sum(counts) != candidates:
        raise struct.error("these bytes are no token logprobs")
    return TokenLogprobs(counts, sizes, values, pieces, numbers[:ids], numbers[ids:])
