"""The whole walk on real parts, shortened: the real llama.cpp server, the real SmolLM2 weights, a
real student. Everything that the demo does, on a fraction of its messages."""

import json
import shlex
import subprocess
from pathlib import Path

import pytest

from policy.manifest import read_manifest
from tests.command import SPIRITSAFE, Done, environment, spiritsafe
from tests.readme import ON_THE_DEMO, ROOT
from tests.walked import OPTIONS, kill_when

EXPECTED = {"spiritsafe check configs/openai-support.toml": 3}

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project that was killed twice on its way, and finished."""
    home = tmp_path_factory.mktemp("story") / "bot"
    spiritsafe("init", home, "--template", "quickstart")
    log = home.parent / "killed.log"
    kill_when(home, log, lambda: "kept row 1" in log.read_text(), "during collect")
    kill_when(home, log, lambda: any(home.glob("runs/*/checkpoints/checkpoint-*")), "during train")
    return home


@pytest.fixture(scope="module")
def finished(home: Path) -> Done:
    return spiritsafe("run", home / "project.toml", *OPTIONS, "--json", code=None, timeout=800)


def test_killed_twice_it_ends_with_a_table(finished: Done) -> None:
    """Exit 1 only if the kill left attempts whose outcome is lost; they are named."""
    report = finished.json
    assert {one["candidate"] for one in report["candidates"]} >= {"teacher", "untrained"}
    assert any(one["kind"] == "trained" for one in report["candidates"])
    assert finished.code == (1 if report["money"]["unknown"] else 0), finished.err


def test_no_request_is_sent_twice(home: Path, finished: Done) -> None:
    shown = spiritsafe("show", home / "project.toml", *OPTIONS, "--json").json
    attempts = sum(one["attempts"] for one in shown["outcomes"])
    report = finished.json["money"]
    assert attempts == report["answers"] + report["unknown"]
    assert len(shown["unknown"]) == report["unknown"]
    assert all(one["attempt"].endswith(".1") for one in shown["unknown"])


def test_run_again_sends_and_trains_nothing(home: Path, finished: Done) -> None:
    again = spiritsafe("run", home / "project.toml", *OPTIONS, "--json", code=finished.code)
    assert again.json["money"] == finished.json["money"]
    assert again.json["differences"] == finished.json["differences"]
    assert "the teacher answers at" not in again.err


def test_everything_verifies(home: Path, finished: Done) -> None:
    assert spiritsafe("verify", home / "project.toml", "--json").json == []


def test_freezing_again_gives_the_same_digest(home: Path, finished: Done) -> None:
    before = {path.name: read_manifest(path)["digest"] for path in datasets(home)}
    again = spiritsafe("freeze", home / "project.toml", *OPTIONS, "--json").json
    assert {name: again[name]["digest"] for name in again} == before


def datasets(home: Path) -> list[Path]:
    return [path for path in (home / "datasets").iterdir() if (path / "manifest.json").exists()]


def test_a_student_leads_back_to_its_terms(home: Path, finished: Done) -> None:
    found = spiritsafe("audit", home / "project.toml", "--json").json
    assert found["teachers"][0]["offering"] == "smollm2@self-host"
    assert found["teachers"][0]["terms_pin"].startswith("sha256:")
    assert found["decisions"][0]["level"] == "ALLOW"
    assert found["dataset"]["same"]


def test_a_row_leads_back_to_its_request(home: Path, finished: Done) -> None:
    answered = [p for p in finished.json["candidates"][0]["predictions"] if p["text"]]
    row = answered[0]["id"]
    (walk, *_) = spiritsafe("audit", home / "project.toml", "--row", row, "--json").json
    assert walk["decided"]["offering"] == "smollm2@self-host"
    assert walk["outcome"] == "ok"


def test_an_altered_weight_is_named(home: Path, finished: Done) -> None:
    weights = next((home / "runs").glob("*/student/model.safetensors"))
    flip(weights, weights.stat().st_size - 7)
    found = spiritsafe("verify", home / "project.toml", code=5)
    flip(weights, weights.stat().st_size - 7)
    assert f"{weights.parent.parent.name}/student/model.safetensors" in found.out


def flip(path: Path, place: int) -> None:
    with path.open("r+b") as file:
        file.seek(place)
        byte = file.read(1)[0]
        file.seek(place)
        file.write(bytes([byte ^ 1]))


def test_all_files_are_for_their_owner_alone(home: Path, finished: Done) -> None:
    wrong = [p for p in home.rglob("*") if p.is_file() and p.stat().st_mode & 0o077]
    assert wrong == []


def test_the_student_talks(home: Path, finished: Done) -> None:
    done = subprocess.run(
        [*SPIRITSAFE, "chat", str(home / "project.toml")],
        input="Where is my card?\n",
        env=environment(),
        capture_output=True,
        text=True,
        timeout=200,
        check=True,
    )
    assert len(done.stdout.strip()) > 5


def test_the_page_holds_what_the_table_says(home: Path, finished: Done) -> None:
    page = (home / "report.html").read_text(encoding="utf-8")
    assert "<script" not in page
    assert json.loads((home / "report.json").read_text())["project"] in page


@pytest.mark.parametrize("line", ON_THE_DEMO)
def test_a_command_of_the_readme_runs(line: str, home: Path, finished: Done) -> None:
    _, *words = shlex.split(line)
    words = [word.replace("demo/project.toml", str(home / "project.toml")) for word in words]
    done = spiritsafe(*words, cwd=ROOT, code=EXPECTED.get(line, 0))
    assert done.out.strip() or done.err.strip()
