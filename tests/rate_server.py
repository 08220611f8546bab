"""A provider with limits, over a real loopback socket: it admits, refuses and counts by itself.

    with RateServer(requests=3000, tokens=500_000, headers=True) as server:
        ...                                   # a client asks server.base_url
        print(server.stats())                 # admitted, refused, peak, tokens, allowed

Token buckets of `burst` seconds; what was billed, refused and at most in flight is counted here,
and no client is believed. It runs as a process of its own and answers with ready-made bytes, since
it shares two cores with the client it judges.

    python -m tests.rate_server --requests 3000 --no-headers
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import subprocess
import sys
import time
import urllib.request
from dataclasses import asdict, dataclass, field
from typing import Any, Self

STATS = b"GET /stats"
WORD = "word "


@dataclass
class Bucket:
    """Tokens of one kind; `granted` is all that it ever allowed, the first burst included."""

    per_minute: float
    burst: float
    level: float = field(init=False)
    granted: float = field(init=False)
    at: float = field(default_factory=time.monotonic)
    started: bool = False

    def __post_init__(self) -> None:
        self.level = self.granted = self.size

    @property
    def size(self) -> float:
        return self.per_minute * self.burst / 60

    def advance(self) -> None:
        now = time.monotonic()
        if self.started:
            more = (now - self.at) * self.per_minute / 60
            self.granted += more
            self.level = min(max(self.size, self.level), self.level + more)
        self.at = now

    def wait(self, cost: float) -> float:
        return max(0.0, (cost - self.level) * 60 / self.per_minute)


@dataclass
class Settings:
    requests: float = 0.0
    tokens: float = 0.0
    burst: float = 10.0
    latency: tuple[float, float] = (0.5, 1.0)
    headers: bool = True
    retry_after: bool = True
    charge: str = "usage"
    """`usage` charges what the answer will use when it is admitted, `reserve` the prompt and
    max_tokens, `refund` gives the rest of that back with the answer."""
    completion: tuple[int, int] = (100, 500)
    halve_after: float = 0.0
    """Seconds after the first request at which every limit is halved."""
    chance: float = 0.0
    """Share of requests refused at random, whatever the rate."""
    busy: bool = False
    """Those get 503 and not 429."""
    seed: int = 1


class Provider(asyncio.Protocol):
    """One connection; the counts are shared by all."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.buffer = bytearray()
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        end = self.buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        head = bytes(self.buffer[:end])
        length = 0
        lowered = head.lower()
        if (place := lowered.find(b"content-length:")) >= 0:
            length = int(lowered[place + 15 :].split(b"\r\n", 1)[0])
        if len(self.buffer) < end + 4 + length:
            return
        body = bytes(self.buffer[end + 4 : end + 4 + length])
        self.buffer.clear()
        if head.startswith(STATS):
            self.reply(200, json.dumps(self.desk.stats()).encode(), {})
        else:
            self.desk.take(self, body)

    def reply(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        if self.transport is None:
            return
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        head = (
            f"HTTP/1.1 {status} X\r\ncontent-type: application/json\r\n"
            f"content-length: {len(body)}\r\n{lines}\r\n"
        )
        self.transport.write(head.encode() + body)


class Desk:
    """Admits or refuses, and keeps the counts."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.chance = random.Random(settings.seed)
        rates = (("requests", settings.requests), ("tokens", settings.tokens))
        self.buckets = {kind: Bucket(rate, settings.burst) for kind, rate in rates if rate}
        self.admitted = self.refused = self.inside = self.peak = 0
        self.prompt_tokens = self.completion_tokens = 0
        self.charged = 0.0
        self.times: list[float] = []
        self.refusals: list[float] = []
        self.started = 0.0
        self.text = (WORD * 2000).encode()

    def take(self, connection: Provider, body: bytes) -> None:
        now = time.monotonic()
        if not self.started:
            self.started = now
            for bucket in self.buckets.values():
                bucket.started, bucket.at = True, now
            if self.settings.halve_after:
                asyncio.get_running_loop().call_later(self.settings.halve_after, self.halve)
        if self.settings.chance and self.chance.random() < self.settings.chance:
            self.refuse(connection, 0.0, now, 503 if self.settings.busy else 429)
            return
        asked = json.loads(body)
        prompt = sum(len(m["content"]) // 4 + 4 for m in asked["messages"])
        most = asked.get("max_tokens") or asked.get("max_completion_tokens") or 500
        used = min(most, self.chance.randint(*self.settings.completion))
        reserve = prompt + (used if self.settings.charge == "usage" else most)
        costs = {"requests": 1.0, "tokens": float(reserve)}
        wait = 0.0
        for kind, bucket in self.buckets.items():
            bucket.advance()
            wait = max(wait, bucket.wait(costs[kind]))
        if wait > 0:
            self.refuse(connection, wait, now)
            return
        for kind, bucket in self.buckets.items():
            bucket.level -= costs[kind]
        self.charged += reserve
        self.admitted += 1
        self.times.append(now)
        self.inside += 1
        self.peak = max(self.peak, self.inside)
        headers = self.headers()
        delay = self.chance.uniform(*self.settings.latency)
        asyncio.get_running_loop().call_later(
            delay, self.answer, connection, asked.get("model", "m"), prompt, used, reserve, headers
        )

    def halve(self) -> None:
        for bucket in self.buckets.values():
            bucket.advance()
            bucket.per_minute /= 2
            bucket.level = min(bucket.level, bucket.size)

    def refuse(self, connection: Provider, wait: float, now: float, status: int = 429) -> None:
        self.refused += 1
        self.refusals.append(now)
        headers = self.headers()
        if self.settings.retry_after:
            headers["retry-after-ms"] = str(int(wait * 1000) + 1)
            headers["retry-after"] = str(int(wait) + 1)
        error = {"error": {"code": "rate_limit_exceeded", "type": "requests", "message": "slow"}}
        connection.reply(status, json.dumps(error).encode(), headers)

    def answer(
        self,
        connection: Provider,
        model: str,
        prompt: int,
        used: int,
        reserve: int,
        headers: dict[str, str],
    ) -> None:
        self.inside -= 1
        self.prompt_tokens += prompt
        self.completion_tokens += used
        if self.settings.charge == "refund" and "tokens" in self.buckets:
            self.buckets["tokens"].level += reserve - prompt - used
            self.charged -= reserve - prompt - used
        usage = {
            "prompt_tokens": prompt,
            "completion_tokens": used,
            "total_tokens": prompt + used,
        }
        message = {"role": "assistant", "content": WORD * min(used, 60)}
        choice = {"index": 0, "finish_reason": "stop", "message": message}
        body = {
            "id": f"chatcmpl-{self.admitted}",
            "object": "chat.completion",
            "created": 1,
            "model": model,
            "choices": [choice],
            "usage": usage,
        }
        connection.reply(200, json.dumps(body).encode(), headers)

    def headers(self) -> dict[str, str]:
        if not self.settings.headers:
            return {}
        found = {}
        for kind, bucket in self.buckets.items():
            full = max(0.0, bucket.size - bucket.level) * 60 / bucket.per_minute
            found[f"x-ratelimit-limit-{kind}"] = f"{bucket.per_minute:.0f}"
            found[f"x-ratelimit-remaining-{kind}"] = str(max(0, int(bucket.level)))
            found[f"x-ratelimit-reset-{kind}"] = f"{full * 1000:.3f}ms"
        return found

    def stats(self) -> dict[str, Any]:
        """The counts, and how many requests the tightest bucket would have let through by now."""
        now, allowed = time.monotonic(), float("inf")
        each = {"requests": 1.0, "tokens": self.charged / max(1, self.admitted)}
        for kind, bucket in self.buckets.items():
            bucket.advance()
            allowed = min(allowed, bucket.granted / max(each[kind], 1e-9))
        return {
            "admitted": self.admitted,
            "refused": self.refused,
            "peak": self.peak,
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "allowed": allowed if self.buckets else None,
            "seconds": now - self.started if self.started else 0.0,
            "times": [round(one - self.started, 4) for one in self.times],
            "refusals": [round(one - self.started, 4) for one in self.refusals],
        }


class RateServer:
    """The provider in a process of its own."""

    def __init__(self, **settings: Any) -> None:
        self.settings = Settings(**settings)

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", "tests.rate_server", json.dumps(asdict(self.settings))]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout
        self.base_url = self._process.stdout.readline().strip()
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait()

    def stats(self) -> dict[str, Any]:
        """What the server counted so far."""
        with urllib.request.urlopen(self.base_url.replace("/v1", "/stats"), timeout=30) as reply:
            found: dict[str, Any] = json.load(reply)
        return found


async def serve(settings: Settings) -> None:
    desk = Desk(settings)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Provider(desk), "127.0.0.1", 0, backlog=4096)
    port = server.sockets[0].getsockname()[1]
    print(f"http://127.0.0.1:{port}/v1", flush=True)
    await server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("settings", nargs="?", default="{}", help="JSON of Settings")
    given = json.loads(parser.parse_args().settings)
    given = {k: tuple(v) if isinstance(v, list) else v for k, v in given.items()}
    asyncio.run(serve(Settings(**given)))


if __name__ == "__main__":
    main()
