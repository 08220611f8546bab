"""HTTP/1.1 as a collector needs it: a request goes out in one write, a whole reply comes back.

    pool = Pool("llm.example.com", 443, trust, limit=16 * 2**20)
    received = await pool.ask(b"POST /v1/chat/completions HTTP/1.1\\r\\n...", 300.0)

The pool of httpx2 looks at every connection for every request, and each request of it walks through
five layers. Here one protocol object parses with llhttp (Node's parser, through httptools), the
connection used last is used first, and one timer is the deadline of the whole attempt. What went
wrong is told in the words of httpx2, because the outcome class hangs on them: only a connection
that never stood proves that nothing was sent.

Sources: RFC 9112 (framing, 6 and 8; closing, 9), llhttp's own rules on lenient parsing (all off).
"""

import asyncio
import select
import ssl
import zlib
from collections.abc import Callable
from typing import NamedTuple, TypeVar

import httpx2
from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from synth.proxy import PROXY_LOGIN, Opening, Proxy, ProxyFailed, refused, schemes_of

CONNECT_SECONDS = 10.0
CONNECTING = 64  # at once: more would starve each other of processor in their TLS handshakes
KEEPALIVE_SECONDS = 3.0  # llama.cpp and LiteLLM close idle connections at 3 to 6 s, unannounced
HEAD_LIMIT = 100 * 2**10  # bytes, as h11 has it
AT_ONCE = 256 * 2**10  # bytes read from a socket; fresh memory for each would cost a copy more
FRAMING = 8  # a body of chunks of one byte is six times its size on the wire


class ReplyTooLarge(httpx2.ReadError):
    """The reply passed the byte limit; what was read of it is in `partial`."""

    def __init__(self, partial: bytes) -> None:
        super().__init__(f"reply longer than allowed ({len(partial)} bytes read)")
        self.partial = partial


class Deadline(httpx2.ReadTimeout):
    """No complete reply came in time."""


class Way(NamedTuple):
    """A proxy, and whom we trust to be it where it speaks TLS."""

    proxy: Proxy
    trust: ssl.SSLContext | None


