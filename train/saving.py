"""How a run is kept while it trains: transformers' Trainer with our checkpoints, not its own.

A checkpoint is safetensors and JSON with a manifest written last (train/checkpoints.py). The leader
writes it; where the weights are cut over the processes they are gathered first, and handed out
again when a run goes on (train/sharded.py).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor
from transformers import Trainer

from policy.errors import BadInput
from train import checkpoints, processes, sharded, tuning


class Saving(Trainer):  # type: ignore[misc]
    """The part of a trainer that writes checkpoints and reads them."""

    sealed: Path | None
    """The newest whole checkpoint: kept until the next one is."""

    def refuse_what_cannot_be_saved(self) -> None:
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
