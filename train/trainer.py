"""The one adapter to TRL: SFTTrainer with our objectives in place of its loss.

TRL keeps the loop, the schedule, accumulation and (later) many GPUs. Nothing here comes from
trl.experimental, no telemetry is sent, and tests/train/test_trainer.py is the contract at the
pinned version.

The vocabulary is never whole in memory: train.scoring asks the student for the scores of the
stored candidates alone, where a completion token is predicted; prompts cost no logits.

    trainer = StudentTrainer.of(model, reader, examples, training, plan, watch)
    trainer.teach(newest(folder))
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from torch import Tensor
from torch.utils.data import Sampler
from transformers import TrainerCallback
from trl import SFTConfig, SFTTrainer

from train import processes
from train.config import Training
from train.data import Example, Reader
from train.devices import Hardware
from train.metrics import Metrics
from train.objectives import Loss, Positions, Settings, mix, support
from train.scoring import add_scoring, ask
from train.teaching import Teaching

IGNORED = -100
COLUMNS = ["input_ids", "labels", "top_ids", "top_logprobs", "chunk_ids", "chunk_logprobs"]
GROUP = 8  # batches sorted by length together: enough to lose most padding, few enough to mix


@dataclass(frozen=True)
class Plan:
    """How long, where to and on what."""

    steps: int
    folder: Path
    hardware: Hardware


class Order(Sampler[int]):
    """Which rows make up which step: a pure function of the seed, so a resumed run repeats it."""

    def __init__(self, lengths: Sequence[int], steps: int, rows_a_step: int, seed: int) -> None:
        super().__init__()
        self.rows: list[int] = []
        epoch = 0
        while len(self.rows) < steps * rows_a_step:
            chance = random.Random(f"{seed}/{epoch}")  # noqa: S311
            self.rows += _epoch(lengths, rows_a_step, chance)
            epoch += 1
        del self.rows[steps * rows_a_step :]

    def __iter__(self) -> Iterator[int]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)


def order_of(examples: Sequence[Example], training: Training, steps: int) -> Order:
    """The order in which a run takes its examples."""
    lengths = [len(example.input_ids) for example in examples]
    return Order(lengths, steps, training.batch_size * training.accumulate, training.seed)


def _epoch(lengths: Sequence[int], batch: int, chance: random.Random) -> list[int]:
    rows = list(range(len(lengths)))
    chance.shuffle(rows)
    groups = [
        sorted(rows[n : n + batch * GROUP], key=lambda row: lengths[row])
        for n in range(0, len(rows), batch * GROUP)
    ]
    batches = [group[n : n + batch] for group in groups for n in range(0, len(group), batch)]
    chance.shuffle(batches)
    return [row for batch_rows in batches for row in batch_rows]


def features(example: Example) -> dict[str, Any]:
    """The columns of one example, as the collator takes them."""
    return {
        "input_ids": example.input_ids,
        "labels": [IGNORED] * example.prompt_length + example.completion,
        "top_ids": [list(found) for found in example.candidates],
        "top_logprobs": [list(found.values()) for found in example.candidates],
        "chunk_ids": _chunk_ids(example),
        "chunk_logprobs": [logprob for _, _, logprob in example.chunks],
    }


def _chunk_ids(example: Example) -> list[int]:
    """The chunk of each completion token, -1 where it is in none."""
    found = [-1] * len(example.completion)
    for number, (start, end, _) in enumerate(example.chunks):
        found[start:end] = [number] * (end - start)
    return found


class Collate:
    """Left-padded batch; evidence is one row a completion token, in reading order. Packed, the rows
    lie end to end instead, and positions that start again at 0 keep each row to itself."""

    def __init__(self, pad_id: int, *, packing: bool = False) -> None:
        self.pad_id, self.packing = pad_id, packing

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
        ids = [found for row in rows for found in row["top_ids"]]
        logprobs = [found for row in rows for found in row["top_logprobs"]]
        return {
            **(_packed(rows) if self.packing else _padded(rows, self.pad_id)),
            "top_ids": _table(ids, -1, torch.long),
            "top_logprobs": _table(logprobs, -torch.inf, torch.float32),
            **_chunks(rows),
        }


def _padded(rows: Sequence[Mapping[str, Any]], pad_id: int) -> dict[str, Tensor]:
    width = max(len(row["input_ids"]) for row in rows)
    input_ids = torch.full((len(rows), width), pad_id)
    labels = torch.full((len(rows), width), IGNORED)
    mask = torch.zeros((len(rows), width), dtype=torch.long)
    for n, row in enumerate(rows):
        start = width - len(row["input_ids"])
        input_ids[n, start:] = torch.tensor(row["input_ids"])
        labels[n, start:] = torch.tensor(row["labels"])
        mask[n, start:] = 1
    return {"input_ids": input_ids, "labels": labels, "attention_mask": mask}


def _packed(rows: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
    """One sequence of whole rows. Without an attention mask transformers finds the rows by their
    positions (`masking_utils.find_packed_sequence_indices`) and no row sees another."""
    return {
        "input_ids": torch.tensor([[i for row in rows for i in row["input_ids"]]]),
        "labels": torch.tensor([[i for row in rows for i in row["labels"]]]),
        "position_ids": torch.tensor([[n for row in rows for n in range(len(row["input_ids"]))]]),
    }


def _chunks(rows: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
    """The rows' chunks one after the other, each token with the number of its own."""
    numbers: list[int] = []
    logprobs: list[float] = []
    for row in rows:
        numbers += [n if n < 0 else n + len(logprobs) for n in row["chunk_ids"]]
        logprobs += row["chunk_logprobs"]
    return {"chunk_ids": torch.tensor(numbers), "chunk_logprobs": torch.tensor(logprobs)}


