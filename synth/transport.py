"""The one place where sockets open: an httpx2 client that sends only what we mean to send.

The SDK and the HTTP library both listen to the environment (OPENAI_CUSTOM_HEADERS replaces the
Authorization header, HTTPS_PROXY reroutes it) and follow redirects, which posts the prompt to
another host. Here the headers are a closed list, proxies come from nowhere, a redirect is a
refusal, and a reply has a size limit.
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
from synth.connection import Pool
from synth.secrets import Key

USER_AGENT = "spiritsafe/0.1 (+distillation client; one account, within its limits)"
SECONDS = 600.0  # for a request whose caller names no deadline
Pairs = tuple[tuple[str, str], ...]


class GuardedTransport(httpx2.AsyncBaseTransport):
    """Sends to one server and to no other, with a closed list of headers.

    Of what the caller and the SDK set, the content type and `accept` leave, and nothing else.
    """

    def __init__(self, base: httpx2.URL, fixed: Pairs, trust: ssl.SSLContext | None, limit: int):
        tls = base.scheme == "https"
        self._origin = base.raw_scheme + b"://" + base.netloc
        self._pool = Pool(
            base.host, base.port or (443 if tls else 80), trust if tls else None, limit
        )
        lines = [
            ("host", base.netloc.decode("ascii")),
            ("user-agent", USER_AGENT),
            ("accept-encoding", "gzip"),  # the one that is unpacked here, within the limit
            *fixed,
        ]
        self._fixed = b"".join(f"{name}: {_line(value)}\r\n".encode() for name, value in lines)

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send; headers that nobody here asked for do not leave."""
        url, headers = request.url, request.headers
        if url.raw_scheme + b"://" + url.netloc != self._origin:
            raise httpx2.LocalProtocolError(f"{url.host} is not the server of this client")
        body = await request.aread()
        head = (
            f"{request.method} {url.raw_path.decode('ascii')} HTTP/1.1\r\n"
            f"accept: {_line(headers.get('accept', 'application/json'))}\r\n"
            f"content-type: {_line(headers.get('content-type', 'application/json'))}\r\n"
            f"content-length: {len(body)}\r\n"
        ).encode()
        seconds = request.extensions.get("deadline", SECONDS)
        received = await self._pool.ask(b"".join((head, self._fixed, b"\r\n", body)), seconds)
        kept = [pair for pair in received.headers if pair[0].lower() != b"content-encoding"]
        return httpx2.Response(
            received.status, headers=kept, content=received.body, request=request
        )

    async def aclose(self) -> None:
        """Close every connection."""
        self._pool.close()
        await asyncio.sleep(0)  # the loop closes sockets in its next turn


class DirectClient(httpx2.AsyncClient):
    """What the SDK sends with: httpx2 without what must not happen here anyway.

    No redirect, no cookie, no hook, no netrc: `send` hands the request to the transport. Built and
    sent through the layers of httpx2 a request took 0.22 ms more (benchmarks/collect.py).
    """

    def __init__(self, transport: GuardedTransport) -> None:
        super().__init__(transport=transport, follow_redirects=False, trust_env=False)
        self._direct = transport
        self._parsed = functools.lru_cache(256)(httpx2.URL)

    def build_request(self, method: str, url: httpx2.URL | str, **given: Any) -> httpx2.Request:
        """A request of ready bytes; any other is built by httpx2."""
        content, timeout = given.get("content"), given.get("timeout")
        read = timeout.read if isinstance(timeout, httpx2.Timeout) else timeout
        deadline = {"deadline": float(read)} if isinstance(read, int | float) else {}
        if not isinstance(content, bytes) or given.get("params"):
            built = super().build_request(method, url, **given)
            built.extensions |= deadline
            return built
        kinds = [pair for pair in given["headers"] if pair[0] in ("content-type", "accept")]
        return httpx2.Request(
            method, self._parsed(str(url)), headers=kinds, content=content, extensions=deadline
        )

    async def send(self, request: httpx2.Request, **_: Any) -> httpx2.Response:
        """Send it once. The reply is read."""
        return await self._direct.handle_async_request(request)


def open_client(
    base_url: str, key: Key, *, limit: int, headers: Pairs = (), trust: ssl.SSLContext | None = None
) -> openai.AsyncOpenAI:
    """An SDK client that never retries, never redirects and never reads the environment.

    `headers` are what a dialect authenticates with, instead of `Authorization: Bearer`; `limit` is
    the most bytes of a reply; `trust` replaces the system's store of certificates. How many
    requests are in flight is for its user to say: see synth/pacing.py.
    """
    _room_for_sockets()
    base = httpx2.URL(base_url)
    if trust is None and base.scheme == "https":
        trust = httpx2.create_ssl_context(trust_env=False)  # reads the system's store
    fixed = headers or (("authorization", f"Bearer {key.reveal()}"),)
    return openai.AsyncOpenAI(
        api_key=key.reveal(),
        organization="",
        project="",
        base_url=base_url,
        max_retries=0,
        http_client=DirectClient(GuardedTransport(base, fixed, trust, limit)),
    )


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
    if actual is None and not offering.endswith("@self-host"):
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
