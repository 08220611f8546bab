"""kill -9 at any moment, then the same call: the same bits."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from policy.manifest import read_manifest
from tests.train.killed import kill_in_child, train_in_child
from tests.train.parts import TeacherRow, write_dataset
from train.config import Lora, Training

STEPS, SHORT = 24, 12
KILLS = 10


def training(objective: str, tune: str, **changes: Any) -> Training:
    given: dict[str, Any] = {
        "objective": {objective: 1.0},
        "tune": tune,
        "lora": Lora(rank=4, dropout=0.1),
        "max_steps": STEPS,
        "batch_size": 2,
        "accumulate": 2,
        "learning_rate": 3e-3,
        "save_steps": 3,
        "threads": 1,
    }
    return Training(**{**given, **changes})


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory, tokenizer: Any) -> Path:
    """A dataset with dropped answers beside the kept ones."""
    rows = [TeacherRow(n, tokenizer).columns() for n in range(12)]
    worse = {"completion": [{"role": "assistant", "content": '{"intent": "none"}'}], "sample": 1}
    splits = {
        "train": rows[:10],
        "validation": rows[10:11],
        "test": rows[11:],
        "rejected": [TeacherRow(n, tokenizer, worse).columns() for n in range(10)],
    }
    return write_dataset(tmp_path_factory.mktemp("datasets") / "pairs", splits)


def student_digest(run: Path) -> Any:
    return read_manifest(run)["files"]["student/model.safetensors"]["sha256"]


@pytest.mark.parametrize("tune", ["full", "lora"])
@pytest.mark.parametrize("objective", ["sft", "top_k"])
def test_killed_at_ten_random_steps_it_ends_with_the_same_bits(
    objective: str, tune: str, dataset_dir: Path, base_dir: Path, tmp_path: Path
) -> None:
    settings = training(objective, tune)
    assert train_in_child(dataset_dir, base_dir, settings, tmp_path / "whole") == 0
    chance = random.Random(f"{objective}/{tune}")
    steps = sorted(chance.sample(range(1, STEPS + 1), KILLS))
    for step in steps:
        run = tmp_path / "killed"
        assert train_in_child(dataset_dir, base_dir, settings, run, kill_at=step) == -9
        assert not (run / "manifest.json").exists()
    assert train_in_child(dataset_dir, base_dir, settings, tmp_path / "killed") == 0
    assert student_digest(tmp_path / "killed") == student_digest(tmp_path / "whole")


@pytest.mark.parametrize("tune", ["full", "lora"])
@pytest.mark.parametrize("objective", ["dpo", "on_policy"])
def test_killed_over_pairs_or_over_its_own_text_it_ends_with_the_same_bits(
    objective: str, tune: str, pairs: Path, base_dir: Path, tmp_path: Path
) -> None:
    settings = training(
        objective,
        tune,
        max_steps=SHORT,
        max_completion=6,
        teacher=str(base_dir) if objective == "on_policy" else "",
        teacher_offering="smollm2@self-host" if objective == "on_policy" else "",
    )
    assert train_in_child(pairs, base_dir, settings, tmp_path / "whole") == 0
    chance = random.Random(f"{objective}/{tune}")
    for step in sorted(chance.sample(range(1, SHORT + 1), 3)):
        run = tmp_path / "killed"
        assert train_in_child(pairs, base_dir, settings, run, kill_at=step) == -9
        assert not (run / "manifest.json").exists()
    assert train_in_child(pairs, base_dir, settings, tmp_path / "killed") == 0
    assert student_digest(tmp_path / "killed") == student_digest(tmp_path / "whole")


def test_killed_by_the_clock_it_ends_with_the_same_bits(
    dataset_dir: Path, base_dir: Path, tmp_path: Path
) -> None:
    settings = training("top_k", "full").model_copy(update={"save_steps": 1})
    assert train_in_child(dataset_dir, base_dir, settings, tmp_path / "whole") == 0
    chance = random.Random(6)
    for _ in range(6):
        after = chance.uniform(0.3, 1.5)
        kill_in_child(dataset_dir, base_dir, settings, tmp_path / "killed", after=after)
    assert train_in_child(dataset_dir, base_dir, settings, tmp_path / "killed") == 0
    assert student_digest(tmp_path / "killed") == student_digest(tmp_path / "whole")
