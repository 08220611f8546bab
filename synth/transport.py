"""The one place where sockets open: an httpx2 client that sends only what we mean to send.

The SDK and the HTTP library both listen to the environment (OPENAI_CUSTOM_HEADERS replaces the
Authorization header, HTTPS_PROXY reroutes it) and follow redirects, which posts the prompt to
another host. Here the headers are a closed list, there is no proxy but the one that the project
file asks for, a redirect is a refusal, and a reply has a size limit.
"""

import asyncio
import functools
import ipaddress
import resource
import socket
import ssl
from collections.abc import Callable
from typing import Any
from urllib.parse import SplitResult, urlsplit

import httpx2
import openai

from policy.errors import BadInput, PolicyDenied
from policy.own import is_own_server
from synth.connection import Pool, Received, Way
from synth.proxy import Proxy
from synth.secrets import Key

USER_AGENT = "spiritsafe/0.1 (+distillation client; one account, within its limits)"
SECONDS = 600.0  # for a request whose caller names no deadline
Pairs = tuple[tuple[str, str], ...]


class GuardedTransport(httpx2.AsyncBaseTransport):
    """Sends to one server and to no other, with a closed list of headers.

    Of what the caller and the SDK set, the content type and `accept` leave, and nothing else.
    """

    def __init__(
        self,
        base: httpx2.URL,
        fixed: Pairs,
        trust: ssl.SSLContext | None,
        limit: int,
        way: Way | None = None,
    ) -> None:
        tls = base.scheme == "https"
        self._origin = base.raw_scheme + b"://" + base.netloc
        self._absolute = self._origin.decode("ascii") if way and not tls else ""
        self._pool = Pool(
            base.host, base.port or (443 if tls else 80), trust if tls else None, limit, way
        )
        if way and not tls and way.proxy.login:
            fixed = (*fixed, ("proxy-authorization", way.proxy.header))
        lines = [
            ("host", base.netloc.decode("ascii")),
            ("user-agent", USER_AGENT),
            ("accept-encoding", "gzip"),  # the one that is unpacked here, within the limit
            *fixed,
        ]
        self._fixed = "".join(f"{name}: {_line(value)}\r\n" for name, value in lines)
        self._post = functools.lru_cache(256)(self._post_head)

    async def post(self, url: str, body: bytes, seconds: float) -> Received:
        """Send ready bytes of JSON: what the engine does for every attempt."""
        head = self._post(url)
        return await self._pool.ask(b"%s%d\r\n\r\n%s" % (head, len(body), body), seconds)

    def _post_head(self, url: str) -> bytes:
        kinds = "accept: application/json\r\ncontent-type: application/json\r\n"
        return self._head("POST", httpx2.URL(url), kinds)

    def _head(self, method: str, url: httpx2.URL, kinds: str) -> bytes:
        if url.raw_scheme + b"://" + url.netloc != self._origin:
            raise httpx2.LocalProtocolError(f"{url.host} is not the server of this client")
        target = self._absolute + url.raw_path.decode("ascii")
        return f"{method} {target} HTTP/1.1\r\n{self._fixed}{kinds}content-length: ".encode()

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send; headers that nobody here asked for do not leave."""
        body = await request.aread()
        kinds = "".join(
            f"{name}: {_line(request.headers.get(name, 'application/json'))}\r\n"
            for name in ("accept", "content-type")
        )
        head = self._head(request.method, request.url, kinds)
        seconds = request.extensions.get("deadline", SECONDS)
        data = b"%s%d\r\n\r\n%s" % (head, len(body), body)
        status, headers, content = await self._pool.ask(data, seconds)
        kept = [pair for pair in headers if pair[0].lower() != b"content-encoding"]
        return httpx2.Response(status, headers=kept, content=content, request=request)

    async def aclose(self) -> None:
        """Close every connection."""
        self._pool.close()
        await asyncio.sleep(0)  # the loop closes sockets in its next turn


class DirectClient(httpx2.AsyncClient):
    """What the SDK sends with: httpx2 without what must not happen here.

    No redirect, no cookie, no hook, no netrc: `send` hands the request to the transport.
    """

    def __init__(self, transport: GuardedTransport) -> None:
        super().__init__(transport=transport, follow_redirects=False, trust_env=False)
        self._guarded = transport

    async def send(self, request: httpx2.Request, **_: Any) -> httpx2.Response:
        """Send it once. The reply is read."""
        timeout = request.extensions.get("timeout", {}).get("read")
        if timeout is not None:
            request.extensions["deadline"] = timeout
        return await self._guarded.handle_async_request(request)


class TeacherClient(openai.AsyncOpenAI):
    """The SDK, and beside its own ways of sending one that costs nothing.

    `post` of the SDK builds a request of two dozen headers that never leave, and parses its own
    base URL: 0.10 ms, a third of all that an attempt costs (docs/adr/0004).
    """

    def __init__(self, base_url: str, key: Key, transport: GuardedTransport) -> None:
        super().__init__(
            api_key=key.reveal(),
            organization="",
            project="",
            base_url=base_url,
            max_retries=0,
            http_client=DirectClient(transport),
        )
        self._guarded = transport
        self._root = str(self.base_url).rstrip("/")

    async def exchange(self, path: str, body: bytes, seconds: float) -> Received:
        """Post ready bytes below the base URL, once, and wait at most that long for the reply.

        Raises an httpx2 error where there is none; a refusal is a reply.
        """
        return await self._guarded.post(f"{self._root}/{path.lstrip('/')}", body, seconds)


def open_client(
    base_url: str,
    key: Key,
    *,
    limit: int,
    headers: Pairs = (),
    trust: ssl.SSLContext | None = None,
    proxy: Proxy | None = None,
) -> TeacherClient:
    """An SDK client that never retries, never redirects and never reads the environment.

    `headers` are what a dialect authenticates with, instead of `Authorization: Bearer`; `limit` is
    the most bytes of a reply; `trust` replaces the system's store of certificates; `proxy` is one
    that the project asks for. How many requests are in flight is for its user to say: see
    synth/pacing.py.
    """
    _room_for_sockets()
    base = httpx2.URL(base_url)
    if trust is None and "https" in (base.scheme, proxy and proxy.scheme):
        trust = httpx2.create_ssl_context(trust_env=False)  # reads the system's store
    way = proxy and Way(proxy, trust if proxy.scheme == "https" else None)
    fixed = headers or (("authorization", f"Bearer {key.reveal()}"),)
    return TeacherClient(base_url, key, GuardedTransport(base, fixed, trust, limit, way))


def _room_for_sockets() -> None:
    """As many open files as the system lets us have: shells start with 1,024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _line(value: str) -> str:
    """A header's value. One with a line break in it would be two headers."""
    if not value.isascii() or not value.isprintable():
        raise httpx2.LocalProtocolError("a header's value is not one printable line")
    return value


