"""A teacher that misbehaves on purpose: HTTP/1.1 over a real loopback socket, by a script.

Every fault of the failure table is an `Action`, and the count of *billed* requests is kept on this
side of the wire, so a test asks the server, not the client, what was paid for. A request is billed
once its whole body was read, before the first byte of the answer leaves, as a provider would.

    script = [answer("hello"), status(429, headers={"retry-after-ms": "20"}), reset()]
    with FakeTeacher(script) as teacher:    # the last action repeats
        ...                                 # a client asks teacher.base_url
    assert teacher.billed == 2 and max(teacher.counts.values()) == 1

In a process of its own, so that it outlives a client that is killed:

    python -m tests.fake_teacher --port 0 --script storm --log billed.jsonl
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import importlib
import json
import random
import re
import signal
import socket
import ssl
import struct
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self, TextIO

Json = dict[str, Any]
Send = Literal["whole", "truncated", "drip", "huge", "hang", "reset", "reset_unread"]

HUGE_PIECE = 1 << 16
CHAT = "/v1/chat/completions"


@dataclass(frozen=True, kw_only=True)
class Action:
    """What the server does with one request. `body` is built from the parsed request."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Callable[[Json], bytes] = lambda _: b""
    billed: bool = True
    send: Send = "whole"
    delay: float = 0.0  # seconds before the first byte
    pause: float = 0.0  # seconds between two bytes of a drip
    size: int = 0  # bytes of a huge answer
    close: bool = False  # close the connection afterwards without having said so


@dataclass(frozen=True)
class Seen:
    """One request as it arrived; `index` counts chat requests (-1: other path, wrong key)."""

    index: int
    at: float
    method: str
    path: str
    headers: Mapping[str, str]
    raw: bytes
    billed: bool

    @property
    def body(self) -> Json:
        return _parsed(self.raw)

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.raw).hexdigest()


Script = Callable[[int, Json], Action] | Sequence[Action]


# ---- actions: answers


def answer(
    text: str | Callable[[Json], str] = "A short answer.",
    *,
    finish_reason: str = "stop",
    logprobs: bool = True,
    usage: Any = "counted",
    model: str = "",
    extra: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
    delay: float = 0.0,
    close: bool = False,
) -> Action:
    """A chat completion. `usage=None` leaves usage out; any other value replaces the count.

    Logprobs come if asked for, unless `logprobs=False` (a server that drops them silently).
    `model=""` echoes the one asked for; `extra` overwrites top-level fields.
    """

    def body(request: Json) -> bytes:
        words = text(request) if callable(text) else text
        reply = _completion(
            request, words, finish_reason, logprobs and bool(request.get("logprobs"))
        )
        reply["model"] = model or request.get("model", "")
        if usage is None:
            del reply["usage"]
        elif usage != "counted":
            reply["usage"] = usage
        return json.dumps(reply | dict(extra or {})).encode()

    return Action(body=body, headers=_json_headers(headers), delay=delay, close=close)


def wrong_model(model: str = "another-model") -> Action:
    return answer(model=model)


def empty_choices() -> Action:
    return answer(extra={"choices": []})


def error_in_200(message: str = "provider overloaded") -> Action:
    return raw(json.dumps({"error": {"message": message, "code": 502}}).encode())


def raw(body: bytes, *, content_type: str = "application/json") -> Action:
    return Action(body=lambda _: body, headers={"content-type": content_type})


def bad_json() -> Action:
    return raw(b'{"id": "chatcmpl-1", "choices": [{"message": {"content": "cut')


def bad_utf8() -> Action:
    return raw(b'{"id":"chatcmpl-1","choices":[{"index":0,"message":{"content":"caf\xe9"}}]}')


def html() -> Action:
    return raw(b"<!doctype html><title>Sign in to the network</title>", content_type="text/html")


def huge(size: int = 100_000_000) -> Action:
    return Action(send="huge", size=size, headers={"content-type": "application/json"})


def drip(text: str = "slowly", *, pause: float = 0.05) -> Action:
    whole = answer(text)
    return Action(body=whole.body, headers=whole.headers, send="drip", pause=pause)


