"""The one place where sockets open: an httpx2 client that sends only what we mean to send.

The SDK and the HTTP library both listen to the environment (OPENAI_CUSTOM_HEADERS replaces the
Authorization header, HTTPS_PROXY reroutes it) and follow redirects, which posts the prompt to
another host. Here the headers are a closed list, proxies come from nowhere, a redirect is a
refusal, and a reply has a size limit.
"""

import ipaddress
import socket
import zlib
from collections.abc import AsyncIterator, Callable
from urllib.parse import SplitResult, urlsplit

import httpx2
import openai

from policy.errors import BadInput, PolicyDenied
from policy.own import is_own_server
from synth.secrets import Key

USER_AGENT = "spiritsafe/0.1 (+distillation client; one account, within its limits)"
_ALLOWED = frozenset({"host", "accept", "connection", "content-type", "content-length"})
Headers = tuple[tuple[str, str], ...]
CONNECT_SECONDS = 10.0
KEEPALIVE_SECONDS = 3.0  # llama.cpp and LiteLLM close idle connections at 3 to 6 s, unannounced


class ReplyTooLarge(httpx2.ReadError):
    """The reply passed the byte limit; what was read of it is in `partial`."""

    def __init__(self, partial: bytes) -> None:
        super().__init__(f"reply longer than allowed ({len(partial)} bytes read)")
        self.partial = partial


class GuardedTransport(httpx2.AsyncBaseTransport):
    """Rewrites the headers to the closed list and the dialect's own credentials, caps the body.

    Each request in flight has a transport of one connection to itself, the one used last first. The
    pool of httpx2 looks at every connection for every request: at 512 in flight that was two thirds
    of all CPU (benchmarks/collect.py).
    """

    def __init__(
        self, make: Callable[[], httpx2.AsyncBaseTransport], headers: Headers, limit: int
    ) -> None:
        self._make = make
        self._headers = headers
        self._limit = limit
        self._all: list[httpx2.AsyncBaseTransport] = []
        self._free: list[httpx2.AsyncBaseTransport] = []

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send; headers that nobody here asked for do not leave."""
        kept = [(name, value) for name, value in request.headers.items() if name in _ALLOWED]
        request.headers = httpx2.Headers(
            [
                *kept,
                *self._headers,
                ("user-agent", USER_AGENT),
                ("accept-encoding", "gzip"),  # the one that _Capped unpacks, within its limit
            ]
        )
        inner = self._free.pop() if self._free else self._another()
        try:
            response = await inner.handle_async_request(request)
        except BaseException:
            self._free.append(inner)
            raise
        assert isinstance(response.stream, httpx2.AsyncByteStream)
        packed = response.headers.pop("content-encoding", "").strip().lower() == "gzip"
        response.stream = _Capped(
            response.stream, self._limit, packed, lambda: self._free.append(inner)
        )
        return response

    def _another(self) -> httpx2.AsyncBaseTransport:
        inner = self._make()
        self._all.append(inner)
        return inner

    async def aclose(self) -> None:
        """Close every connection."""
        for inner in self._all:
            await inner.aclose()


class _Capped(httpx2.AsyncByteStream):
    """A body that stays below the limit, counted after unpacking: 200 kB of gzip can be 200 MB."""

    def __init__(
        self,
        inner: httpx2.AsyncByteStream,
        limit: int,
        packed: bool,
        done: Callable[[], None],
    ) -> None:
        self._inner = inner
        self._limit = limit
        self._packed = packed
        self._done: Callable[[], None] | None = done

    async def __aiter__(self) -> AsyncIterator[bytes]:
        seen = bytearray()
        unpacking = zlib.decompressobj(zlib.MAX_WBITS | 16) if self._packed else None
        async for received in self._inner:
            chunk = received
            if unpacking is not None:
                try:
                    chunk = unpacking.decompress(received, self._limit - len(seen) + 1)
                except zlib.error as error:
                    raise httpx2.DecodingError(f"not gzip: {error}") from error
            if len(seen) + len(chunk) > self._limit:
                raise ReplyTooLarge(bytes(seen))
            seen += chunk
            yield chunk

    async def aclose(self) -> None:
        done, self._done = self._done, None
        try:
            await self._inner.aclose()
        finally:
            if done:
                done()


def open_client(
    base_url: str, key: Key, *, limit: int, headers: Headers = ()
) -> openai.AsyncOpenAI:
    """An SDK client that never retries, never redirects and never reads the environment. How many
    requests are in flight is for its user to say: see synth/pacing.py. `headers` carry the key as
    the dialect wants it; without any it is a bearer token."""
    headers = headers or (("authorization", f"Bearer {key.reveal()}"),)
    one = httpx2.Limits(
        max_connections=1, max_keepalive_connections=1, keepalive_expiry=KEEPALIVE_SECONDS
    )
    trust = httpx2.create_ssl_context(trust_env=False)  # made once: it reads the system's store
    http = httpx2.AsyncClient(
        transport=GuardedTransport(
            lambda: httpx2.AsyncHTTPTransport(verify=trust, limits=one, trust_env=False),
            headers,
            limit,
        ),
        follow_redirects=False,
        trust_env=False,
        timeout=httpx2.Timeout(None, connect=CONNECT_SECONDS),
    )
    return openai.AsyncOpenAI(
        api_key=key.reveal(),
        organization="",
        project="",
        base_url=base_url,
        max_retries=0,
        http_client=http,
    )


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
