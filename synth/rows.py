"""The rows of the ledger, and what of each goes into the log.

A leaf holds digests and commitments, never content: erasing a completion and its salt leaves the
log valid and tells nobody what was there. Leaves hold text, whole numbers and booleans only;
probabilities enter through the digest of their float32 bytes.
"""

import json
import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from policy.digest import canonical, commit, digest, sha256
from synth.jobs import JobRow
from synth.wire import Call, Completion, TokenLogprobs

Leaf = Mapping[str, Any]


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

    def leaf(self) -> Leaf:
        """Everything but the body, which `key` commits to."""
        return attempt_leaf(self.values(0))

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

    def leaf(self) -> Leaf:
        """Commitments stand for the content."""
        return outcome_leaf(self.values(0))

    def values(self, seq: int) -> tuple[Any, ...]:
        """The columns of table `outcome`."""
        content = commit(self.salt, content_bytes(self.completion)) if self.completion else ""
        return (
            *(seq, self.attempt, self.at, self.outcome, self.failure, self.message, self.status),
            *(self.served_model, self.provider_request_id, self.prompt_tokens),
            *(self.completion_tokens, self.cached_tokens, self.reasoning_tokens, self.estimated),
            *(self.cost_nano, self.milliseconds, content),
            commit(self.salt, raw_bytes(self.headers, self.raw)),
        )


@dataclass(frozen=True, slots=True)
class VerdictRow:
    """What the filters found about one completion: (filter, parameters, keep, reason, score)."""

    kind: ClassVar[str] = "verdict"
    attempt: str
    verdicts: tuple[tuple[str, str, bool, str, str], ...]

    def leaf(self) -> Leaf:
        """All verdicts of one pass over one completion are one entry."""
        return verdict_leaf(self.attempt, self.verdicts)


@dataclass(frozen=True, slots=True)
class ReceiptRow:
    """A frozen dataset (`manifest`) or a finished run (`train`), by its manifest."""

    kind: ClassVar[str] = "receipt"
    of: str
    name: str
    digest: str
    file: str
    at: int

    def leaf(self) -> Leaf:
        """The manifest itself lies in its directory."""
        return receipt_leaf(self.values(0))

    def values(self, seq: int) -> tuple[Any, ...]:
        """The columns of table `receipt`."""
        return (seq, self.of, self.name, self.digest, self.file, self.at)


Row = DecisionRow | AttemptRow | OutcomeRow | VerdictRow | ReceiptRow | JobRow


def table_rows(row: Row, seq: int) -> Iterator[tuple[str, tuple[Any, ...]]]:
    """(table, values) for each table that a row touches."""
    match row:
        case DecisionRow():
            yield "decision", (seq, row.digest, row.at, row.body)
        case AttemptRow():
            body = zlib.compress(row.call.body, 6)
            yield "request", (row.call.key, row.base, row.call.path, body)
            yield "attempt", row.values(seq)
        case OutcomeRow():
            yield "outcome", row.values(seq)
            headers = json.dumps(dict(row.headers), sort_keys=True)
            yield "raw", (row.attempt, row.salt, headers, zlib.compress(row.raw, 1))
            if row.completion:
                yield "completion", completion_values(row.attempt, row.key, row.completion)
        case VerdictRow():
            for verdict in row.verdicts:
                yield "verdict", (seq, row.attempt, *verdict)
        case ReceiptRow():
            yield "receipt", row.values(seq)
        case JobRow():
            yield "job", row.values(seq)


def completion_values(attempt: str, key: str, completion: Completion) -> tuple[Any, ...]:
    """The columns of table `completion`; candidates are flattened, with their counts."""
    signal = completion.logprobs
    return (
        *(attempt, key, completion.text, completion.reasoning, completion.refusal),
        *(completion.tool_calls, completion.finish_reason, completion.fingerprint),
        *(completion.service_tier, list(completion.ignored), completion.repaired),
        *(list(signal.token_bytes), list(signal.token_logprobs), list(signal.token_ids)),
        [len(candidates) for candidates in signal.top_bytes],
        [piece for candidates in signal.top_bytes for piece in candidates],
        [value for candidates in signal.top_logprobs for value in candidates],
        [one for candidates in signal.top_ids for one in candidates],
    )


