"""Kill -9 at each step of a batch, then run again: nothing is billed twice, nothing is forgotten.

The provider counts what it bills; it kills the client itself, at the very step that is meant.
"""

from __future__ import annotations

import asyncio
import random
import signal
import subprocess
import threading
import time
from dataclasses import replace
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from synth.audit import findings
from synth.steps import collect_step, get_ready
from synth.stop import Stop
from tests import forked
from tests.batch_servers import HANG, BatchServer, Result, refused
from tests.command import spiritsafe, start
from tests.synth.batching_parts import APIS, batch_project, classes, states
from tests.synth.parts import ask, asked, bench_of, opened

ROWS = 40
STEPS = {
    "upload": ("upload", 1),  # the intent is durable, the file arrives
    "create": ("create", 1),  # the file is there, the call that makes it arrives
    "created": ("created", 1),  # the batch exists, its id has not come back
    "poll": ("poll", 1),
    "between polls": ("poll", 2),
    "results": ("results", 1),
    "half": ("half", 0),  # half of the results are out
}


class Killer:
    """Kills a child when the server comes to a step for the nth time."""

    def __init__(self, step: str, number: int) -> None:
        self.step, self.left = step, number
        self.child: BaseProcess | None = None
        self.done = threading.Event()

    def __call__(self, step: str) -> None:
        if step != self.step or self.done.is_set():
            return
        self.left -= 1
        if self.left <= 0:
            while self.child is None:
                time.sleep(0.01)
            if self.step == "half":
                time.sleep(0.3)  # time to read what is out
            self.child.kill()
            self.child.join()
            self.done.set()


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("api", APIS)
def test_kill_9_at_each_step_bills_nothing_twice_and_forgets_nothing(
    tmp_path: Path, api: str, step: str
) -> None:
    name, number = STEPS[step]
    if api in ("anthropic", "gemini") and name == "upload":
        pytest.skip("the requests travel in the call that makes the batch")
    if api == "gemini" and name == "results":
        name, number = "poll", 3
    home = tmp_path / "home"
    with BatchServer(api, polls=2) as server:
        path = batch_project(home, server, rows=ROWS)
        if name == "half":
            last = {"openai": 5, "mistral": 5, "anthropic": 4, "gemini": 4}[api]
            number = last  # upload, create, two polls, then the results
        killer = Killer(name, number)
        server.on = killer
        killer.child = forked.start("collect", path, cwd=tmp_path, log=tmp_path / "log")
        assert killer.done.wait(60), (tmp_path / "log").read_text()
        assert killer.child.exitcode == -signal.SIGKILL
        server.on = lambda step: None
        with opened(path) as ledger:
            assert findings(ledger, home) == []
        ask(path)
        assert ask(path).summary.sent == 0
    assert max(server.billed.values()) == 1
    assert server.billed.total() == ROWS
    assert asked(
        path, "SELECT count(DISTINCT a.key) FROM completion JOIN attempt a ON id = attempt"
    ) == [(ROWS,)]
    assert asked(path, "SELECT count(*) FROM completion") == [(ROWS,)]
    assert set(classes(path)) <= {"ok", "not_sent not_made"}
    with opened(path) as ledger:
        assert findings(ledger, home) == []


def ask_later(path: Path) -> None:
    """An hour on: what was killed in the middle of making a batch is no longer in doubt."""
    bench = replace(bench_of(path), clock=lambda: time.time() + 3600)
    with bench.open() as ledger:
        asyncio.run(collect_step(bench, ledger, get_ready(bench), Stop()))


@pytest.mark.parametrize("api", ["openai", "anthropic"])
def test_kills_at_random_with_refusals_among_the_lines(tmp_path: Path, api: str) -> None:
    chance = random.Random(11)

    def results(number: int, body: dict[str, object]) -> Result:
        return refused(429) if number % 10 == 3 else Result()

    home = tmp_path / "home"
    with BatchServer(api, polls=2, results=results, skew=-5 * 3600) as server:
        path = batch_project(home, server, rows=60, limits={"batch_requests": 17, "tries": 20})
        for _ in range(4):
            seen, wanted = len(server.steps), chance.randint(1, 9)
            child = forked.start("collect", path, cwd=tmp_path, log=tmp_path / "log")
            while child.is_alive() and len(server.steps) < seen + wanted:
                time.sleep(0.005)
            time.sleep(chance.random() / 20)
            child.kill()
            child.join()
            with opened(path) as ledger:
                assert findings(ledger, home) == []
        ask_later(path)
    assert max(server.billed.values()) == 1
    assert server.billed.total() == 60
    assert asked(
        path,
        "SELECT count(*), count(DISTINCT a.key) FROM completion JOIN attempt a ON id = attempt",
    ) == [(60, 60)]


def test_the_order_of_what_is_durable(tmp_path: Path) -> None:
    """The intent before the upload, `creating` before the call, the id before the first question:
    by what the ledger holds after a kill at each."""
    held = {}
    for step in ("upload", "create", "created", "poll"):
        with BatchServer("openai") as server:
            path = batch_project(tmp_path / step, server)
            server.on = killer = Killer(step, 1)
            killer.child = forked.start("collect", path, cwd=tmp_path, log=tmp_path / "log")
            assert killer.done.wait(60)
            held[step] = states(path)
        assert classes(path) == {"pending in_batch": 12}
        ((reserved, named),) = asked(
            path,
            "SELECT sum(committed_nano)::BIGINT, (SELECT len(attempts) FROM job LIMIT 1)"
            " FROM state",
        )
        assert reserved > 0
        assert named == 12
    assert held == {
        "upload": ["intended"],
        "create": ["intended", "uploaded", "creating"],
        "created": ["intended", "uploaded", "creating"],
        "poll": ["intended", "uploaded", "creating", "created"],
    }


def test_an_interrupt_leaves_at_once_and_the_batch_goes_on(tmp_path: Path) -> None:
    with BatchServer("anthropic", polls=3) as server:
        path = batch_project(tmp_path / "home", server, limits={"batch_poll_seconds": 30})
        child = start("collect", path, cwd=tmp_path, log=tmp_path / "log")
        while "create" not in server.steps or states_or_none(path, child) is None:
            time.sleep(0.05)
        time.sleep(0.5)
        began = time.monotonic()
        child.send_signal(signal.SIGINT)
        assert child.wait(timeout=10) == 130
        assert time.monotonic() - began < 5
        shown = spiritsafe("show", path)
        assert "batch_0  created in_progress  12 requests" in shown.out
        done = spiritsafe("collect", path, "--set", "limits.batch_poll_seconds=0.05", "--json")
    assert done.json["answers"] == 12
    assert done.json["sent"] == 0
    assert len(server.batches) == 1
    assert max(server.billed.values()) == 1


def test_an_interrupt_does_not_wait_for_a_question_without_an_answer(tmp_path: Path) -> None:
    with BatchServer("openai", faults={"poll": [HANG]}) as server:
        path = batch_project(tmp_path / "home", server, limits={"deadline_seconds": 60})
        child = start("collect", path, cwd=tmp_path, log=tmp_path / "log")
        while "poll" not in server.steps:
            assert child.poll() is None
            time.sleep(0.05)
        child.send_signal(signal.SIGINT)
        assert child.wait(timeout=10) == 130


def states_or_none(path: Path, child: subprocess.Popen[bytes]) -> str | None:
    """Whether the client has told that its batch is made; it has the ledger open."""
    assert child.poll() is None
    log = (path.parent.parent / "log").read_text()
    return log if "batch_0" in log else None
