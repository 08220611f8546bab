"""Bad input gets one clear line and the documented exit code, never a traceback."""

import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from tests.command import SPIRITSAFE, environment, spiritsafe
from tests.synth.parts import project as made


@pytest.fixture
def project(tmp_path: Path) -> Path:
    spiritsafe("init", tmp_path / "bot", "--template", "quickstart")
    return tmp_path / "bot" / "project.toml"


def line(verb: str, project: Path, *options: str, code: int = 2) -> str:
    done = spiritsafe(verb, project, *options, code=code)
    (said,) = done.err.splitlines()
    return said


def test_a_missing_project_file(tmp_path: Path) -> None:
    assert "there is no such file" in line("run", tmp_path / "nothing.toml")


def test_a_misspelt_key_names_the_nearest(project: Path) -> None:
    project.write_text(project.read_text().replace("deadline_seconds", "deadline_second"))
    said = line("run", project)
    assert "limits.deadline_second" in said
    assert 'Did you mean "deadline_seconds"?' in said


def test_a_misspelt_key_of_the_other_room_stops_before_the_first_request(project: Path) -> None:
    project.write_text(project.read_text().replace("learning_rate", "learning_rat"))
    assert "[training]" in line("run", project)
    assert not (project.parent / "ledger.duckdb").exists()


def test_toml_that_is_none(project: Path) -> None:
    project.write_text("[use\n")
    assert "is not valid TOML" in line("check", project)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ('{"id": "x", "message": ', "not JSON"),
        ('["x"]', "a list, not an object"),
        ('{"id": "x"}', "no value for 'intent'"),
        ('{"id": "x", "intent": "change_pin"}', "the template asks for {{message}}"),
        ('{"id": "x", "intent": "change_pin", "message": null}', "holds null"),
        ('{"id": "b77-0001", "intent": "change_pin", "message": "m"}', "stands on line 1 already"),
    ],
)
def test_a_broken_prompt_row_is_named_by_its_line(project: Path, row: str, said: str) -> None:
    prompts = project.parent / "data" / "bank-support.jsonl"
    lines = prompts.read_text().splitlines()
    prompts.write_text("\n".join([*lines[:4], row, *lines[4:]]))
    found = line("run", project)
    assert "bank-support.jsonl line 5" in found
    assert said in found


def test_a_missing_prompt_file(project: Path) -> None:
    (project.parent / "data" / "bank-support.jsonl").unlink()
    assert "no such file" in line("run", project)


def test_missing_weights(project: Path) -> None:
    assert "no such GGUF file" in line("run", project, "--set", "teacher.weights=other.gguf")


def test_an_unknown_template(tmp_path: Path) -> None:
    done = spiritsafe("init", tmp_path / "x", "--template", "nothing", code=2)
    assert "one of email-summaries, hosted, openai-support, quickstart" in done.err


def test_init_overwrites_nothing(project: Path) -> None:
    before = project.read_bytes()
    done = spiritsafe("init", project.parent, "--template", "hosted", code=2)
    assert "there is a project already" in done.err
    assert project.read_bytes() == before


@pytest.mark.parametrize("verb", ["filter", "freeze", "show", "verify"])
def test_a_verb_that_comes_too_early_says_what_comes_first(project: Path, verb: str) -> None:
    assert "run `spiritsafe collect` first" in line(verb, project)


def test_training_without_a_dataset(project: Path) -> None:
    assert "has no manifest.json" in line("train", project)


def test_an_arm_without_its_dataset(project: Path) -> None:
    project.write_text(project.read_text().replace('dataset = "agreed"', 'dataset = "agred"'))
    assert "use one of agreed, bank-support, known" in line("check", project)


def test_a_priced_teacher_needs_a_budget(project: Path) -> None:
    options = ("teacher.base_url='http://127.0.0.1:9/v1'", "limits.price={input=1, output=1}")
    said = line("collect", project, *[part for one in options for part in ("--set", one)])
    assert "no budget is set" in said


def test_check_says_what_it_would_cost_as_json(project: Path) -> None:
    found = json.loads(spiritsafe("check", project, "--json").out)
    assert found["decision"]["level"] == "ALLOW"
    assert found["estimate"]["usd"] == 0


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.json", b"", "a.json: is not JSON"),
        ("a.json", b"[" * 5000, "is nested too deeply"),
        ("a.json", b'[{"id": "A", "off": "x", "off": "y"}]', 'the key "off" stands twice'),
        ("a.json", b'[{"id": "A"}, {"id": "A"}]', 'a.json, case 2: id = "A" is also the id of'),
        ("a.json", b'[{"id": "A", "off": "\\ud800"}]', "holds half of a surrogate pair"),
        ("a.json", b'[{"id": "A"}, {"id": "B", "ack": {"scpoe": []}}]', "case B: ack: unknown key"),
        ("a.json", b'[{"off": ["openai-api x0"]}]', "case 1: off = ['openai-api x0'] counts \"0\""),
        ("a.yaml", b"- {[a]: 1}\n", "has a key that is no word, line 1"),
        ("a.yaml", b"- &a {id: A, off: [*a]}\n", "is not YAML"),
    ],
)
def test_a_list_of_cases_that_cannot_be_used(
    tmp_path: Path, name: str, content: bytes, said: str
) -> None:
    """Nothing is answered before all of it is understood."""
    (tmp_path / name).write_bytes(content)
    done = spiritsafe("decide", "--cases", tmp_path / name, code=2)
    (told,) = done.err.splitlines()
    assert said in told
    assert done.out == ""


def test_a_list_of_cases_from_windows_is_answered_line_by_line(tmp_path: Path) -> None:
    case = b"- {id: %s, off: openai-api, purpose: evaluate, dist: internal}\r\n"
    (tmp_path / "a.yaml").write_bytes(b"\xef\xbb\xbf" + case % b"A" + case % b"B")
    done = spiritsafe("decide", "--cases", tmp_path / "a.yaml", "--project", tmp_path)
    answers = [json.loads(each) for each in done.out.splitlines()]
    assert [(each["id"], each["level"]) for each in answers] == [("A", "ALLOW"), ("B", "ALLOW")]


@pytest.mark.parametrize("value", ["inf", "nan", "true", "-1"])
def test_a_budget_is_an_amount(project: Path, value: str) -> None:
    done = spiritsafe("collect", project, "--set", f"limits.budget_usd={value}", code=2)
    assert "limits.budget_usd" in done.err
    assert "Traceback" not in done.err


def test_a_folder_that_cannot_be_written_is_one_line() -> None:
    """As somebody who does not own it: root may write everywhere."""
    with tempfile.TemporaryDirectory() as name:
        path = made(Path(name) / "bot", "http://127.0.0.1:9/v1")
        for one in (Path(name), path.parent):
            one.chmod(0o555)
        for one in path.parent.iterdir():
            one.chmod(0o444)
        nobody = ["setpriv", "--reuid=65534", "--clear-groups"] if os.getuid() == 0 else []
        if nobody and shutil.which("setpriv") is None:
            pytest.skip("root, and no setpriv")
        done = subprocess.run(
            [*nobody, *SPIRITSAFE, "collect", str(path)],
            env=environment({"HOME": name}), capture_output=True, text=True, check=False,
        )  # fmt: skip
        for one in (path.parent, Path(name)):
            one.chmod(0o755)
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith(f"error: {path.parent}: cannot be written")
    assert len(done.stderr.splitlines()) == 1
