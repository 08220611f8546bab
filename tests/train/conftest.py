"""The parts as fixtures, each built once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from policy.permit import Action, Permit
from tests.train.parts import TeacherRow, build_model, build_tokenizer, permit, write_dataset
from train.config import Student, Training
from train.threads import threads


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """OpenMP's threads spin while they wait, which costs everybody on a busy machine."""
    with threads(1):
        yield


@pytest.fixture(scope="session")
def tokenizer() -> Any:
    return build_tokenizer()


@pytest.fixture(scope="session")
def base_dir(tmp_path_factory: pytest.TempPathFactory, tokenizer: Any) -> Path:
    """A Hugging Face directory: random weights, real tokenizer."""
    path = tmp_path_factory.mktemp("base")
    build_model(len(tokenizer)).save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


@pytest.fixture(scope="session")
def dataset_dir(tmp_path_factory: pytest.TempPathFactory, tokenizer: Any) -> Path:
    rows = [TeacherRow(n, tokenizer).columns() for n in range(48)]
    splits = {"train": rows[:30], "validation": rows[30:36], "test": rows[36:]}
    return write_dataset(tmp_path_factory.mktemp("datasets") / "support", splits)


@pytest.fixture(scope="session")
def may_train() -> Permit:
    return permit(Action.TRAIN)


@pytest.fixture(scope="session")
def may_evaluate() -> Permit:
    return permit(Action.EVALUATE)


@pytest.fixture
def student(base_dir: Path) -> Student:
    return Student(base=str(base_dir))


@pytest.fixture
def training() -> Training:
    return Training(
        objective={"top_k": 1.0, "sft": 0.5},
        max_steps=12,
        batch_size=4,
        learning_rate=3e-3,
        save_steps=5,
        threads=1,
    )
