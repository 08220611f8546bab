"""JSON of a reply, read fast: 4,000 logprobs become typed rows and not 30,000 small objects.

    decoded(b'{"choices": [{"logprobs": {"content": [...]}, ...}], ...}')
    -> {"choices": [{"logprobs": TokenLogprobs(...), ...}], ...}

The value is what `json.loads` would give, but for the `logprobs` of a large reply's choices: where
they have the form of the OpenAI reference they come as TokenLogprobs. What is in any other form
comes as plain JSON, and what msgspec refuses (half of a surrogate pair, for one) is for the slower
reader to judge: two readers never disagree on what was paid for.
"""

import json
from collections.abc import Sequence
from itertools import chain
from typing import Any, TypeVar

import msgspec

from synth.garbage import no_collections
from synth.wire import TokenLogprobs

T = TypeVar("T")
SENTINEL = -9000.0  # OpenAI reports -9999.0 for a token outside its top 20
LARGE = 16 * 2**10  # bytes, from which reading in layers pays
MAX_ID = 2**31
START = 96  # bytes by which the logprobs are found in their reply: longer words take longer to find


class _Entry(msgspec.Struct, gc=False):
    logprob: float
    octets: list[int] | msgspec.UnsetType | None = msgspec.field(
        name="bytes", default=msgspec.UNSET
    )
    token: str = ""
    id: int = -1


class _Token(_Entry, gc=False):
    top_logprobs: list[_Entry] | None = None


class _Logprobs(msgspec.Struct):
    content: list[_Token]


class _Choice(msgspec.Struct):
    logprobs: msgspec.Raw = msgspec.Raw(b"null")


class _Reply(msgspec.Struct):
    choices: list[_Choice]


_REPLY = msgspec.json.Decoder(_Reply)
_LOGPROBS = msgspec.json.Decoder(_Logprobs)
_ANY = msgspec.json.Decoder()


def decoded(raw: bytes) -> Any:
    """The value of a JSON text. Raises ValueError where it is none, UnicodeDecodeError among it."""
    text = raw.decode("utf-8")
    try:
        return _in_layers(raw) if len(raw) >= LARGE else _ANY.decode(raw)
    except msgspec.MsgspecError:
        return json.loads(text, parse_constant=_refuse_constant)


def _in_layers(raw: bytes) -> Any:
    """The reply without its logprobs, then these."""
    signals = [bytes(choice.logprobs) for choice in _REPLY.decode(raw).choices]
    rest = raw
    for signal in signals:
        if len(signal) >= LARGE:
            # By its beginning: to look for all of it takes longer than to decode it.
            before, _, after = rest.partition(start := signal[:START])
            if not after.startswith(signal[START:]) or start in after:
                return _ANY.decode(raw)
            rest = before + b"null" + after[len(signal) - START :]
    value = _ANY.decode(rest)
    for choice, signal in zip(value["choices"], signals, strict=True):
        if len(signal) >= LARGE:
            choice["logprobs"] = _signal(signal)
    return value


def _signal(raw: bytes) -> Any:
    """Read without the cyclic collector: it would walk over 4,000 new lists, and free none."""
    with no_collections():
        try:
            tokens = _LOGPROBS.decode(raw).content
            return token_logprobs(tokens) if tokens else _ANY.decode(raw)
        except (msgspec.ValidationError, ValueError):
            return _ANY.decode(raw)


def token_logprobs(tokens: list[_Token]) -> TokenLogprobs:
    """The evidence of typed rows. Raises ValueError where one of them is no token."""
    rows = [token.top_logprobs or [] for token in tokens]
    likely = _checked(list(chain.from_iterable(rows)))
    if likely and min(likely) <= SENTINEL:  # what stands for "outside the top 20" goes
        rows = [[top for top in row if top.logprob > SENTINEL] for row in rows]
        likely = tuple([value for value in likely if value > SENTINEL])
    return TokenLogprobs(
        token_bytes=_pieces(tokens),
        token_logprobs=_checked(tokens),
        token_ids=_ids(tokens),
        top_bytes=_nested(rows, _pieces(list(chain.from_iterable(rows)))),
        top_logprobs=_nested(rows, likely),
        top_ids=tuple([_ids(row) for row in rows]),
    )


def _nested(rows: Sequence[Sequence[Any]], flat: tuple[T, ...]) -> tuple[tuple[T, ...], ...]:
    """As many in each as the rows have."""
    found, at = [], 0
    for row in rows:
        found.append(flat[at : at + len(row)])
        at += len(row)
    return tuple(found)


def _checked(row: Sequence[_Entry]) -> tuple[float, ...]:
    values = tuple([entry.logprob for entry in row])
    if values and not -1e30 < min(values) <= max(values) < 1e-3:
        raise ValueError("not a log probability")
    return values


def _pieces(row: Sequence[_Entry]) -> tuple[bytes, ...]:
    """`bytes` is null for a token without text; `token` may not be UTF-8's whole truth, so it is
    only read where `bytes` is absent."""
    octets = [
        entry.token.encode() if entry.octets is msgspec.UNSET else entry.octets or b""
        for entry in row
    ]
    return tuple(map(bytes, octets))


def _ids(entries: Sequence[_Entry]) -> tuple[int, ...]:
    if not entries or entries[0].id < 0:
        return ()
    ids = tuple([entry.id for entry in entries])
    return ids if min(ids) >= 0 and max(ids) < MAX_ID else ()


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")
