"""The real command line in a process that is forked from one with everything imported.

Half of a run that is killed within a second would be imports. The parent of the fork is a process
of its own (multiprocessing's `forkserver`), without threads and without an open ledger.
"""

import multiprocessing
import os
import sys
from multiprocessing.process import BaseProcess
from pathlib import Path

import synth.steps  # noqa: F401 - imported once, in the parent
from synth.cli import main

_PARENT = multiprocessing.get_context("forkserver")
_PARENT.set_forkserver_preload(["pytest", __name__])


def start(*arguments: str | Path, cwd: Path, log: Path) -> BaseProcess:
    """As `tests.command.start`: started and not waited for; both outputs go to `log`."""
    child = _PARENT.Process(target=_run, args=([*map(str, arguments)], cwd, log), daemon=True)
    child.start()
    return child


def _run(arguments: list[str], cwd: Path, log: Path) -> None:
    os.chdir(cwd)
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for standard in (1, 2):
        os.dup2(file, standard)
    sys.argv = ["spiritsafe", *arguments]
    main()
