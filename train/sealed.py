"""What all our trainers do alike: checkpoints that hold no pickle, and no word to anyone.

    class StudentTrainer(Sealed, SFTTrainer): ...

It stands before a TRL trainer and takes the place of how that one saves. transformers' Trainer
calls these hooks; the tests of the trainers are the contract.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from transformers import Trainer

from train import checkpoints, processes, tuning


class Sealed:
    """Checkpoints as train.checkpoints has them, and the sums of a step for whoever draws it."""

    args: Any
    lr_scheduler: Any
    model: Any
    optimizer: Any
    state: Any
    train: Any
    sums: Counter[str]
    rate: float = 0.0
    sealed: Path | None = None

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

    def _send_telemetry(self) -> None:
        """TRL reports the trainer and the machine to its makers; we send nothing to anyone."""

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        tuning.save(self.model, Path(str(output_dir)), state_dict)  # no training_args.bin

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        if self.state.global_step >= self.state.max_steps:
            return  # the student itself is about to be written
        tuning.demand_numbers(self.model, self.state.global_step)
        folder = Path(self.args.output_dir)
        if processes.leads():
            checkpoints.prune(folder, self.sealed)
        processes.wait()
        Trainer._save_checkpoint(self, model, trial)  # TRL's would also write a card of its own
        self.sealed = folder / f"checkpoint-{self.state.global_step}"
        processes.wait()
        if processes.leads():
            checkpoints.seal(self.sealed)

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        if processes.leads():
            checkpoints.save_optimiser(Path(output_dir), self.optimizer, self.lr_scheduler)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if checkpoint is not None:
            checkpoints.load_optimiser(Path(checkpoint), self.optimizer, self.lr_scheduler)

    def _save_rng_state(self, output_dir: str) -> None:
        checkpoints.save_random(Path(output_dir), processes.rank())

    def _load_rng_state(self, checkpoint: str | None) -> None:
        if checkpoint is not None:
            checkpoints.load_random(Path(checkpoint), processes.rank())
