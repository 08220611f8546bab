"""Conversations and images: what a prompt holds beside one user turn of text.

    {"id": "a1", "turns": [{"role": "user", "content": "Hi"},
                           {"role": "assistant", "content": "Yes?"},
                           {"role": "user", "content": "My card is lost"}]}
    {"id": "a2", "message": "What is on this receipt?", "photo": "receipts/a2.png"}

The form is the one of OpenAI's chat messages, since most data sets have it; each dialect translates
it. A picture is passed through: an address as it stands, a file as a data URL.
"""

import base64
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from policy.errors import BadInput

Message = dict[str, Any]
"""`role`, and `content`: a text, or parts of type `text` and `image_url`; `tool_calls` or
`tool_call_id` where the turn has them."""
MAX_IMAGE = 20 * 2**20  # bytes; no provider takes more in one request
_ADDRESSES = ("https://", "http://", "gs://", "data:image/")
_MAGIC = {
    b"\x89PNG\r\n\x1a\n": "image/png",
    b"\xff\xd8\xff": "image/jpeg",
    b"GIF8": "image/gif",
}
_KEYS = {
    "system": {"role", "content"},
    "developer": {"role", "content"},
    "user": {"role", "content"},
    "assistant": {"role", "content", "tool_calls"},
    "tool": {"role", "content", "tool_call_id"},
}


def words_of(message: Message) -> str:
    """All text of a turn, without its pictures; the calls of an assistant's turn count as text."""
    content = message.get("content")
    parts = content if isinstance(content, list) else []
    text = content if isinstance(content, str) else ""
    text += "\n".join(part["text"] for part in parts if part["type"] == "text")
    calls = message.get("tool_calls")
    return text + (json.dumps(calls) if calls else "")


def pictures_of(messages: Sequence[Message]) -> int:
    """How many pictures a prompt holds."""
    contents = (message.get("content") for message in messages)
    return sum(
        part["type"] == "image_url"
        for content in contents
        if isinstance(content, list)
        for part in content
    )


def text_only(messages: Sequence[Message]) -> list[Message]:
    """The turns as a student of text reads them: without pictures and without instructions."""
    return [
        {**message, "content": words_of({"content": message.get("content")})}
        for message in messages
        if message["role"] not in ("system", "developer")
    ]


def read_turns(value: Any, where: str) -> tuple[Message, ...]:
    """The turns of a row. Raises BadInput for anything that a provider would refuse."""
    if not isinstance(value, list) or not value:
        raise BadInput(
            "the turns are no list", where=where, fix='write [{"role": …, "content": …}]'
        )
    for number, turn in enumerate(value, 1):
        _check_turn(turn, f"{where}, turn {number}")
    if value[-1]["role"] not in ("user", "tool"):
        raise BadInput("the last turn is not the user's", where=where, fix="end with role user")
    return tuple(value)


def _check_turn(turn: Any, where: str) -> None:
    keys = _KEYS.get(str(turn.get("role"))) if isinstance(turn, dict) else None
    if keys is None:
        raise BadInput("no turn of a known role", where=where, fix=f"known: {', '.join(_KEYS)}")
    if unknown := set(turn) - keys:
        raise BadInput(f"{', '.join(sorted(unknown))}: not a key of a turn", where=where)
    content = turn.get("content")
    for part in content if isinstance(content, list) else ():
        _check_part(part, where)
    if not isinstance(content, str | list) and not turn.get("tool_calls"):
        raise BadInput("the turn has no content", where=where, fix="give it a text, or parts")
    if turn["role"] == "tool" and not isinstance(turn.get("tool_call_id"), str):
        raise BadInput("a tool's turn needs tool_call_id", where=where)
    for call in turn.get("tool_calls") or ():
        _check_call(call, where)
    try:
        json.dumps(turn, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise BadInput("the turn has a lone surrogate, which is not text", where=where) from None


def _check_part(part: Any, where: str) -> None:
    kind = part.get("type") if isinstance(part, dict) else None
    if kind == "text" and isinstance(part.get("text"), str):
        return
    image = part.get("image_url") if kind == "image_url" else None
    address = image.get("url") if isinstance(image, dict) else None
    if not (isinstance(address, str) and address.startswith(_ADDRESSES)):
        raise BadInput(
            "a part is neither text nor a picture's address",
            where=where,
            fix='{"type": "text", "text": …} or {"type": "image_url", "image_url": {"url": …}}',
        )


def _check_call(call: Any, where: str) -> None:
    function = call.get("function") if isinstance(call, dict) else None
    named = function if isinstance(function, dict) else {}
    texts = [named.get("name"), named.get("arguments")]
    if not named or not all(isinstance(text, str) for text in (call.get("id"), *texts)):
        raise BadInput(
            "a tool call is not understood",
            where=where,
            fix='write {"id": …, "type": "function", "function": {"name": …, "arguments": "{}"}}',
        )
    try:
        known = isinstance(json.loads(named["arguments"]), dict)
    except (ValueError, RecursionError):
        known = False
    if not known:
        raise BadInput("the arguments of a tool call are no JSON object", where=where)


def with_pictures(text: str, values: Sequence[str], folder: Path, where: str) -> Any:
    """The content of a user's turn: the text alone, or its parts with the pictures first."""
    shown = [value for value in values if value]
    if not shown:
        return text
    parts = [_picture(value, folder, where) for value in shown]
    return [*parts, {"type": "text", "text": text}]


def _picture(value: str, folder: Path, where: str) -> Mapping[str, Any]:
    if not value.startswith(_ADDRESSES):
        value = _data_url(folder / value, where)
    return {"type": "image_url", "image_url": {"url": value}}


def _data_url(path: Path, where: str) -> str:
    try:
        if path.stat().st_size > MAX_IMAGE:
            raise BadInput(f"{path.name} is larger than {MAX_IMAGE} bytes", where=where)
        data = path.read_bytes()
    except (OSError, ValueError):
        raise BadInput(
            f"the picture {path.name!r} cannot be read",
            where=where,
            fix="give a path relative to the project file, an https address or a data URL",
        ) from None
    kind = next((kind for start, kind in _MAGIC.items() if data.startswith(start)), "")
    if not kind and data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        kind = "image/webp"
    if not kind:
        raise BadInput(
            f"{path.name} is no PNG, JPEG, GIF or WebP picture", where=where, fix="convert it"
        )
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def split_data_url(address: str) -> tuple[str, str] | None:
    """(media type, base64) of a data URL, or None for any other address."""
    head, comma, data = address.partition(",")
    if not comma or not head.startswith("data:") or not head.endswith(";base64"):
        return None
    return head.removeprefix("data:").removesuffix(";base64"), data
