"""Killed at each instant that has a name, and at the two that only the server can see.

Afterwards, by the server's own count: nothing billed twice, nothing billed that the ledger does not
know, every other request answered once, the cap kept, the ledger whole.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from synth.audit import findings
from synth.crash import Point
from tests import fake_teacher as fake
from tests.command import environment
from tests.fake_teacher import FakeTeacher, status
from tests.synth.crashing import SURVIVED
from tests.synth.oracle import Oracle
from tests.synth.parts import PRICED, ask, opened, project
from tests.synth.test_erase import POINTS

ROWS = 10


def one_at_a_time(folder: Path, base_url: str) -> Path:
    return project(folder, base_url, rows=ROWS, limits={"concurrency": 1, **PRICED})


def crash(path: Path, point: str, nth: float) -> int:
    """Run until the point; how the process ended."""
    command = [sys.executable, "-m", "tests.synth.crashing", str(path), point, str(nth)]
    return subprocess.run(command, env=environment(), check=False, timeout=60).returncode


@contextmanager
def survived_by(path: Path, server: FakeTeacher) -> Iterator[Oracle]:
    """The crash is inside; then: reopen, verify, resume, verify."""
    oracle = Oracle(path, lambda: [seen for seen in server.seen if seen.index >= 0])
    yield oracle
    with opened(path) as ledger:
        assert findings(ledger, path.parent) == []
    oracle.holds()
    ask(path)
    oracle.holds()
    oracle.is_complete(ROWS)
    assert ask(path).summary.sent == 0


INSTANTS = [
    (Point.BEFORE_INTENT, 1, 0), (Point.BEFORE_INTENT, 4, 0),
    (Point.BEFORE_COMMIT, 1, 0), (Point.BEFORE_COMMIT, 4, 1), (Point.BEFORE_COMMIT, 7, 0),
    (Point.AFTER_COMMIT, 1, 0), (Point.AFTER_COMMIT, 4, 1), (Point.AFTER_COMMIT, 7, 0),
    (Point.AFTER_HEAD, 1, 0), (Point.AFTER_HEAD, 2, 1), (Point.AFTER_HEAD, 5, 0),
    (Point.BEFORE_MERGE, 1, 0), (Point.BEFORE_MERGE, 2, 0),
    (Point.AFTER_MERGE, 1, 0), (Point.AFTER_MERGE, 2, 0), (Point.AFTER_CLEAR, 1, 0),
    (Point.BEFORE_SEND, 1, 1), (Point.BEFORE_SEND, 5, 1),
    (Point.AFTER_BYTES, 1, 1), (Point.AFTER_BYTES, 4, 1),
    (Point.AFTER_OUTCOME, 1, 0), (Point.AFTER_OUTCOME, 5, 0),
    (Point.BEFORE_NOTE, 1, 0), (Point.BEFORE_NOTE, 3, 0),
    (Point.NOTE_KEPT, 1, 0), (Point.NOTE_KEPT, 3, 0),
    (Point.AFTER_NOTE, 1, 0), (Point.AFTER_NOTE, 3, 0),
    (Point.BEFORE_CLOSE, 1, 0),
]  # fmt: skip
"""(point, which passing, requests that are held afterwards)."""


@pytest.mark.parametrize(("point", "nth", "held"), INSTANTS)
def test_a_kill_at_a_named_point(tmp_path: Path, point: Point, nth: int, held: int) -> None:
    with FakeTeacher() as server:
        path = one_at_a_time(tmp_path, server.base_url)
        with survived_by(path, server) as oracle:
            assert crash(path, point, nth) == -signal.SIGKILL
            assert oracle.unknown() == held
    assert server.billed in (ROWS, ROWS - held)


def test_every_point_is_tried() -> None:
    """Those of an erasure where erasures are tested."""
    assert {point for point, _, _ in INSTANTS} | set(POINTS) == set(Point)


@pytest.mark.parametrize("when", ["arrived", "answered"])
@pytest.mark.parametrize("nth", [0, 4])
def test_a_kill_that_only_the_server_sees(tmp_path: Path, when: str, nth: int) -> None:
    """The whole request has arrived and is billed; or its answer has left and nobody reads it."""
    child: list[subprocess.Popen[bytes]] = []

    def script(index: int, request: fake.Json) -> fake.Action:
        if index != nth or child[0].poll() is not None:
            return fake.answer()
        os.kill(child[0].pid, signal.SIGKILL if when == "arrived" else signal.SIGSTOP)
        return fake.answer()

    with FakeTeacher(script) as server:
        path = one_at_a_time(tmp_path, server.base_url)
        with survived_by(path, server) as oracle:
            command = [sys.executable, "-m", "tests.synth.crashing", str(path), "before_close", "9"]
            child.append(subprocess.Popen(command, env=environment()))
            if when == "answered":
                while server.answered <= nth:
                    os.sched_yield()
                child[0].kill()
            assert child[0].wait(timeout=60) == -signal.SIGKILL
            assert oracle.unknown() == 1
    assert server.billed == ROWS


@pytest.mark.parametrize("seconds", [0.0001, 0.001, 0.002, 0.004, 0.008])
def test_a_kill_while_duckdb_moves_its_log_into_the_file(tmp_path: Path, seconds: float) -> None:
    with FakeTeacher() as server:
        path = one_at_a_time(tmp_path, server.base_url)
        with survived_by(path, server) as oracle:
            assert crash(path, "checkpoint", seconds) in (-signal.SIGALRM, SURVIVED)
            assert oracle.unknown() == 0
    assert server.billed == ROWS


def test_a_refused_attempt_that_dies_before_its_outcome_is_held_not_forgotten(
    tmp_path: Path,
) -> None:
    refused = status(429, headers={"retry-after-ms": "1"})
    with FakeTeacher(lambda index, _: refused if index == 0 else fake.answer()) as server:
        path = one_at_a_time(tmp_path, server.base_url)
        with survived_by(path, server) as oracle:
            assert crash(path, Point.AFTER_BYTES, 1) == -signal.SIGKILL
            assert oracle.unknown() == 1
    assert server.billed == ROWS - 1
