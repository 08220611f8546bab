"""Gemini's batchGenerateContent: one call with every request in it, by the model in its path.

A request is {"request", "metadata": {"key"}}; the batch keeps a display name. Its results stand in
the batch itself, under the same keys, as one document. Files of requests are not used.

Source: google-genai 3.4 (batches.py: the names on the wire), ai.google.dev "Batch API": inline
requests stay below 20 MB. An entry is a GenerateContentResponse or a google.rpc.Status.
"""

import re
from collections.abc import Iterator
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
    joined,
    loaded,
    one_line,
    seconds,
)
from synth.config import Teacher
from synth.teachers import gemini
from synth.teachers.asking import versioned
from synth.teachers.reading import count_of, items, table, word

_NAME = re.compile(r"batches/[A-Za-z0-9_-]{1,200}")
_PHASES = {
    "SUCCEEDED": Phase.ENDED,
    "FAILED": Phase.FAILED,
    "CANCELLED": Phase.STOPPED,
    "EXPIRED": Phase.STOPPED,
}
_STATUS = {1: 499, 3: 400, 4: 504, 5: 404, 7: 403, 8: 429, 9: 400, 13: 500, 14: 503, 16: 401}
"""google.rpc.Code as an HTTP status (google/rpc/code.proto)."""
_UNPROCESSED = {1: "canceled", 4: "expired"}
RESULTS = 2**29  # bytes of a batch with its results in it


def line_of(teacher: Teacher, custom_id: str, body: bytes) -> bytes:
    """One request."""
    return one_line(f'{{"request":{body.decode()},"metadata":{{"key":"{custom_id}"}}}}')


def create(order: Order) -> Ask:
    """The batch, with its requests."""
    path = gemini.path(order.teacher).removesuffix(":generateContent") + ":batchGenerateContent"
    head = f'{{"batch":{{"displayName":"{order.tag}","inputConfig":{{"requests":{{"requests":['
    return Ask("POST", path, joined(order, line_of, head.encode(), b"]}}}}"))


def poll(teacher: Teacher, batch: str) -> Ask:
    """One batch's state, and its results once it has them."""
    return Ask("GET", versioned(teacher, f"/{batch}", "/v1beta", last=False), limit=RESULTS)


def cancel(teacher: Teacher, batch: str) -> Ask:
    """Stop it. The reply is an empty object."""
    return Ask("POST", versioned(teacher, f"/{batch}:cancel", "/v1beta", last=False))


def listing(teacher: Teacher, after: str) -> Ask:
    """The project's batches."""
    more = f"&pageToken={quote(after, safe='')}" if after else ""
    path = versioned(teacher, f"/batches?pageSize=100{more}", "/v1beta", last=False)
    return Ask("GET", path, limit=RESULTS)


def state(teacher: Teacher, reply: bytes) -> State | None:
    """An operation that stands for a batch."""
    data = loaded(reply)
    return None if data is None else _state(teacher, data)


def _state(teacher: Teacher, data: dict[str, Any]) -> State | None:
    name, its = word(data.get("name")), table(data.get("metadata"))
    status = word(its.get("state")).removeprefix("BATCH_STATE_").removeprefix("JOB_STATE_")
    if not _NAME.fullmatch(name) or not status:
        return None
    counts = table(its.get("batchStats"))
    phase, error = _PHASES.get(status, Phase.WORKING), data.get("error")
    done = sum(_number(counts.get(f"{kind}RequestCount")) for kind in ("successful", "failed"))
    here = versioned(teacher, f"/{name}", "/v1beta", last=False)
    return State(
        name,
        status,
        phase,
        tag=word(its.get("displayName")),
        total=_number(counts.get("requestCount")),
        lines=done if phase is Phase.STOPPED else 0,
        results=(here,) if phase is not Phase.WORKING else (),
        error=dumped({"error": error}) if error else b"",
        created=seconds(its.get("createTime")),
    )


def _output(data: dict[str, Any]) -> dict[str, Any]:
    """Where the results stand: in the operation's response, in its metadata, or in both."""
    return table(data.get("response")) or table(table(data.get("metadata")).get("output"))


def _number(value: Any) -> int:
    """An int64 of protobuf's JSON is a text."""
    return count_of(int(value)) if isinstance(value, str) and value.isdigit() else count_of(value)


def page(teacher: Teacher, reply: bytes, after: str) -> Page | None:
    """A list of operations; an account without any answers {}."""
    data = loaded(reply)
    if data is None or data.get("error"):
        return None
    states = [one for item in items(data.get("operations")) if (one := _state(teacher, item))]
    return Page(states, word(data.get("nextPageToken")))


def whole(document: bytes) -> Iterator[bytes]:
    """The entries of a batch's results, each as a line."""
    inlined = table(_output(loaded(document) or {}).get("inlinedResponses"))
    for entry in items(inlined.get("inlinedResponses")):
        yield dumped(entry)


def line(raw: bytes) -> Line | None:
    """One entry, with its key in its metadata."""
    data = loaded(raw)
    key = None if data is None else table(data.get("metadata")).get("key")
    if data is None or not isinstance(key, str):
        return None
    if isinstance(data.get("response"), dict):
        return Line(key, reply=dumped(data["response"]))
    error = table(data.get("error"))
    code = count_of(error.get("code"))
    if unprocessed := _UNPROCESSED.get(code):
        return Line(key, status=0, error=dumped({"error": error}), unprocessed=unprocessed)
    status = _STATUS.get(code, 500) if error else 0
    return Line(key, status=status, error=dumped({"error": error}))


FORMAT = Format(
    requests=50_000,
    size=19_000_000,
    tagged=True,
    line_of=line_of,
    upload=None,
    create=create,
    poll=poll,
    listing=listing,
    state=state,
    page=page,
    line=line,
    cancel=cancel,
    whole=whole,
)
