"""What the lines of a batch mean, by the same tables as single replies.

    reply_of(line, raw, adapter, sampling, headers, now) -> Reply

A provider that reports a line as failed did not bill it: unlike a 500 online, which may hide a
generation, that report is made after the fact.

Source: Anthropic "Batch processing" (errored, canceled and expired requests are not billed),
OpenAI "Batch API FAQ" (completed work is charged).
"""

import re
from collections import Counter
from dataclasses import dataclass, field, replace

from synth.batching.parts import Line
from synth.client import classify_status
from synth.config import Sampling
from synth.error_bodies import read_error
from synth.teachers import Adapter
from synth.wire import Failure, OutcomeClass, Reply, printable

_NAMED = re.compile(rb'"(?:custom_id|key)"\s*:\s*"([A-Za-z0-9_-]{1,64})"')
_SEARCHED = 4096  # bytes of a cut line in which its name may stand
_LATER_CODES = frozenset({"token_limit_exceeded", "rate_limit_exceeded", "RESOURCE_EXHAUSTED"})
"""Codes of batches that would be taken later: OpenAI's queue of tokens is full."""


@dataclass(slots=True)
class Reading:
    """What one reading of a batch's results has seen."""

    lines: int = 0
    ids: set[str] = field(default_factory=set)
    odd: Counter[str] = field(default_factory=Counter)
    """Lines that fit nothing, by what is wrong with them."""

    def note(self) -> str:
        """The odd lines in words."""
        return ", ".join(f"{count} {what}" for what, count in sorted(self.odd.items()))


def reply_of(line: Line, raw: bytes, adapter: Adapter, sampling: Sampling, batch: str) -> Reply:
    """One line as the reply to one request."""
    headers = {"batch-id": batch, "custom-id": line.custom_id}
    if line.request_id:
        headers["x-request-id"] = line.request_id
    if line.reply:
        return Reply(adapter.parse(line.reply, sampling, headers), raw, headers)
    return Reply(_failure(line), raw, headers)


def cut_line(raw: bytes) -> tuple[str, Reply]:
    """(custom id, reply) of a line that was longer than it may be; the id is empty where it cannot
    be found."""
    found = _NAMED.search(raw[:_SEARCHED])
    why = f"a result longer than allowed ({len(raw):,} bytes read)"
    failure = Failure(OutcomeClass.BILLED_BAD, "too_large", why, 200)
    return (found.group(1).decode() if found else "", Reply(failure, raw))


def _failure(line: Line) -> Failure:
    if line.unprocessed:
        said = read_error(line.error).message
        why = f"the batch ended before it was worked on ({said or line.unprocessed})"
        return Failure(OutcomeClass.REJECTED, line.unprocessed, why, retry=True)
    if not line.status:
        why = f"neither an answer nor a refusal: {printable(line.error.decode('utf-8', 'replace'))}"
        return Failure(OutcomeClass.UNKNOWN, "no_answer", why[:300])
    headers = {"x-request-id": line.request_id} if line.request_id else {}
    failure = classify_status(line.status, line.error, headers, 0.0)
    if failure.outcome is OutcomeClass.UNKNOWN:
        return replace(failure, outcome=OutcomeClass.REJECTED, retry=True)
    return replace(failure, retry_after=None)


def whole_failure(error: bytes, word: str) -> Failure:
    """Why a batch was refused as a whole, before any of it was worked on."""
    told = read_error(error)
    why = f"the batch ended as {printable(word)}" + (
        f": {told.code} {told.message}" if error else ""
    )
    later = bool(told.words & _LATER_CODES)
    kind = "batch_queue_full" if later else "batch_refused"
    return Failure(OutcomeClass.REJECTED, kind, why[:300], 400, retry=later, fatal=not later)


def absent(word: str, stopped: bool) -> Failure:
    """What is known of a request that has no line in the results of a batch that ended."""
    if stopped:
        why = f"the batch ended as {printable(word)} before it was worked on"
        return Failure(OutcomeClass.REJECTED, "expired", why, retry=True)
    return Failure(OutcomeClass.UNKNOWN, "no_line", "the results have no line for it")