class Received(NamedTuple):
    """A whole reply, unpacked."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes


class _Reply:
    """One reply as it arrives. A parser of its own: nothing of the last reply can leak into it."""

    def __init__(self, limit: int) -> None:
        self.complete = False
        self.surplus = False
        self.keep = False
        self.error: Exception | None = None
        self._limit = limit
        self._status = 0  # of the final answer, once its headers are complete
        self._headers: list[tuple[bytes, bytes]] = []
        self._head_size = 0
        self._body: list[bytes] = []
        self._size = 0
        self._wire = 0
        self._unpacking: _Gzip | None = None
        self._parser = HttpResponseParser(self)

    @property
    def begun(self) -> bool:
        """Whether any byte of it came."""
        return self._wire > 0

    def feed(self, data: memoryview) -> None:
        """Take bytes from the wire; `complete` and `error` say what they made of it."""
        self._wire += len(data)
        try:
            self._parser.feed_data(data)
        except HttpParserUpgrade:
            self.error = httpx2.RemoteProtocolError("the server switched to another protocol")
        except HttpParserError as error:
            self.surplus = True  # after a whole reply, what follows it is no part of it
            reason = str(error) or type(error).__name__
            self.error = self.error or httpx2.RemoteProtocolError(f"not HTTP: {reason}")
        if self.complete or self.error:
            return
        if not self._status and max(self._head_size, self._wire) > HEAD_LIMIT:
            self.error = httpx2.RemoteProtocolError("the headers of the reply never end")
        elif self._wire > FRAMING * self._limit + HEAD_LIMIT:
            self.error = ReplyTooLarge(b"".join(self._body))

    def end(self) -> None:
        """The server closed the connection: the end of a body that had no other end."""
        framed = {b"content-length", b"transfer-encoding"}
        if self._status and not any(name.lower() in framed for name, _ in self._headers):
            self._completed()

    def received(self) -> Received:
        """The whole of it."""
        body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        return Received(self._status, self._headers, body)

    def over(self) -> None:
        """No more is fed to it. The parser and what it calls hold each other, and the body with
        them, until Python looks for cycles: at 300 KB a reply that is too late."""
        del self._parser

    # -- what llhttp calls ----------------------------------------------------------------------

    def on_message_begin(self) -> None:
        self.surplus = self.complete

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._status:
            return  # a trailer, or a second reply that nobody asked for
        self._headers.append((name, value))
        self._head_size += len(name) + len(value)
        if self._head_size > HEAD_LIMIT:
            raise OverflowError

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if self.complete or status < 200:
            return
        self._status = status
        for name, value in self._headers:
            if name.lower() == b"content-encoding":
                packed = value.strip().lower() in (b"gzip", b"x-gzip")
                self._unpacking = _Gzip() if packed else None

    def on_body(self, data: bytes) -> None:
        if self.complete:
            return
        if self._unpacking:
            try:
                data = self._unpacking.more(data, self._limit - self._size + 1)
            except zlib.error as error:
                self.error = httpx2.DecodingError(f"not gzip: {error}")
                raise
        if self._size + len(data) > self._limit:
            self.error = ReplyTooLarge(b"".join(self._body))
            raise self.error
        self._size += len(data)
        self._body.append(data)

    def on_message_complete(self) -> None:
        if self.complete:
            return
        if not self._status:  # 100 Continue, 103 Early Hints: the answer is still to come
            self._headers.clear()
            return
        self.keep = self._parser.should_keep_alive()
        self._completed()

    def _completed(self) -> None:
        if self._unpacking and self._size and not self._unpacking.whole:
            self.error = httpx2.DecodingError("not gzip: it ends too early")
        self.complete = True


class _Gzip:
    """A gzip stream, one or more members (RFC 1952, 2.2)."""

    def __init__(self) -> None:
        self._member = zlib.decompressobj(zlib.MAX_WBITS | 16)

    @property
    def whole(self) -> bool:
        """Whether it may end here."""
        return self._member.eof

    def more(self, data: bytes, room: int) -> bytes:
        """What the next bytes unpack to, at most `room` of it and a little."""
        unpacked = self._member.decompress(data, room)
        while self._member.eof and (rest := self._member.unused_data) and len(unpacked) < room:
            self._member = zlib.decompressobj(zlib.MAX_WBITS | 16)
            unpacked += self._member.decompress(rest, room - len(unpacked))
        return unpacked


class _Connection(asyncio.BufferedProtocol):
    """One connection: at most one request on it at a time. What it reads into is not its own."""

    def __init__(self, loop: asyncio.AbstractEventLoop, limit: int, room: memoryview) -> None:
        self.usable = False
        self.idle_since = 0.0
        self._loop = loop
        self._limit = limit
        self._room = room
        self._reply: _Reply | None = None
        self._waiter: asyncio.Future[Received] | None = None
        self._readable = select.poll()

    async def ask(self, data: bytes, until: float) -> Received:
        """Write, and wait for the whole reply until a moment of the loop's clock."""
        self._reply = _Reply(self._limit)
        waiter: asyncio.Future[Received] = self._loop.create_future()
        self._waiter = waiter
        timer = self._loop.call_at(until, self._late)
        self._transport.write(data)
        try:
            return await waiter
        finally:
            timer.cancel()
            if self._reply is not None:  # cancelled: what is still to come belongs to nobody
                self.close()

    def close(self) -> None:
        """Close at once: nothing on it is worth waiting for."""
        self.usable = False
        if self._reply is not None:
            self._reply.over()
        self._reply = self._waiter = None
        self._transport.abort()

    def quiet(self) -> bool:
        """Whether nothing waits to be read. On an idle connection that would be its end."""
        return not self._readable.poll(0)

    def _late(self) -> None:
        self._fail(Deadline("no complete reply within the deadline"))

    def _fail(self, error: Exception) -> None:
        waiter = self._waiter
        self.close()
        if waiter is not None and not waiter.done():
            waiter.set_exception(error)

    def _finish(self, reply: _Reply) -> None:
        waiter, self._reply, self._waiter = self._waiter, None, None
        if not reply.keep or reply.surplus or self._transport.get_write_buffer_size():
            self.usable = False
            self._transport.abort()
        if waiter is not None and not waiter.done():
            waiter.set_result(reply.received())
        reply.over()

    # -- what asyncio calls ---------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._readable.register(transport.get_extra_info("socket").fileno(), select.POLLIN)
        self.usable = True

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._room

    def buffer_updated(self, nbytes: int) -> None:
        reply = self._reply
        if reply is None:
            self.close()  # nobody asked: on an idle connection that is its end
            return
        reply.feed(self._room[:nbytes])
        if reply.complete and not isinstance(reply.error, httpx2.DecodingError):
            self._finish(reply)
        elif reply.error:
            self._fail(reply.error)

    def eof_received(self) -> None:
        self.usable = False

    def connection_lost(self, error: Exception | None) -> None:
        self.usable = False
        reply = self._reply
        if reply is None:
            return
        if error is not None:
            self._fail(httpx2.ReadError(str(error) or type(error).__name__))
            return
        reply.end()
        if reply.complete and not reply.error:
            self._finish(reply)
            return
        when = "in the middle of its answer" if reply.begun else "without an answer"
        closed = httpx2.RemoteProtocolError(f"the server closed the connection {when}")
        self._fail(reply.error or closed)


