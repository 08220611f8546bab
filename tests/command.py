"""Run the real command line in a process of its own, as a user does."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SPIRITSAFE = (sys.executable, "-m", "synth")


@dataclass(frozen=True)
class Done:
    """What a finished command left."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Ours without any key or proxy."""
    kept = {k: v for k, v in os.environ.items() if "KEY" not in k and "proxy" not in k.lower()}
    root = str(Path(__file__).parent.parent)
    return {**kept, "PYTHONPATH": root, **(extra or {})}


def spiritsafe(
    *arguments: str | Path,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    timeout: float = 280,
    code: int | None = 0,
) -> Done:
    """Run to the end; the exit code must be `code`, unless that is None."""
    done = subprocess.run(
        [*SPIRITSAFE, *map(str, arguments)],
        cwd=cwd,
        env=environment(env),
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    if code is not None and done.returncode != code:
        raise AssertionError(
            f"{arguments} ended with {done.returncode}, not {code}\n{done.stdout}\n{done.stderr}"
        )
    return Done(done.returncode, done.stdout, done.stderr)


def _hang_up_heard() -> None:
    """Also where the tests themselves run under nohup."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def start(*arguments: str | Path, cwd: Path, log: Path) -> subprocess.Popen[bytes]:
    """Start and do not wait; both outputs go to `log`."""
    with log.open("ab") as file:
        return subprocess.Popen(
            [*SPIRITSAFE, *map(str, arguments)],
            cwd=cwd,
            env=environment(),
            stdout=file,
            stderr=subprocess.STDOUT,
            preexec_fn=_hang_up_heard,
        )