def content_bytes(completion: Completion) -> bytes:
    """What `content_commit` commits to, from the completion as received."""
    return stored_content(completion_values("", "", completion)[2:])


def stored_content(columns: tuple[Any, ...]) -> bytes:
    """The same, from the columns of table `completion` after (attempt, key)."""
    *texts, ignored, repaired = columns[:9]
    token_bytes, logprobs, ids, counts, top_bytes, top_logprobs, top_ids = columns[9:]
    return canonical(
        {
            "texts": texts,
            "ignored": list(ignored),
            "repaired": repaired,
            "signal": [
                _pieces(token_bytes),
                _floats(logprobs),
                digest(list(ids)),
                digest(list(counts)),
                _pieces(top_bytes),
                _floats(top_logprobs),
                digest(list(top_ids)),
            ],
        }
    )


def raw_bytes(headers: Mapping[str, str], raw: bytes) -> bytes:
    """What `raw_commit` commits to."""
    return canonical(dict(headers)) + b"\n" + raw


def attempt_leaf(values: tuple[Any, ...]) -> Leaf:
    """The leaf of a row of table `attempt`."""
    return _named(
        *("", "ref", "key", "at", "prompt_id", "sample", "split", "offering", "model"),
        *("decision", "terms_pin", "prices", "reserve_nano"),
        values=values,
    )


def outcome_leaf(values: tuple[Any, ...]) -> Leaf:
    """The leaf of a row of table `outcome`."""
    return _named(
        *("", "ref", "at", "class", "failure", "message", "status", "served_model"),
        *("provider_request_id", "prompt_tokens", "completion_tokens", "cached_tokens"),
        *("reasoning_tokens", "estimated", "cost_nano", "milliseconds", "content", "raw"),
        values=values,
    )


def receipt_leaf(values: tuple[Any, ...]) -> Leaf:
    """The leaf of a row of table `receipt`."""
    return _named("", "of", "ref", "digest", "file", "at", values=values)


def verdict_leaf(attempt: str, verdicts: tuple[tuple[Any, ...], ...]) -> Leaf:
    """The leaf of one pass of the filters over one completion."""
    return {"ref": attempt, "verdicts": [list(verdict) for verdict in verdicts]}


def signal_from(columns: tuple[Any, ...]) -> TokenLogprobs:
    """Token logprobs back from the last seven columns of table `completion`."""
    token_bytes, logprobs, ids, counts, top_bytes, top_logprobs, top_ids = columns
    nested_bytes, nested_logprobs, nested_ids, start = [], [], [], 0
    for count in counts:
        stop = start + count
        nested_bytes.append(tuple(top_bytes[start:stop]))
        nested_logprobs.append(tuple(top_logprobs[start:stop]))
        nested_ids.append(tuple(top_ids[start:stop]))
        start = stop
    return TokenLogprobs(
        token_bytes=tuple(token_bytes),
        token_logprobs=tuple(logprobs),
        token_ids=tuple(ids),
        top_bytes=tuple(nested_bytes),
        top_logprobs=tuple(nested_logprobs),
        top_ids=tuple(nested_ids),
    )


def _named(*names: str, values: tuple[Any, ...]) -> Leaf:
    return {name: value for name, value in zip(names, values, strict=True) if name}


def _pieces(pieces: Any) -> str:
    data = b"".join(struct.pack("<I", len(piece)) + bytes(piece) for piece in pieces)
    return sha256(data)


def _floats(values: Any) -> str:
    return sha256(struct.pack(f"<{len(values)}f", *values))
