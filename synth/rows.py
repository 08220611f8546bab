"""The rows of the ledger, and what of each goes into the log.

A leaf holds digests and commitments, never content: erasing a completion and its salt leaves the
log valid and tells nobody what was there. Leaves hold text, whole numbers and booleans only;
probabilities are among the content that is committed to, as float32 bytes.
"""

import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any, ClassVar, TypeVar

from policy.digest import canonical, commit, sha256
from synth.imported import ImportRow, import_leaf
from synth.jobs import JobRow, job_leaf
from synth.notices import NoticeRow, notice_leaf
from synth.wire import Call, Completion, TokenLogprobs

Leaf = Mapping[str, Any]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class DecisionRow:
    """A policy decision that something rests on."""

    kind: ClassVar[str] = "decision"
    digest: str
    at: int
    body: str

    def leaf(self) -> Leaf:
        """`body` is named by its digest, so the digest alone would not find an altered body."""
        return {"ref": self.digest, "at": self.at, "body": sha256(self.body.encode())}


@dataclass(frozen=True, slots=True)
class AttemptRow:
    """The intent to send one request, with the money reserved for it."""

    kind: ClassVar[str] = "attempt"
    id: str
    at: int
    call: Call
    base: str
    offering: str
    model: str
    decision: str
    terms_pin: str
    prices: str
    reserve_nano: int

    def values(self, seq: int) -> tuple[Any, ...]:
        """The columns of table `attempt`."""
        call = self.call
        return (
            *(seq, self.id, call.key, self.at, call.prompt_id, call.sample, call.split),
            *(self.offering, self.model, self.decision, self.terms_pin, self.prices),
            self.reserve_nano,
        )


@dataclass(frozen=True, slots=True)
class OutcomeRow:
    """How an attempt ended, with the bytes that came back."""

    kind: ClassVar[str] = "outcome"
    attempt: str
    key: str
    at: int
    outcome: str
    failure: str
    message: str
    status: int
    served_model: str
    provider_request_id: str
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int
    reasoning_tokens: int
    estimated: bool
    cost_nano: int
    milliseconds: int
    completion: Completion | None
    raw: bytes
    headers: Mapping[str, str]
    salt: bytes

    def values(self, seq: int, content: tuple[Any, ...] | None, headers: bytes) -> tuple[Any, ...]:
        """The columns of table `outcome`, given those of table `completion` and the headers in
        their canonical form."""
        stored = commit(self.salt, stored_content(content[2:])) if content else ""
        return (
            *(seq, self.attempt, self.at, str(self.outcome), self.failure, self.message),
            *(self.status, self.served_model, self.provider_request_id, self.prompt_tokens),
            *(self.completion_tokens, self.cached_tokens, self.reasoning_tokens, self.estimated),
            *(self.cost_nano, self.milliseconds, stored),
            commit(self.salt, raw_bytes(headers, self.raw)),
        )


@dataclass(frozen=True, slots=True)
class VerdictRow:
    """What the filters found about one completion: (filter, parameters, keep, reason, score)."""

    kind: ClassVar[str] = "verdict"
    attempt: str
    verdicts: tuple[tuple[str, str, bool, str, str], ...]


@dataclass(frozen=True, slots=True)
class ReceiptRow:
    """A frozen dataset (`manifest`) or a finished run (`train`), by its manifest."""

    kind: ClassVar[str] = "receipt"
    of: str
    name: str
    digest: str
    file: str
    at: int

    def values(self, seq: int) -> tuple[Any, ...]:
        """The columns of table `receipt`."""
        return (seq, self.of, self.name, self.digest, self.file, self.at)


Row = (
    DecisionRow | AttemptRow | OutcomeRow | VerdictRow | ReceiptRow | JobRow | NoticeRow | ImportRow
)


Pack = Callable[[bytes], bytes]
Tables = list[tuple[str, tuple[Any, ...]]]


def entry(row: Row, seq: int, pack: Pack) -> tuple[Leaf, Tables]:
    """What a row puts into the log, and the values of each table that it touches; `pack` is what
    compresses the bodies in them."""
    match row:
        case AttemptRow():
            attempt = row.values(seq)
            request = (row.call.key, row.base, row.call.path, pack(row.call.body))
            return attempt_leaf(attempt), [("request", request), ("attempt", attempt)]
        case OutcomeRow():
            return _outcome(row, seq, pack)
        case DecisionRow():
            return row.leaf(), [("decision", (seq, row.digest, row.at, row.body))]
        case VerdictRow():
            verdicts = [("verdict", (seq, row.attempt, *verdict)) for verdict in row.verdicts]
            return verdict_leaf(row.attempt, row.verdicts), verdicts
        case ReceiptRow():
            receipt = row.values(seq)
            return receipt_leaf(receipt), [("receipt", receipt)]
        case JobRow():
            job = row.values(seq)
            return job_leaf(job), [("job", job)]
        case NoticeRow():
            notice = row.values(seq)
            return notice_leaf(notice), [("notice", notice)]
        case ImportRow():
            return _imported(row, seq, pack)


def _outcome(row: OutcomeRow, seq: int, pack: Pack) -> tuple[Leaf, Tables]:
    content = completion_values(row.attempt, row.key, row.completion) if row.completion else None
    headers = canonical(dict(row.headers))
    outcome = row.values(seq, content, headers)
    raw = (row.attempt, row.salt, headers.decode(), pack(row.raw))
    tables: Tables = [("outcome", outcome), ("raw", raw)]
    if content:
        tables.append(("completion", content))
    return outcome_leaf(outcome), tables


