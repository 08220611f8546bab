"""Kill a collecting process again and again, by a seeded schedule, while its server lives on.

    with outside(log) as server:
        killed = kill_loop(command, server, schedule(seed, 50), after=oracle.holds)

The server runs in a process of its own and writes down what it bills before an answer leaves; that
file, not the client, says whether anything was paid for twice or forgotten.
"""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests import fake_teacher as fake
from tests.command import environment
from tests.fake_teacher import status

SPREAD = 0.4  # seconds, at most, between the first request of a run and its end
EARLY = 0.1  # share of the kills that come while the process still starts
START = 1.0  # seconds that a process takes to start, about


@dataclass(frozen=True)
class Outside:
    """A teacher that outlives the client."""

    base_url: str
    log: Path

    def lines(self) -> list[dict[str, object]]:
        """Requests that arrived, oldest first."""
        text = self.log.read_text() if self.log.exists() else ""
        return [json.loads(line) for line in text.splitlines()]

    def count(self) -> int:
        """Requests that arrived."""
        return self.log.read_bytes().count(b"\n") if self.log.exists() else 0

    def billed(self) -> Counter[str]:
        """How often each request was billed, by the digest of its body."""
        return Counter(str(one["digest"]) for one in self.lines() if one["billed"])


@contextmanager
def outside(log: Path) -> Iterator[Outside]:
    """A server in a process of its own, that follows `script`."""
    child = subprocess.Popen(
        [sys.executable, "-m", "tests.fake_teacher", "--script", __name__ + ":script",
         "--log", str(log)],
        stdout=subprocess.PIPE, text=True, env=environment(),
    )  # fmt: skip
    assert child.stdout is not None
    try:
        yield Outside(child.stdout.readline().strip(), log)
    finally:
        child.terminate()
        child.communicate()


def script(index: int, request: fake.Json) -> fake.Action:
    """One in ten refused, one in ten billed and then reset, the rest answered after a while."""
    chance = random.Random(f"killed {index}").random()
    if chance < 0.1:
        return status(429, headers={"retry-after-ms": "20"})
    return fake.reset(delay=0.02) if chance < 0.2 else fake.answer(delay=0.02 + chance / 20)


@dataclass(frozen=True)
class Kill:
    """One instant: so long after the process started, or after its first request arrived."""

    early: bool
    seconds: float


def schedule(seed: int, kills: int) -> list[Kill]:
    """The same instants for every client."""
    chance = random.Random(seed)
    early = [chance.random() < EARLY for _ in range(kills)]
    return [Kill(one, chance.uniform(0, START if one else SPREAD)) for one in early]


def kill_loop(
    command: Sequence[str],
    server: Outside,
    kills: Sequence[Kill],
    *,
    log: Path,
    after: Callable[[], None] = lambda: None,
) -> int:
    """Start, kill, look; how many were killed (a run may end before its instant)."""
    killed = 0
    for kill in kills:
        before = server.count()
        with log.open("ab") as file:
            child = subprocess.Popen(command, stdout=file, stderr=file, env=environment())
        while not kill.early and child.poll() is None and server.count() == before:
            time.sleep(0.002)
        time.sleep(kill.seconds)
        if child.poll() is None:
            child.send_signal(signal.SIGKILL)
            killed += 1
        child.wait()
        after()
    return killed
