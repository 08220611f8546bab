"""`check` on one screen: terms in force, decision per purpose, what is missing, caps, estimates."""

import shlex
from pathlib import Path

import pytest

from synth.screens import spell
from tests.command import spiritsafe
from tests.fake_teacher import FakeTeacher, status
from tests.synth.parts import project


def test_a_refused_project_reads_what_to_do_and_the_command_works(tmp_path: Path) -> None:
    bot = tmp_path / "my bot"
    spiritsafe("init", bot, "--template", "openai-support")
    said = spiritsafe("check", bot / "project.toml", code=3).out
    assert "In force  openai-api@2026-01-01" in said
    assert "3.3(e), OpenAI Services Agreement (2026-01-01)" in said
    assert "OPENAI_API_KEY is not set" in said
    found = spiritsafe("check", bot / "project.toml", "--json", code=3).json
    assert [one["entry"] for one in found["terms"]] == ["openai-api@2026-01-01"]
    assert found["purposes"]["train_competing_general"]["level"] == "DENY"
    (command,) = found["remedies"]
    (tmp_path / "note.txt").write_text("Counsel: it does not compete.\n")
    filled = [
        {"NAME": "A. Jurist", "TEXT": "A support bot for a bank does not compete.",
         "FILE": str(tmp_path / "note.txt")}.get(word, word)
        for word in shlex.split(command)
    ]  # fmt: skip
    assert filled[0] == "spiritsafe"
    spiritsafe(*filled[1:])
    after = spiritsafe("check", bot / "project.toml", "--json").json
    assert after["remedies"] == []
    assert [one["where"] for one in after["missing"]] == ["[teacher] api_key_env"]


def test_everything_that_is_missing_is_said_at_once(tmp_path: Path) -> None:
    path = project(
        tmp_path,
        "https://api.example.com/v1",
        teacher={"offering": "deepseek-api", "model": "deepseek-next", "api_key_env": "NO_SUCH"},
    )
    (tmp_path / "guardrails.toml").write_text("[offerings.mistral-api]\n")
    found = spiritsafe("check", path, "--json", code=3).json
    said = " ".join(one["message"] for one in found["missing"])
    assert "is not on the organisation's list" in said
    assert "not a known address of deepseek-api" in said
    assert "no price is known" in said
    assert "NO_SUCH is not set" in said
    assert all(one["fix"] for one in found["missing"])


def test_a_priced_teacher_without_a_budget_is_bad_input(tmp_path: Path) -> None:
    limits = {"price": {"input": 1.0, "output": 2.0}}
    path = project(tmp_path, "http://127.0.0.1:9/v1", limits=limits)
    assert "no budget is set" in spiritsafe("check", path, code=2).out


def test_the_organisations_caps_are_shown(tmp_path: Path) -> None:
    path = project(tmp_path, "http://127.0.0.1:9/v1")
    rails = '[offerings."*"]\nhard = { usd_per_day = 20 }\nsoft = { requests_per_day = 5 }\n'
    (tmp_path / "guardrails.toml").write_text(rails)
    said = spiritsafe("check", path).out
    assert "hard usd_per_day = 20 (guardrails.toml)" in said
    assert "soft requests_per_day = 5 (guardrails.toml)" in said


def test_time_is_assumed_before_and_measured_after(tmp_path: Path) -> None:
    with FakeTeacher() as server:
        path = project(tmp_path, server.base_url, limits={"requests_per_minute": 600})
        before = spiritsafe("check", path, "--json").json["estimate"]
        assert not before["seconds_are_measured"]
        spiritsafe("collect", path)
    after = spiritsafe("check", path, "--json").json["estimate"]
    assert after["seconds_are_measured"]
    assert after["seconds_an_answer"] < before["seconds_an_answer"]
    assert after["seconds"] >= 12 / 600 * 60


def test_a_refusal_that_nobody_looked_at_is_missing_too(tmp_path: Path) -> None:
    with FakeTeacher([status(403)]) as server:
        path = project(tmp_path, server.base_url)
        spiritsafe("collect", path, code=3)
    assert "nobody has looked at it yet" in spiritsafe("check", path, code=2).out


@pytest.mark.parametrize(
    ("seconds", "said"), [(0.2, "1 s"), (40, "40 s"), (720, "12 min"), (12000, "3 h 20 min")]
)
def test_times_for_people(seconds: float, said: str) -> None:
    assert spell(seconds) == said