# ---- actions: refusals and broken connections


def status(
    code: int,
    body: Mapping[str, Any] | str = "",
    *,
    headers: Mapping[str, str] | None = None,
    billed: bool = False,
) -> Action:
    """An error status. `billed=True` for a 500 that hides a generation already paid for."""
    wire = body if isinstance(body, str) and body else json.dumps(body or _error(code))
    return Action(
        status=code, body=lambda _: wire.encode(), headers=_json_headers(headers), billed=billed
    )


def redirect(location: str) -> Action:
    return status(307, headers={"location": location})


def reset(*, delay: float = 0.0) -> Action:
    """The whole request is read (and billed), then the connection is reset."""
    return Action(send="reset", delay=delay)


def reset_unread() -> Action:
    """Reset before the body is read: from a list only, see also `FakeTeacher.unread`."""
    return Action(send="reset_unread", billed=False)


def truncated(text: str = "this body stops early") -> Action:
    whole = answer(text)
    return Action(body=whole.body, headers=whole.headers, send="truncated")


def hang() -> Action:
    return Action(send="hang")


# ---- scripts by name, for a server in a process of its own


def plain(index: int, request: Json) -> Action:
    return answer()


def slow(index: int, request: Json) -> Action:
    return answer(delay=0.2)


def storm(index: int, request: Json) -> Action:
    """10 % refusals, 10 % billed and then reset, the same for every run."""
    chance = random.Random(f"storm {index}").random()
    if chance < 0.1:
        return status(429, headers={"retry-after-ms": "10"})
    return reset() if chance < 0.2 else answer(delay=0.01)


def odd_text(index: int, request: Json) -> Action:
    return answer("nul \x00, lone surrogate \ud800, bidi \u202e, escape \x1b[31m")


# ---- the server


