"""The shortened walk that several tests look at: where it is, and with which overrides."""

import signal
import time
from collections.abc import Callable
from pathlib import Path

from tests.command import start

SHORT = (
    "prompts.limit=36",
    "sampling.samples=2",
    "sampling.max_tokens=32",
    "training.max_steps=3",
    "training.batch_size=4",
    "training.save_steps=1",
    "training.validation_rows=4",
    "evaluation.rows=6",
    "evaluation.max_new_tokens=16",
    "evaluation.resamples=500",
    "teacher.threads=1",
)
OPTIONS = [part for one in SHORT for part in ("--set", one)]


def kill_when(home: Path, log: Path, moment: Callable[[], bool], where: str) -> None:
    """Start `run`, wait for the moment, and kill -9."""
    log.touch()
    child = start("run", home / "project.toml", *OPTIONS, cwd=home, log=log)
    deadline = time.monotonic() + 600
    while not moment():
        assert child.poll() is None, f"ended before {where}:\n{log.read_text()}"
        assert time.monotonic() < deadline, f"never {where}:\n{log.read_text()}"
        time.sleep(0.05)
    child.send_signal(signal.SIGKILL)
    child.wait()
