"""What all our trainers do alike: checkpoints that hold no pickle, and no word to anyone.

    class StudentTrainer(Sealed, SFTTrainer): ...

It stands before a TRL trainer and takes the place of how that one saves. transformers' Trainer
calls these hooks; the tests of the trainers are the contract. The leader writes; where the weights
are cut over the processes they are gathered first, and handed out again when a run goes on
(train/sharded.py).
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from torch import Tensor
from transformers import Trainer

from policy.errors import BadInput
from train import checkpoints, processes, sharded, tuning


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
    """The newest whole checkpoint: kept until the next one is."""
    is_fsdp_enabled: bool
    is_deepspeed_enabled: bool

    def teach(self, start: Path | None) -> None:
        """Train to the last step, from `start` where there is a checkpoint."""
        self._refuse_what_cannot_be_kept()
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

    def _refuse_what_cannot_be_kept(self) -> None:
        """Raises BadInput for a way to train whose state no checkpoint of ours could hold."""
        if self.is_fsdp_enabled and tuning.is_adapted(self.model):
            raise BadInput(
                "LoRA's updates are not kept where FSDP cuts the weights",
                where="[training] tune",
                fix='Launch with configs/accelerate/ddp.yaml, or train with tune = "full".',
            )

    def whole_weights(self) -> dict[str, Tensor] | None:
        """All weights on the leader, where each process holds a part of them; None where the model
        itself is whole."""
        return sharded.whole_weights(self.model) if sharded.is_sharded(self.model) else None

    def _send_telemetry(self) -> None:
        """TRL reports the trainer and the machine to its makers; we send nothing to anyone."""

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        tuning.save(self.model, Path(str(output_dir)), state_dict)  # no training_args.bin

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        last = self.state.global_step >= self.state.max_steps  # the student is about to be written
        if last or self.is_deepspeed_enabled:  # DeepSpeed's own would be pickles
            return
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

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        if not sharded.is_sharded(self.model):
            Trainer._load_from_checkpoint(self, resume_from_checkpoint, model)
            return
        path = Path(resume_from_checkpoint)
        weights = checkpoints.load_weights(path) if processes.leads() else {}
        sharded.put_weights(self.model, weights)

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        if sharded.is_sharded(self.model):
            state = sharded.whole_moments(self.model, self.optimizer)
        else:
            state = self.optimizer.state_dict()
        if processes.leads():
            checkpoints.save_optimiser(Path(output_dir), state, self.lr_scheduler.state_dict())

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if checkpoint is None:
            return
        state, schedule = checkpoints.load_optimiser(Path(checkpoint))
        if sharded.is_sharded(self.model):
            found = state if processes.leads() else {}
            sharded.put_moments(self.model, self.optimizer, found)
        else:
            self.optimizer.load_state_dict(state)
        self.lr_scheduler.load_state_dict(schedule)

    def _save_rng_state(self, output_dir: str) -> None:
        checkpoints.save_random(Path(output_dir), processes.rank())

    def _load_rng_state(self, checkpoint: str | None) -> None:
        if checkpoint is not None:
            checkpoints.load_random(Path(checkpoint), processes.rank())
