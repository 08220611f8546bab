"""What all our trainers do alike: go on from a checkpoint, add up each step, and tell nobody.

    class StudentTrainer(Teaching, SFTTrainer): ...

It stands before a TRL trainer, with train.saving beneath it; the trainers' tests are the contract.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from torch.utils.data import Sampler
from transformers import PrinterCallback

from train.saving import Saving


class Teaching(Saving):
    """A run from its newest checkpoint to its last step, with the sums of a step to show."""

    sums: Counter[str]
    order: Sampler[int]
    rate: float = 0.0
    sealed: Path | None = None

    def begin(self, watch: Any, order: Sampler[int]) -> None:
        """Take the rows in this order, and tell `watch` of each step. Raises BadInput for a way to
        train whose state no checkpoint could hold."""
        self.refuse_what_cannot_be_saved()
        watch.trainer = self
        self.remove_callback(PrinterCallback)
        self.sums, self.order = Counter(), order

    def teach(self, start: Path | None) -> None:
        """Train to the last step, from `start` where there is a checkpoint."""
        self.sealed = start
        self.train(resume_from_checkpoint=str(start) if start else None)

    def add(self, loss: float, trained: int, tokens: int, **more: Any) -> None:
        """Sums of this optimiser step, for whoever draws the progress."""
        self.rate = float(self.optimizer.param_groups[0]["lr"])  # before the schedule moves on
        sums: dict[str, Any] = {"loss": loss, "trained_tokens": trained, "tokens": tokens, **more}
        self.sums.update(sums)

    def take_sums(self) -> Counter[str]:
        """What was summed since the last call."""
        taken = Counter[str](self.sums)
        self.sums.clear()
        return taken

    def _get_train_sampler(self, *_: Any) -> Sampler[int]:
        return self.order

    def _send_telemetry(self) -> None:
        """TRL reports the trainer and the machine to its makers; we send nothing to anyone."""
