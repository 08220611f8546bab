"""The figures of a run as it goes: one JSON line a logged step, events for TensorBoard where they
are wanted, and a callback for the display.

{"step": 12, "epoch": 0.4, "loss": 1.71, "sft_loss": 1.71, "learning_rate": 0.0004, ...}
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from policy.errors import BadInput
from train import processes
from train.board import Board


class Step(NamedTuple):
    """What a progress display needs after each optimiser step."""

    step: int
    total: int
    loss: float
    tokens_per_second: float


class Metrics:
    """Writes metrics.jsonl, and calls on_step."""

    def __init__(
        self,
        path: Path,
        total: int,
        every: int,
        steps_an_epoch: float,
        clock: Callable[[], float],
        on_step: Callable[[Step], None] | None,
        board: Board | None = None,
    ) -> None:
        self.path, self.total, self.every, self.clock = path, total, every, clock
        self.steps_an_epoch, self.on_step = steps_an_epoch, on_step
        self.tokens, self.seconds, self.last = 0, 0.0, clock()
        self.writes, self.board = processes.leads(), board
        self.rows: list[dict[str, Any]] = []

    def resume(self, step: int) -> None:
        """Forget what was logged after the checkpoint: those steps are taken again."""
        if self.path.is_file():
            lines = self.path.read_text(encoding="utf-8").splitlines()
            rows = [row for row in map(_row, lines) if row and row["step"] <= step]
            self.rows = rows
        if self.writes:
            text = "".join(json.dumps(row) + "\n" for row in self.rows)
            self.path.write_text(text, encoding="utf-8")
            self.path.chmod(0o600)
        if self.rows:
            self.tokens, self.seconds = self.rows[-1]["tokens"], self.rows[-1]["seconds"]
        if self.board:
            self.board.open(step)
        self.last = self.clock()

    def step(self, step: int, found: Mapping[str, float], tokens: int, rate: float) -> None:
        """One optimiser step: `found` holds its mean losses."""
        if not math.isfinite(found["loss"]):
            raise BadInput(
                f"the loss at step {step} is not a number",
                where=str(self.path.parent),
                fix="Lower [training].learning_rate and train under another name.",
            )
        now = self.clock()
        took, self.last = now - self.last, now
        self.tokens, self.seconds = self.tokens + tokens, self.seconds + took
        if step % self.every == 0 or step == self.total:
            self._write(step, {**found, "learning_rate": rate})
        if self.on_step:
            self.on_step(Step(step, self.total, found["loss"], tokens / max(took, 1e-9)))

    def validation(self, step: int, found: Mapping[str, float]) -> None:
        """The same losses on the validation split."""
        self._write(step, {f"validation_{key}": value for key, value in found.items()})

    def close(self) -> None:
        """Nothing is logged after this."""
        if self.board:
            self.board.close()

    def final(self) -> dict[str, Any]:
        """The last figure of each kind, for the receipt."""
        merged = {key: value for row in self.rows for key, value in row.items()}
        return {**merged, "steps": self.total}

    def _write(self, step: int, found: Mapping[str, float]) -> None:
        row = {
            "step": step,
            "epoch": round(step / self.steps_an_epoch, 4),
            **found,
            "tokens": self.tokens,
            "seconds": round(self.seconds, 3),
        }
        self.rows.append(row)
        if not self.writes:
            return
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
            file.flush()
            os.fsync(file.fileno())
        if self.board:
            self.board.write(step, {**found, "tokens": self.tokens})


def _row(line: str) -> dict[str, Any] | None:
    """A logged row; None for the half line that a kill left behind."""
    try:
        row: dict[str, Any] = json.loads(line)
    except ValueError:
        return None
    return row
