"""`train` as a user runs it: a dry run, several processes, and what cannot be, in one line each."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from policy.manifest import read_manifest
from policy.verify import verify_run
from synth.steps import filter_step, freeze_step
from tests import fake_teacher as fake
from tests.command import environment, spiritsafe
from tests.fake_teacher import FakeTeacher
from tests.synth.parts import ask, bench_of
from tests.synth.parts import project as made
from tests.train.parts import build_model, build_tokenizer

NO_GPU = pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")


def reply(index: int, _: fake.Json) -> fake.Action:
    return fake.answer(f"Reply {index}")


@pytest.fixture(scope="module")
def frozen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with a frozen dataset and a tiny base, ready to train."""
    home = tmp_path_factory.mktemp("train") / "bot"
    base, tokenizer = home.parent / "tiny-base", build_tokenizer()
    build_model(len(tokenizer)).save_pretrained(base)
    tokenizer.save_pretrained(base)
    with FakeTeacher(reply) as server:
        path = made(home, server.base_url, rows=40,
                    dataset={"label": "intent", "split": {"validation": 0.15, "test": 0.25}},
                    sampling={"samples": 1, "logprobs": 3}, student={"base": str(base)},
                    training={"max_steps": 3, "batch_size": 4, "objective": {"sft": 1.0},
                              "threads": 1},
                    arms={"sft": {"dataset": "bot"}})  # fmt: skip
        ask(path)
    bench = bench_of(path)
    with bench.open() as ledger:
        freeze_step(bench, ledger, filter_step(bench, ledger))
    return path


@pytest.fixture
def project(tmp_path: Path, frozen: Path) -> Path:
    shutil.copytree(frozen.parent, tmp_path / "home")
    return tmp_path / "home" / "project.toml"


def files(folder: Path) -> set[Path]:
    return {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}


def test_a_dry_run_says_all_on_standard_output_and_trains_nothing(project: Path) -> None:
    done = spiritsafe("train", project, "--dry-run")
    assert "arm sft" in done.out
    assert "steps: 3 of 4 rows" in done.out
    assert "memory: about 0.0" in done.out
    assert "⟦Reply" in done.out
    assert "allowed by: " in done.out
    assert not (project.parent / "runs").exists()


def test_two_processes_train_and_one_writes(project: Path) -> None:
    done = subprocess.run(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2"),
            *("--standalone", "-m", "synth", "train", project),
        ],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    (run,) = project.parent.rglob("runs/sft")
    assert verify_run(run, project.parent / "datasets") == []
    rows = [json.loads(line) for line in (run / "metrics.jsonl").open()]
    assert [row["step"] for row in rows if "loss" in row] == [1, 2, 3]
    assert done.stderr.count("train sft: 3/3") == 1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        pytest.param(["training.device=cuda"], "this machine has no GPU", marks=NO_GPU),
        pytest.param(["training.tune=qlora"], 'tune = "qlora": needs a GPU', marks=NO_GPU),
        (["training.learning_rate=1e30", "training.clip=1e30", "training.warmup=0"],
         "is not a number"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_one_line_and_code_2(
    options: list[str], said: str, project: Path
) -> None:
    changes = [word for option in options for word in ("--set", option)]
    done = spiritsafe("train", project, *changes, code=2)
    lines = [line for line in done.err.splitlines() if not line.startswith(("train sft", "evid"))]
    assert len(lines) == 1
    assert said in lines[0]
    assert "Traceback" not in done.err


def test_lora_by_the_command_leaves_a_student_that_another_arm_can_start_from(
    project: Path,
) -> None:
    spiritsafe("train", project, "--set", "training.tune=lora")
    (run,) = project.parent.rglob("runs/sft")
    assert read_manifest(run)["training"]["tune"] == "lora"
    again = ["--set", f"student.base={run / 'student'}"]
    assert "steps: 3" in spiritsafe("train", project, "--dry-run", *again).out
