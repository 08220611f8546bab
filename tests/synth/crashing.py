"""A collection that dies at a named point: `python -m tests.synth.crashing PROJECT POINT NTH`.

The real project, ledger and client; only the function that is told of each point kills.
"""

import asyncio
import os
import signal
import sys
import time
from pathlib import Path

from synth.crash import Passing, Point
from synth.ledger import Ledger
from synth.steps import collect_step, get_ready
from synth.stop import Stop
from tests.synth.parts import bench_of

SURVIVED = 77


def killer(point: Point, nth: int) -> Passing:
    """Kills this process at the n-th passing of a point."""
    left = nth

    def passing(here: Point) -> None:
        nonlocal left
        left -= here is point
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    return passing


def alarm(seconds: float) -> Passing:
    """Ends this process so long after it began to close the ledger, wherever DuckDB is then."""

    def passing(here: Point) -> None:
        if here is Point.BEFORE_CLOSE:
            signal.setitimer(signal.ITIMER_REAL, seconds)  # nobody handles SIGALRM: it kills

    return passing


def main(project: str, point: str, nth: str) -> None:
    bench = bench_of(Path(project))
    passing = alarm(float(nth)) if point == "checkpoint" else killer(Point(point), int(nth))
    ready = get_ready(bench)
    with Ledger.open(bench.project.ledger, clock=time.time, passing=passing) as ledger:
        asyncio.run(collect_step(bench, ledger, ready, Stop()))
    sys.exit(SURVIVED)


if __name__ == "__main__":
    main(*sys.argv[1:])
