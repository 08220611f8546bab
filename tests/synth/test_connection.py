"""The wire, byte by byte, against real loopback servers: what is read, and what a loss proves."""

import asyncio
import contextlib
import gzip
import socket
import ssl
import struct
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path

import httpx2
import pytest

from synth.connection import HEAD_LIMIT, KEEPALIVE_SECONDS, Deadline, Received, ReplyTooLarge
from synth.secrets import Key
from synth.transport import TeacherClient, open_client
from tests.synth.parts import self_signed

LIMIT = 1 << 20
OK = b"HTTP/1.1 200 OK\r\n"
EMPTY = OK + b"content-length: 2\r\n\r\n{}"
Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Server:
    """What a test's server saw."""

    def __init__(self) -> None:
        self.base_url = ""
        self.connections = 0
        self.requests: list[bytes] = []

    async def heard(self, reader: asyncio.StreamReader) -> bytes:
        head = await reader.readuntil(b"\r\n\r\n")
        size = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
        self.requests.append(head + await reader.readexactly(size))
        return self.requests[-1]


@contextlib.asynccontextmanager
async def serving(
    talk: Callable[[Server], Talk], *, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None
) -> AsyncIterator[Server]:
    seen = Server()

    async def connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.connections += 1
        with contextlib.suppress(asyncio.IncompleteReadError, OSError):
            await talk(seen)(reader, writer)
        with contextlib.suppress(OSError):
            writer.close()

    server = await asyncio.start_server(connection, host, 0, ssl=tls)
    port = server.sockets[0].getsockname()[1]
    name = f"[{host}]" if ":" in host else host
    seen.base_url = f"{'https' if tls else 'http'}://{name}:{port}/v1"
    try:
        yield seen
    finally:
        server.close()


def saying(*pieces: bytes, pause: float = 0.0, then: str = "keep") -> Callable[[Server], Talk]:
    """Answers each request with these pieces; `then` keeps, closes or resets the connection."""

    def talk(seen: Server) -> Talk:
        async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while await seen.heard(reader):
                for piece in pieces:
                    writer.write(piece)
                    await writer.drain()
                    await asyncio.sleep(pause)
                if then == "reset":
                    made = writer.get_extra_info("socket")
                    made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    writer.transport.abort()
                if then != "keep":
                    return

        return speak

    return talk


@contextlib.asynccontextmanager
async def client(base_url: str, **given: object) -> AsyncIterator[TeacherClient]:
    made = open_client(base_url, Key("sk-canary"), limit=LIMIT, **given)  # type: ignore[arg-type]
    try:
        yield made
    finally:
        await made.close()


def asked(talk: Callable[[Server], Talk], times: int = 1, seconds: float = 2.0) -> Received:
    """The last of several replies to requests one after the other."""

    async def main() -> Received:
        async with serving(talk) as server, client(server.base_url) as one:
            for _ in range(times - 1):
                await one.exchange("/chat/completions", b"{}", seconds)
            return await one.exchange("/chat/completions", b"{}", seconds)

    return asyncio.run(main())


