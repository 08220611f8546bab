"""One row of a file from outside, and how every reader gets at its parts.

A malformed one is refused with file and line; what a file does not say stays empty, never guessed.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from policy.errors import BadInput
from synth.config import Sampling
from synth.teachers import ADAPTERS
from synth.turns import Message, read_turns
from synth.wire import Completion, Failure

MAX_LINE = 64 * 2**20  # characters: a longer line is a broken file
_KEYS = ("role", "content", "tool_calls", "tool_call_id")


@dataclass(slots=True)
class File:
    """A file or directory to read, and what was declared of it."""

    path: Path
    model: str = ""
    """The model that was asked for, where the file does not say."""
    requests: Path | None = None
    """The file of requests that a batch's output answers."""
    skipped: int = 0
    """Entries that are no answers: failed requests, which the origin logged too."""


@dataclass(frozen=True, slots=True)
class Row:
    """One answer with its prompt."""

    place: str
    """Line or row, in words."""
    messages: tuple[Message, ...]
    completion: Completion
    model: str
    """The model that was asked for; empty where nobody says."""
    collected_ms: int | None
    raw: bytes
    """The answer as the file has it, without what stands around it."""


def lines_of(path: Path) -> Iterator[tuple[str, Any]]:
    """(where, value) for each line of JSON Lines, or each element of a JSON list or of `data`."""
    try:
        with path.open(encoding="utf-8-sig") as file:
            text = file.read()
    except UnicodeDecodeError as error:
        raise BadInput(f"not UTF-8 at byte {error.start}", where=str(path)) from None
    except OSError as error:
        raise BadInput(f"cannot be read ({error.strerror})", where=str(path)) from None
    whole = _whole(text)
    if whole is not None:
        for number, value in enumerate(whole, 1):
            yield f"{path.name} entry {number}", value
        return
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            yield f"{path.name} line {number}", _json(line, f"{path.name} line {number}")


def _whole(text: str) -> list[Any] | None:
    """The entries of a file that is one JSON document; None for lines."""
    if not text.lstrip().startswith(("[", "{")):
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if isinstance(value, dict) and isinstance(value.get("data"), list):
        value = value["data"]
    return value if isinstance(value, list) else None


def _json(line: str, where: str) -> Any:
    if len(line) > MAX_LINE:
        raise BadInput("the line is too long", where=where, fix="split it")
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:
        raise BadInput(f"not JSON: {error}", where=where, fix="one object a line") from None


def table(value: Any, where: str, what: str = "entry") -> dict[str, Any]:
    """A JSON object, or the refusal of anything else."""
    if isinstance(value, dict):
        return value
    raise BadInput(f"the {what} is a {type(value).__name__}, not an object", where=where)


def turns(value: Any, where: str) -> tuple[Message, ...]:
    """The prompt's messages in our form. A text is one user turn."""
    if isinstance(value, str) and value.strip():
        value = [{"role": "user", "content": value}]
    if isinstance(value, dict):
        value = value.get("data", value.get("messages"))
    if not isinstance(value, list) or not value:
        raise BadInput(
            "it has no messages of a prompt", where=where, fix="see docs/guides/import.md"
        )
    kept = [
        {key: one[key] for key in _KEYS if one.get(key) is not None}
        if isinstance(one, dict)
        else one
        for one in value
    ]
    return read_turns(kept, where)


def answer(body: Any, where: str) -> tuple[Completion, bytes]:
    """A chat completion, read as our own are, and its bytes."""
    given = table(body, where, "answer")
    raw = json.dumps(
        {key: value for key, value in given.items() if key in _ANSWER}, ensure_ascii=False
    ).encode("utf-8", "surrogatepass")
    found = ADAPTERS["openai"].parse(raw, Sampling(), {})
    if isinstance(found, Failure):
        raise BadInput(f"no chat completion: {found.message}", where=where)
    return found, raw


_ANSWER = frozenset(
    {"id", "object", "created", "model", "choices", "usage", "system_fingerprint", "service_tier",
     "error"}
)  # fmt: skip
"""What is kept of an answer: no account, address or tag of whoever asked."""


def text_answer(message: Any, where: str, served: str = "") -> tuple[Completion, bytes]:
    """An assistant's turn without the envelope of a reply: nobody says how it ended."""
    given = table(message, where, "answer")
    kept = {key: given[key] for key in (*_KEYS, "refusal") if given.get(key) is not None}
    body = {"model": served, "choices": [{"message": kept, "finish_reason": None}]}
    found, _ = answer(body, where)
    if not found.text and not found.tool_calls and not found.refusal:
        raise BadInput("the assistant's turn is empty", where=where)
    return found, json.dumps(kept, ensure_ascii=False).encode("utf-8", "surrogatepass")


def milliseconds(value: Any, where: str) -> int | None:
    """A time as any of these files write it: seconds, ISO 8601 (UTC where no zone is given)."""
    if value in (None, ""):
        return None
    if isinstance(value, datetime):
        moment = value
    elif isinstance(value, int | float) and not isinstance(value, bool):
        if not 0 < value < 10**11:
            raise BadInput(f"{value!r} is no time in seconds", where=where)
        return int(value * 1000)
    else:
        try:
            moment = datetime.fromisoformat(str(value).strip())
        except ValueError:
            raise BadInput(f"{value!r} is no time", where=where) from None
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)


def word(value: Any) -> str:
    """A name where there is one; what cannot be printed is none."""
    return value if isinstance(value, str) and value.isprintable() else ""
