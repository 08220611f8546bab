"""Training is decided anew from the manifest; what blocks is named, and can be left out."""

import io
import shutil
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from policy.errors import BadInput, PolicyDenied
from policy.manifest import describe_files, read_manifest, write_manifest
from policy.permit import Action
from policy.verify import verify_dataset
from synth.bench import Bench
from synth.display import Display
from synth.drop import drop_blocking
from synth.formats import COLUMNS, read_parquet, write_parquet
from synth.gates import dataset_permit
from synth.project import load
from tests.command import spiritsafe
from tests.synth.parts import project

BLANK: dict[str, Any] = {
    **dict.fromkeys(COLUMNS, ""),
    **dict.fromkeys(("sample", "at_ms", "leaf", "prompt_tokens", "completion_tokens"), 0),
    **{name: [] for name, kind in COLUMNS.items() if kind.endswith("]")},
    "answered": True,
    "signal": False,
    "expected": None,
}


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    path = project(tmp_path, "http://127.0.0.1:9/v1")
    return Bench(load(path), Display(Console(file=io.StringIO())), {})


def dataset(bench: Bench, **groups: int) -> Path:
    """A frozen dataset with rows of several offerings, made elsewhere."""
    folder = bench.project.datasets / "mixed"
    folder.mkdir(parents=True)
    names = {"deepseek": "deepseek-api", "anthropic": "anthropic-api"}
    models = {"deepseek": "deepseek-chat", "anthropic": "claude-sonnet-4-5"}
    rows = [
        {**BLANK, "id": f"{short}-{n}", "offering": names[short], "terms_pin": f"pin-{short}"}
        for short, count in groups.items()
        for n in range(count)
    ]
    for split in ("train", "validation", "test"):
        write_parquet(folder / f"{split}.parquet", rows if split == "train" else [])
    teachers = [
        {
            "offering": names[short],
            "model": models[short],
            "served_models": [models[short]],
            "terms_pin": f"pin-{short}",
            "rows": count,
            "collected": ["2026-06-01", "2026-06-02"],
        }
        for short, count in groups.items()
    ]
    write_manifest(folder, {**MANIFEST, "teachers": teachers, "files": describe_files(folder)})
    return folder


MANIFEST: dict[str, Any] = {
    "schema": 1,
    "kind": "dataset",
    "name": "mixed",
    "weights": "",
    "decisions": [],
    "obligations": [],
    "sampling": {},
    "signal": {"rows": 0, "of": 0, "k": 0, "position": "raw", "unbiased": False},
    "prompts": {"file": "p", "sha256": "", "licence": "CC0-1.0", "attribution": ""},
    "filters": {},
    "source": "teacher",
    "coverage": [],
}


def test_ten_rows_block_a_thousand_and_are_named_with_their_clause(bench: Bench) -> None:
    folder = dataset(bench, deepseek=990, anthropic=10)
    with pytest.raises(PolicyDenied) as denied:
        dataset_permit(bench, folder, Action.TRAIN)
    assert "10 rows of anthropic-api (NEEDS_PERMISSION, " in str(denied.value)
    assert "deepseek" not in denied.value.message
    assert "--drop-blocking" in str(denied.value)


def test_without_them_990_rows_stand_under_a_new_digest(bench: Bench) -> None:
    folder = dataset(bench, deepseek=990, anthropic=10)
    target, dropped = drop_blocking(bench, folder)
    rows = read_parquet(target / "train.parquet")
    assert len(rows) == 990
    assert {row["offering"] for row in rows} == {"deepseek-api"}
    assert [group.rows for group in dropped] == [10]
    manifest = read_manifest(target)
    assert manifest["digest"] != read_manifest(folder)["digest"]
    assert manifest["derived_from"]["digest"] == read_manifest(folder)["digest"]
    assert verify_dataset(target) == []
    assert dataset_permit(bench, target, Action.TRAIN).decision.offering == "deepseek-api"


def test_dropped_answers_are_left_out_by_the_same_rule(bench: Bench) -> None:
    folder = dataset(bench, deepseek=3, anthropic=1)
    shutil.copy(folder / "train.parquet", folder / "rejected.parquet")
    manifest = {**read_manifest(folder), "rejected": 4, "files": describe_files(folder)}
    write_manifest(folder, manifest)
    target, _ = drop_blocking(bench, folder)
    rows = read_parquet(target / "rejected.parquet")
    assert {row["offering"] for row in rows} == {"deepseek-api"}
    assert read_manifest(target)["rejected"] == len(rows) == 3


def test_weights_that_score_are_decided_like_a_teacher_of_rows(bench: Bench) -> None:
    folder = dataset(bench, deepseek=5)
    scored_by = "smollm2@self-host"
    permit = dataset_permit(bench, folder, Action.TRAIN, scored_by=scored_by)
    assert scored_by in permit.decision.offering
    with pytest.raises(PolicyDenied, match="the weights of anthropic-api"):
        dataset_permit(bench, folder, Action.TRAIN, scored_by="anthropic-api")


def test_leaving_them_out_twice_gives_the_same_digest(bench: Bench) -> None:
    folder = dataset(bench, deepseek=5, anthropic=1)
    first = read_manifest(drop_blocking(bench, folder)[0])["digest"]
    assert read_manifest(drop_blocking(bench, folder)[0])["digest"] == first


def test_rows_come_back_as_they_were_written(bench: Bench) -> None:
    folder = dataset(bench, deepseek=3)
    (bench.project.home / "copy").mkdir()
    rows = read_parquet(folder / "train.parquet")
    write_parquet(bench.project.home / "copy" / "train.parquet", rows)
    assert read_parquet(bench.project.home / "copy" / "train.parquet") == rows


def test_nothing_blocking_leaves_the_dataset_itself(bench: Bench) -> None:
    folder = dataset(bench, deepseek=5)
    assert drop_blocking(bench, folder) == (folder, [])


def test_nothing_left_is_said(bench: Bench) -> None:
    with pytest.raises(BadInput, match="every row is of a blocking group"):
        drop_blocking(bench, dataset(bench, anthropic=5))


def test_the_command_says_which_rows_block(bench: Bench) -> None:
    dataset(bench, deepseek=4, anthropic=2).rename(bench.project.datasets / bench.project.name)
    done = spiritsafe("train", bench.project.path, code=3)
    assert "anthropic-api" in done.err
    assert "train is denied by 2 rows of anthropic-api (NEEDS_PERMISSION" in done.err