_Spoken = TypeVar("_Spoken", bound=asyncio.BaseProtocol)


class Pool:
    """The connections to one server; there are as many as requests in flight."""

    def __init__(
        self, host: str, port: int, trust: ssl.SSLContext | None, limit: int, way: Way | None = None
    ) -> None:
        self._host = host
        self._port = port
        self._trust = trust
        self._limit = limit
        self._way = way
        self._room = memoryview(bytearray(AT_ONCE))  # what comes is parsed before the loop goes on
        self._idle: list[_Connection] = []
        self._connecting = asyncio.Semaphore(CONNECTING)

    async def ask(self, data: bytes, seconds: float) -> Received:
        """Send one request, once, and wait for its reply at most that long.

        Raises httpx2.ConnectError or ConnectTimeout where no connection stood, so that nothing can
        have been sent, and another httpx2 error where the reply was lost.
        """
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        connection = await self._kept(loop) or await self._connect(loop, until)
        received = await connection.ask(data, until)
        if self._way and received.status == PROXY_LOGIN and not self._trust:
            connection.close()
            raise refused(self._way.proxy, received.status, schemes_of(received.headers))
        if connection.usable:
            connection.idle_since = loop.time()
            self._idle.append(connection)
        return received

    def close(self) -> None:
        """Close what is idle."""
        idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    async def _kept(self, loop: asyncio.AbstractEventLoop) -> _Connection | None:
        """The connection used last, if it still stands."""
        while self._idle:
            connection = self._idle.pop()
            if loop.time() - connection.idle_since > KEEPALIVE_SECONDS:
                connection.close()
                self.close()  # those below it are older
                return None
            if connection.usable and not connection.quiet():
                await asyncio.sleep(0)  # the loop first polls,
                await asyncio.sleep(0)  # then it reads, and knows
            if connection.usable:
                return connection
        return None

    async def _connect(self, loop: asyncio.AbstractEventLoop, until: float) -> _Connection:
        async with self._connecting:
            try:
                async with asyncio.timeout_at(min(until, loop.time() + CONNECT_SECONDS)):
                    if self._way:
                        return await self._through(loop, self._way)
                    return await self._dial(
                        loop, self._connection, self._host, self._port, self._trust
                    )
            except TimeoutError as error:
                if self._way:
                    why = "opened no connection in time"
                    raise ProxyFailed(self._way.proxy, why, later=True) from error
                raise httpx2.ConnectTimeout("no connection in time") from error
            except (OSError, ValueError) as error:  # ValueError: a name that no resolver takes
                raise httpx2.ConnectError(str(error) or type(error).__name__) from error

    def _connection(self) -> _Connection:
        return _Connection(asyncio.get_running_loop(), self._limit, self._room)

    async def _dial(
        self,
        loop: asyncio.AbstractEventLoop,
        make: Callable[[], _Spoken],
        host: str,
        port: int,
        trust: ssl.SSLContext | None,
    ) -> _Spoken:
        _, made = await loop.create_connection(
            make,
            host,
            port,
            ssl=trust,
            happy_eyeballs_delay=0.25,  # RFC 8305, section 5
        )
        return made

    async def _through(self, loop: asyncio.AbstractEventLoop, way: Way) -> _Connection:
        """To a server that speaks TLS by a tunnel; to another the proxy passes requests on."""
        proxy = way.proxy
        try:
            if not self._trust:
                make = self._connection
                return await self._dial(loop, make, proxy.host, proxy.port, way.trust)
            opening = await self._dial(
                loop, lambda: Opening(loop, proxy), proxy.host, proxy.port, way.trust
            )
        except (OSError, ValueError) as error:
            wrong = isinstance(error, ssl.SSLCertVerificationError)
            raise ProxyFailed(proxy, f"cannot be reached: {error}", later=not wrong) from error
        try:
            await opening.ask(self._host, self._port)
        except BaseException:
            opening.transport.abort()
            raise
        connection = self._connection()
        inner = await loop.start_tls(
            opening.transport, connection, self._trust, server_hostname=self._host
        )
        if inner is None:
            raise ConnectionResetError("the tunnel closed")
        connection.connection_made(inner)
        return connection
