"""What the four batch APIs have in common, in this project's words. No I/O.

A batch is made in one call or two (the requests as a file, then the batch), has a state that is
asked for now and then, and ends with one line a request, in any order. A `Format` says how one API
puts that; synth/batching/engine.py does the asking.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple

from policy.digest import sha256
from synth.config import Teacher
from synth.wire import Call

TAG = "spiritsafe"
"""Key of the batch's own metadata that holds our name for it."""
_ID = re.compile(r"[A-Za-z0-9_.:-]{1,200}")
_LINE_BREAKS = {"\u2028": "\\u2028", "\u2029": "\\u2029", "\x85": "\\u0085"}


class Ask(NamedTuple):
    """One HTTP request below the base URL; its body in pieces: a large one is not copied."""

    method: str
    path: str
    pieces: Sequence[bytes] = ()
    content_type: str = "application/json"
    limit: int = 2**24
    """Most bytes of a reply that is read whole."""


class Phase(StrEnum):
    """What a batch's own word for its state means to us."""

    WORKING = "working"
    ENDED = "ended"
    """Its results can be read, be it all of them or what was done before it stopped."""
    STOPPED = "stopped"
    """As ENDED, and requests without a line were not processed: expired or cancelled."""
    FAILED = "failed"
    """Refused as a whole: nothing was processed."""


class State(NamedTuple):
    """A batch as its provider describes it."""

    id: str
    word: str
    """The provider's own word."""
    phase: Phase
    tag: str = ""
    """Our name for it, where the API keeps one."""
    total: int = 0
    """Requests in it; 0 where it does not say."""
    lines: int = 0
    """Lines that its results must have, once it ended; 0 where it does not say."""
    results: tuple[str, ...] = ()
    """Paths to fetch."""
    error: bytes = b""
    """Why it failed, as an error body."""
    created: float = 0.0
    """Seconds since 1970; 0 where it does not say."""


class Line(NamedTuple):
    """One request's result."""

    custom_id: str
    reply: bytes = b""
    """The body that the same request would have got online."""
    status: int = 200
    """The HTTP status of a refusal; 0 where there is neither an answer nor a refusal."""
    error: bytes = b""
    unprocessed: str = ""
    """`expired` or `canceled`: the provider never worked on it."""
    request_id: str = ""


class Page(NamedTuple):
    """Some of the batches of an account."""

    states: list[State]
    after: str = ""
    """Where the next page begins; empty on the last one."""


class Order(NamedTuple):
    """A batch that is to be made."""

    tag: str
    teacher: Teacher
    lines: Sequence[tuple[str, bytes]]
    """(custom id, body of the request)."""
    hours: int
    file: str = ""
    """Id of the uploaded requests."""


LineOf = Callable[[Teacher, str, bytes], bytes]


class Format(NamedTuple):
    """One batch API."""

    requests: int
    """Most requests of one batch."""
    size: int
    """Most bytes of one batch."""
    tagged: bool
    """Whether a batch keeps our name for it, so that one whose id was lost is found again."""
    line_of: LineOf
    """(teacher, custom id, body) -> the line that goes out, without its line break."""
    upload: Callable[[Order], Ask] | None
    create: Callable[[Order], Ask]
    poll: Callable[[Teacher, str], Ask]
    listing: Callable[[Teacher, str], Ask]
    """(teacher, where to begin)."""
    state: Callable[[Teacher, bytes], State | None]
    """The reply to `create` or `poll`; None where it is not one."""
    page: Callable[[Teacher, bytes, str], Page | None]
    """(teacher, reply to `listing`, where that began)."""
    line: Callable[[bytes], Line | None]
    cancel: Callable[[Teacher, str], Ask]
    """What is done by then is billed, and its results can be read."""
    whole: Callable[[bytes], Iterator[bytes]] | None = None
    """Where results come as one document: its lines."""


def custom_id(key: str, number: int) -> str:
    """Our name for one attempt inside a batch: unique, and the same on every reading."""
    return f"{key.removeprefix('sha256:')[:40]}-{number}"


def tag_of(calls: Sequence[Call], at: int) -> str:
    """A name for a batch, by what is in it and when it was intended."""
    return "b" + sha256(f"{at} {' '.join(call.key for call in calls)}".encode())[7:31]


def one_line(text: str) -> bytes:
    """JSON text as one line for every reader, also for those to whom U+2028 ends a line."""
    for found, escaped in _LINE_BREAKS.items():
        text = text.replace(found, escaped)
    return text.encode()


def loaded(data: bytes) -> dict[str, Any] | None:
    """The object in some bytes, or None."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def dumped(value: Any) -> bytes:
    """JSON for the parser of the dialect, in ASCII: a lone surrogate has no other form."""
    return json.dumps(value, separators=(",", ":")).encode()


def identity(value: Any) -> str:
    """A provider's id that may stand in a path; empty where it cannot be one."""
    return value if isinstance(value, str) and _ID.fullmatch(value) else ""


def seconds(value: Any) -> float:
    """A date in ISO 8601 as seconds since 1970; 0 for anything else."""
    try:
        return datetime.fromisoformat(value).timestamp()
    except (TypeError, ValueError):
        return 0.0


def joined(order: Order, line_of: LineOf, head: bytes, tail: bytes) -> list[bytes]:
    """The requests as a JSON list between head and tail, in pieces."""
    pieces = [head]
    for number, line in enumerate(order.lines):
        pieces += (b"," if number else b"", line_of(order.teacher, *line))
    return [*pieces, tail]


def file_of(order: Order, line_of: LineOf, path: str) -> Ask:
    """The requests as an upload of one file of lines."""
    lines = [line_of(order.teacher, *line) for line in order.lines]
    kind, pieces = multipart({"purpose": "batch"}, order.tag, lines)
    return Ask("POST", path, pieces, kind)


def multipart(
    fields: Mapping[str, str], name: str, lines: Sequence[bytes]
) -> tuple[str, list[bytes]]:
    """(content type, pieces) of a form with one file of these lines."""
    boundary = "spiritsafe-" + sha256(name.encode())[7:39]
    head = "".join(
        f'--{boundary}\r\ncontent-disposition: form-data; name="{key}"\r\n\r\n{value}\r\n'
        for key, value in fields.items()
    )
    head += (
        f'--{boundary}\r\ncontent-disposition: form-data; name="file"; filename="{name}.jsonl"\r\n'
        "content-type: application/jsonl\r\n\r\n"
    )
    pieces = [head.encode()]
    for line in lines:
        pieces += (line, b"\n")
    pieces.append(f"\r\n--{boundary}--\r\n".encode())
    return f"multipart/form-data; boundary={boundary}", pieces


def uploaded(reply: bytes) -> str:
    """The id of an uploaded file; empty where the reply has none."""
    return identity((loaded(reply) or {}).get("id"))