def check_base_url(base_url: str, offering: str, owner: Callable[[str], str | None]) -> None:
    """Refuse an address that is malformed, in clear text, or not the offering's own.

    `owner` tells which offering of the register answers on a host. Raises BadInput for a bad URL,
    PolicyDenied where the host belongs to another contract than the one that was decided on.
    """
    where = "[teacher] base_url"
    parts = _split(base_url)
    host = (parts.hostname or "") if parts else ""
    if parts is None or parts.scheme not in ("http", "https") or not host:
        raise BadInput(
            f"{_shown(base_url)} is not an http(s) address",
            where=where,
            fix="write it in plain ASCII, for instance https://llm.example.com/v1",
        )
    if "@" in parts.netloc or "?" in base_url or "#" in base_url:
        raise BadInput(
            "user, password, query and fragment do not belong in it",
            where=where,
            fix="name the key's variable in api_key_env",
        )
    if _link_local(host):
        raise BadInput(f"{host} is a link-local address", where=where, fix="name the real server")
    if parts.scheme == "http" and not _private(host):
        raise BadInput(f"http to {host} would send the key in clear", where=where, fix="use https")
    actual = owner(host)
    if actual is None and not is_own_server(offering):
        raise PolicyDenied(
            f"{host} is not a known address of {offering}, so its terms may not be the ones that"
            " bind you",
            where=where,
            fix=f"use the offering that answers on {host}, or a @self-host offering for a server"
            " of your own",
        )
    if actual is not None and not _passes_on(actual, offering):
        raise PolicyDenied(
            f"{host} answers for {actual}, not for {offering}",
            where=where,
            fix=f'write offering = "{actual}" and read what its terms say',
        )


def _passes_on(owner: str, offering: str) -> bool:
    """Whether an offering is its host's own, or a model that the host passes on."""
    return offering == owner or offering.startswith(f"{owner}/") or offering.endswith(f"@{owner}")


def _split(base_url: str) -> SplitResult | None:
    """The parts, or None where two readers could see two addresses: urlsplit drops line breaks,
    and a host that is not ASCII is rewritten before it is looked up."""
    if not base_url.isascii() or not base_url.isprintable() or " " in base_url:
        return None
    try:
        parts = urlsplit(base_url)
        return parts if parts.port != 0 else None
    except ValueError:
        return None


def _private(host: str) -> bool:
    address = _address(host)
    if address is None:
        return host == "localhost"
    return address.is_loopback or (address.is_private and not address.is_link_local)


def _link_local(host: str) -> bool:
    address = _address(host)
    return address is not None and address.is_link_local


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The address that a host is written as, in every form that the resolver takes: 2852039166
    and 0xa9fea9fe are 169.254.169.254. None for a name."""
    plain = host.rstrip(".")
    try:
        address = ipaddress.ip_address(plain)
    except ValueError:
        try:
            return ipaddress.IPv4Address(socket.inet_aton(plain))
        except OSError:
            return None
    return getattr(address, "ipv4_mapped", None) or address


def _shown(base_url: str) -> str:
    return repr(base_url.split("@")[-1][:80])
