"""One call from a dataset to a run directory, whatever interrupts it."""

from __future__ import annotations

import json
import resource
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from policy.errors import BadInput, PolicyDenied, VerificationFailed
from policy.permit import Action, Permit
from policy.verify import verify_run
from tests.train import parts
from tests.train.parts import StopError, TeacherRow, permit, write_dataset
from train.checkpoints import newest
from train.config import Evaluation, Lora, Student, Training
from train.disk import demand_space
from train.evaluate import evaluate, trained, untrained
from train.run import Run, train


@pytest.fixture
def go(
    dataset_dir: Path, student: Student, training: Training, may_train: Permit, tmp_path: Path
) -> Any:
    """train() with the small parts; `at` stops it after that step."""

    def run(name: str = "run", at: int = 0, **changes: Any) -> Run:
        dataset = changes.pop("dataset_dir", dataset_dir)
        reads = changes.pop("student", student)
        changed = training.model_copy(update=changes)
        return parts.go(dataset, reads, changed, may_train, tmp_path / name, at)

    return run


def weights(run: Run) -> str:
    return str(run.manifest["files"]["student/model.safetensors"]["sha256"])


@pytest.fixture(scope="module")
def uninterrupted(
    dataset_dir: Path, base_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> Run:
    training = Training(
        objective={"top_k": 1.0, "sft": 0.5},
        max_steps=12,
        batch_size=4,
        learning_rate=3e-3,
        save_steps=5,
        threads=1,
    )
    folder = tmp_path_factory.mktemp("runs")
    return train(
        dataset_dir,
        Student(base=str(base_dir)),
        training,
        permit(Action.TRAIN),
        folder / "whole",
        cache_dir=folder / "cache",
    )


def test_it_learns_and_leaves_a_receipt(uninterrupted: Run, dataset_dir: Path) -> None:
    rows = [json.loads(line) for line in (uninterrupted.path / "metrics.jsonl").open()]
    losses = [row["loss"] for row in rows if "loss" in row]
    assert len(losses) == 12
    assert losses[-1] < losses[0] / 1.5
    assert "validation_loss" in rows[-1]
    assert verify_run(uninterrupted.path, dataset_dir.parent) == []
    assert uninterrupted.manifest["obligations"] == ["keep_the_notice"]
    assert uninterrupted.manifest["as_teacher"] == "student-of(smollm2@self-host)"
    assert uninterrupted.manifest["training"]["counts"]["signal_rows"] == 30
    assert uninterrupted.manifest["training"]["tail_weight"] == 0.1


def test_only_the_owner_may_read_it(uninterrupted: Run) -> None:
    modes = {stat.S_IMODE(p.stat().st_mode) for p in uninterrupted.path.rglob("*") if p.is_file()}
    assert modes == {0o600}
    assert stat.S_IMODE(uninterrupted.path.stat().st_mode) == 0o700
    assert not (uninterrupted.path / "checkpoints").exists()


@pytest.mark.parametrize("at", [3, 7, 11])
def test_stopped_and_called_again_it_ends_with_the_same_bits(
    go: Any, uninterrupted: Run, at: int
) -> None:
    with pytest.raises(StopError):
        go(at=at)
    run = go()
    assert weights(run) == weights(uninterrupted)
    rows = [json.loads(line) for line in (run.path / "metrics.jsonl").open()]
    assert [row["step"] for row in rows if "loss" in row] == list(range(1, 13))


def test_killed_at_once_and_offline_it_ends_with_the_same_bits(
    go: Any, uninterrupted: Run, dataset_dir: Path, base_dir: Path, tmp_path: Path
) -> None:
    code = f"""
import os, signal, sys
def no_network(event, arguments):
    if event in ("socket.getaddrinfo", "socket.connect"):
        os._exit(3)
sys.addaudithook(no_network)
from pathlib import Path
from policy.permit import Action
from tests.train.parts import permit
from train.config import Student, Training
from train.run import train
training = Training(objective={{"top_k": 1.0, "sft": 0.5}}, max_steps=12, batch_size=4,
                    learning_rate=3e-3, save_steps=5, threads=1)
def kill(step):
    if step.step == 9:
        os.kill(os.getpid(), signal.SIGKILL)
train(Path({str(dataset_dir)!r}), Student(base={str(base_dir)!r}), training, permit(Action.TRAIN),
      Path({str(tmp_path / "run")!r}), cache_dir=Path({str(tmp_path / "cache")!r}), on_step=kill)
"""
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert found.returncode == -signal.SIGKILL, found.stderr.decode()
    assert weights(go()) == weights(uninterrupted)


def test_a_torn_checkpoint_is_passed_over(go: Any, uninterrupted: Run, tmp_path: Path) -> None:
    with pytest.raises(StopError):
        go(at=11)
    folder = tmp_path / "run" / "checkpoints"
    torn = folder / "checkpoint-10" / "model.safetensors"
    torn.write_bytes(torn.read_bytes()[:1000])
    assert newest(folder) == folder / "checkpoint-5"
    (folder / "checkpoint-5" / "manifest.json").unlink()
    assert newest(folder) is None
    assert weights(go()) == weights(uninterrupted)


def test_a_torn_newest_falls_back_to_the_one_before(
    go: Any, uninterrupted: Run, tmp_path: Path
) -> None:
    with pytest.raises(StopError):
        go(at=11)
    (tmp_path / "run" / "checkpoints" / "checkpoint-10" / "optimiser.json").write_text("{")
    again = go(logging_steps=1)
    seen = [json.loads(line)["step"] for line in (again.path / "metrics.jsonl").open()]
    assert seen[:12] == list(range(1, 13))
    assert weights(again) == weights(uninterrupted)


def test_a_finished_run_is_returned_as_it_is_judged_or_not(go: Any, dataset_dir: Path) -> None:
    go(max_steps=2)
    judged = trained(go(max_steps=2).path)
    evaluate(
        judged,
        dataset_dir,
        Evaluation(max_new_tokens=2, resamples=100),
        permit(Action.EVALUATE),
        out=judged.base.path.parent if judged.base else None,
    )
    first = go(max_steps=2)
    assert "evaluation.json" in first.manifest["files"]
    before = (first.path / "manifest.json").stat().st_mtime_ns
    assert go(max_steps=2, at=1, logging_steps=7).manifest == first.manifest
    assert (first.path / "manifest.json").stat().st_mtime_ns == before


@pytest.mark.parametrize("stop", [1, 0])
def test_other_inputs_are_refused_and_named(go: Any, stop: int) -> None:
    if stop:
        with pytest.raises(StopError):
            go(max_steps=2, at=stop)
    else:
        go(max_steps=2)
    with pytest.raises(BadInput, match=r"training\.learning_rate was 0\.003 and is 0\.1"):
        go(max_steps=2, learning_rate=0.1)


def test_another_dataset_is_refused_and_named(go: Any, tokenizer: Any, tmp_path: Path) -> None:
    with pytest.raises(StopError):
        go(at=1)
    rows = [TeacherRow(n, tokenizer).columns() for n in range(8)]
    other = write_dataset(tmp_path / "other", dict.fromkeys(("train", "validation", "test"), rows))
    with pytest.raises(BadInput, match="dataset was sha256"):
        go(dataset_dir=other)


def test_an_altered_student_is_named(go: Any) -> None:
    path = go(max_steps=2).student / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(VerificationFailed, match=r"student/model\.safetensors"):
        go(max_steps=2)


def test_a_loss_that_is_not_a_number_is_one_line(go: Any) -> None:
    with pytest.raises(BadInput, match=r"not a number.*learning_rate"):
        go(learning_rate=1e30, max_steps=6, warmup=0.0, clip=1e30)


def test_top_k_without_stored_probabilities_is_refused(
    go: Any, tokenizer: Any, tmp_path: Path
) -> None:
    rows = [TeacherRow(n, tokenizer, {"signal": False}).columns() for n in range(8)]
    bare = write_dataset(tmp_path / "bare", dict.fromkeys(("train", "validation", "test"), rows))
    with pytest.raises(BadInput, match="nothing to learn from"):
        go(dataset_dir=bare)
    assert go(dataset_dir=bare, objective={"sft": 1.0}, max_steps=2, name="sft").student.is_dir()


@contextmanager
def small_files(limit: int) -> Iterator[None]:
    """No file may grow beyond `limit` bytes: the kernel's own way to make a write fail."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_is_one_line_and_loses_nothing(go: Any, uninterrupted: Run) -> None:
    with pytest.raises(StopError):
        go(at=7)
    with small_files(300_000), pytest.raises(BadInput, match="disk is full"):
        go()
    assert weights(go()) == weights(uninterrupted)


@pytest.mark.parametrize("limit", [20_000, 60_000, 300_000])
def test_a_full_disk_costs_lora_nothing_whatever_it_cuts_short(
    limit: int, go: Any, tmp_path: Path
) -> None:
    """Too small for a checkpoint's updates (36 kB), their moments (72), the whole student (393)."""
    lora = {"tune": "lora", "lora": Lora(rank=4, dropout=0.1)}
    whole = go("whole", **lora)
    with pytest.raises(StopError):
        go(at=7, **lora)
    with small_files(limit), pytest.raises(BadInput, match="disk is full"):
        go(**lora)
    assert not (tmp_path / "run" / "manifest.json").exists()
    assert weights(go(**lora)) == weights(whole)


def test_too_little_disk_is_said_before_the_work(tmp_path: Path) -> None:
    class Usage:
        free = 1_000_000

    with pytest.raises(BadInput, match=r"needs 3\.8 GB of disk"):
        demand_space(tmp_path, 135_000_000, checkpoint=405_000_000, usage=lambda _: Usage)


def test_without_a_permit_to_train_nothing_is_read(
    dataset_dir: Path, student: Student, training: Training, tmp_path: Path
) -> None:
    with pytest.raises(PolicyDenied):
        train(
            dataset_dir,
            student,
            training,
            permit(Action.EVALUATE),
            tmp_path / "run",
            cache_dir=tmp_path,
        )
    assert not (tmp_path / "run").exists()


def test_fewer_layers_train_too(go: Any, student: Student) -> None:
    run = go(student=student.model_copy(update={"layers": 1}), max_steps=1)
    assert run.manifest["student"]["layers"] == 1


def test_a_student_from_scratch_is_trained_and_judged_untaught_too(
    go: Any, student: Student, dataset_dir: Path, tmp_path: Path
) -> None:
    made = student.model_copy(update={"scratch": {"num_hidden_layers": 1}})
    run = go(student=made, max_steps=1)
    assert run.manifest["student"]["layers"] == 1
    with pytest.raises(BadInput, match="nothing to keep frozen"):
        go(student=made, max_steps=1, tune="lora", name="other")
    found = evaluate(
        untrained(made, tmp_path),
        dataset_dir,
        Evaluation(max_new_tokens=2, resamples=100),
        permit(Action.EVALUATE),
    )
    assert found["kind"] == "untrained"