class FakeTeacher:
    """One scripted server on 127.0.0.1, in a thread with its own event loop.

    api_key     checked when given (401 otherwise, never billed)
    models      names served; empty means any (404 `model_not_found` otherwise, never billed)
    unread      indexes of chat requests reset before their body is read
    idle_close  seconds after which an idle keep-alive connection is closed, without notice
    log         JSON lines, one a chat request, written before its answer leaves
    """

    def __init__(
        self,
        script: Script = plain,
        *,
        api_key: str = "",
        models: Collection[str] = (),
        unread: Collection[int] = (),
        idle_close: float | None = None,
        tls: ssl.SSLContext | None = None,
        log: Path | None = None,
        port: int = 0,
    ) -> None:
        self.script, self.api_key, self.models, self.unread = script, api_key, models, unread
        self.idle_close, self.tls, self.log, self.port = idle_close, tls, log, port
        self.seen: list[Seen] = []
        self._next = 0
        self._file: TextIO | None = None
        self._started = threading.Event()
        self._failure: BaseException | None = None

    @property
    def base_url(self) -> str:
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}/v1"

    @property
    def billed(self) -> int:
        return sum(seen.billed for seen in self.seen)

    @property
    def counts(self) -> Counter[str]:
        """How often each distinct request body was billed, by its sha256."""
        return Counter(seen.digest for seen in self.seen if seen.billed)

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._run, name="fake-teacher", daemon=True)
        self._thread.start()
        self._started.wait()
        if self._failure:
            raise self._failure
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as failure:  # handed to the thread that waits in __enter__
            self._failure = failure
            self._started.set()

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        server = await asyncio.start_server(
            self._connection, "127.0.0.1", self.port, ssl=self.tls, backlog=4096
        )
        self.port = server.sockets[0].getsockname()[1]
        self._file = self.log.open("a", buffering=1, encoding="utf-8") if self.log else None
        self._started.set()
        await self._stop.wait()
        server.close()
        if self._file:
            self._file.close()

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        lost = (asyncio.IncompleteReadError, asyncio.CancelledError, TimeoutError, OSError)
        try:
            with suppress(*lost):
                while await self._exchange(reader, writer):
                    pass
        finally:
            writer.close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Answer one request; False when the connection must not be used again."""
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), self.idle_close)
        method, path, headers = _head(head)
        index = -1
        if method == "POST" and self._is_chat(path) and self._authorised(headers):
            index, self._next = self._next, self._next + 1
            if self._is_unread(index):
                self._record(Seen(index, time.monotonic(), method, path, headers, b"", False))
                return _reset(writer)
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        action = self._action(index, method, path, headers, body)
        self._record(Seen(index, time.monotonic(), method, path, headers, body, action.billed))
        return await self._perform(action, body, writer)

    def _authorised(self, headers: Mapping[str, str]) -> bool:
        return not self.api_key or headers.get("authorization") == f"Bearer {self.api_key}"

    def _is_chat(self, path: str) -> bool:
        return path == CHAT

    def _is_unread(self, index: int) -> bool:
        if index in self.unread:
            return True
        return not callable(self.script) and _at(self.script, index).send == "reset_unread"

    def _action(
        self, index: int, method: str, path: str, headers: Mapping[str, str], body: bytes
    ) -> Action:
        if not self._authorised(headers):
            return status(401)
        if (method, path) == ("GET", "/v1/models"):
            return _models(self.models)
        if index < 0:
            return status(404)
        request = _parsed(body)
        if self.models and request.get("model") not in self.models:
            return status(404, {"error": {"code": "model_not_found", "message": "no such model"}})
        return self.script(index, request) if callable(self.script) else _at(self.script, index)

    def _record(self, seen: Seen) -> None:
        self.seen.append(seen)
        if self._file and seen.index >= 0:
            line = {"index": seen.index, "billed": seen.billed, "digest": seen.digest}
            self._file.write(json.dumps(line) + "\n")

    async def _perform(self, action: Action, body: bytes, writer: asyncio.StreamWriter) -> bool:
        await asyncio.sleep(action.delay)
        if action.send == "hang":
            await self._stop.wait()
        if action.send in ("reset", "reset_unread", "hang"):
            return _reset(writer)
        async for piece in _pieces(action, _parsed(body)):
            writer.write(piece)
            await writer.drain()
        return action.send != "truncated" and not action.close


# ---- the wire


async def _pieces(action: Action, request: Json) -> AsyncIterator[bytes]:
    if action.send == "huge":
        yield _start(action, {"transfer-encoding": "chunked"})
        for chunk in _huge_chunks(request, action.size):
            yield b"%x\r\n%s\r\n" % (len(chunk), chunk)
        yield b"0\r\n\r\n"
        return
    body = action.body(request)
    start = _start(action, {"content-length": str(len(body))})
    if action.send != "drip":
        yield start + (body[: len(body) // 2] if action.send == "truncated" else body)
        return
    yield start
    for position in range(len(body)):
        await asyncio.sleep(action.pause)
        yield body[position : position + 1]


def _huge_chunks(request: Json, size: int) -> list[bytes]:
    whole = json.dumps(_completion({"model": request.get("model", "")}, "", "stop", False))
    before, quotes, after = whole.encode().partition(b'"content": "')
    return [before + quotes, *[b"a" * HUGE_PIECE] * (size // HUGE_PIECE), after]


def _start(action: Action, length: Mapping[str, str]) -> bytes:
    lines = [f"HTTP/1.1 {action.status} {'OK' if action.status == 200 else 'Scripted'}"]
    lines += [f"{name}: {value}" for name, value in (*action.headers.items(), *length.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def _head(head: bytes) -> tuple[str, str, dict[str, str]]:
    first, *lines = head.decode("latin-1").strip().split("\r\n")
    method, path, _ = first.split(" ", 2)
    pairs = (line.partition(":") for line in lines)
    return method, path, {name.lower(): value.strip() for name, _, value in pairs}


def _reset(writer: asyncio.StreamWriter) -> bool:
    """Linger 0: the peer sees ECONNRESET instead of an orderly end."""
    connection = writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
    return False


def _parsed(body: bytes) -> Json:
    try:
        value = json.loads(body)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _at(script: Sequence[Action], index: int) -> Action:
    return script[min(index, len(script) - 1)]


def _json_headers(headers: Mapping[str, str] | None) -> dict[str, str]:
    return {"content-type": "application/json", **(headers or {})}


def _error(code: int) -> Json:
    return {"error": {"message": f"scripted {code}", "type": "scripted", "code": str(code)}}


def _models(names: Collection[str]) -> Action:
    data = [{"id": name, "object": "model", "owned_by": "tests"} for name in names]
    body = json.dumps({"object": "list", "data": data}).encode()
    return Action(body=lambda _: body, headers=_json_headers(None), billed=False)


def _completion(request: Json, text: str, finish_reason: str, logprobs: bool) -> Json:
    tokens = _tokens(text)
    wanted = int(request.get("n") or 1)
    prompt = sum(len(str(message).split()) for message in request.get("messages", []))
    choice: Json = {
        "message": {"role": "assistant", "content": text},
        "finish_reason": finish_reason,
        "logprobs": _logprobs(tokens, int(request.get("top_logprobs") or 0)) if logprobs else None,
    }
    return {
        "id": "chatcmpl-fake",
        "object": "chat.completion",
        "created": 0,
        "model": request.get("model", ""),
        "choices": [{"index": index, **choice} for index in range(wanted)],
        "usage": {
            "prompt_tokens": prompt,
            "completion_tokens": len(tokens) * wanted,
            "total_tokens": prompt + len(tokens) * wanted,
        },
    }


def _tokens(text: str) -> list[str]:
    """Words with the space before them: joined again they are the text."""
    return re.findall(r"\s*\S+|\s+", text)


def _logprobs(tokens: Sequence[str], top_k: int) -> Json:
    """The sampled token has half of the mass, each made-up one half of what is left."""

    def entry(token: str, rank: int) -> Json:
        return {
            "token": token,
            "logprob": -0.6931471805599453 * (rank + 1),
            "bytes": list(token.encode("utf-8", "surrogatepass")),
        }

    def position(token: str) -> Json:
        others = [entry(f" other{rank}", rank) for rank in range(1, top_k)]
        return entry(token, 0) | {"top_logprobs": [entry(token, 0), *others][:top_k]}

    return {"content": [position(token) for token in tokens], "refusal": None}


SCRIPTS: dict[str, Script] = {
    "plain": plain,
    "slow": slow,
    "storm": storm,
    "odd_text": odd_text,
    "reset": [reset()],
    "reset_unread": [reset_unread()],
    "truncated": [truncated()],
    "bad_json": [bad_json()],
    "bad_utf8": [bad_utf8()],
    "html": [html()],
    "error_in_200": [error_in_200()],
    "empty_choices": [empty_choices()],
    "wrong_model": [wrong_model()],
    "usage_missing": [answer(usage=None)],
    "usage_negative": [answer(usage={"prompt_tokens": -1, "completion_tokens": -1})],
    "usage_nan": [answer(usage={"prompt_tokens": float("nan"), "completion_tokens": 1})],
    "drip": [drip()],
    "hang": [hang()],
    "huge": [huge()],
    "overloaded": [status(529)],
    "no_money": [status(429, {"error": {"code": "insufficient_quota", "message": "no credit"}})],
}


def script_named(name: str) -> Script:
    """A key of SCRIPTS, or "module:function"."""
    if ":" not in name:
        return SCRIPTS[name]
    module, _, attribute = name.partition(":")
    found: Script = getattr(importlib.import_module(module), attribute)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--script", default="plain", help="a name of SCRIPTS, or module:function")
    parser.add_argument("--log", type=Path, help="JSON lines, one a chat request")
    parser.add_argument("--api-key", default="")
    options = parser.parse_args()
    ends = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, ends)
    script = script_named(options.script)
    with FakeTeacher(
        script, api_key=options.api_key, log=options.log, port=options.port
    ) as teacher:
        print(teacher.base_url, flush=True)
        signal.sigwait(ends)


if __name__ == "__main__":
    main()
