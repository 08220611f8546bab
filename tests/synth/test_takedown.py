"""What is taken down is used no more: not its rows, its datasets, its students' students."""

import json
from pathlib import Path
from typing import Any

import pytest

from policy.errors import BadInput, PolicyDenied
from policy.manifest import describe_files, read_manifest, write_manifest
from policy.permit import Action
from synth.audit import findings
from synth.gates import dataset_permit
from synth.publish import Parcel, publish
from synth.reach import Target, dataset_rows, plan_takedown
from synth.steps import filter_step, freeze_step
from tests.command import spiritsafe
from tests.fake_teacher import FakeTeacher
from tests.synth.parts import OFFERING, ask, bench_of, opened, project


def directory(folder: Path, **manifest: Any) -> str:
    folder.mkdir(parents=True)
    (folder / "weights.bin").write_bytes(folder.name.encode())
    kind = "dataset" if folder.parent.name == "datasets" else "run"
    whole = {"kind": kind, "name": folder.name, "files": describe_files(folder), **manifest}
    return str(write_manifest(folder, whole)["digest"])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """bot -> run sft -> published Bot -> dataset second, which it taught -> run grandchild."""
    with FakeTeacher() as server:
        path = project(tmp_path, server.base_url, rows=12)
        ask(path)
    frozen(path)
    bot = read_manifest(tmp_path / "datasets" / "bot")
    named = {"name": "bot", "digest": bot["digest"]}
    sft = directory(tmp_path / "runs" / "sft", dataset=named)
    directory(tmp_path / "published" / "Bot", dataset=named, run={"name": "sft", "digest": sft})
    teacher = {"offering": f"student-of({OFFERING})", "rows": 3, "run": sft}
    second = directory(tmp_path / "datasets" / "second", teachers=[teacher])
    source = {"name": "second", "digest": second}
    directory(tmp_path / "runs" / "grandchild", dataset=source)
    other = directory(tmp_path / "datasets" / "other", teachers=[])
    directory(tmp_path / "runs" / "clean", dataset={"name": "other", "digest": other})
    return path


def frozen(path: Path) -> dict[str, Any]:
    bench = bench_of(path)
    with bench.open() as ledger:
        return dict(freeze_step(bench, ledger, filter_step(bench, ledger)))


def planned(path: Path, **target: Any) -> dict[str, str]:
    with opened(path) as ledger:
        effects = plan_takedown(ledger, path.parent, Target(**target))
    return {f"{one.what} {one.name}": one.state for one in effects}


REACHED = {
    "dataset bot": "tainted",
    "run sft": "retrain_required",
    "published Bot": "tainted",
    "dataset second": "tainted",
    "run grandchild": "retrain_required",
}


@pytest.mark.parametrize(
    ("target", "first"),
    [({"rows": ("p0001",)}, {"row p0001": "withdrawn"}),
     ({"subject": "My card 1 is found"}, {"row p0001": "withdrawn"}),
     ({"offering": OFFERING}, {f"offering {OFFERING}": "withdrawn"})],
)  # fmt: skip
def test_it_reaches_students_of_students(
    path: Path, target: dict[str, Any], first: dict[str, str]
) -> None:
    assert planned(path, **target) == first | REACHED


def test_a_plan_changes_nothing(path: Path) -> None:
    with opened(path) as ledger:
        before = ledger.size
    done = spiritsafe("takedown", "plan", path, "--row", "p0001", "--json")
    assert len(done.json["rows"]) == 6
    with opened(path) as ledger:
        assert ledger.size == before


def applied(path: Path, *target: str) -> None:
    spiritsafe("takedown", "apply", path, *target, "--by", "A. Jurist", "--because", "withdrawn")


def test_what_is_tainted_is_used_no_more(path: Path) -> None:
    applied(path, "--row", "p0001")
    bench = bench_of(path)
    for action in (Action.TRAIN, Action.EVALUATE):
        with pytest.raises(PolicyDenied, match="is tainted by a takedown"):
            dataset_permit(bench, path.parent / "datasets" / "bot", action)
    with pytest.raises(PolicyDenied, match="by a takedown"):
        publish(bench, Parcel("sft", "Bot-2", "apache-2.0", ()))
    teaching = f"teacher.run={path.parent / 'runs' / 'sft'}"
    with pytest.raises(PolicyDenied, match="is retrain_required by a takedown, so teaching"):
        ask(path, teaching)


def test_without_the_ledger_the_file_beside_it_says_so(path: Path) -> None:
    """A machine that trains and has no ledger."""
    applied(path, "--row", "p0001")
    for file in path.parent.glob("ledger*"):
        file.unlink()
    with pytest.raises(PolicyDenied, match="by a takedown"):
        dataset_permit(bench_of(path), path.parent / "datasets" / "bot", Action.TRAIN)


def test_a_new_dataset_is_without_the_rows_and_clean(path: Path) -> None:
    applied(path, "--row", "p0001")
    frozen(path)
    ids = [row.id for row in dataset_rows(
        path.parent / "datasets" / "bot")]  # fmt: skip
    assert len(ids) == 11
    assert "p0001" not in ids
    dataset_permit(bench_of(path), path.parent / "datasets" / "bot", Action.TRAIN)


def test_an_offering_taken_down_is_asked_and_frozen_no_more(path: Path) -> None:
    applied(path, "--offering", OFFERING)
    with pytest.raises(PolicyDenied, match="was taken down in this project"):
        ask(path)
    with pytest.raises(BadInput, match="no training row"):
        frozen(path)


def test_the_log_keeps_who_and_why_and_verifies(path: Path) -> None:
    applied(path, "--row", "p0001")
    applied(path, "--row", "p0001")  # the same again adds nothing
    shown = spiritsafe("takedown", "show", path, "--json").json["rows"]
    assert {row["name"]: row["state"] for row in shown if row["what"] == "run"} == {
        "sft": "retrain_required", "grandchild": "retrain_required",
    }  # fmt: skip
    assert {row["by"] for row in shown} == {"A. Jurist"}
    with opened(path) as ledger:
        assert ledger.one("SELECT count(*) FROM notice WHERE kind = 'takedown'")[0] == 6
        states = path.parent / "takedowns.json"
        assert not [one for one in findings(ledger, path.parent) if "takedown" in one.object]
        states.write_text(states.read_text().replace("retrain_required", "clean"))
        assert any(one.object == states.name for one in findings(ledger, path.parent))


def test_a_mistake_is_declared_clean_by_a_person(path: Path) -> None:
    applied(path, "--row", "p0001")
    words = ("--by", "B. Chief", "--because", "another row was meant")
    spiritsafe("takedown", "clear", path, "bot", *words)
    dataset_permit(bench_of(path), path.parent / "datasets" / "bot", Action.TRAIN)
    assert json.loads((path.parent / "takedowns.json").read_text())["states"]


def test_a_takedown_names_one_thing_a_person_and_a_reason(path: Path) -> None:
    spiritsafe("takedown", "plan", path, code=2)
    spiritsafe("takedown", "apply", path, "--row", "p1", "--by", " ", "--because", "x", code=2)