def _table(rows: list[list[Any]], padding: float, dtype: torch.dtype) -> Tensor:
    width = max(1, *(len(row) for row in rows))
    return torch.tensor([row + [padding] * (width - len(row)) for row in rows], dtype=dtype)


def positions(model: Any, batch: Mapping[str, Tensor]) -> Positions:
    """One forward pass; scores only where a completion token is predicted."""
    labels, top_ids = batch["labels"][:, 1:], batch["top_ids"]
    trained = labels.ne(IGNORED)
    wanted = labels[trained]
    scores = ask(model, trained, support(wanted, top_ids), **_inputs(batch))
    return Positions(
        scores, wanted, top_ids, batch["top_logprobs"], batch["chunk_ids"], batch["chunk_logprobs"]
    )


def _inputs(batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What the model reads: all but the last token, which predicts nothing that is trained. Rows
    laid end to end come with their own positions, and without a mask, so that each sees itself."""
    input_ids = batch["input_ids"][:, :-1]
    if "position_ids" in batch:
        return {"input_ids": input_ids, "position_ids": batch["position_ids"][:, :-1]}
    mask = batch["attention_mask"][:, :-1]
    places = (mask.cumsum(-1) - 1).clamp(min=0)
    return {"input_ids": input_ids, "attention_mask": mask, "position_ids": places}


def _read(batch: Mapping[str, Tensor]) -> int:
    """Tokens of a batch, padding not among them."""
    return int(
        batch["attention_mask"].sum() if "attention_mask" in batch else batch["labels"].numel()
    )


class StudentTrainer(Teaching, SFTTrainer):  # type: ignore[misc]
    """SFTTrainer whose loss is train.objectives.mix, and whose checkpoints hold no pickle."""

    loss_is_scaled_for_ga = True  # compute_loss divides by the tokens of the whole batch
    objective: dict[str, float]
    settings: Settings

    @classmethod
    def of(
        cls,
        model: Any,
        reader: Reader,
        examples: Sequence[Example],
        training: Training,
        plan: Plan,
        watch: Watch,
    ) -> StudentTrainer:
        """A trainer over pre-tokenised examples."""
        trainer = cls(
            model=model,
            args=_arguments(training, plan),
            data_collator=Collate(reader.tokenizer.pad_token_id, packing=training.packing),
            processing_class=reader.tokenizer,
            train_dataset=Dataset.from_list([features(e) for e in examples]),
            callbacks=[watch],
        )
        trainer.begin(watch, order_of(examples, training, plan.steps))
        add_scoring(trainer.accelerator.unwrap_model(trainer.model))
        trainer.objective = {str(name): weight for name, weight in training.objective.items()}
        trainer.settings = settings_of(training)
        trainer.model_accepts_loss_kwargs = True  # so that Trainer counts num_items_in_batch
        return trainer

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Tensor:
        """The mixed objective a trained token, over the tokens of every accumulated batch."""
        found = positions(model, inputs)
        loss = mix(found, self.objective, self.settings)
        tokens = len(found.labels)
        self.add(trained=tokens, tokens=_read(inputs), **as_sums(loss))
        whole = tokens if num_items_in_batch is None else num_items_in_batch
        shared: Tensor = loss.value / whole * self.accelerator.num_processes  # DDP averages
        return shared

    @torch.no_grad()
    def validate(self, examples: Sequence[Example]) -> dict[str, float]:
        """Mean losses a token on examples that are not trained on."""
        self.model.eval()
        sums = Counter[str]()
        ordered = sorted(examples, key=lambda e: len(e.input_ids))
        batch_size = int(self.args.per_device_train_batch_size)
        for n in range(0, len(ordered), batch_size):
            batch = self.data_collator([features(e) for e in ordered[n : n + batch_size]])
            found = positions(self.model, self._prepare_inputs(batch))
            sums.update(
                trained_tokens=len(found.labels),
                **as_sums(mix(found, self.objective, self.settings)),
            )
        self.model.train()
        return means(sums)

    def _set_signature_columns_if_needed(self) -> None:
        self._signature_columns = COLUMNS  # Trainer drops every column that is not named here


class Watch(TrainerCallback):  # type: ignore[misc]
    """Hands each step's figures to Metrics, and scores the validation rows when it is time."""

    def __init__(self, metrics: Metrics, validation: Sequence[Example], training: Training) -> None:
        self.metrics, self.validation, self.every = metrics, validation, training.validation_steps
        self.trainer: Any = None  # set by whoever trains: a Sealed that can take_sums and validate

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if self.trainer is None:
            return
        sums = processes.total(self.trainer.take_sums())
        self.metrics.step(state.global_step, means(sums), int(sums["tokens"]), self.trainer.rate)
        due = self.every and state.global_step % self.every == 0
        if self.validation and (due or state.global_step == self.metrics.total):
            found = self.trainer.validate(self.validation)
            self.metrics.validation(state.global_step, found)


def settings_of(training: Training) -> Settings:
    """What the objectives are set to."""
    return Settings(training.tail_weight, training.jsd_beta, training.skew)


def as_sums(loss: Loss) -> dict[str, Any]:
    """A loss and its metrics as numbers, to be added up over batches."""
    return {"loss": float(loss.value.detach()), **{k: float(v) for k, v in loss.metrics.items()}}


def means(sums: Mapping[str, float]) -> dict[str, float]:
    """Sums to means: a token, a token that has the evidence, or a chunk."""
    tokens = max(sums.get("trained_tokens", 0.0), 1.0)
    found = {"loss": sums.get("loss", 0.0) / tokens}
    for key in (key for key in sums if key.endswith("_loss")):
        name = key.removesuffix("_loss")
        count = sums.get(f"{name}_tokens", sums.get(f"{name}_chunks", tokens))
        if count:
            found[key] = sums[key] / count
    return found


def _arguments(training: Training, plan: Plan) -> SFTConfig:
    """TRL's settings; ours say which rows and what loss, so its truncation and packing are off."""
    return SFTConfig(
        max_length=None,
        packing=False,
        **common_arguments(training, plan),
    )


def common_arguments(training: Training, plan: Plan) -> dict[str, Any]:
    """What every trainer of TRL is told alike."""
    share = processes.share(training.batch_size, training.accumulate, processes.world())
    return {
        "output_dir": str(plan.folder),
        "max_steps": plan.steps,
        "seed": training.seed,
        "per_device_train_batch_size": share.batch_size,
        "gradient_accumulation_steps": share.accumulate,
        "activation_checkpointing": training.gradient_checkpointing,
        "activation_checkpointing_kwargs": {"use_reentrant": False},
        "learning_rate": training.learning_rate,
        "lr_scheduler_type": "linear",
        "warmup_steps": round(training.warmup * plan.steps),
        "weight_decay": training.weight_decay,
        "max_grad_norm": training.clip,
        "optim": "adamw_torch_fused",
        "use_cpu": not plan.hardware.cuda,
        "bf16": plan.hardware.bf16,
        "dataloader_pin_memory": False,
        "save_strategy": "steps",
        "save_steps": training.save_steps,
        "save_total_limit": None,
        "logging_strategy": "no",
        "eval_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
    }
