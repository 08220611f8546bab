"""Anthropic's Message Batches: one call with every request in it.

A request is {"custom_id", "params"}. A batch keeps no name of ours, so one whose id was lost is
known by its number of requests and, once it ended, by the custom ids in its results. A request that
errored, expired or was cancelled is not billed.

Source: anthropic 2.12 (types/messages/message_batch*.py, batch_create_params.py), the page "Batch
processing".
"""

from typing import Any
from urllib.parse import quote

from synth.batching.parts import (
    Ask,
    Format,
    Line,
    Order,
    Page,
    Phase,
    State,
    dumped,
    identity,
    joined,
    loaded,
    one_line,
    seconds,
)
from synth.config import Teacher
from synth.teachers import anthropic
from synth.teachers.reading import count_of, items, table, word

_COUNTS = ("canceled", "errored", "expired", "processing", "succeeded")
_STATUS = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "timeout_error": 504,
    "overloaded_error": 529,
}
"""The status that each type of error has online."""


def path(teacher: Teacher, rest: str = "") -> str:
    """Below the messages."""
    return f"{anthropic.path(teacher)}/batches{rest}"


def line_of(teacher: Teacher, custom_id: str, body: bytes) -> bytes:
    """One request."""
    return one_line(f'{{"custom_id":"{custom_id}","params":{body.decode()}}}')


def create(order: Order) -> Ask:
    """The batch, with its requests."""
    pieces = joined(order, line_of, b'{"requests":[', b"]}")
    return Ask("POST", path(order.teacher), pieces)


def poll(teacher: Teacher, batch: str) -> Ask:
    """One batch's state."""
    return Ask("GET", path(teacher, f"/{quote(batch, safe='')}"))


def cancel(teacher: Teacher, batch: str) -> Ask:
    """Stop it: requests that are being worked on may still end."""
    return Ask("POST", path(teacher, f"/{quote(batch, safe='')}/cancel"))


def listing(teacher: Teacher, after: str) -> Ask:
    """The workspace's batches, newest first."""
    more = f"&after_id={quote(after, safe='')}" if after else ""
    return Ask("GET", path(teacher, f"?limit=100{more}"))


def state(teacher: Teacher, reply: bytes) -> State | None:
    """A batch object. Its `results_url` is not followed: the path is known."""
    data = loaded(reply)
    return None if data is None else _state(teacher, data)


def _state(teacher: Teacher, data: dict[str, Any]) -> State | None:
    batch, status = identity(data.get("id")), word(data.get("processing_status"))
    if not batch or not status:
        return None
    counts = table(data.get("request_counts"))
    total, ended = sum(count_of(counts.get(name)) for name in _COUNTS), status == "ended"
    return State(
        batch,
        status,
        Phase.ENDED if ended else Phase.WORKING,
        total=total,
        lines=total if ended else 0,
        results=(path(teacher, f"/{quote(batch, safe='')}/results"),) if ended else (),
        created=seconds(data.get("created_at")),
    )


def page(teacher: Teacher, reply: bytes, after: str) -> Page | None:
    """A list of batch objects."""
    data = loaded(reply)
    if data is None or not isinstance(data.get("data"), list):
        return None
    states = [one for item in items(data["data"]) if (one := _state(teacher, item))]
    return Page(states, identity(data.get("last_id")) if data.get("has_more") is True else "")


def line(raw: bytes) -> Line | None:
    """One line of the results."""
    data = loaded(raw)
    if data is None or not isinstance(data.get("custom_id"), str):
        return None
    custom, result = data["custom_id"], table(data.get("result"))
    kind = word(result.get("type"))
    if kind == "succeeded":
        return Line(custom, reply=dumped(result.get("message")))
    if kind in ("expired", "canceled"):
        return Line(custom, status=0, unprocessed=kind)
    error = table(result.get("error"))
    named = word(table(error.get("error")).get("type")) or word(error.get("type"))
    return Line(
        custom,
        status=_STATUS.get(named, 500) if kind == "errored" else 0,
        error=dumped(error),
        request_id=word(error.get("request_id")),
    )


FORMAT = Format(
    requests=100_000,
    size=256_000_000,
    tagged=False,
    line_of=line_of,
    upload=None,
    create=create,
    poll=poll,
    listing=listing,
    state=state,
    page=page,
    line=line,
    cancel=cancel,
)
