"""The server of the benchmarks: a teacher that costs as good as nothing, in a process of its own.

    with teacher(body(), delay_ms=500) as base_url:
        ...

teacher.c where there is a C compiler, else the same over asyncio. Its CPU is never counted.
"""

import asyncio
import contextlib
import json
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

SOURCE = Path(__file__).with_suffix(".c")
MODEL = "gpt-4o-mini"
LETTERS = "abcdefghijklmnopqrstuvwxyz"


def body(*, logprobs: bool = False) -> bytes:
    """A completion of 1.5 KB, or one of 310 KB: 200 tokens with their 20 likeliest others."""
    chance = random.Random(0)
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": _text(chance), "refusal": None},
        "logprobs": {"content": _tokens(chance), "refusal": None} if logprobs else None,
        "finish_reason": "stop",
    }
    usage = {"prompt_tokens": 210, "completion_tokens": 200, "total_tokens": 410}
    details = {
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
    }
    reply = {
        "id": "chatcmpl-0123456789abcdef",
        "object": "chat.completion",
        "created": 1764000000,
        "model": MODEL,
        "choices": [choice],
        "usage": usage | details,
        "service_tier": "default",
        "system_fingerprint": "fp_44709d6fcb",
    }
    return json.dumps(reply, separators=(",", ":")).encode()


def _text(chance: random.Random) -> str:
    return "".join(_word(chance) for _ in range(170)).strip()


def _word(chance: random.Random) -> str:
    return " " + "".join(chance.choices(LETTERS, k=chance.randint(2, 8)))


def _tokens(chance: random.Random) -> list[dict[str, object]]:
    def one() -> dict[str, object]:
        word = _word(chance)
        logprob = round(-9 * chance.random(), 7)
        return {"token": word, "logprob": logprob, "bytes": list(word.encode())}

    return [one() | {"top_logprobs": [one() for _ in range(20)]} for _ in range(200)]


@contextlib.contextmanager
def teacher(reply: bytes, *, delay_ms: float = 0) -> Iterator[str]:
    """A server that answers every request with these bytes; its base URL."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "reply.json")
        file.write_bytes(reply)
        command = [*_program(Path(folder)), str(file), str(delay_ms)]
        server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            assert server.stdout
            yield f"http://127.0.0.1:{server.stdout.readline().strip()}/v1"
        finally:
            server.kill()
            server.wait()


def _program(folder: Path) -> list[str]:
    compiler = shutil.which("cc")
    if compiler is None:
        return [sys.executable, __file__]
    subprocess.run([compiler, "-O2", "-o", folder / "teacher", SOURCE], check=True)
    return [str(folder / "teacher")]


class _Slow(asyncio.Protocol):
    """The same server where there is no compiler."""

    def __init__(self, reply: bytes, delay: float) -> None:
        head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(reply)}"
        self._reply = f"{head}\r\n\r\n".encode() + reply
        self._delay = delay
        self._held = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._held += data
        head, found, rest = self._held.partition(b"\r\n\r\n")
        if not found:
            return
        size = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
        if len(rest) >= size:
            self._held = rest[size:]
            asyncio.get_running_loop().call_later(self._delay, self._transport.write, self._reply)


async def _serve(reply: bytes, delay: float) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Slow(reply, delay), "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_serve(Path(sys.argv[1]).read_bytes(), float(sys.argv[2]) / 1000))
