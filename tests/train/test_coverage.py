"""What the probabilities reach is said first, and too little of it is refused."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from policy.errors import BadInput
from policy.permit import Permit
from tests.train.parts import TeacherRow, write_dataset
from train.align import EVERYTHING, Rules
from train.config import Student, Training
from train.coverage import coverage, demand, in_words
from train.data import Reader, encode
from train.run import train


def found(tokenizer: Any, *rows: dict[str, Any], rules: Rules = EVERYTHING) -> dict[str, Any]:
    made = [TeacherRow(n, tokenizer, changes).columns() for n, changes in enumerate(rows)]
    return coverage(encode(made, Reader(tokenizer), max_length=512, rules=rules)[0])


def test_every_token_is_in_one_share(tokenizer: Any) -> None:
    numbers = found(tokenizer, {}, {"signal": False})
    assert math.fsum(numbers["positions"].values()) == pytest.approx(1.0, abs=1e-5)
    assert set(numbers["positions"]) == {"top_k", "not_stored"}


def test_mass_is_that_of_candidates_with_a_token_of_the_student(tokenizer: Any) -> None:
    numbers = found(tokenizer, {})
    assert numbers["mass"]["mean"] == pytest.approx(0.85, abs=1e-4)  # 0.05 is no single token
    assert numbers["longest_list"] == 3
    assert in_words(numbers) == "top_k 100.0%; mass 85.0%"


def test_fewer_candidates_hold_less(tokenizer: Any) -> None:
    assert found(tokenizer, {}, rules=Rules(k=1))["mass"]["mean"] == pytest.approx(0.7, abs=1e-4)


def test_below_the_floor_top_k_is_refused_and_sft_is_not(tokenizer: Any) -> None:
    numbers = found(tokenizer, {})
    demand(numbers, Training(objective={"sft": 1.0}, coverage_floor=0.9))
    demand(numbers, Training(objective={"top_k": 1.0}, coverage_floor=0.85))
    with pytest.raises(BadInput, match=r"hold 85\.0% .* below the floor of 90\.0%"):
        demand(numbers, Training(objective={"top_k": 1.0}, coverage_floor=0.9))


@pytest.fixture
def folder(tmp_path: Path, tokenizer: Any) -> Path:
    rows = [TeacherRow(n, tokenizer).columns() for n in range(9)]
    splits = {"train": rows[:6], "validation": rows[6:7], "test": rows[7:]}
    return write_dataset(tmp_path / "few", splits)


def test_a_run_says_it_first_and_writes_it_into_the_receipt(
    folder: Path, student: Student, may_train: Permit, tmp_path: Path
) -> None:
    training = Training(objective={"top_k": 1.0}, max_steps=1, threads=1, k=2)
    said: list[str] = []
    run = train(
        *(folder, student, training, may_train, tmp_path / "run"),
        cache_dir=tmp_path / "cache",
        say=said.append,
        on_step=lambda step: said.append("step"),
    )
    assert said == ["evidence: top_k 100.0%; mass 80.0%", "step"]
    assert run.manifest["training"]["coverage"]["mass"]["mean"] == pytest.approx(0.8, abs=1e-4)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"k": 5}, "asks for 5 candidates and the dataset stores 4"),
        ({"coverage_floor": 0.95}, "below the floor of 95.0%"),
    ],
)
def test_too_little_is_refused_before_a_step(
    folder: Path,
    student: Student,
    may_train: Permit,
    tmp_path: Path,
    changes: dict[str, Any],
    message: str,
) -> None:
    training = Training(objective={"top_k": 1.0}, max_steps=1, threads=1, **changes)
    steps: list[Any] = []
    with pytest.raises(BadInput, match=message):
        train(
            *(folder, student, training, may_train, tmp_path / "run"),
            cache_dir=tmp_path / "cache",
            on_step=steps.append,
        )
    assert steps == []
