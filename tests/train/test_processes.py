"""Two processes as torchrun starts them: the curve of one, and one that writes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from policy.errors import BadInput
from tests.train.killed import train_in_child
from train import processes
from train.config import Training

ROOT = Path(__file__).parent.parent.parent
SETTINGS = Training(
    objective={"top_k": 1.0, "sft": 0.5},
    max_steps=8,
    batch_size=4,
    accumulate=2,
    learning_rate=3e-3,
    save_steps=3,
    threads=1,
)


def in_two(dataset: Path, base: Path, training: Training, run: Path, kill_at: int = 0) -> int:
    """The exit code of torchrun with two processes of the same call."""
    code = (
        "import json, sys; from pathlib import Path; from tests.train.killed import _run;"
        "from train.config import Training; a = sys.argv;"
        "_run(Path(a[1]), Path(a[2]), Training.model_validate_json(a[3]), Path(a[4]), int(a[5]))"
    )
    script = run.parent / "two.py"
    script.write_text(code)
    done = subprocess.run(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2"),
            *("--master_port", "0", "--standalone", script),
            *(dataset, base, training.model_dump_json(), run, str(kill_at)),
        ],
        env={**os.environ, "PYTHONPATH": str(ROOT), "GOMP_SPINCOUNT": "0"},
        capture_output=True,
        timeout=250,
        check=False,
    )
    return done.returncode


def losses(run: Path) -> list[float]:
    rows = [json.loads(line) for line in (run / "metrics.jsonl").open()]
    assert [row["step"] for row in rows if "loss" in row] == list(range(1, 9))
    return [row["loss"] for row in rows if "loss" in row]


@pytest.fixture(scope="module")
def alone(dataset_dir: Path, base_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("alone") / "run"
    assert train_in_child(dataset_dir, base_dir, SETTINGS, run) == 0
    return run


def test_two_processes_have_the_curve_of_one_and_resume(
    alone: Path, dataset_dir: Path, base_dir: Path, tmp_path: Path
) -> None:
    killed = tmp_path / "killed"
    assert in_two(dataset_dir, base_dir, SETTINGS, killed, kill_at=5) != 0
    assert (killed / "checkpoints" / "checkpoint-3" / "random-1.safetensors").is_file()
    assert in_two(dataset_dir, base_dir, SETTINGS, killed) == 0
    assert losses(killed) == pytest.approx(losses(alone), abs=1e-4)
    assert losses(alone)[-1] < losses(alone)[0] - 1  # a curve worth comparing


@pytest.mark.parametrize(("batch_size", "accumulate"), [(8, 1), (2, 4), (1, 8)])
def test_accumulated_passes_have_the_curve_of_the_big_batch(
    batch_size: int, accumulate: int, alone: Path, dataset_dir: Path, base_dir: Path, tmp_path: Path
) -> None:
    split = SETTINGS.model_copy(update={"batch_size": batch_size, "accumulate": accumulate})
    assert train_in_child(dataset_dir, base_dir, split, tmp_path / "run") == 0
    assert losses(tmp_path / "run") == pytest.approx(losses(alone), abs=1e-4)


def test_a_step_is_shared_evenly_or_refused() -> None:
    assert processes.share(8, 4, 2) == (8, 2)
    assert processes.share(8, 1, 4) == (2, 1)
    with pytest.raises(BadInput, match=r"3 processes cannot share 8 rows.*multiple of 3"):
        processes.share(8, 1, 3)
