"""Which rows were collected under which pin: one letter of a terms file makes another pin."""

import json
from datetime import date
from pathlib import Path

from synth.imports.step import Declared, import_step
from tests.command import spiritsafe
from tests.fake_teacher import FakeTeacher
from tests.synth.parts import bench_of, project
from tests.synth.test_key_binding import KEY, hosted


def test_one_letter_of_a_terms_file_changes_the_pin_and_audit_tells_them_apart(
    tmp_path: Path,
) -> None:
    env = {"TEACHER": KEY, "XDG_STATE_HOME": str(tmp_path / "state")}
    with FakeTeacher() as server:
        path = hosted(tmp_path / "bot", server)
        spiritsafe("collect", path, env=env)
        terms = tmp_path / "bot" / "terms" / "deepseek-api.toml"
        text = terms.read_text()
        terms.write_text(text.replace("Rights in the outputs pass", "Rights in the output pass", 1))
        path.write_text(path.read_text().replace("max_tokens = 16", "max_tokens = 17"))
        spiritsafe("collect", path, env=env)
    before, after = spiritsafe("audit", path, "--terms", "--json").json
    assert before["terms_pin"] != after["terms_pin"] == before["pin_now"] == after["pin_now"]
    assert before["state"] == "another text than any in today's register"
    assert after["state"] == "in force"
    assert [len(one["rows"]) for one in (before, after)] == [12, 12]
    assert "p0000#0" in before["rows"]
    screen = spiritsafe("audit", path, "--terms").out
    assert before["terms_pin"] in screen
    assert after["terms_pin"] in screen
    terms.write_text(text)
    states = [one["state"] for one in spiritsafe("audit", path, "--terms", "--json").json]
    assert states == ["in force", "another text than any in today's register"]


def test_a_shipped_entry_is_named_with_its_version(tmp_path: Path) -> None:
    with FakeTeacher() as server:
        path = project(tmp_path, server.base_url, rows=3)
        spiritsafe("collect", path)
    (only,) = spiritsafe("audit", path, "--terms", "--json").json
    assert only["entry"].startswith("smollm2@self-host@")
    assert (only["state"], only["answers"]) == ("in force", 3)


def test_a_student_that_teaches_passes_its_teachers_duties_on(tmp_path: Path) -> None:
    offering = "student-of(deepseek-api, llama-3.1)"
    with FakeTeacher() as server:
        path = project(
            tmp_path,
            server.base_url,
            teacher={"offering": offering, "model": "our-student"},
            use={"purpose": "train_specialist", "distribution": "weights_public"},
        )
        checked = spiritsafe("check", path, "--json").json
        spiritsafe("collect", path)
    (only,) = spiritsafe("audit", path, "--terms", "--json").json
    assert only["state"] == "in force"
    assert "deepseek-api@" in only["entry"]
    assert "llama-3.1@self-host@" in only["entry"]
    spiritsafe("freeze", path)
    manifest = json.loads((tmp_path / "datasets" / "bot" / "manifest.json").read_text())
    assert manifest["teachers"][0]["offering"] == offering
    duties = set(checked["decision"]["obligations"])
    assert any(duty.startswith("llama_") for duty in duties)
    assert duties <= set(manifest["obligations"])


def test_what_was_brought_in_stands_under_its_terms(tmp_path: Path) -> None:
    path = project(tmp_path / "home", "http://127.0.0.1:9/v1")
    file = tmp_path / "answers.jsonl"
    turns = [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}]
    file.write_text(json.dumps({"messages": turns}) + "\n")
    declared = Declared(file, "openai-finetune", "deepseek-api", "A. Person",
                        collected_on=date(2026, 6, 1), model="deepseek-chat")  # fmt: skip
    import_step(bench_of(path), declared)
    (only,) = spiritsafe("audit", path.parent, "--terms", "--json").json
    assert (only["offering"], only["sent"], only["answers"]) == ("deepseek-api", 0, 1)
    assert len(only["decisions"]) == len(only["rows"]) == 1
