"""Training steps beside TRL's own script: the same rows, model, batch and steps.

    python benchmarks/steps.py                 # a minute or two on two cores

TRL's side is what `trl sft` runs: SFTTrainer on prompt-completion rows with its defaults, on the
CPU in fp32. Ours is train.run.train. Both pass once over every row in batches of 8; the first two
steps warm up and do not count. Sides run in turns, each in a process of its own; the least CPU
time of the rounds counts. The student is Llama with SmolLM2's width and vocabulary, 4 layers deep.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

ROWS, BATCH, WARM = 80, 8, 2
SIDES = ("TRL sft", "ours sft", "ours top_k")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--side", choices=SIDES)
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    if options.side:
        print(json.dumps(measure(options.side, options.folder)))
        return
    with TemporaryDirectory() as folder:
        prepare(Path(folder))
        found = [(side, run(side, Path(folder))) for _ in range(options.rounds) for side in SIDES]
    show({side: min(s for name, s in found if name == side) for side in SIDES})


def show(seconds: dict[str, float]) -> None:
    print("| side | CPU s a step | throughput, times TRL's |")
    print("|---|--:|--:|")
    for side, each in seconds.items():
        print(f"| {side} | {each:.2f} | {seconds[SIDES[0]] / each:.2f} |")


def run(side: str, folder: Path) -> float:
    command = [sys.executable, __file__, "--side", side, "--folder", str(folder)]
    environment = os.environ | {"GOMP_SPINCOUNT": "0", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return float(json.loads(done.stdout.splitlines()[-1]))


def prepare(folder: Path) -> None:
    """A base directory and a frozen dataset that both sides read."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from tests.train.parts import TeacherRow, build_tokenizer, write_dataset

    tokenizer = build_tokenizer()
    tokenizer.save_pretrained(folder / "base")
    torch.manual_seed(0)
    shape = {"hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 4}
    heads = {"num_attention_heads": 9, "num_key_value_heads": 3, "tie_word_embeddings": True}
    marks = {"bos_token_id": None, "eos_token_id": 1, "pad_token_id": 2}
    config = LlamaConfig(vocab_size=49_152, **shape, **heads, **marks)
    LlamaForCausalLM(config).save_pretrained(folder / "base")
    rows = [long_row(TeacherRow(n, tokenizer).columns(), n) for n in range(ROWS)]
    write_dataset(folder / "data", {"train": rows, "validation": rows[:1], "test": rows[:1]})


def long_row(row: dict[str, Any], n: int) -> dict[str, Any]:
    """An answer of several sentences: its tokens and evidence repeated, which the loss allows."""
    times = 4 + n % 5
    columns = ("token_ids", "token_bytes", "token_logprobs", "top_ids", "top_bytes", "top_logprobs")
    for name in columns:
        row[name] = row[name][:-1] * times + row[name][-1:]
    row["completion"] = [{"role": "assistant", "content": row["completion"][0]["content"] * times}]
    return row


def measure(side: str, folder: Path) -> float:
    """CPU seconds a step after the first two."""
    moments: list[float] = []
    if side == SIDES[0]:
        teach_by_trl(folder, moments)
    else:
        teach_by_ours(side.split()[1], folder, moments)
    return (moments[-1] - moments[WARM - 1]) / (len(moments) - WARM)


def teach_by_trl(folder: Path, moments: list[float]) -> None:
    import pyarrow.parquet as parquet
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
    from trl import SFTConfig, SFTTrainer

    class Clock(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, *_: Any, **__: Any) -> None:
            moments.append(time.process_time())

    columns = ["prompt", "completion"]
    rows = parquet.read_table(folder / "data" / "train.parquet", columns=columns).to_pylist()
    base = str(folder / "base")
    settings = SFTConfig(
        output_dir=str(folder / "trl"),
        per_device_train_batch_size=BATCH,
        num_train_epochs=1,
        use_cpu=True,
        bf16=False,
        activation_checkpointing=False,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )
    SFTTrainer(
        model=AutoModelForCausalLM.from_pretrained(base),
        args=settings,
        train_dataset=Dataset.from_list(rows),
        processing_class=AutoTokenizer.from_pretrained(base),
        callbacks=[Clock()],
    ).train()


def teach_by_ours(objective: str, folder: Path, moments: list[float]) -> None:
    from policy.permit import Action
    from tests.train.parts import permit
    from train.config import Student, Training
    from train.run import train

    training = Training(
        objective={objective: 1.0},
        epochs=1,
        batch_size=BATCH,
        save_steps=1000,
        validation_rows=0,
        max_length=1024,
    )
    train(
        folder / "data",
        Student(base=str(folder / "base")),
        training,
        permit(Action.TRAIN),
        folder / f"{objective}-{time.monotonic_ns()}",
        cache_dir=folder / "cache",
        on_step=lambda _: moments.append(time.process_time()),
    )


if __name__ == "__main__":
    main()
