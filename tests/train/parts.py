"""Real parts, small: a byte-level tokenizer, a two-layer Llama, a dataset with stored logprobs."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as parquet
import torch

from policy.decide import Code, Decision, Reason
from policy.manifest import describe_files, write_manifest
from policy.permit import Action, Permit, require
from policy.terms import Level
from policy.use import Distribution, Purpose
from train.config import Student, Training
from train.metrics import Step
from train.run import Run, train

INTENTS = ["card_arrival", "lost_card", "exchange_rate"]
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def message(n: int) -> str:
    """The nth made-up customer message; its intent is INTENTS[n % 3]."""
    words = ["where is my card", "i lost my card", "what is the rate for euro"][n % 3]
    return f"hello, {words} please ({n})"


def answer(n: int) -> str:
    return json.dumps({"intent": INTENTS[n % 3]})


def byte_level_bpe(texts: Sequence[str], size: int, special: list[str]) -> Any:
    """A byte-level BPE, trained on the spot."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def build_tokenizer() -> Any:
    from transformers import PreTrainedTokenizerFast

    texts = [message(n) + answer(n) for n in range(60)]
    tokenizer = byte_level_bpe(texts, 400, ["<|im_start|>", "<|im_end|>", "<|pad|>"])
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|pad|>",
        additional_special_tokens=["<|im_start|>"],
    )
    fast.chat_template = TEMPLATE
    return fast


def build_model(vocabulary: int, layers: int = 2) -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=vocabulary,
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=layers,
            num_attention_heads=4,
            num_key_value_heads=2,
            head_dim=16,
            tie_word_embeddings=True,
            bos_token_id=None,
            eos_token_id=1,
            pad_token_id=2,
            max_position_embeddings=256,
        )
    )


@dataclass
class TeacherRow:
    """One row in the contract's columns; the logprobs are those of a made-up sure teacher."""

    n: int
    tokenizer: Any
    changes: dict[str, Any] = field(default_factory=dict)

    def columns(self) -> dict[str, Any]:
        content = answer(self.n)
        ids = self.tokenizer(content, add_special_tokens=False)["input_ids"]
        pieces = [self.tokenizer.decode([i]).encode() for i in ids]
        others = [b" card", b"e", b"not one token of the student"]
        return {
            "id": f"p{self.n}",
            "sample": 0,
            "prompt": [{"role": "user", "content": message(self.n)}],
            "completion": [{"role": "assistant", "content": content}],
            "answered": True,
            "expected": json.dumps({"intent": INTENTS[self.n % 3]}),
            "key": f"k{self.n}",
            "offering": "smollm2@self-host",
            "served_model": "tiny",
            "terms_pin": "sha256:0",
            "decision": "sha256:0",
            "leaf": self.n,
            "prompt_tokens": 300,
            "completion_tokens": len(ids) + 1,
            "token_ids": [*ids, 1],
            "token_bytes": [*pieces, b""],
            "token_logprobs": [math.log(0.7)] * (len(ids) + 1),
            "top_ids": [[i, 5, 6, 7] for i in [*ids, 1]],
            "top_bytes": [[piece, *others] for piece in [*pieces, b""]],
            "top_logprobs": [[math.log(p) for p in (0.7, 0.1, 0.05, 0.05)]] * (len(ids) + 1),
            "signal": True,
            **self.changes,
        }


LISTED = {
    "token_bytes": pa.list_(pa.binary()),
    "top_bytes": pa.list_(pa.list_(pa.binary())),
    "token_logprobs": pa.list_(pa.float32()),
    "top_logprobs": pa.list_(pa.list_(pa.float32())),
    "token_ids": pa.list_(pa.int32()),
    "top_ids": pa.list_(pa.list_(pa.int32())),
}


def write_dataset(path: Path, splits: dict[str, list[dict[str, Any]]]) -> Path:
    """A frozen dataset directory as the contract has it."""
    path.mkdir(parents=True)
    for split, rows in splits.items():
        table = pa.Table.from_pylist(rows)
        for name, kind in LISTED.items():
            place = table.schema.get_field_index(name)
            table = table.set_column(place, pa.field(name, kind), table[name].cast(kind))
        parquet.write_table(table, path / f"{split}.parquet")
    (path / "README.md").write_text("# made for a test\n")
    teacher = {
        "offering": "smollm2@self-host",
        "model": "tiny",
        "terms_pin": "sha256:0",
        "rows": len(splits["train"]),
    }
    write_manifest(
        path,
        {
            "schema": 1,
            "kind": "dataset",
            "name": path.name,
            "teachers": [teacher],
            "obligations": ["keep_the_notice"],
            "sampling": {"temperature": 1.0},
            "signal": {"k": 4, "position": "before_grammar"},
            "files": describe_files(path),
        },
    )
    return path


class StopError(Exception):
    """Thrown out of a run, as a kill would end it."""


def go(
    dataset: Path, student: Student, training: Training, permit: Permit, out: Path, at: int = 0
) -> Run:
    """train(), stopped after step `at`."""

    def stop(step: Step) -> None:
        if step.step == at:
            raise StopError

    cache = out.parent / "cache"
    return train(dataset, student, training, permit, out, cache_dir=cache, on_step=stop)


def permit(action: Action) -> Permit:
    """A decision that allows, as a register entry for a self-hosted Apache-2.0 teacher gives."""
    reason = Reason(
        offering="smollm2@self-host",
        code=Code.CLAUSE,
        level=Level.ALLOW,
        text="Any use",
        clause="2",
        document="Apache-2.0",
        document_date="2004-01",
    )
    return require(
        Decision(
            offering="smollm2@self-host",
            level=Level.ALLOW,
            reasons=(reason,),
            obligations=("keep_the_notice",),
            student_families=None,
            terms_pin="sha256:0",
            purpose=Purpose.TRAIN_COMPETING_GENERAL,
            distribution=Distribution.WEIGHTS_PUBLIC,
            date="2026-11-24",
            fix="",
        ),
        action,
    )
