"""`on_policy`: the student writes, a local teacher scores; a hosted one cannot, and is refused."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from policy.errors import BadInput, PolicyDenied
from policy.permit import Permit
from tests.train.parts import StopError, TeacherRow, build_model, go, message, write_dataset
from tests.train.test_chunks import other_tokenizer
from train.config import Student, Training
from train.data import Reader
from train.generate import greedy
from train.on_policy import demand_one_vocabulary, find_teacher, load_teacher, reverse_kl
from train.students import find_base

OFFERING = "smollm2@self-host"


def settings(scorer: str, **changes: Any) -> Training:
    given: dict[str, Any] = {
        "objective": {"on_policy": 1.0},
        "teacher": scorer,
        "teacher_offering": OFFERING,
        "max_steps": 10,
        "batch_size": 8,
        "learning_rate": 3e-3,
        "max_completion": 8,
        "save_steps": 2,
        "threads": 1,
    }
    return Training(**{**given, **changes})


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory, tokenizer: Any) -> str:
    """Random weights, made sharp: a teacher with opinions."""
    path = tmp_path_factory.mktemp("teacher")
    model = build_model(len(tokenizer))
    with torch.no_grad():
        model.model.norm.weight.mul_(6.0)
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)
    return str(path)


def test_a_hosted_teacher_is_refused_with_the_reason(may_train: Permit, tmp_path: Path) -> None:
    for name in ("gpt-4.1", "https://api.openai.com/v1"):
        with pytest.raises(BadInput, match="no hosted chat API scores text"):
            find_teacher(settings(name), tmp_path, may_train)


def test_weights_that_no_decision_covers_do_not_teach(
    teacher: str, may_train: Permit, tmp_path: Path
) -> None:
    with pytest.raises(PolicyDenied, match="not about gemma@weights"):
        find_teacher(settings(teacher, teacher_offering="gemma@weights"), tmp_path, may_train)


def test_another_tokenizer_is_refused_with_the_reason(tmp_path: Path, tokenizer: Any) -> None:
    build_model(len(other_tokenizer())).save_pretrained(tmp_path)
    other_tokenizer().save_pretrained(tmp_path)
    base = find_base(str(tmp_path), tmp_path)
    with pytest.raises(BadInput, match="another tokenizer than the student"):
        demand_one_vocabulary(base, tokenizer, len(tokenizer))


def test_padding_beyond_the_vocabulary_is_no_difference(tmp_path: Path, tokenizer: Any) -> None:
    build_model(len(tokenizer) + 24).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    base = find_base(str(tmp_path), tmp_path)
    demand_one_vocabulary(base, tokenizer, len(tokenizer))
    model = load_teacher(base, len(tokenizer))
    assert model.config.vocab_size == len(tokenizer)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"objective": {"on_policy": 1.0, "sft": 1.0}}, "on_policy is trained alone"),
        ({"teacher": ""}, "on_policy needs teacher"),
        ({"teacher_offering": ""}, "on_policy needs teacher"),
        ({"packing": True}, "on_policy has none"),
    ],
)
def test_what_makes_no_sense_is_refused_at_the_door(changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        settings("smollm2", **changes)


@pytest.fixture(scope="module")
def prompts(tmp_path_factory: pytest.TempPathFactory, tokenizer: Any) -> Path:
    """A dataset without one stored probability: on_policy asks for none."""
    rows = [TeacherRow(n, tokenizer, {"signal": False}).columns() for n in range(34)]
    splits = {"train": rows[:30], "validation": rows[30:], "test": rows[:1]}
    return write_dataset(tmp_path_factory.mktemp("datasets") / "prompts", splits)


def distance(
    folder: Path, teacher: str, tokenizer: Any, asked: Iterable[int] = range(60, 72)
) -> float:
    """Reverse KL on the student's own answers to prompts, by default of no split."""
    student, scorer = (AutoModelForCausalLM.from_pretrained(p).eval() for p in (folder, teacher))
    reader = Reader(tokenizer)
    prompts = reader.ids(
        [reader.prompt_text([{"role": "user", "content": message(n)}]) for n in asked]
    )
    answers = [greedy(student, reader, [prompt], 8)[0] for prompt in prompts]
    return reverse_kl(student, scorer, prompts, answers)


def test_the_students_reverse_kl_falls_on_held_out_prompts(
    prompts: Path,
    student: Student,
    teacher: str,
    may_train: Permit,
    tmp_path: Path,
    tokenizer: Any,
) -> None:
    run = go(
        prompts,
        student,
        settings(teacher, max_steps=40, learning_rate=1e-2, validation_steps=10),
        may_train,
        tmp_path / "run",
    )
    before = distance(Path(student.base), teacher, tokenizer)
    after = distance(run.student, teacher, tokenizer)
    assert after < before / 2
    rows = [json.loads(line) for line in (run.path / "metrics.jsonl").open()]
    losses, held_out = (
        [row[name] for row in rows if name in row] for name in ("loss", "validation_loss")
    )
    assert losses[-1] < losses[0]
    assert len(held_out) == 4
    assert held_out[-1] < held_out[0]
    scored = distance(run.student, teacher, tokenizer, range(30, 34))
    assert held_out[-1] == pytest.approx(scored, rel=1e-3)
    assert run.manifest["inputs"]["teacher"] == find_base(teacher, tmp_path).digest


def test_stopped_and_called_again_it_ends_with_the_same_bits_however_often_validated(
    dataset_dir: Path, student: Student, teacher: str, may_train: Permit, tmp_path: Path
) -> None:
    training = settings(teacher, max_steps=5, batch_size=4, accumulate=2)
    whole = go(dataset_dir, student, training, may_train, tmp_path / "whole")
    with pytest.raises(StopError):
        go(dataset_dir, student, training, may_train, tmp_path / "cut", at=3)
    often = training.model_copy(update={"validation_steps": 1})
    again = go(dataset_dir, student, often, may_train, tmp_path / "cut")
    one, two = (load_file(run.student / "model.safetensors") for run in (whole, again))
    assert all(torch.equal(one[name], two[name]) for name in one)
