"""A proxy that a project asks for: used for all, named in the log, never guessed, never silent."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
from collections.abc import Mapping
from pathlib import Path

import pytest

from policy.errors import BadInput, PolicyDenied
from synth.batching.channel import Channel
from synth.batching.parts import Ask
from synth.bench import calls_of, prompts_of
from synth.connection import Received
from synth.proxy import Proxy, proxy_of
from synth.secrets import Key
from synth.transport import open_client
from synth.wire import Failure, OutcomeClass
from tests.batch_servers import BatchServer
from tests.command import spiritsafe
from tests.fake_teacher import FakeTeacher
from tests.proxy_server import ProxyServer
from tests.synth.batching_parts import batch_project
from tests.synth.batching_parts import classes as batch_classes
from tests.synth.parts import ask, asked, bench_of, project, self_signed, teacher
from tests.synth.test_connection import EMPTY, saying, serving

LOGIN = "ann:s3cret:with colon"
CANARY = "sk-canary-0123456789"


def behind(home: Path, server: FakeTeacher, proxy: str, rows: int = 4, **more: str) -> Path:
    return project(home, server.base_url, rows=rows, teacher={"proxy": proxy, **more})


def classes(path: Path) -> dict[str, int]:
    rows = asked(path, "SELECT class, kind, count(*) FROM state GROUP BY ALL")
    return {f"{one} {kind}".strip(): count for one, kind, count in rows}


# ---- what it is for


def test_a_whole_collection_goes_through_it_and_says_so(tmp_path: Path) -> None:
    with FakeTeacher() as server, ProxyServer(login=LOGIN) as proxy:
        path = behind(tmp_path, server, proxy.url, proxy_auth_env="WAY_OUT")
        log = tmp_path / "events.jsonl"
        done = spiritsafe("collect", path, "--events", log, env={"WAY_OUT": LOGIN})
    assert server.billed == 4
    assert proxy.seen == [f"POST {server.base_url}/chat/completions"] * 4
    assert f"through the proxy {proxy.name}" in done.err
    events = [json.loads(line) for line in log.read_text().splitlines()]
    assert {one["attributes"]["spiritsafe.proxy"] for one in events} == {proxy.name}
    left = log.read_text() + done.out + done.err
    assert "s3cret" not in left
    assert "s3cret" not in str(asked(path, "SELECT headers FROM raw"))
    assert all("proxy-authorization" not in one.headers for one in server.seen)


def test_a_proxy_changes_no_key_so_nothing_is_asked_twice(tmp_path: Path) -> None:
    with FakeTeacher() as server, ProxyServer() as proxy:
        path = behind(tmp_path, server, "")
        ask(path)
        asked_for = f"teacher.proxy={proxy.url}"
        assert ask(path, asked_for).summary.sent == 0
        assert [one.key for one in calls_of(bench_of(path, asked_for), prompts_of(bench_of(path)))]
    assert proxy.connections == 0


def through(
    base_url: str, proxy: Proxy, trust: ssl.SSLContext | None, times: int = 1
) -> list[Received]:
    async def main() -> list[Received]:
        client = open_client(base_url, Key(CANARY), limit=2**20, trust=trust, proxy=proxy)
        try:
            return [await client.exchange("/x", b"{}", 3) for _ in range(times)]
        finally:
            await client.close()

    return asyncio.run(main())


def proxy_at(server: ProxyServer, login: str = "") -> Proxy:
    scheme = "https" if server.tls else "http"
    return Proxy(scheme, "127.0.0.1", server.port, login)


def authority(folder: Path) -> ssl.SSLContext:
    """Trusts the certificate that `self_signed` made there."""
    mine = ssl.create_default_context(cafile=str(folder / "server.pem"))
    mine.check_hostname = False
    return mine


@pytest.mark.parametrize("outer", ["http", "https"])
def test_tls_goes_through_a_tunnel_that_reads_nothing(tmp_path: Path, outer: str) -> None:
    """One connection for three requests; the key is in none of what the proxy read."""
    tls = self_signed(tmp_path)
    with ProxyServer(login=LOGIN, tls=tls if outer == "https" else None) as proxy:

        async def main() -> tuple[list[bytes], int]:
            way = proxy_at(proxy, LOGIN)
            async with serving(saying(EMPTY), tls=tls) as server:
                client = open_client(
                    server.base_url, Key(CANARY), limit=2**20, trust=authority(tmp_path), proxy=way
                )
                for _ in range(3):
                    assert (await client.exchange("/x", b"{}", 3)).body == b"{}"
                await client.chat.completions.with_raw_response.create(model="m", messages=[])
                await client.close()
                return server.requests, server.connections

        requests, connections = asyncio.run(main())
    assert connections == proxy.connections == 1
    assert len(requests) == 4
    assert all(CANARY.encode() in one for one in requests)
    assert all(b"proxy-authorization" not in one.lower() for one in requests)
    assert len(proxy.seen) == 1
    assert proxy.seen[0].startswith("CONNECT 127.0.0.1:")
    assert CANARY not in "".join(proxy.heads)


def test_a_certificate_of_nobody_is_refused_behind_a_proxy_too(tmp_path: Path) -> None:
    with FakeTeacher(tls=self_signed(tmp_path)) as server, ProxyServer() as proxy:
        path = behind(tmp_path / "home", server, proxy.url)
        with pytest.raises(BadInput, match="certificate"):
            ask(path)
    assert server.seen == []
    assert classes(path).keys() == {"not_sent tls"}


def test_batches_go_through_it_too(tmp_path: Path) -> None:
    with BatchServer("openai") as server, ProxyServer(login=LOGIN) as proxy:
        path = batch_project(
            tmp_path, server, teacher={"proxy": proxy.url, "proxy_auth_env": "WAY_OUT"}
        )
        ask(path, environment={"WAY_OUT": LOGIN})
    assert batch_classes(path) == {"ok": 12}
    assert len(proxy.seen) == len(server.steps)


def test_files_of_a_batch_go_through_a_tunnel(tmp_path: Path) -> None:
    tls = self_signed(tmp_path)

    async def main(proxy: ProxyServer) -> object:
        async with (
            serving(saying(EMPTY), tls=tls) as server,
            Channel(
                server.base_url, Key(CANARY), (), seconds=3,
                trust=authority(tmp_path), proxy=proxy_at(proxy),
            ) as channel,
        ):  # fmt: skip
            return await channel.deliver(Ask("POST", "/files", (b"{}",)))

    with ProxyServer() as proxy:
        assert asyncio.run(main(proxy)) == (b"{}",)
    assert proxy.seen[0].startswith("CONNECT ")


# ---- what it refuses


def test_a_login_that_is_asked_for_ends_the_run_with_what_to_do(tmp_path: Path) -> None:
    with FakeTeacher() as server, ProxyServer(login=LOGIN) as proxy:
        path = behind(tmp_path, server, proxy.url)
        done = spiritsafe("collect", path, code=2)
        path_too = behind(tmp_path / "b", server, proxy.url, proxy_auth_env="WAY_OUT")
        wrong = spiritsafe("collect", path_too, env={"WAY_OUT": "ann:guess"}, code=2)
    assert server.seen == []
    assert f"[teacher] proxy: the proxy {proxy.name} asks for a login (407)" in done.err
    assert "proxy_auth_env" in done.err
    assert "refused the login (407)" in wrong.err
    assert classes(path).keys() == {"not_sent proxy"}
    assert asked(path, "SELECT sum(committed_nano)::BIGINT FROM state") == [(0,)]


def refusal(proxy: Proxy, base_url: str = "https://127.0.0.1:1/v1") -> Failure:
    """What a single attempt through it becomes, by tunnel."""

    async def main() -> Failure:
        async with Channel(base_url, Key(CANARY), (), seconds=3, proxy=proxy) as channel:
            told = await channel.question(Ask("GET", "/files"))
            assert isinstance(told, Failure)
            return told

    return asyncio.run(main())


REFUSALS: list[tuple[bytes, str, bool]] = [
    (b"HTTP/1.1 407 No\r\nproxy-authenticate: Negotiate\r\ncontent-length: 0\r\n\r\n",
     "asks for a login", False),
    (b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n", "refused the connection (403)", False),
    (b"HTTP/1.1 502 Bad\r\ncontent-length: 0\r\n\r\n", "refused the connection (502)", True),
    (b"SSH-2.0-OpenSSH_9.6\r\n", "", False),
    (b"HTTP/1.1 200 OK\r\nx: " + b"y" * 100_000, "", False),
]  # fmt: skip


@pytest.mark.parametrize(("says", "words", "later"), REFUSALS)
def test_a_tunnel_that_is_refused_sent_nothing(
    tmp_path: Path, says: bytes, words: str, later: bool
) -> None:
    with ProxyServer(says=says) as proxy:
        path = project(
            tmp_path, "https://127.0.0.1:1/v1", rows=1, limits={"tries": 2, "concurrency": 1},
            teacher={"proxy": proxy.url},
        )  # fmt: skip
        with pytest.raises(BadInput, match=r"\[teacher\] proxy: the proxy 127") as raised:
            ask(path)
        assert words in str(raised.value)
        assert classes(path) == {"not_sent proxy": 1 + later}
        told = refusal(proxy_at(proxy))
    if words:  # of a broken answer httpx2 does not tell whose it is: for a batch that is unknown
        assert told.outcome is OutcomeClass.NOT_SENT
        assert (told.kind, told.fatal) == ("proxy", True)


def test_a_way_to_log_in_that_is_not_spoken_is_named(tmp_path: Path) -> None:
    says = REFUSALS[0][0]
    with ProxyServer(says=says) as proxy:
        path = project(tmp_path, "https://127.0.0.1:1/v1", rows=1, teacher={"proxy": proxy.url})
        with pytest.raises(BadInput, match="Negotiate; only Basic is spoken here"):
            ask(path)


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_that_is_not_there_is_said(tmp_path: Path, scheme: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    path = project(
        tmp_path, f"{scheme}://127.0.0.1:2/v1", rows=1, limits={"tries": 2},
        teacher={"proxy": f"http://127.0.0.1:{port}"},
    )  # fmt: skip
    with pytest.raises(BadInput, match=rf"the proxy 127.0.0.1:{port} cannot be reached"):
        ask(path)
    assert classes(path) == {"not_sent proxy": 2}
    told = refusal(Proxy("http", "127.0.0.1", port), f"{scheme}://127.0.0.1:2/v1")
    assert (told.outcome, told.kind, told.retry) == (OutcomeClass.NOT_SENT, "proxy", True)


def test_a_proxy_that_hangs_is_given_up_in_time(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        path = project(
            tmp_path, "https://127.0.0.1:2/v1", rows=1, limits={"tries": 1, "deadline_seconds": 1},
            teacher={"proxy": f"http://127.0.0.1:{mute.getsockname()[1]}"},
        )  # fmt: skip
        with pytest.raises(BadInput, match="opened no connection in time"):
            ask(path)
    assert classes(path) == {"not_sent proxy": 1}


# ---- what may be asked for


@pytest.mark.parametrize(
    "url",
    ["proxy.example.com:3128", "socks5://h:1080", "http://", "http://h:0", "http://h:99999",
     "http://h:1/path", "http://h:1?x=1", "http://a b:1", "http://hö:1", "file:///etc/passwd"],
)  # fmt: skip
def test_what_is_no_proxy_is_refused(url: str) -> None:
    with pytest.raises(BadInput, match=r"\[teacher\] proxy"):
        proxy_of(teacher(proxy=url), {})


def test_a_login_in_the_file_is_refused_and_not_repeated() -> None:
    with pytest.raises(BadInput, match="proxy_auth_env") as raised:
        proxy_of(teacher(proxy="http://ann:s3cret@proxy.example.com:3128"), {})
    assert "s3cret" not in str(raised.value)


@pytest.mark.parametrize("value", ["", "no-colon", "a:b\nc", "a:b\x00"])
def test_a_login_must_be_one(value: str) -> None:
    with pytest.raises(BadInput, match="WAY_OUT") as raised:
        proxy_of(teacher(proxy="http://h:1", proxy_auth_env="WAY_OUT"), {"WAY_OUT": value})
    assert "no-colon" not in str(raised.value)


def test_a_proxy_does_not_print_its_login() -> None:
    proxy = Proxy("http", "::1", 3128, LOGIN)
    assert "s3cret" not in f"{proxy} {proxy!r} {proxy.url}"
    assert proxy.name == "[::1]:3128"


ENVIRONMENTS: list[tuple[Mapping[str, str], str]] = [
    ({}, ""),
    ({"HTTPS_PROXY": "http://p:1"}, "p:1"),
    ({"https_proxy": "http://small:1", "HTTPS_PROXY": "http://large:1"}, "small:1"),
    ({"HTTP_PROXY": "http://p:1"}, ""),
    ({"ALL_PROXY": "p:8"}, "p:8"),
    ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": "example.com"}, ""),
    ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": "*"}, ""),
    ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": "other.com,.api.example.com"}, "p:1"),
]


@pytest.mark.parametrize(("environment", "name"), ENVIRONMENTS)
def test_the_environment_is_read_only_where_asked(
    environment: Mapping[str, str], name: str
) -> None:
    url = "https://llm.example.com/v1"
    found = proxy_of(teacher(base_url=url, proxy="environment"), environment)
    assert (found.name if found else "") == name
    assert proxy_of(teacher(base_url=url), environment) is None


def test_a_login_of_the_environment_is_taken_apart() -> None:
    url = "https://llm.example.com/v1"
    given = {"https_proxy": "http://a%40b:s3%3Acret@p.example.com"}
    found = proxy_of(teacher(base_url=url, proxy="environment"), given)
    assert found is not None
    assert (found.name, found.login) == ("p.example.com:80", "a@b:s3:cret")


def test_an_organisation_may_forbid_proxies(tmp_path: Path) -> None:
    path = project(tmp_path, "http://127.0.0.1:9/v1", teacher={"proxy": "http://127.0.0.1:1"})
    (tmp_path / "guardrails.toml").write_text('proxies = false\n[offerings."*"]\n')
    with pytest.raises(PolicyDenied, match="no project send through a proxy"):
        ask(path)
    assert "through a proxy" in spiritsafe("check", path, code=3).out


def test_a_teacher_that_is_served_here_has_none(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="served here"):
        teacher(adapter="local", base_url="", proxy="http://h:1")