def _imported(row: ImportRow, seq: int, pack: Pack) -> tuple[Leaf, Tables]:
    content = completion_values(row.id, row.key, row.completion)
    values = row.values(seq, stored_content(content[2:]), raw_bytes(b"{}", row.raw))
    return import_leaf(values), [
        ("request", (row.key, row.base, row.format, pack(row.body))),
        ("imported", values),
        ("completion", content),
        ("raw", (row.id, row.salt, "{}", pack(row.raw))),
    ]


def completion_values(attempt: str, key: str, completion: Completion) -> tuple[Any, ...]:
    """The columns of table `completion`."""
    return (
        *(attempt, key, completion.text, completion.reasoning, completion.refusal),
        *(completion.tool_calls, completion.finish_reason, completion.fingerprint),
        *(completion.service_tier, list(completion.ignored), completion.repaired),
        packed(completion.logprobs),
    )


def stored_content(columns: tuple[Any, ...]) -> bytes:
    """What `content_commit` commits to: the columns of table `completion` after (attempt, key)."""
    *texts, ignored, repaired, signal = columns
    fields = {"texts": texts, "ignored": list(ignored), "repaired": repaired}
    return canonical(fields) + b"\n" + bytes(signal)


def raw_bytes(headers: bytes, raw: bytes) -> bytes:
    """What `raw_commit` commits to; the headers are canonical JSON."""
    return headers + b"\n" + raw


_ATTEMPT = (
    *("ref", "key", "at", "prompt_id", "sample", "split", "offering", "model"),
    *("decision", "terms_pin", "prices", "reserve_nano"),
)
_OUTCOME = (
    *("ref", "at", "class", "failure", "message", "status", "served_model"),
    *("provider_request_id", "prompt_tokens", "completion_tokens", "cached_tokens"),
    *("reasoning_tokens", "estimated", "cost_nano", "milliseconds", "content", "raw"),
)
_RECEIPT = ("of", "ref", "digest", "file", "at")


def attempt_leaf(values: tuple[Any, ...]) -> Leaf:
    """The leaf of a row of table `attempt`."""
    return dict(zip(_ATTEMPT, values[1:], strict=True))


def outcome_leaf(values: tuple[Any, ...]) -> Leaf:
    """The leaf of a row of table `outcome`."""
    return dict(zip(_OUTCOME, values[1:], strict=True))


def receipt_leaf(values: tuple[Any, ...]) -> Leaf:
    """The leaf of a row of table `receipt`."""
    return dict(zip(_RECEIPT, values[1:], strict=True))


def verdict_leaf(attempt: str, verdicts: tuple[tuple[Any, ...], ...]) -> Leaf:
    """The leaf of one pass of the filters over one completion."""
    return {"ref": attempt, "verdicts": [list(verdict) for verdict in verdicts]}


def packed(signal: TokenLogprobs) -> bytes:
    """Token logprobs as one value, little-endian; nothing where there are none.

    Counts of tokens, candidates, token ids and candidate ids, then candidates per token, sizes of
    the pieces of text, the probabilities as float32, the ids, and the pieces without a gap. As
    seven columns of lists the same row took DuckDB ten times as long (docs/performance.md).
    """
    if not signal.token_bytes:
        return b""
    pieces = [*signal.token_bytes, *chain.from_iterable(signal.top_bytes)]
    floats = [*signal.token_logprobs, *chain.from_iterable(signal.top_logprobs)]
    counts = [len(row) for row in signal.top_bytes]
    whole = [len(row) for row in signal.top_ids] == counts
    tops = list(chain.from_iterable(signal.top_ids)) if whole else []
    tokens = len(signal.token_bytes)
    numbers = [
        *(tokens, len(pieces) - tokens, len(signal.token_ids), len(tops)),
        *(*counts, *map(len, pieces)),
    ]
    ids = [*signal.token_ids, *tops]
    return b"".join(
        (
            struct.pack(f"<{len(numbers)}I", *numbers),
            struct.pack(f"<{len(floats)}f", *floats),
            struct.pack(f"<{len(ids)}I", *ids),
            *pieces,
        )
    )


def unpacked(data: bytes) -> TokenLogprobs:
    """Token logprobs back from what `packed` wrote. Raises struct.error for anything else."""
    if not data:
        return TokenLogprobs()
    tokens, candidates, ids, top_ids = struct.unpack_from("<4I", data)
    counts = struct.unpack_from(f"<{tokens}I", data, 16)
    sizes = struct.unpack_from(f"<{tokens + candidates}I", data, at := 16 + 4 * tokens)
    floats = struct.unpack_from(f"<{len(sizes)}f", data, at := at + 4 * len(sizes))
    numbers = struct.unpack_from(f"<{ids + top_ids}I", data, at := at + 4 * len(sizes))
    start, pieces = at + 4 * len(numbers), []
    for size in sizes:
        pieces.append(data[start : start + size])
        start += size
    if start != len(data) or sum(counts) != candidates:
        raise struct.error("these bytes are no token logprobs")
    rows = _nested(counts, numbers[ids:]) if top_ids else ((),) * tokens
    return TokenLogprobs(
        token_bytes=tuple(pieces[:tokens]),
        token_logprobs=floats[:tokens],
        token_ids=numbers[:ids],
        top_bytes=_nested(counts, pieces[tokens:]),
        top_logprobs=_nested(counts, floats[tokens:]),
        top_ids=rows,
    )


def _nested(counts: Sequence[int], flat: Sequence[T]) -> tuple[tuple[T, ...], ...]:
    values = iter(flat)
    return tuple([tuple(islice(values, count)) for count in counts])
