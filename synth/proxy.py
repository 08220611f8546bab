"""A company's proxy, where a project asks for one: its address, its password, its refusals.

    [teacher]
    proxy = "http://proxy.example.com:3128"      # or "environment", for HTTPS_PROXY and NO_PROXY
    proxy_auth_env = "PROXY_LOGIN"               # a variable that holds user:password

    proxy_of(teacher, environment)   -> Proxy | None
    await Opening(...).ask(...)      # CONNECT: the key and the prompts pass through it encrypted

For a network that lets nothing out in any other way. It is no means to look like another country or
another customer: `proxies = false` in guardrails.toml forbids it, and the log of a run names it.

Sources: RFC 9110, 9.3.6 (CONNECT) and 15.5.8 (407); RFC 9112, 3.2.2 (absolute form); RFC 7617
(Basic); curl(1) on the variables.
"""

import asyncio
import base64
from collections.abc import Iterable, Mapping
from typing import NamedTuple
from urllib.parse import SplitResult, unquote, urlsplit
from urllib.request import proxy_bypass_environment  # type: ignore[attr-defined]  # typeshed lacks it

import httpx2
from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from policy.errors import BadInput
from synth.config import Teacher
from synth.secrets import login_for

ENVIRONMENT = "environment"
WHERE = "[teacher] proxy"
PROXY_LOGIN = 407
HEAD_LIMIT = 64 * 2**10  # bytes of a reply to CONNECT


class Proxy(NamedTuple):
    """Where requests go first."""

    scheme: str
    host: str
    port: int
    login: str = ""
    """`user:password`, or empty."""

    def __repr__(self) -> str:
        return f"Proxy({self.name!r})"

    @property
    def name(self) -> str:
        """`host:port`, for people and logs."""
        return f"{bracketed(self.host)}:{self.port}"

    @property
    def url(self) -> str:
        """Its address without the login."""
        return f"{self.scheme}://{self.name}"

    @property
    def header(self) -> str:
        """The value of Proxy-Authorization; empty without a login."""
        return "Basic " + base64.b64encode(self.login.encode()).decode() if self.login else ""


class ProxyFailed(httpx2.ProxyError):
    """The proxy let nothing through, so nothing was sent to the teacher."""

    def __init__(self, proxy: Proxy, why: str, *, later: bool = False) -> None:
        super().__init__(f"the proxy {proxy.name} {why}")
        self.later = later
        """Whether it may let it through at another time."""


def refused(proxy: Proxy, status: int, asks_for: str = "") -> ProxyFailed:
    """What a status of the proxy's own means."""
    if status == PROXY_LOGIN:
        given = "refused the login" if proxy.login else "asks for a login"
        schemes = f", by {asks_for}; only Basic is spoken here" if asks_for else ""
        basic = not asks_for or "basic" in asks_for.lower()
        return ProxyFailed(proxy, f"{given} (407{'' if basic else schemes})")
    return ProxyFailed(proxy, f"refused the connection ({status})", later=status >= 500)


def schemes_of(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """The names of the ways to log in that a 407 lists (RFC 9110, 11.7.1): the first words."""
    values = [v.decode("latin-1").split() for n, v in headers if n.lower() == b"proxy-authenticate"]
    return ", ".join(sorted({words[0][:20] for words in values if words}))


def proxy_of(teacher: Teacher, environment: Mapping[str, str]) -> Proxy | None:
    """The proxy that a project asks for, or None. Raises BadInput for one that cannot be used."""
    if not teacher.proxy:
        return None
    if teacher.proxy != ENVIRONMENT:
        parts = _split(teacher.proxy, WHERE)
        if "@" in parts.netloc:
            raise BadInput(
                "a login does not belong in the project file",
                where=WHERE,
                fix="name a variable that holds user:password in proxy_auth_env",
            )
        return _proxy(parts, login_for(teacher.proxy_auth_env, environment))
    name, url = _of_environment(teacher.base_url, environment)
    if not url:
        return None
    parts = _split(url if "://" in url else f"http://{url}", name)
    login = f"{unquote(parts.username)}:{unquote(parts.password or '')}" if parts.username else ""
    return _proxy(parts, login or login_for(teacher.proxy_auth_env, environment))


def _of_environment(base_url: str, environment: Mapping[str, str]) -> tuple[str, str]:
    """(variable, address), both empty where nothing stands between us and that server."""
    target = urlsplit(base_url)
    given = {name.lower(): name for name in sorted(environment)}  # small letters come last, and win
    beside = environment.get(given.get("no_proxy", ""), "")
    if proxy_bypass_environment(target.netloc, {"no": beside}):
        return "", ""
    for name in (f"{target.scheme}_proxy", "all_proxy"):
        if url := environment.get(given.get(name, ""), "").strip():
            return given[name], url
    return "", ""


def _split(url: str, where: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        fits = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        fits = False
    plain = url.isascii() and url.isprintable() and " " not in url
    if not fits or not plain or parts.path not in ("", "/") or parts.query or parts.fragment:
        raise BadInput(
            f"{url.rsplit('@', 1)[-1][:80]!r} is not the address of an http(s) proxy",
            where=where,
            fix="write http://HOST:PORT; SOCKS and proxy scripts (PAC) are not spoken",
        )
    return parts


def _proxy(parts: SplitResult, login: str) -> Proxy:
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return Proxy(parts.scheme, parts.hostname or "", port, login)


def bracketed(host: str) -> str:
    """A host as it stands before a port."""
    return f"[{host}]" if ":" in host else host


class Opening(asyncio.Protocol):
    """The first words on a connection to a proxy: one CONNECT, one reply without a body."""

    def __init__(self, loop: asyncio.AbstractEventLoop, proxy: Proxy) -> None:
        self._proxy = proxy
        self._size = 0
        self._headers: list[tuple[bytes, bytes]] = []
        self._granted: asyncio.Future[None] = loop.create_future()
        self._parser = HttpResponseParser(self)

    @property
    def transport(self) -> asyncio.Transport:
        """The connection, for whoever speaks on it next."""
        return self._transport

    async def ask(self, host: str, port: int) -> None:
        """Ask for a tunnel; returns when it stands. Raises ProxyFailed."""
        target = f"{bracketed(host)}:{port}"
        login = f"proxy-authorization: {self._proxy.header}\r\n" if self._proxy.login else ""
        head = f"CONNECT {target} HTTP/1.1\r\nhost: {target}\r\n{login}\r\n"
        self._transport.write(head.encode("ascii"))
        await self._granted

    def _end(self, error: ProxyFailed | None = None) -> None:
        if self._granted.done():
            return
        if error:
            self._granted.set_exception(error)
            self._transport.abort()
        else:
            self._granted.set_result(None)

    # -- what llhttp calls ----------------------------------------------------------------------

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if 200 <= status < 300:
            self._end()
        elif status >= 300:
            self._end(refused(self._proxy, status, schemes_of(self._headers)))

    # -- what asyncio calls ---------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        if self._granted.done():  # TLS begins with our word: nothing may come before it
            self._transport.abort()
            return
        self._size += len(data)
        try:
            self._parser.feed_data(data)
        except HttpParserUpgrade:
            pass
        except HttpParserError:
            self._end(ProxyFailed(self._proxy, "does not speak HTTP"))
        if self._size > HEAD_LIMIT:
            self._end(ProxyFailed(self._proxy, "does not end its answer"))

    def connection_lost(self, error: Exception | None) -> None:
        self._end(ProxyFailed(self._proxy, "closed the connection", later=True))
