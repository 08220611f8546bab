"""What a person sees of a run: the page's curve, the picture, TensorBoard's events."""

from __future__ import annotations

import importlib.util
import json
import stat
from pathlib import Path

import pytest

from policy.errors import BadInput
from policy.permit import Permit
from tests.train.parts import StopError, go
from train.card import render
from train.config import Student, Training
from train.curves import draw, thinned

ROWS = [{"step": n, "loss": 4 - n / 50, "sft_loss": 4 - n / 50} for n in range(1, 101)]


def test_a_curve_is_thinned_to_its_last_point() -> None:
    points = thinned(ROWS)
    assert len(points) <= 40
    assert points[-1] == (100, 2.0)
    assert thinned([]) == []
    assert thinned(ROWS[:1]) == [(1, 3.98)]


@pytest.mark.skipif(not importlib.util.find_spec("matplotlib"), reason="matplotlib is optional")
def test_the_picture_is_a_png_with_something_drawn_on_it(tmp_path: Path) -> None:
    from matplotlib.image import imread

    rows = [*ROWS, {"step": 100, "validation_loss": 2.5}]
    assert draw(rows, tmp_path / "loss.png") == "loss.png"
    picture = imread(tmp_path / "loss.png")
    assert picture.shape[:2] == (540, 960)
    assert len({tuple(pixel) for row in picture[::4, ::4] for pixel in row}) > 5
    draw(rows, tmp_path / "again.png")
    assert (tmp_path / "again.png").read_bytes() == (tmp_path / "loss.png").read_bytes()


def test_the_page_shows_the_curve(
    dataset_dir: Path, student: Student, training: Training, may_train: Permit, tmp_path: Path
) -> None:
    run = go(dataset_dir, student, training, may_train, tmp_path / "run")
    page = (run.path / "README.md").read_text()
    curve = run.manifest["curve"]["loss"]
    assert f"Loss, {curve[0][1]:.3f} to {curve[-1][1]:.3f}: `█" in page
    assert ("![loss by step](loss.png)" in page) == (run.path / "loss.png").is_file()
    assert page == render(run.manifest, None)


@pytest.mark.skipif(importlib.util.find_spec("tensorboard") is not None, reason="it is installed")
def test_tensorboard_where_it_is_not_is_refused_before_the_work(
    dataset_dir: Path, student: Student, training: Training, may_train: Permit, tmp_path: Path
) -> None:
    wanted = training.model_copy(update={"tensorboard": True})
    with pytest.raises(BadInput, match="pip install tensorboard"):
        go(dataset_dir, student, wanted, may_train, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.skipif(not importlib.util.find_spec("tensorboard"), reason="tensorboard is optional")
def test_tensorboard_reads_each_step_once_though_the_run_was_stopped(
    dataset_dir: Path, student: Student, training: Training, may_train: Permit, tmp_path: Path
) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    wanted = training.model_copy(update={"tensorboard": True})
    with pytest.raises(StopError):
        go(dataset_dir, student, wanted, may_train, tmp_path / "run", at=8)  # saved at 5
    run = go(dataset_dir, student, wanted, may_train, tmp_path / "run")
    events = EventAccumulator(str(run.path / "tensorboard")).Reload()
    logged = [json.loads(line) for line in (run.path / "metrics.jsonl").open()]
    losses = {row["step"]: row["loss"] for row in logged if "loss" in row}
    found = {event.step: event.value for event in events.Scalars("loss")}
    assert found == pytest.approx(losses)
    assert len(events.Scalars("loss")) == 12
    files = list((run.path / "tensorboard").iterdir())
    assert {stat.S_IMODE(p.stat().st_mode) for p in files} == {0o600}
    assert f"tensorboard/{files[0].name}" in run.manifest["files"]
