"""Mistral's batch jobs: a file, then a job of it for one model.

A line is {"custom_id", "body"}; the model stands in the job and not in the body. Results come as
OpenAI's do, refusals in `error_file`.

Source: mistralai 3.7 (client/models/batchjob.py, createbatchjobrequest.py, client/files.py), docs
"Batch Inference". The documents disagree on the most requests of a job; the smaller number counts.
"""

import json
from typing import Any
from urllib.parse import quote

from synth.batching import openai
from synth.batching.parts import (
    TAG,
    Ask,
    Format,
    Order,
    Page,
    Phase,
    State,
    dumped,
    file_of,
    identity,
    loaded,
    one_line,
    seconds,
)
from synth.config import Teacher
from synth.teachers.reading import count_of, items, table, word

_PHASES = {
    "SUCCESS": Phase.ENDED,
    "FAILED": Phase.FAILED,
    "TIMEOUT_EXCEEDED": Phase.STOPPED,
    "CANCELLED": Phase.STOPPED,
}
PAGE = 100


def line_of(teacher: Teacher, custom_id: str, body: bytes) -> bytes:
    """One request."""
    content = {name: value for name, value in json.loads(body).items() if name != "model"}
    line = {"custom_id": custom_id, "body": content}
    return one_line(json.dumps(line, ensure_ascii=False, separators=(",", ":")))


def upload(order: Order) -> Ask:
    """The requests as a file."""
    return file_of(order, line_of, "/files")


def create(order: Order) -> Ask:
    """The job."""
    body = {
        "input_files": [order.file],
        "endpoint": "/v1/chat/completions",
        "model": order.teacher.model,
        "timeout_hours": order.hours,
        "metadata": {TAG: order.tag},
    }
    return Ask("POST", "/batch/jobs", (dumped(body),))


def poll(teacher: Teacher, batch: str) -> Ask:
    """One job's state."""
    return Ask("GET", f"/batch/jobs/{quote(batch, safe='')}")


def cancel(teacher: Teacher, batch: str) -> Ask:
    """Stop it."""
    return Ask("POST", f"/batch/jobs/{quote(batch, safe='')}/cancel")


def listing(teacher: Teacher, after: str) -> Ask:
    """The account's jobs; `after` is a page number."""
    return Ask("GET", f"/batch/jobs?page_size={PAGE}&order_by=-created&page={after or 0}")


def state(teacher: Teacher, reply: bytes) -> State | None:
    """A job object."""
    data = loaded(reply)
    return None if data is None else _state(data)


def _state(data: dict[str, Any]) -> State | None:
    batch, status = identity(data.get("id")), word(data.get("status"))
    if not batch or not status:
        return None
    files = [identity(data.get(name)) for name in ("output_file", "error_file")]
    done = [count_of(data.get(name)) for name in ("succeeded_requests", "failed_requests")]
    errors = items(data.get("errors"))
    phase = _PHASES.get(status, Phase.WORKING)
    if phase is Phase.FAILED and any(files):
        phase = Phase.STOPPED
    return State(
        batch,
        status,
        phase,
        tag=word(table(data.get("metadata")).get(TAG)),
        total=count_of(data.get("total_requests")),
        lines=sum(done),
        results=tuple(f"/files/{name}/content" for name in files if name),
        error=dumped({"error": errors[0]}) if errors else b"",
        created=_seconds(data.get("created_at")),
    )


def _seconds(value: Any) -> float:
    """Whole seconds in the SDK's types, a date in some replies of the page."""
    return seconds(value) if isinstance(value, str) else float(count_of(value))


def page(teacher: Teacher, reply: bytes, after: str) -> Page | None:
    """A list of jobs; a full page may have another one after it."""
    data = loaded(reply)
    if data is None or not isinstance(data.get("total"), int):
        return None
    found = items(data.get("data"))
    states = [one for item in found if (one := _state(item))]
    return Page(states, str(int(after or 0) + 1) if len(found) >= PAGE else "")


FORMAT = Format(
    requests=100_000,
    size=512_000_000,
    tagged=True,
    line_of=line_of,
    upload=upload,
    create=create,
    poll=poll,
    listing=listing,
    state=state,
    page=page,
    line=openai.line,
    cancel=cancel,
)
