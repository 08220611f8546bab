"""Dropped answers are frozen beside the kept ones where a project asks, under the same terms."""

import shutil
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from policy.manifest import check_files, read_manifest
from synth.filters import Candidate, Verdict
from synth.freeze import Frozen
from synth.rejected import rejected
from synth.steps import filter_step, freeze_step
from tests import fake_teacher as fake
from tests.fake_teacher import FakeTeacher
from tests.synth.parts import ask, bench_of, project

NO = "I'm sorry, but I can't help with that."
ASKED = "dataset.rejected=true"


def some_refuse(index: int, request: fake.Json) -> fake.Action:
    """Every third answer is a refusal, and every seventh is cut off."""
    if index % 3 == 0:
        return fake.answer(NO)
    return fake.answer(f"Reply {index}", finish_reason="length" if index % 7 == 0 else "stop")


@pytest.fixture(scope="module")
def collected(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with FakeTeacher(some_refuse) as server:
        path = project(tmp_path_factory.mktemp("refused"), server.base_url, rows=30,
                       sampling={"samples": 3})  # fmt: skip
        ask(path)
    return path


@pytest.fixture
def path(tmp_path: Path, collected: Path) -> Path:
    shutil.copytree(collected.parent, tmp_path / "home")
    return tmp_path / "home" / "project.toml"


def frozen(path: Path, *overrides: str) -> Frozen:
    bench = bench_of(path, *overrides)
    with bench.open() as ledger:
        return freeze_step(bench, ledger, filter_step(bench, ledger))["bot"]


def rows(folder: Path, split: str) -> list[dict[str, Any]]:
    return pq.read_table(folder / f"{split}.parquet").to_pylist()  # type: ignore[no-any-return]


def test_they_are_a_split_only_where_asked_for(path: Path) -> None:
    plain = frozen(path)
    assert not (plain.folder / "rejected.parquet").exists()
    assert "rejected" not in read_manifest(plain.folder)
    both = frozen(path, ASKED)
    assert both.digest != plain.digest
    assert both.rows["rejected"] == len(rows(both.folder, "rejected")) > 0


def test_every_one_was_refused_and_stands_beside_a_kept_answer(path: Path) -> None:
    folder = frozen(path, ASKED).folder
    dropped = rows(folder, "rejected")
    kept = [row for split in ("train", "validation") for row in rows(folder, split)]
    assert {row["completion"][0]["content"] for row in dropped} == {NO}  # none that was cut off
    assert {row["id"] for row in dropped} <= {row["id"] for row in kept}
    assert dropped[0].keys() == kept[0].keys()
    assert not {row["id"] for row in rows(folder, "test")} & {row["id"] for row in dropped}


def test_the_manifest_vouches_for_them_and_counts_their_teacher(path: Path) -> None:
    folder = frozen(path, ASKED).folder
    manifest = read_manifest(folder)
    assert check_files(folder, manifest) == []
    assert manifest["rejected"] == manifest["files"]["rejected.parquet"]["rows"]
    splits = ("train", "validation", "test", "rejected")
    answered = [row for split in splits for row in rows(folder, split) if row["terms_pin"]]
    assert sum(teacher["rows"] for teacher in manifest["teachers"]) == len(answered)


def test_the_same_ledger_gives_the_same_digest(path: Path) -> None:
    assert frozen(path, ASKED).digest == frozen(path, ASKED).digest


def candidate(sample: int, split: str = "train") -> Candidate:
    return Candidate(
        f"a{sample}", "p", sample, split, "", "stop", "", "", (), "", "", {}, None
    )  # fmt: skip


def test_only_quality_and_no_more_than_are_kept() -> None:
    verdicts = {
        "served": {f"a{n}": Verdict(f"a{n}", n != 0) for n in range(5)},
        "verify": {f"a{n}": Verdict(f"a{n}", n == 4) for n in range(5)},
    }
    found = rejected([candidate(n) for n in range(5)], verdicts, verdicts, {"p": 2})
    assert [one.sample for one in found] == [1, 2]  # 0 is another model, 3 has no partner, 4 passed
    assert rejected([candidate(1, "validation")], verdicts, verdicts, {"p": 2}) != []
    assert rejected([candidate(1, "test")], verdicts, verdicts, {"p": 2}) == []
