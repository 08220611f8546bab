"""What of the student is trained: every weight, or LoRA beside frozen ones (peft).

Whatever is trained, a run ends with a plain student: updates are merged into the weights, and kept
beside them as `adapter/` for whoever serves many over one base.

    model = tune(model, training)
    save(model, folder)                # a checkpoint: the updates alone where only they change
    student = merge(model, base, training)
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from policy.errors import BadInput
from train.config import Training


def tune(model: Any, training: Training) -> Any:
    """The model with the weights that [training].tune names ready to train, the rest frozen."""
    if training.tune == "full":
        if training.freeze_embeddings:
            model.get_input_embeddings().weight.requires_grad_(False)
        return model
    from peft import LoraConfig, get_peft_model, prepare_model_for_kbit_training

    if training.tune == "qlora":
        model = prepare_model_for_kbit_training(model, training.gradient_checkpointing)
    config = LoraConfig(
        task_type="CAUSAL_LM",
        r=training.lora.rank,
        lora_alpha=training.lora.alpha,
        lora_dropout=training.lora.dropout,
        target_modules=_targets(model, training.lora.targets),
    )
    with torch.random.fork_rng():
        torch.manual_seed(training.seed)  # LoRA's A starts at random
        return get_peft_model(model, config)


def _targets(model: Any, asked: tuple[str, ...]) -> str | list[str]:
    """As peft takes them; a name that no layer has is refused with those that there are."""
    if asked == ("all-linear",):
        return "all-linear"
    head = model.get_output_embeddings()
    known = {
        name.rpartition(".")[2]
        for name, layer in model.named_modules()
        if isinstance(layer, torch.nn.Linear) and layer is not head
    }
    if unknown := sorted(set(asked) - known):
        raise BadInput(
            f"the student has no linear layer {unknown[0]!r} that can be updated",
            where="[training.lora] targets",
            fix=f"Use some of {', '.join(sorted(known))}.",
        )
    return list(asked)


def is_adapted(model: Any) -> bool:
    """Whether only LoRA's updates change."""
    return hasattr(model, "peft_config")


def save(model: Any, folder: Path, state_dict: Any = None) -> None:
    """What training changes: the updates, or every weight."""
    if not is_adapted(model):
        model.save_pretrained(folder, state_dict=state_dict)
        return
    model.save_pretrained(folder, state_dict=state_dict, save_embedding_layers=False)
    (folder / "README.md").unlink(missing_ok=True)  # peft's own card, which knows nothing


def save_adapter(model: Any, folder: Path, base_name: str) -> None:
    """The updates for others to load: they name the base as the world knows it, by no path."""
    for config in model.peft_config.values():
        config.base_model_name_or_path = base_name
    save(model, folder)


def merge(model: Any, adapter: Path, whole_base: Callable[[], Any], training: Training) -> Any:
    """A plain model with the updates in its weights. Those of QLoRA go into the base as it was
    before it was cut to 4 bits, which `whole_base` loads again."""
    if not is_adapted(model):
        return model
    if training.tune == "qlora":
        from peft import PeftModel

        model = PeftModel.from_pretrained(whole_base(), adapter)
    return model.merge_and_unload()


def demand_numbers(model: Any, step: int) -> None:
    """Raises BadInput where a weight is no number: before it could replace the last good ones."""
    for name, weight in model.named_parameters():
        if weight.requires_grad and not bool(torch.isfinite(weight).all()):
            raise BadInput(
                f"after step {step} the weight {name} is not a number any more",
                fix="Lower [training].learning_rate and train under another name; the last good"
                " checkpoint is kept.",
            )
