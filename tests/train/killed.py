"""Training in a process that is forked from one with everything imported, so that it may be killed.

As in tests/forked.py the parent of the fork is a process of its own, without threads.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from pathlib import Path

import trl.trainer.sft_trainer  # noqa: F401 - imported once, in the parent

from policy.errors import SpiritSafeError
from policy.permit import Action
from tests.train.parts import permit
from train.config import Student, Training
from train.metrics import Step
from train.run import train
from train.stable_trainers import OnPolicyTrainer, PreferenceTrainer  # noqa: F401 - as above

_PARENT = multiprocessing.get_context("forkserver")
_PARENT.set_forkserver_preload(["pytest", __name__])


def train_in_child(
    dataset: Path, base: Path, training: Training, run: Path, *, kill_at: int = 0
) -> int:
    """The child's exit code: -9 where it was killed after step `kill_at`."""
    child = _PARENT.Process(target=_run, args=(dataset, base, training, run, kill_at))
    child.start()
    child.join(120)
    assert child.exitcode is not None
    return child.exitcode


def kill_in_child(dataset: Path, base: Path, training: Training, run: Path, *, after: float) -> int:
    """The same, killed by the clock: in a step, between two, or half-way through a checkpoint."""
    child = _PARENT.Process(target=_run, args=(dataset, base, training, run, 0))
    child.start()
    child.join(after)
    child.kill()
    child.join(120)
    assert child.exitcode is not None
    return child.exitcode


def _run(dataset: Path, base: Path, training: Training, run: Path, kill_at: int) -> None:
    def kill(step: Step) -> None:
        if step.step == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    try:
        train(
            dataset,
            Student(base=str(base)),
            training,
            permit(Action.TRAIN),
            run,
            cache_dir=run.parent / "cache",
            on_step=kill,
        )
    except SpiritSafeError as error:
        os._exit(int(error.exit_code))
