"""`dpo` learns from an answer that was kept above one that was dropped, through TRL's trainer."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from policy.errors import BadInput
from policy.permit import Permit
from tests.train.parts import StopError, TeacherRow, go, write_dataset
from train.config import Lora, Student, Training
from train.data import Reader
from train.preferences import pairs
from train.run import train

WRONG = '{"intent": "no such thing"}'


def kept(n: int, tokenizer: Any) -> dict[str, Any]:
    return TeacherRow(n, tokenizer).columns()


def refused(n: int, tokenizer: Any, text: str = WRONG) -> dict[str, Any]:
    changes = {"completion": [{"role": "assistant", "content": text}], "sample": 1}
    return TeacherRow(n, tokenizer, changes).columns()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, tokenizer: Any) -> Path:
    splits = {
        "train": [kept(n, tokenizer) for n in range(12)],
        "validation": [kept(12, tokenizer)],
        "test": [kept(13, tokenizer)],
        "rejected": [refused(n, tokenizer) for n in (*range(8), 12)],
    }
    return write_dataset(tmp_path_factory.mktemp("datasets") / "pairs", splits)


def test_each_kept_answer_meets_a_dropped_one_of_its_prompt(tokenizer: Any) -> None:
    reader = Reader(tokenizer)
    good = [kept(n, tokenizer) for n in (0, 0, 1, 2)]
    bad = [refused(0, tokenizer), refused(2, tokenizer), refused(3, tokenizer)]
    found, counts = pairs(good, bad, reader, Training())
    assert [example.id for example in found] == ["p0", "p2"]
    assert (counts["pairs"], counts["unpaired"]) == (2, 1)  # p1 was asked for by nothing
    assert tokenizer.decode(found[0].rejected) == f"{WRONG}<|im_end|>"


def test_an_answer_is_not_preferred_to_itself(tokenizer: Any) -> None:
    same = kept(0, tokenizer)
    found, _ = pairs([same], [{**same, "sample": 1}], Reader(tokenizer), Training())
    assert found == []


def test_a_pair_of_which_one_is_too_long_is_none(tokenizer: Any) -> None:
    bad = refused(0, tokenizer, "word " * 300)
    assert pairs([kept(0, tokenizer)], [bad], Reader(tokenizer), Training(max_length=200))[0] == []


def test_it_stands_alone() -> None:
    with pytest.raises(ValueError, match="dpo is trained alone"):
        Training(objective={"dpo": 1.0, "sft": 0.5})


def settings(**changes: Any) -> Training:
    given = {"objective": {"dpo": 1.0}, "max_steps": 8, "batch_size": 4, "learning_rate": 3e-3}
    return Training(**{**given, "save_steps": 3, "threads": 1, **changes})


def test_a_dataset_without_dropped_answers_is_refused(
    dataset_dir: Path, student: Student, may_train: Permit, tmp_path: Path
) -> None:
    with pytest.raises(BadInput, match="holds no dropped answers"):
        train(
            *(dataset_dir, student, settings(), may_train, tmp_path / "run"),
            cache_dir=tmp_path / "cache",
        )


def margin(folder: Path, reader: Reader, rows: list[tuple[dict, dict]]) -> float:
    """Mean log-probability of the kept answer over the dropped one."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    found, _ = pairs([a for a, _ in rows], [b for _, b in rows], reader, Training())
    total = 0.0
    for example in found:
        prompt = example.input_ids[: example.prompt_length]
        for sign, answer in ((1, example.completion), (-1, example.rejected)):
            ids = torch.tensor([[*prompt, *answer]])
            with torch.no_grad():
                scores = model(ids).logits[0, len(prompt) - 1 : -1].log_softmax(-1)
            total += sign * float(scores.gather(-1, torch.tensor(answer)[:, None]).sum())
    return total / len(found)


def test_the_kept_answer_gains_on_the_dropped_one(
    folder: Path, student: Student, may_train: Permit, tmp_path: Path, tokenizer: Any
) -> None:
    run = go(folder, student, settings(), may_train, tmp_path / "run")
    rows = [json.loads(line) for line in (run.path / "metrics.jsonl").open()]
    losses = [row["loss"] for row in rows if "loss" in row]
    assert losses[0] == pytest.approx(math.log(2), abs=1e-5)  # the reference is the base itself
    assert losses[-1] < losses[0] / 2
    unseen = [(kept(n, tokenizer), refused(n, tokenizer)) for n in (20, 21, 22)]
    reader = Reader(tokenizer)
    assert margin(run.student, reader, unseen) > margin(Path(student.base), reader, unseen) + 1
    assert run.manifest["training"]["counts"]["pairs"] == 8
    assert run.manifest["obligations"] == ["keep_the_notice"]
    assert not list(run.path.rglob("*.bin"))


def test_the_loss_of_held_out_pairs_is_that_of_their_margin(
    folder: Path, student: Student, may_train: Permit, tmp_path: Path, tokenizer: Any
) -> None:
    run = go(folder, student, settings(validation_steps=4), may_train, tmp_path / "run")
    rows = [json.loads(line) for line in (run.path / "metrics.jsonl").open()]
    found = [row["validation_loss"] for row in rows if "validation_loss" in row]
    pair, reader = [(kept(12, tokenizer), refused(12, tokenizer))], Reader(tokenizer)
    gain = margin(run.student, reader, pair) - margin(Path(student.base), reader, pair)
    assert len(found) == 2
    assert found[-1] < found[0] < math.log(2)
    assert found[-1] == pytest.approx(math.log1p(math.exp(-0.1 * gain)), abs=1e-4)
    assert run.manifest["metrics"]["validation_loss"] == found[-1]


def test_without_a_dropped_answer_to_a_held_out_prompt_nothing_is_scored(
    student: Student, may_train: Permit, tmp_path: Path, tokenizer: Any
) -> None:
    splits = {
        **{name: [kept(n, tokenizer)] for n, name in enumerate(("train", "validation", "test"))},
        "rejected": [refused(0, tokenizer)],
    }
    folder = write_dataset(tmp_path / "one", splits)
    run = go(folder, student, settings(max_steps=1), may_train, tmp_path / "run")
    assert "validation_loss" not in run.manifest["metrics"]


@pytest.mark.parametrize("tune", ["full", "lora"])
def test_stopped_and_called_again_it_ends_with_the_same_bits_however_often_validated(
    folder: Path, student: Student, may_train: Permit, tmp_path: Path, tune: str
) -> None:
    more = {"tune": tune, "lora": Lora(rank=4, dropout=0.1), "max_steps": 5}
    whole = go(folder, student, settings(**more), may_train, tmp_path / "whole")
    with pytest.raises(StopError):
        go(folder, student, settings(**more), may_train, tmp_path / "cut", at=4)
    again = go(folder, student, settings(validation_steps=1, **more), may_train, tmp_path / "cut")
    one, two = (load_file(run.student / "model.safetensors") for run in (whole, again))
    assert all(torch.equal(one[name], two[name]) for name in one)