CHUNKED = OK + b"transfer-encoding: chunked\r\n\r\n"
GZIP = gzip.compress(b'{"a": 1}')
READ: list[tuple[str, Sequence[bytes], str, bytes]] = [
    ("a length", [EMPTY], "keep", b"{}"),
    ("chunks", [CHUNKED + b"1\r\n{\r\n1\r\n}\r\n0\r\n\r\n"], "keep", b"{}"),
    ("chunks with extensions and trailers",
     [CHUNKED + b"2;a=b\r\n{}\r\n0\r\nx-a: 1\r\nx-request-id: of-the-trailer\r\n\r\n"],
     "keep", b"{}"),
    ("byte by byte", [bytes([byte]) for byte in EMPTY], "keep", b"{}"),
    ("no length, HTTP/1.1", [OK + b"\r\n{}"], "close", b"{}"),
    ("no length, HTTP/1.0", [b"HTTP/1.0 200 OK\r\n\r\n{}"], "close", b"{}"),
    ("HTTP/1.0 with a length", [b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\n{}"], "close", b"{}"),
    ("no body", [OK + b"content-length: 0\r\n\r\n"], "keep", b""),
    ("blank lines first", [b"\r\n\r\n" + EMPTY], "keep", b"{}"),
    ("no reason phrase", [b"HTTP/1.1 200\r\ncontent-length: 2\r\n\r\n{}"], "keep", b"{}"),
    ("early hints", [b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: <a>\r\n\r\n"
                     + EMPTY], "keep", b"{}"),
    ("garbage after it", [EMPTY + b"\0\0 what is this"], "keep", b"{}"),
    ("a second reply after it", [EMPTY + OK + b"content-length: 1\r\n\r\nX"], "keep", b"{}"),
    ("connection: close", [OK + b"connection: close\r\ncontent-length: 2\r\n\r\n{}"], "keep",
     b"{}"),
    ("gzip", [OK + b"content-encoding: GZIP\r\ncontent-length: %d\r\n\r\n" % len(GZIP) + GZIP],
     "keep", b'{"a": 1}'),
    ("gzip of two members", [OK + b"content-encoding: gzip\r\ncontent-length: %d\r\n\r\n"
                             % (2 * len(GZIP)) + GZIP * 2], "keep", b'{"a": 1}{"a": 1}'),
    ("gzip byte by byte", [OK + b"content-encoding: gzip\r\ncontent-length: %d\r\n\r\n" % len(GZIP),
                           *[bytes([byte]) for byte in GZIP]], "keep", b'{"a": 1}'),
]  # fmt: skip


@pytest.mark.parametrize(("pieces", "then", "body"), [one[1:] for one in READ],
                         ids=[one[0] for one in READ])  # fmt: skip
def test_a_reply_is_read(pieces: Sequence[bytes], then: str, body: bytes) -> None:
    for times in (1, 3):
        found = asked(saying(*pieces, then=then), times)
        assert (found.status, found.body) == (200, body)
        assert b"of-the-trailer" not in repr(found.headers).encode()


LOST: list[tuple[str, Sequence[bytes], str, type[Exception]]] = [
    ("closed without a word", [], "close", httpx2.RemoteProtocolError),
    ("reset", [], "reset", httpx2.ReadError),
    ("cut in the head", [OK + b"content-le"], "close", httpx2.RemoteProtocolError),
    ("cut in the body", [OK + b"content-length: 9\r\n\r\n{}"], "close", httpx2.RemoteProtocolError),
    ("reset in the body", [OK + b"content-length: 9\r\n\r\n{}"], "reset", httpx2.ReadError),
    ("cut in a chunk", [CHUNKED + b"9\r\n{}"], "close", httpx2.RemoteProtocolError),
    ("no last chunk", [CHUNKED + b"2\r\n{}\r\n"], "close", httpx2.RemoteProtocolError),
    ("not HTTP", [b"SSH-2.0-OpenSSH_9.9\r\n"], "keep", httpx2.RemoteProtocolError),
    ("two lengths", [OK + b"content-length: 2\r\ncontent-length: 3\r\n\r\n{}"], "keep",
     httpx2.RemoteProtocolError),
    ("a length and chunks", [OK + b"content-length: 2\r\ntransfer-encoding: chunked\r\n\r\n{}"],
     "keep", httpx2.RemoteProtocolError),
    ("a negative length", [OK + b"content-length: -2\r\n\r\n{}"], "keep",
     httpx2.RemoteProtocolError),
    ("another protocol", [b"HTTP/1.1 101 Up\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n"], "keep",
     httpx2.RemoteProtocolError),
    ("one huge header", [OK + b"x: " + b"a" * 2 * HEAD_LIMIT + b"\r\n\r\n"], "keep",
     httpx2.RemoteProtocolError),
    ("headers without end", [OK, *[b"x: " + b"a" * 1000 + b"\r\n"] * 300], "keep",
     httpx2.RemoteProtocolError),
    ("early hints without end", [b"HTTP/1.1 103 Hints\r\nx: y\r\n\r\n" * 100] * 200, "keep",
     httpx2.RemoteProtocolError),
    ("gzip that is none", [OK + b"content-encoding: gzip\r\ncontent-length: 2\r\n\r\n{}"], "keep",
     httpx2.DecodingError),
    ("gzip cut short", [OK + b"content-encoding: gzip\r\ncontent-length: 20\r\n\r\n" + GZIP[:20]],
     "keep", httpx2.DecodingError),
    ("too long", [OK + b"content-length: %d\r\n\r\n" % (2 * LIMIT) + b"a" * 2 * LIMIT], "keep",
     ReplyTooLarge),
    ("too long in small chunks", [CHUNKED, *[b"1\r\na\r\n" * 1000] * 1100], "keep", ReplyTooLarge),
    ("trailers without end", [CHUNKED + b"0\r\n", *[b"x: " + b"a" * 9000 + b"\r\n"] * 1200], "keep",
     ReplyTooLarge),
    ("a drip", [EMPTY[:-1]], "keep", Deadline),
]  # fmt: skip


@pytest.mark.parametrize(("pieces", "then", "error"), [one[1:] for one in LOST],
                         ids=[one[0] for one in LOST])  # fmt: skip
def test_a_lost_reply_is_told_from_one_never_asked_for(
    pieces: Sequence[bytes], then: str, error: type[Exception]
) -> None:
    with pytest.raises(httpx2.HTTPError) as raised:
        asked(saying(*pieces, then=then), seconds=0.7)
    assert type(raised.value) is error
    assert not isinstance(raised.value, httpx2.ConnectError | httpx2.ConnectTimeout)
    assert str(raised.value).isprintable()


def test_one_connection_serves_requests_that_follow_each_other() -> None:
    async def main() -> Server:
        async with serving(saying(EMPTY)) as server, client(server.base_url) as one:
            for _ in range(5):
                await one.exchange("/chat/completions", b"{}", 2)
            await asyncio.gather(*(one.exchange("/x", b"{}", 2) for _ in range(5)))
            return server

    seen = asyncio.run(main())
    assert (seen.connections, len(seen.requests)) == (5, 10)


@pytest.mark.parametrize("after", ["connection: close\r\n", "HTTP/1.0", "garbage"])
def test_a_spent_connection_is_not_used_again(after: str) -> None:
    reply = {
        "connection: close\r\n": OK + b"connection: close\r\ncontent-length: 2\r\n\r\n{}",
        "HTTP/1.0": b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\n{}",
        "garbage": EMPTY + b"\0",
    }[after]

    async def main() -> int:
        async with serving(saying(reply)) as server, client(server.base_url) as one:
            for _ in range(3):
                await one.exchange("/chat/completions", b"{}", 2)
            return server.connections

    assert asyncio.run(main()) == 3


def test_an_idle_connection_that_the_server_closed_loses_no_request() -> None:
    """Also where the loop was too busy to hear of it: the socket is asked before it is used."""

    async def main() -> int:
        async with serving(saying(EMPTY, then="close")) as server, client(server.base_url) as one:
            for _ in range(20):
                await one.exchange("/chat/completions", b"{}", 2)
                await asyncio.sleep(0.002)
                time.sleep(0.005)
            return len(server.requests)

    assert asyncio.run(main()) == 20


def test_a_connection_that_is_idle_too_long_is_closed() -> None:
    async def main() -> int:
        async with serving(saying(EMPTY)) as server, client(server.base_url) as one:
            await asyncio.gather(*(one.exchange("/x", b"{}", 2) for _ in range(3)))
            await asyncio.sleep(KEEPALIVE_SECONDS + 0.2)
            await one.exchange("/x", b"{}", 2)
            return server.connections

    assert asyncio.run(main()) == 4


def test_who_gives_up_takes_the_connection_along() -> None:
    async def main() -> tuple[int, bytes]:
        slow = saying(EMPTY[:-1], b"}", pause=0.3)
        async with serving(slow) as server, client(server.base_url) as one:
            task = asyncio.create_task(one.exchange("/x", b"{}", 2))
            await asyncio.sleep(0.1)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            found = await one.exchange("/x", b"{}", 2)
            return server.connections, found.body

    assert asyncio.run(main()) == (2, b"{}")


def test_a_host_that_does_not_answer_is_no_connection() -> None:
    """A full backlog: the SYN is dropped, as behind a firewall."""
    with socket.socket() as full, socket.socket() as first, socket.socket() as second:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for one in (first, second):
            one.setblocking(False)
            one.connect_ex(full.getsockname())

        async def main() -> None:
            async with client(f"http://127.0.0.1:{full.getsockname()[1]}/v1") as one:
                await one.exchange("/x", b"{}", 0.5)

        with pytest.raises(httpx2.ConnectTimeout):
            asyncio.run(main())


@pytest.mark.parametrize("name", ["no-such-host.invalid", "a" * 64 + ".invalid"])
def test_a_name_that_nobody_has_is_no_connection(name: str) -> None:
    async def main() -> None:
        async with client(f"https://{name}/v1") as one:
            await one.exchange("/x", b"{}", 5)

    with pytest.raises((httpx2.ConnectError, httpx2.ConnectTimeout)):
        asyncio.run(main())


def test_ipv6_is_spoken() -> None:
    async def main() -> tuple[Received, bytes]:
        async with serving(saying(EMPTY), host="::1") as server, client(server.base_url) as one:
            return await one.exchange("/x", b"{}", 2), server.requests[0]

    found, request = asyncio.run(main())
    assert found.status == 200
    assert b"host: [::1]:" in request


def test_a_certificate_of_nobody_is_refused_and_one_s_own_authority_accepted(
    tmp_path: Path,
) -> None:
    tls = self_signed(tmp_path)
    mine = ssl.create_default_context(cafile=str(tmp_path / "server.pem"))

    async def main(trust: ssl.SSLContext | None) -> Server:
        async with (
            serving(saying(EMPTY), tls=tls) as server,
            client(server.base_url.replace("127.0.0.1", "localhost"), trust=trust) as one,
        ):
            with contextlib.suppress(httpx2.ConnectError):
                for _ in range(3):
                    await one.exchange("/x", b"{}", 2)
            return server

    assert asyncio.run(main(None)).requests == []
    mine.check_hostname = False
    seen = asyncio.run(main(mine))
    assert (seen.connections, len(seen.requests)) == (1, 3)


def test_a_request_for_another_server_does_not_leave() -> None:
    async def main() -> None:
        async with serving(saying(EMPTY)) as other, client("http://127.0.0.1:9/v1") as one:
            with pytest.raises(httpx2.LocalProtocolError, match="not the server"):
                await one._client.get(other.base_url + "/models")
            assert other.connections == 0

    asyncio.run(main())


def test_a_dialect_s_own_headers_replace_the_bearer() -> None:
    async def main() -> bytes:
        async with (
            serving(saying(EMPTY)) as server,
            client(server.base_url, headers=(("x-api-key", "sk-1"), ("v", "2"))) as one,
        ):
            await one.exchange("/messages", b"[1]", 2)
            return server.requests[0]

    sent = asyncio.run(main())
    assert sent.startswith(b"POST /v1/messages HTTP/1.1\r\nhost: 127.0.0.1:")
    assert sent.endswith(b"content-length: 3\r\n\r\n[1]")
    assert b"x-api-key: sk-1\r\nv: 2\r\n" in sent
    assert b"authorization" not in sent


def test_a_header_of_two_lines_is_refused() -> None:
    with pytest.raises(httpx2.LocalProtocolError):
        open_client("http://127.0.0.1:9", Key("k" * 9), limit=1, headers=(("a", "b\r\nc: d"),))


def test_two_thousand_at_once_are_answered() -> None:
    async def main() -> int:
        async with serving(saying(EMPTY, pause=0.2)) as server, client(server.base_url) as one:
            found = await asyncio.gather(*(one.exchange("/x", b"{}", 30) for _ in range(2000)))
            return sum(reply.status == 200 for reply in found)

    assert asyncio.run(main()) == 2000
