"""Collecting may be stopped at any moment, and a denied project opens no socket.

The teacher runs in a process of its own and writes what it billed to a log of its own: that log,
not the ledger, says whether anything was paid for twice or forgotten.
"""

import signal
import subprocess
import sys
import time
from pathlib import Path
from threading import Event

import pytest

from tests import fake_teacher as fake
from tests.command import SPIRITSAFE, environment, spiritsafe, start
from tests.fake_teacher import FakeTeacher, status
from tests.synth.killing import kill_loop, outside, schedule
from tests.synth.oracle import Oracle, journal_of
from tests.synth.parts import PRICED, asked, project

ROWS, KILLS = 400, 8


def test_kill_9_at_any_moment_pays_nothing_twice_and_forgets_nothing(tmp_path: Path) -> None:
    """The same loop with 50 kills over 2,000 requests, beside a client of the usual kind:
    benchmarks/kills.py."""
    with outside(tmp_path / "billed.jsonl") as server:
        path = project(tmp_path / "home", server.base_url, rows=ROWS,
                       limits={"concurrency": 8, **PRICED})  # fmt: skip
        oracle = Oracle(path, journal_of(server.log))
        command = [*SPIRITSAFE, "collect", str(path)]
        kills = schedule(7, KILLS)
        killed = kill_loop(command, server, kills, log=tmp_path / "said", after=oracle.holds)
        spiritsafe("collect", path, code=1)
        oracle.holds()
        oracle.is_complete(ROWS)
        asked_before = server.count()
        spiritsafe("collect", path, code=1)
        assert server.count() == asked_before
    assert killed >= KILLS - 1
    assert 0 < oracle.unknown() < ROWS / 2


def test_an_interrupt_drains_and_the_next_run_finishes(tmp_path: Path) -> None:
    with FakeTeacher([fake.answer(delay=0.2)]) as server:
        path = project(tmp_path / "home", server.base_url, rows=40)
        child = start("collect", path, cwd=tmp_path, log=tmp_path / "said.log")
        while len(server.seen) < 5:
            time.sleep(0.01)
        child.send_signal(signal.SIGINT)
        assert child.wait(timeout=10) == 130
        assert "goes on from here" in (tmp_path / "said.log").read_text()
        assert len(server.seen) < 20
        assert asked(path, "SELECT count(*) FROM state WHERE class = 'unknown'") == [(0,)]
        assert asked(path, "SELECT count(*) FROM completion") == [(server.billed,)]
        spiritsafe("collect", path)
    assert server.billed == 40
    assert max(server.counts.values()) == 1


def test_a_second_interrupt_ends_at_once_and_what_was_in_flight_is_listed(tmp_path: Path) -> None:
    with FakeTeacher([fake.hang()]) as server:
        path = project(tmp_path / "home", server.base_url, limits={"deadline_seconds": 60})
        child = start("collect", path, cwd=tmp_path, log=tmp_path / "said.log")
        while len(server.seen) < 4:
            time.sleep(0.01)
        for _ in range(2):
            child.send_signal(signal.SIGINT)
            time.sleep(0.3)
        assert child.wait(timeout=5) == 130
    assert asked(path, "SELECT count(*) FROM state WHERE class = 'unknown'") == [(4,)]


def test_an_interrupt_does_not_wait_for_the_server_s_quiet(tmp_path: Path) -> None:
    with FakeTeacher([status(429, headers={"retry-after": "300"})]) as server:
        path = project(tmp_path / "home", server.base_url)
        child = start("collect", path, cwd=tmp_path, log=tmp_path / "said.log")
        while not server.seen:
            time.sleep(0.01)
        time.sleep(0.2)
        child.send_signal(signal.SIGTERM)
        assert child.wait(timeout=5) == 130


def test_a_second_collect_ends_before_it_spends(tmp_path: Path) -> None:
    """The teacher keeps the first waiting until then, however slow the machine is."""
    ended = Event()
    with FakeTeacher([fake.answer(lambda _: f"late: {ended.wait(60)}")]) as server:
        path = project(tmp_path / "home", server.base_url, rows=20,
                       limits={"deadline_seconds": 60})  # fmt: skip
        child = start("collect", path, cwd=tmp_path, log=tmp_path / "said.log")
        while not server.seen:
            time.sleep(0.01)
        done = spiritsafe("collect", path, code=5)
        ended.set()
        assert f"process {child.pid} is writing to it" in done.err
        assert "Traceback" not in done.err
        assert child.wait(timeout=60) == 0
    assert max(server.counts.values()) == 1


WATCHED = """
import json, sys
log = open(sys.argv.pop(1), "w")
sys.addaudithook(lambda name, _: name.startswith("socket.") and print(name, file=log, flush=True))
from synth.cli import main
main()
"""
REACHING = {"socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto"}


def watched(path: Path, log: Path, *more: str) -> tuple[subprocess.CompletedProcess[str], set[str]]:
    """`collect` with every socket event written down by the interpreter itself."""
    done = subprocess.run(
        [sys.executable, "-c", WATCHED, str(log), "collect", str(path), *more],
        capture_output=True, text=True, check=False,
        env=environment({"OPENAI_API_KEY": "sk-canary-0123456789"}),
    )  # fmt: skip
    return done, set(log.read_text().splitlines())


OPENAI = {"offering": "openai-api", "model": "gpt-4o-mini", "api_key_env": "OPENAI_API_KEY"}


def test_a_denied_project_opens_no_socket_and_leaves_no_file(tmp_path: Path) -> None:
    path = project(tmp_path / "home", "https://api.openai.com/v1", teacher=OPENAI,
                   limits={"budget_usd": 1.0})  # fmt: skip
    before = sorted((tmp_path / "home").iterdir())
    done, events = watched(path, tmp_path / "events")
    assert done.returncode == 3
    assert events == set()
    assert sorted((tmp_path / "home").iterdir()) == before
    assert "3.3(e)" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_shipped_openai_example_is_refused_without_a_socket(tmp_path: Path) -> None:
    spiritsafe("init", tmp_path / "bot", "--template", "openai-support")
    done, events = watched(tmp_path / "bot" / "project.toml", tmp_path / "events")
    assert done.returncode == 3
    assert events == set()
    assert "records/acknowledgement-openai-api.toml" in done.stderr
    assert sorted(one.name for one in (tmp_path / "bot").iterdir()) == ["data", "project.toml"]


def test_the_watcher_would_have_seen_one(tmp_path: Path) -> None:
    with FakeTeacher() as server:
        path = project(tmp_path / "home", server.base_url, rows=1)
        done, events = watched(path, tmp_path / "events")
    assert done.returncode == 0
    assert "socket.connect" in events & REACHING


def test_a_host_of_another_offering_is_denied_before_a_socket(tmp_path: Path) -> None:
    path = project(tmp_path / "home", "https://api.openai.com/v1")
    done, events = watched(path, tmp_path / "events")
    assert done.returncode == 3
    assert not events & REACHING


@pytest.mark.parametrize(
    ("section", "values"),
    [
        ("teacher", {"api_key_env": "NO_SUCH_KEY"}),
        ("limits", {"price": {"input": 1, "output": 1}}),
    ],
)
def test_what_must_be_mended_first_leaves_no_file(
    tmp_path: Path, section: str, values: dict[str, object]
) -> None:
    """A missing key, or a price without a budget."""
    path = project(tmp_path, "http://127.0.0.1:9/v1", **{section: values})
    spiritsafe("collect", path, code=2)
    assert sorted(one.name for one in tmp_path.iterdir()) == ["project.toml", "prompts.jsonl"]
