"""The second place where sockets open: files up, files down, and short questions between them.

    async with Channel(base_url, key, headers, seconds=120.0) as channel:
        told = await channel.question(ask)           # bytes of a 2xx, or the Failure
        async for line in channel.lines(ask): ...    # a result file, never whole in memory

Batches move files of 200 MB that the transport of single requests is not made for. The rules are
its rules (synth/transport.py): a closed list of headers, no redirect, no proxy that the project
does not ask for, no environment, one attempt. A reply that was lost is `unknown`, and what follows
from that is for the caller.
"""

import asyncio
import ssl
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from types import TracebackType
from typing import NamedTuple, Self

import httpx2

from policy.permit import Action, Permit
from synth.batching.parts import Ask
from synth.client import SECRET_LENGTH, classify_error, classify_status
from synth.connection import CONNECT_SECONDS
from synth.proxy import PROXY_LOGIN, Proxy, ProxyFailed, refused, schemes_of
from synth.secrets import Key
from synth.transport import USER_AGENT, Pairs
from synth.wire import Failure, OutcomeClass

SLOWEST = 50_000  # bytes a second that an upload is given time for
SILENCE = 120.0  # seconds between two pieces of a file


class Told(NamedTuple):
    """A 2xx."""

    body: bytes


class BrokenError(Exception):
    """A file could not be read to its end."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


class Channel:
    """One server, with one account's key."""

    def __init__(
        self,
        base_url: str,
        key: Key,
        headers: Pairs,
        *,
        seconds: float,
        now: Callable[[], float] = time.time,
        trust: ssl.SSLContext | None = None,
        proxy: Proxy | None = None,
    ) -> None:
        self._key = key.reveal().encode()
        self._seconds = seconds
        self._now = now
        self._base = base_url.rstrip("/")
        self._headers = [
            *headers,
            ("user-agent", USER_AGENT),
            ("accept", "*/*"),
            ("accept-encoding", "identity"),  # so that a file cut short is seen to be
        ]
        trust = trust or httpx2.create_ssl_context(trust_env=False)
        self._proxy = proxy
        self._http = httpx2.AsyncClient(
            follow_redirects=False,
            trust_env=False,
            verify=trust,
            proxy=proxy and _as_httpx(proxy, trust),
            timeout=httpx2.Timeout(SILENCE, connect=CONNECT_SECONDS),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._http.aclose()

    async def question(self, ask: Ask) -> Told | Failure:
        """Ask once, with nothing but an address. Every fault of the network or the provider is a
        Failure."""
        return await self._told(ask._replace(method="GET", pieces=()))

    async def withdraw(self, ask: Ask) -> Told | Failure:
        """Ask for something to be stopped: no body, and no permit."""
        return await self._told(ask._replace(method="POST", pieces=()))

    async def deliver(self, ask: Ask) -> Told | Failure:
        """The same with a body."""
        return await self._told(ask)

    async def _told(self, ask: Ask) -> Told | Failure:
        size = sum(map(len, ask.pieces))
        seconds = self._seconds + (size + ask.limit / 16) / SLOWEST
        try:
            async with asyncio.timeout(seconds), self._sent(ask, size) as response:
                body = await _whole(response, ask.limit)
        except TimeoutError:
            return Failure(OutcomeClass.UNKNOWN, "deadline", f"no reply within {seconds:.0f} s")
        except BrokenError as error:
            return error.failure
        except httpx2.HTTPError as error:
            return self._lost(error)
        if 200 <= response.status_code < 300:
            return Told(self.scrubbed(body))
        return self._refusal(response, body)

    async def lines(self, ask: Ask, longest: int) -> AsyncGenerator[bytes, None]:
        """The lines of a file; one longer than `longest` comes cut, and so cannot be read. Raises
        BrokenError where the file ends early."""
        try:
            async with self._sent(ask, 0) as response:
                if response.status_code != 200:
                    body = await _whole(response, ask.limit)
                    raise BrokenError(self._refusal(response, body))
                async for line in _split(response.aiter_bytes(), longest):
                    yield self.scrubbed(line)
        except httpx2.HTTPError as error:
            raise BrokenError(self._lost(error)) from error

    @asynccontextmanager
    async def _sent(self, ask: Ask, size: int) -> AsyncIterator[httpx2.Response]:
        headers = list(self._headers)
        if ask.pieces:
            headers += [("content-type", ask.content_type), ("content-length", str(size))]
        request = httpx2.Request(
            ask.method,
            self._base + ask.path,
            headers=headers,
            content=_each(ask) if ask.pieces else None,
        )
        response = await self._http.send(request, stream=True)
        try:
            yield response
        finally:
            await response.aclose()

    def _refusal(self, response: httpx2.Response, body: bytes) -> Failure:
        if self._proxy and response.status_code == PROXY_LOGIN:
            asked = schemes_of(response.headers.raw)
            return self._lost(refused(self._proxy, PROXY_LOGIN, asked))
        headers = {name.lower(): value for name, value in response.headers.items()}
        status = response.status_code
        return classify_status(status, self.scrubbed(body), headers, self._now())

    def _lost(self, error: httpx2.HTTPError) -> Failure:
        """Before the connection stood, nothing was sent; after that, nobody knows."""
        failure = classify_error(_of_proxy(error, self._proxy) if self._proxy else error).result
        assert isinstance(failure, Failure)
        if failure.outcome is OutcomeClass.BILLED_BAD:
            return replace(failure, outcome=OutcomeClass.UNKNOWN)
        return failure

    def scrubbed(self, data: bytes) -> bytes:
        """What came back, less our own key."""
        return data.replace(self._key, b"[key]") if len(self._key) >= SECRET_LENGTH else data


async def submit(channel: Channel, ask: Ask, permit: Permit) -> Told | Failure:
    """Make a batch, or send the requests of one: what will be billed leaves here."""
    Permit.must_be(permit, Action.COLLECT)
    return await channel.deliver(ask)


async def _each(ask: Ask) -> AsyncIterator[bytes]:
    for piece in ask.pieces:
        yield piece


async def _whole(response: httpx2.Response, limit: int) -> bytes:
    body = bytearray()
    async for piece in response.aiter_bytes():
        body += piece
        if len(body) > limit:
            why = f"a reply longer than {limit} bytes"
            raise BrokenError(Failure(OutcomeClass.UNKNOWN, "too_large", why))
    return bytes(body)


async def _split(pieces: AsyncIterator[bytes], longest: int) -> AsyncIterator[bytes]:
    """Lines without their break, empty ones left out."""
    rest = bytearray()
    async for piece in pieces:
        *whole, last = piece.split(b"\n")
        for part in whole:
            rest += part[: max(0, longest - len(rest))]
            if rest.strip():
                yield bytes(rest)
            rest.clear()
        rest += last[: max(0, longest - len(rest))]
    if rest.strip():
        yield bytes(rest)


def _as_httpx(proxy: Proxy, trust: ssl.SSLContext) -> httpx2.Proxy:
    headers = {"proxy-authorization": proxy.header} if proxy.login else None
    return httpx2.Proxy(
        proxy.url, headers=headers, ssl_context=trust if proxy.scheme == "https" else None
    )


def _of_proxy(error: httpx2.HTTPError, proxy: Proxy) -> httpx2.HTTPError:
    """What httpx2 says of a proxy, in our words: it tells no server from the proxy before it."""
    if isinstance(error, httpx2.ProxyError):  # "407 Proxy Authentication Required"
        status = str(error)[:3]
        return refused(proxy, int(status)) if status.isdigit() else ProxyFailed(proxy, str(error))
    unmade = isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout)
    if unmade and "certificate" not in str(error).lower():
        return ProxyFailed(proxy, f"cannot be reached: {error}", later=True)
    return error
