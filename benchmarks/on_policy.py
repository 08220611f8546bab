"""Does a local open teacher help where the student itself goes? SmolLM2-135M to half of it.

    python benchmarks/on_policy.py --folder /tmp/on-policy     # about ten minutes on two cores

First the off-policy start: sft on what the teacher wrote. Then `on_policy` through our own
`train`, and beside it as many further steps of sft at the same rate and batch. What counts is the
reverse KL to the teacher, KL(student to teacher), a token, on what each student samples at T = 1
for prompts that no run saw. A run that is done is not done again.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from policy.permit import Action
from tests.train.parts import permit, write_dataset
from train.bootstrap import Sums, interval
from train.config import Student, Training
from train.data import Reader
from train.on_policy import reverse_kl
from train.run import train
from train.students import find_base, load

PROMPTS = Path(__file__).parents[1] / "configs" / "data" / "bank-support.jsonl"
OFFERING = "smollm2@self-host"  # the name of the made permit
HELD_OUT, LAYERS = 24, 15


def main() -> None:
    options = read_options()
    torch.set_num_threads(options.threads)
    base = find_base("smollm2", options.folder / "cache")
    teacher, tokenizer = load(base)
    reader = Reader(tokenizer)
    prompts = read_prompts(options.rows + HELD_OUT)
    folder = make_dataset(options, teacher.eval(), reader, prompts[HELD_OUT:])
    start = run(options, folder, "sft", "smollm2", LAYERS, options.start)
    more = run(options, folder, "sft-more", str(start), 0, options.steps)
    rolled = run(options, folder, "on-policy", str(start), 0, options.steps)
    for name, student in (("sft", start), ("sft, then sft", more), ("sft, then on_policy", rolled)):
        judge(name, student, teacher, reader, prompts[:HELD_OUT], options.length)


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--folder", type=Path, required=True, help="weights, rows and runs")
    parser.add_argument("--rows", type=int, default=96, help="prompts to train on")
    parser.add_argument("--start", type=int, default=36, help="steps of the off-policy start")
    parser.add_argument("--steps", type=int, default=24, help="steps after it")
    parser.add_argument("--length", type=int, default=16, help="tokens an answer")
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args()


def read_prompts(count: int) -> list[str]:
    lines = PROMPTS.read_text(encoding="utf-8").splitlines()[:count]
    return [str(json.loads(line)["message"]) for line in lines]


def make_dataset(
    options: argparse.Namespace, teacher: Any, reader: Reader, prompts: Sequence[str]
) -> Path:
    """The teacher's own answers, sampled at T = 1."""
    folder: Path = options.folder / "rows"
    if not folder.exists():
        answers = sample(teacher, reader, prompts, options.length)
        rows = [row(n, prompt, words, reader) for n, (prompt, words) in enumerate(
            zip(prompts, answers, strict=True))]  # fmt: skip
        write_dataset(folder, {"train": rows, "validation": rows[:1], "test": rows[:1]})
    return folder


def row(n: int, prompt: str, answer: list[int], reader: Reader) -> dict[str, Any]:
    text = reader.tokenizer.decode(answer, skip_special_tokens=True)
    lists = ("token_ids", "token_bytes", "token_logprobs", "top_ids", "top_bytes", "top_logprobs")
    return {
        "id": f"p{n}",
        "sample": 0,
        "prompt": [{"role": "user", "content": prompt}],
        "completion": [{"role": "assistant", "content": text}],
        "answered": True,
        "expected": "",
        "prompt_tokens": 0,
        "completion_tokens": len(answer),
        "signal": False,
        **{name: [] for name in lists},
    }


def run(
    options: argparse.Namespace, dataset: Path, name: str, base: str, layers: int, steps: int
) -> Path:
    on_policy = name == "on-policy"
    training = Training(
        objective={"on_policy": 1.0} if on_policy else {"sft": 1.0},
        teacher="smollm2" if on_policy else "",
        teacher_offering=OFFERING if on_policy else "",
        max_completion=options.length,
        max_steps=steps,
        batch_size=8,
        learning_rate=4e-4 if layers else 1e-4,
        freeze_embeddings=True,
        validation_rows=0,
        threads=options.threads,
    )
    began = time.monotonic()
    found = train(
        *(dataset, Student(base=base, layers=layers), training, permit(Action.TRAIN)),
        options.folder / name,
        cache_dir=options.folder / "cache",
    )
    print(f"{name}: {steps} steps, {time.monotonic() - began:.0f} s", flush=True)
    return found.student


@torch.no_grad()
def sample(model: Any, reader: Reader, prompts: Sequence[str], length: int) -> list[list[int]]:
    """What a model writes at T = 1, up to and with its end of turn; the same on every call."""
    torch.manual_seed(0)
    pad, end = reader.tokenizer.pad_token_id, reader.end_of_turn
    ids = prompt_ids(reader, prompts)
    width = max(map(len, ids))
    whole = model.generate(
        input_ids=torch.tensor([[pad] * (width - len(one)) + one for one in ids]),
        attention_mask=torch.tensor([[0] * (width - len(one)) + [1] * len(one) for one in ids]),
        max_new_tokens=length, do_sample=True, temperature=1.0, top_p=1.0, top_k=0,
        eos_token_id=[end], pad_token_id=pad,
    )  # fmt: skip
    return [_until(answer, end) for answer in whole[:, width:].tolist()]


def _until(answer: list[int], end: int) -> list[int]:
    return answer[: answer.index(end) + 1] if end in answer else answer


def prompt_ids(reader: Reader, prompts: Sequence[str]) -> list[list[int]]:
    return reader.ids([reader.prompt_text([{"role": "user", "content": p}]) for p in prompts])


def judge(
    name: str, student: Path, teacher: Any, reader: Reader, prompts: Sequence[str], length: int
) -> None:
    model = load(find_base(str(student), student))[0].eval()
    answers = sample(model, reader, prompts, length)
    ids = prompt_ids(reader, prompts)
    sums = [
        reverse_kl(model, teacher, [prompt], [answer]) * len(answer)
        for prompt, answer in zip(ids, answers, strict=True)
    ]
    found = interval(Sums(sums, [len(answer) for answer in answers]), resamples=10_000, seed=0)
    print(f"{name}: reverse KL {found['value']:.3f} [{found['low']:.3f}, {found['high']:.3f}]"
          f" a token, {len(prompts)} held-out prompts", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
