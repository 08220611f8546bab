"""A company's proxy on the loopback: passes on, tunnels, asks for a login, or refuses.

with ProxyServer(login="ann:secret") as proxy:
    ...                             # a client that goes through proxy.url
assert proxy.seen == ["CONNECT 127.0.0.1:4711"]
"""

from __future__ import annotations

import asyncio
import base64
import ssl
import threading
from contextlib import suppress
from typing import Self
from urllib.parse import urlsplit

Reader, Writer = asyncio.StreamReader, asyncio.StreamWriter


class ProxyServer:
    """`login` is wanted of everybody; `says` is answered to everybody instead of passing on."""

    def __init__(
        self, *, login: str = "", says: bytes = b"", tls: ssl.SSLContext | None = None,
        asks_for: str = "Basic realm=\"out\"",
    ) -> None:  # fmt: skip
        self.login, self.says, self.tls, self.asks_for = login, says, tls, asks_for
        self.seen: list[str] = []
        self.heads: list[str] = []
        self.connections = 0

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"

    @property
    def name(self) -> str:
        return f"127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        starting = asyncio.start_server(self._talk, "127.0.0.1", 0, ssl=self.tls)
        server = asyncio.run_coroutine_threadsafe(starting, self._loop).result(10)
        self._server = server
        self.port = server.sockets[0].getsockname()[1]
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _end(self) -> None:
        self._server.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _talk(self, reader: Reader, writer: Writer) -> None:
        self.connections += 1
        with suppress(asyncio.IncompleteReadError, OSError, asyncio.CancelledError):
            while await self._request(reader, writer):
                pass
        with suppress(OSError):
            writer.close()

    async def _request(self, reader: Reader, writer: Writer) -> bool:
        head = await reader.readuntil(b"\r\n\r\n")
        text = head.decode("latin-1")
        self.heads.append(text)
        method, target, _ = text.split("\r\n")[0].split(" ")
        self.seen.append(f"{method} {target}")
        if self.says:
            writer.write(self.says)
            await writer.drain()
            return False
        if self.login and not self._let_in(text):
            writer.write(
                b"HTTP/1.1 407 Proxy Authentication Required\r\n"
                b"proxy-authenticate: %s\r\ncontent-length: 4\r\n\r\nwho?" % self.asks_for.encode()
            )
            await writer.drain()
            return False
        if method == "CONNECT":
            await self._tunnel(target, reader, writer)
            return False
        return await self._pass_on(method, target, text, reader, writer)

    def _let_in(self, head: str) -> bool:
        wanted = base64.b64encode(self.login.encode()).decode()
        return f"proxy-authorization: basic {wanted}".lower() in head.lower()

    async def _tunnel(self, target: str, reader: Reader, writer: Writer) -> None:
        host, _, port = target.rpartition(":")
        try:
            there, away = await asyncio.open_connection(host.strip("[]"), int(port))
        except OSError:
            writer.write(b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\n")
            await writer.drain()
            return
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        await asyncio.gather(_pump(reader, away), _pump(there, writer))

    async def _pass_on(
        self, method: str, target: str, head: str, reader: Reader, writer: Writer
    ) -> bool:
        """One request on a connection of its own."""
        to = urlsplit(target)
        lines = [
            line
            for line in head.split("\r\n")[1:]
            if line and not line.lower().startswith(("proxy-", "connection:"))
        ]
        body = await reader.readexactly(_size(lines) or 0)
        there, away = await asyncio.open_connection(to.hostname, to.port or 80)
        rest = target.split(to.netloc, 1)[1]
        sent = "\r\n".join([f"{method} {rest} HTTP/1.1", *lines, "connection: close", "", ""])
        away.write(sent.encode("latin-1") + body)
        answer = await there.readuntil(b"\r\n\r\n")
        size = _size(answer.decode("latin-1").split("\r\n"))
        writer.write(answer + await (there.read() if size is None else there.readexactly(size)))
        await writer.drain()
        away.close()
        return size is not None


def _size(lines: list[str]) -> int | None:
    sizes = [line.split(":")[1] for line in lines if line.lower().startswith("content-length:")]
    return int(sizes[0]) if sizes else None


async def _pump(source: Reader, sink: Writer) -> None:
    with suppress(OSError):
        while piece := await source.read(65536):
            sink.write(piece)
            await sink.drain()
    with suppress(OSError, RuntimeError):
        sink.close()
