"""TRL's two other stable trainers behind our checkpoints: DPOTrainer and DistillationTrainer.

With train/trainer.py the only place that knows TRL; tests/train/test_preferences.py and
test_on_policy.py are the contract at the pinned version. Tokens and masks are ours, as everywhere:
TRL tokenises nothing.

    trainer = PreferenceTrainer.of(model, reader, pairs, training, plan, watch)
    trainer.teach(newest(folder))
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from datasets import Dataset
from torch import Tensor
from trl import (
    DistillationConfig,
    DistillationTrainer,
    DPOConfig,
    DPOTrainer,
    create_reference_model,
)

from train import tuning
from train.config import Training
from train.data import Example, Reader
from train.generate import greedy
from train.on_policy import reverse_kl
from train.teaching import Teaching
from train.trainer import Order, Plan, Watch, common_arguments, order_of


class PreferenceTrainer(Teaching, DPOTrainer):  # type: ignore[misc]
    """Rafailov et al., 2023, "Direct Preference Optimization", arXiv:2305.18290."""

    @classmethod
    def of(
        cls,
        model: Any,
        reader: Reader,
        examples: Sequence[Example],
        training: Training,
        plan: Plan,
        watch: Watch,
    ) -> PreferenceTrainer:
        """A trainer over pairs; the reference is the base as it is before the first step."""
        trainer = cls(
            model=model,
            # LoRA needs no copy: the reference is the same weights without the updates
            ref_model=None if tuning.is_adapted(model) else create_reference_model(model),
            args=DPOConfig(
                beta=training.dpo_beta,
                max_length=None,
                **common_arguments(training, plan),
            ),
            processing_class=reader.tokenizer,
            train_dataset=Dataset.from_list([_pair(example) for example in examples]),
            callbacks=[watch],
        )
        trainer.begin(watch, order_of(examples, training, plan.steps))
        return trainer

    def _prepare_dataset(self, dataset: Any, *_: Any) -> Any:
        return dataset  # tokenised already, with the mask that every objective has

    def compute_loss(self, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Tensor:
        """TRL's loss, a mean over pairs, added up for the progress."""
        loss: Tensor = super().compute_loss(model, inputs, *args, **kwargs)
        pairs = len(inputs["input_ids"]) // 2
        self.add(float(loss.detach()) * pairs, pairs, int(inputs["attention_mask"].sum()))
        return loss

    @torch.no_grad()
    def validate(self, examples: Sequence[Example]) -> dict[str, float]:
        """The mean loss of pairs that are not trained on."""
        self.model.eval()
        total, size = 0.0, int(self.args.per_device_train_batch_size)
        for n in range(0, len(examples), size):
            pairs = [_pair(example) for example in examples[n : n + size]]
            batch = self._prepare_inputs(self.data_collator(pairs))
            total += float(super().compute_loss(self.model, batch)) * len(pairs)
        self._metrics["eval"].clear()  # TRL's own, which nobody logs
        self.model.train()
        return {"loss": total / len(examples)}


class OnPolicyTrainer(Teaching, DistillationTrainer):  # type: ignore[misc]
    """The student writes, the teacher scores: reverse KL on the student's own text.

    Agarwal et al., 2024, arXiv:2306.13649; Gu et al., 2024, "MiniLLM", arXiv:2306.08543.
    """

    reader: Reader

    @classmethod
    def of(
        cls,
        model: Any,
        reader: Reader,
        examples: Sequence[Example],
        training: Training,
        plan: Plan,
        watch: Watch,
        teacher: Any,
    ) -> OnPolicyTrainer:
        """A trainer over prompts; `teacher` is a model with the student's vocabulary."""
        trainer = cls(
            model=model,
            teacher_model=teacher,
            args=DistillationConfig(
                beta=1.0,
                temperature=training.kd_temperature,
                max_completion_length=training.max_completion,
                **common_arguments(training, plan),
            ),
            processing_class=reader.tokenizer,
            train_dataset=Dataset.from_list([_prompt(example) for example in examples]),
            callbacks=[watch],
        )
        order = order_of(examples, training, plan.steps)
        trainer.begin(watch, Repeated(order, training))
        trainer.reader = reader
        return trainer

    def _tokenize_prompts(self, prompts: list[Any]) -> tuple[list[list[int]], None, dict[str, Any]]:
        return [list(map(int, prompt.split())) for prompt in prompts], None, {}

    def _compute_loss(self, student: Any, inputs: Any, items: Any) -> Any:
        """TRL's loss of one pass: a share of the mean over the step's tokens."""
        loss, entropy, valid = super()._compute_loss(student, inputs, items)
        whole = valid if items is None else items
        read = int(inputs["prompt_mask"].sum() + inputs["completion_mask"].sum())
        self.add(float(loss.detach()) * float(whole), int(valid), read)
        return loss, entropy, valid

    @torch.no_grad()
    def validate(self, examples: Sequence[Example]) -> dict[str, float]:
        """The mean reverse KL a token of the likeliest answers to prompts that are not trained on:
        written greedily, so that no chance is drawn that training would have drawn."""
        self.model.eval()
        prompts = [example.input_ids[: example.prompt_length] for example in examples]
        size = int(self.args.per_device_train_batch_size)
        answers = [
            answer
            for n in range(0, len(prompts), size)
            for answer in greedy(
                self.model, self.reader, prompts[n : n + size], self.max_completion_length
            )
        ]
        found = reverse_kl(self.model, self.teacher_model, prompts, answers)
        self.model.train()
        return {"loss": found}


class Repeated(Order):
    """The rows of each step as often as it has forward passes: TRL writes all of a step's answers
    at its first pass and takes the others from memory."""

    def __init__(self, order: Order, training: Training) -> None:
        size = training.batch_size * training.accumulate
        steps = [order.rows[n : n + size] for n in range(0, len(order.rows), size)]
        self.rows = [row for step in steps for _ in range(training.accumulate) for row in step]

    def __iter__(self) -> Iterator[int]:
        return iter(self.rows)


def _pair(example: Example) -> dict[str, list[int]]:
    return {
        "prompt_ids": example.input_ids[: example.prompt_length],
        "chosen_ids": example.completion,
        "rejected_ids": example.rejected,
    }


def _prompt(example: Example) -> dict[str, str]:
    """As words, since TRL takes a prompt for text: it must not tokenise it in its own way."""
    return {"prompt": " ".join(map(str, example.input_ids[: example.prompt_length]))}
