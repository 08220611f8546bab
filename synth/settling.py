"""What a reply is worth: is it the permitted model's, may its reasoning be kept, what was billed.

    reply = checked(reply, teacher, keep_reasoning=False)
    bill = bill_of(reply.result, reserve, price, tier="", at=time.time())
    outcome_row(attempt, key, at, reply, bill, milliseconds=812, salt=salt)

Online and in a batch the same bytes make the same row.
"""

from typing import NamedTuple

from synth.client import served_wrongly
from synth.config import Teacher
from synth.pricing import Price
from synth.reasoning import without_reasoning
from synth.rows import OutcomeRow
from synth.wire import Completion, Failure, OutcomeClass, Reply, Usage, printable


class Bill(NamedTuple):
    """What one attempt cost."""

    usage: Usage
    nano: int
    """Billionths of a dollar."""


def checked(reply: Reply, teacher: Teacher, *, keep_reasoning: bool) -> Reply:
    """A completion of another model than the permitted one is no completion, and what the terms do
    not list as output is not kept."""
    if not keep_reasoning:
        reply = without_reasoning(reply)
    result = reply.result
    if not isinstance(result, Completion) or not served_wrongly(
        result, teacher.model, teacher.served_as
    ):
        return reply
    failure = Failure(
        OutcomeClass.BILLED_BAD,
        "served_other_model",
        f"asked for {teacher.model}, served by {printable(result.served_model)}",
        200,
        usage=result.usage,
        served_model=result.served_model,
        provider_request_id=result.provider_request_id,
    )
    return Reply(failure, reply.raw, reply.headers)


def withheld(given: Reply, kept: Reply) -> bool:
    """Whether `checked` took reasoning out of a reply: only then its bytes are others."""
    return kept.raw is not given.raw


def bill_of(
    result: Completion | Failure,
    reserve: int,
    price: Price,
    *,
    tier: str,
    at: float,
    batch: bool = False,
) -> Bill:
    """By the provider's usage, or the reserve where it has none. `tier` is the one that was asked
    for: a failure names none."""
    if isinstance(result, Failure) and result.outcome in (
        OutcomeClass.REJECTED,
        OutcomeClass.NOT_SENT,
    ):
        return Bill(Usage(), 0)
    usage = result.usage
    if usage is None or usage.estimated:
        return Bill(Usage(estimated=True), reserve)
    cost = price.cost_nano(
        usage.prompt_tokens,
        usage.completion_tokens,
        usage.cached_tokens,
        written_tokens=usage.cache_write_tokens,
        tier=result.service_tier if isinstance(result, Completion) else tier,
        served=result.served_model,
        batch=batch,
        at=at,
    )
    return Bill(usage, cost)


def outcome_row(
    attempt: str, key: str, at: int, reply: Reply, bill: Bill, *, milliseconds: int, salt: bytes
) -> OutcomeRow:
    """The row that ends an attempt."""
    result = reply.result
    failure = result if isinstance(result, Failure) else None
    return OutcomeRow(
        attempt=attempt,
        key=key,
        at=at,
        outcome=failure.outcome if failure else OutcomeClass.OK,
        failure=failure.kind if failure else "",
        message=_clean(failure.message) if failure else "",
        status=failure.status if failure else 200,
        served_model=result.served_model,
        provider_request_id=result.provider_request_id,
        prompt_tokens=bill.usage.prompt_tokens,
        completion_tokens=bill.usage.completion_tokens,
        cached_tokens=bill.usage.cached_tokens,
        reasoning_tokens=bill.usage.reasoning_tokens,
        estimated=bill.usage.estimated,
        cost_nano=bill.nano,
        milliseconds=milliseconds,
        completion=result if isinstance(result, Completion) else None,
        raw=reply.raw,
        headers=reply.headers,
        salt=salt,
    )


def _clean(text: str) -> str:
    return text.encode("utf-8", "replace").decode().replace("\0", "\\0")
