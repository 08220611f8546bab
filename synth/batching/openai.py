"""OpenAI's Batch API, as spoken by OpenAI, Groq, Azure and gateways: a file, then a batch of it.

A line is {"custom_id", "method", "url", "body"}; results are in `output_file_id`, refusals in
`error_file_id`, and a batch that expired or was cancelled still has what it did, and bills it.

Source: openai 3.54 (types/batch.py, batch_create_params.py, batch_error.py), help.openai.com
"Batch API FAQ", groq 1.7 (types/batch_create_params.py), Microsoft's "batches create".
"""

import json
from typing import Any
from urllib.parse import quote

from synth.batching.parts import (
    TAG,
    Ask,
    Format,
    Line,
    Order,
    Page,
    Phase,
    State,
    dumped,
    file_of,
    identity,
    loaded,
    one_line,
)
from synth.config import Teacher
from synth.teachers.reading import count_of, items, table, word

_PHASES = {
    "failed": Phase.FAILED,
    "completed": Phase.ENDED,
    "expired": Phase.STOPPED,
    "cancelled": Phase.STOPPED,
}
_UNPROCESSED = {"batch_expired": "expired", "batch_cancelled": "canceled"}
"""Codes of lines that were never worked on."""


def endpoint(teacher: Teacher) -> str:
    """The address that every line names."""
    if teacher.adapter == "azure":
        return "/chat/completions"
    return "/v1/responses" if teacher.adapter == "responses" else "/v1/chat/completions"


def path(teacher: Teacher, rest: str) -> str:
    """A path below the base URL, as each dialect puts it."""
    if teacher.adapter == "azure":
        join = "&" if "?" in rest else "?"
        return f"/openai{rest}{join}api-version={quote(teacher.api_version, safe='')}"
    return rest


def line_of(teacher: Teacher, custom_id: str, body: bytes) -> bytes:
    """One request."""
    head = json.dumps({"custom_id": custom_id, "method": "POST", "url": endpoint(teacher)})
    return one_line(f'{head[:-1]}, "body": {body.decode()}}}')


def upload(order: Order) -> Ask:
    """The requests as a file."""
    return file_of(order, line_of, path(order.teacher, "/files"))


def create(order: Order) -> Ask:
    """The batch."""
    body = {
        "input_file_id": order.file,
        "endpoint": endpoint(order.teacher),
        "completion_window": window(order.hours),
        "metadata": {TAG: order.tag},
    }
    return Ask("POST", path(order.teacher, "/batches"), (dumped(body),))


def window(hours: int) -> str:
    """`24h` is the only one that OpenAI knows; Groq takes days too."""
    days, rest = divmod(hours, 24)
    return f"{days}d" if days > 1 and not rest else f"{hours}h"


def poll(teacher: Teacher, batch: str) -> Ask:
    """One batch's state."""
    return Ask("GET", path(teacher, f"/batches/{quote(batch, safe='')}"))


def cancel(teacher: Teacher, batch: str) -> Ask:
    """Stop it: it is `cancelling` for up to ten minutes."""
    return Ask("POST", path(teacher, f"/batches/{quote(batch, safe='')}/cancel"))


def listing(teacher: Teacher, after: str) -> Ask:
    """The account's batches, newest first."""
    more = f"&after={quote(after, safe='')}" if after else ""
    return Ask("GET", path(teacher, f"/batches?limit=100{more}"))


def state(teacher: Teacher, reply: bytes) -> State | None:
    """A batch object."""
    data = loaded(reply)
    return None if data is None else _state(teacher, data)


def _state(teacher: Teacher, data: dict[str, Any]) -> State | None:
    batch, status = identity(data.get("id")), word(data.get("status"))
    if not batch or not status:
        return None
    counts = table(data.get("request_counts"))
    done = count_of(counts.get("completed")) + count_of(counts.get("failed"))
    files = [identity(data.get(name)) for name in ("output_file_id", "error_file_id")]
    errors = items(table(data.get("errors")).get("data"))
    return State(
        batch,
        status,
        _PHASES.get(status, Phase.WORKING),
        tag=word(table(data.get("metadata")).get(TAG)),
        total=count_of(counts.get("total")),
        lines=done,
        results=tuple(path(teacher, f"/files/{name}/content") for name in files if name),
        error=dumped({"error": errors[0]}) if errors else b"",
        created=float(count_of(data.get("created_at"))),
    )


def page(teacher: Teacher, reply: bytes, after: str) -> Page | None:
    """A list of batch objects."""
    data = loaded(reply)
    if data is None or not isinstance(data.get("data"), list):
        return None
    states = [one for item in items(data["data"]) if (one := _state(teacher, item))]
    return Page(states, states[-1].id if states and data.get("has_more") is True else "")


def line(raw: bytes) -> Line | None:
    """One line of either file."""
    data = loaded(raw)
    if data is None or not isinstance(data.get("custom_id"), str):
        return None
    custom, response, error = data["custom_id"], table(data.get("response")), data.get("error")
    request_id = word(response.get("request_id"))
    if unprocessed := _UNPROCESSED.get(word(table(error).get("code"))):
        return Line(custom, status=0, error=dumped({"error": error}), unprocessed=unprocessed)
    status = count_of(response.get("status_code"))
    body = dumped(response.get("body"))
    if status == 200:
        return Line(custom, reply=body, request_id=request_id)
    if status >= 300:
        return Line(custom, status=status, error=body, request_id=request_id)
    return Line(custom, status=400 if error else 0, error=dumped({"error": error or "no answer"}))


FORMAT = Format(
    requests=50_000,
    size=200_000_000,
    tagged=True,
    line_of=line_of,
    upload=upload,
    create=create,
    poll=poll,
    listing=listing,
    state=state,
    page=page,
    line=line,
    cancel=cancel,
)
GROQ = FORMAT._replace(size=100_000_000)
