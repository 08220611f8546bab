"""The rows of the ledger, and what of each goes into the log.

A leaf holds digests and commitments, never content: erasing a completion and its salt leaves the
log valid and tells nobody what was there. Leaves hold text, whole numbers and booleans only;
probabilities are among the content that is committed to, as float32 bytes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from policy.digest import canonical, commit, sha256
from synth.bodies import Pack, stored_reply, stored_request
from synth.imported import ImportRow, import_leaf
from synth.jobs import JobRow, job_leaf
from synth.logprobs import packed
from synth.notices import NoticeRow, notice_leaf
from synth.wire import Call, Completion

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
        stored = commit(self.salt, stored_content(content[1:])) if content else ""
        return (
            *(seq, self.attempt, self.at, str(self.outcome), self.failure, self.message),
            *(self.status, self.served_model, self.provider_request_id, self.prompt_tokens),
            *(self.completion_tokens, self.cached_tokens, self.reasoning_tokens, self.estimated),
            *(self.cost_nano, self.milliseconds, stored),
            commit(self.salt, *raw_content(headers, self.raw)),
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


Tables = list[tuple[str, tuple[Any, ...]]]


def entry(row: Row, seq: int, pack: Pack) -> tuple[Leaf, Tables]:
    """What a row puts into the log, and the values of each table that it touches; `pack` is what
    compresses the long bodies in them."""
    match row:
        case AttemptRow():
            attempt = row.values(seq)
            form, body = stored_request(row.call.body, pack)
            request = (row.call.key, row.base, row.call.path, body, form)
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
    content = completion_values(row.attempt, row.completion) if row.completion else None
    headers = canonical(dict(row.headers))
    outcome = row.values(seq, content, headers)
    tables: Tables = [("outcome", outcome), _raw(row.attempt, row, headers, pack)]
    if content:
        tables.append(("completion", content))
    return outcome_leaf(outcome), tables


def _imported(row: ImportRow, seq: int, pack: Pack) -> tuple[Leaf, Tables]:
    content = completion_values(row.id, row.completion)
    values = row.values(seq, stored_content(content[1:]), raw_content(b"{}", row.raw))
    form, body = stored_request(row.body, pack)
    return import_leaf(values), [
        ("request", (row.key, row.base, row.format, body, form)),
        ("imported", values),
        ("completion", content),
        _raw(row.id, row, b"{}", pack),
    ]


def _raw(
    attempt: str, row: OutcomeRow | ImportRow, headers: bytes, pack: Pack
) -> tuple[str, tuple[Any, ...]]:
    """A row of table `raw`."""
    text = row.completion.text if row.completion else ""
    form, gap, body = stored_reply(row.raw, text, pack)
    return "raw", (attempt, row.salt, headers.decode(), body, form, gap)


def completion_values(attempt: str, completion: Completion) -> tuple[Any, ...]:
    """The columns of table `completion`."""
    return (
        *(attempt, completion.text, completion.reasoning, completion.refusal),
        *(completion.tool_calls, completion.finish_reason, completion.fingerprint),
        *(completion.service_tier, list(completion.ignored), completion.repaired),
        packed(completion.logprobs),
    )


def stored_content(columns: tuple[Any, ...]) -> bytes:
    """What `content_commit` commits to: the columns of table `completion` after its attempt."""
    *texts, ignored, repaired, signal = columns
    fields = {"texts": texts, "ignored": list(ignored), "repaired": repaired}
    return canonical(fields) + b"\n" + bytes(signal)


def raw_content(headers: bytes, raw: bytes) -> tuple[bytes, ...]:
    """The pieces of what `raw_commit` commits to; the headers are canonical JSON."""
    return headers, b"\n", raw


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
