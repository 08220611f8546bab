"""People's words as evidence, from the command line: what they lift, and what they never lift."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.command import Done, spiritsafe

WHO = ("--by", "A. Jurist", "--role", "general counsel")
WHY = ("--reason", "A support bot for bank customers does not compete with a model provider.")
TODAY = datetime.now(UTC).date()
LATER, LONG_AGO, ENDED = (TODAY + timedelta(days) for days in (180, -60, -7))
SCOPE = ("--purpose", "train_specialist", "--distribution", "internal")


@pytest.fixture
def bot(tmp_path: Path) -> Path:
    """A project whose teacher needs an acknowledgement."""
    spiritsafe("init", tmp_path / "bot", "--template", "openai-support")
    (tmp_path / "bot" / "note.txt").write_text("Counsel's note: it does not compete.\n")
    return tmp_path / "bot"


def record(bot: Path, verb: str, *more: str, code: int = 0, until: str = f"{LATER}") -> Done:
    document = ("--document", str(bot / "note.txt"))
    said = (*WHO, *WHY, *document, "--expires", until, "--project", str(bot), *more)
    return spiritsafe("terms", verb, "openai-api", *said, code=code)


def level(bot: Path, code: int) -> str:
    found = spiritsafe("check", bot / "project.toml", "--json", code=code).json
    return str(found["decision"]["level"])


def test_an_acknowledgement_lifts_what_the_terms_leave_open(bot: Path) -> None:
    assert level(bot, 3) == "NEEDS_ACK"
    record(bot, "acknowledge", *SCOPE)
    assert level(bot, 0) in ("ALLOW", "ALLOW_WITH")
    assert (bot / "records" / "acknowledgement-openai-api.toml").exists()


def test_outside_its_scope_it_lifts_nothing(bot: Path) -> None:
    record(bot, "acknowledge", "--purpose", "evaluate", "--distribution", "internal")
    assert level(bot, 3) == "NEEDS_ACK"


def test_after_its_end_it_is_none(bot: Path) -> None:
    record(bot, "acknowledge", *SCOPE)
    path = bot / "records" / "acknowledgement-openai-api.toml"
    text = path.read_text().replace(f"expires = {LATER}", f"expires = {ENDED}")
    path.write_text(re.sub(r"^on = \S+", f"on = {LONG_AGO}", text, flags=re.MULTILINE))
    assert level(bot, 3) == "NEEDS_ACK"
    ended = spiritsafe("terms", "due", "--project", bot, code=1)
    assert "acknowledgement" in ended.out


def test_it_never_lifts_a_denial(bot: Path) -> None:
    scope = ("--purpose", "train_general", "--distribution", "internal")
    record(bot, "acknowledge", *scope)
    path = bot / "project.toml"
    path.write_text(path.read_text().replace("train_specialist_generative", "train_general"))
    assert level(bot, 3) == "DENY"


def test_a_permission_does_not_stand_for_an_acknowledgement(bot: Path) -> None:
    record(bot, "permit", *SCOPE)
    assert level(bot, 3) == "NEEDS_ACK"


def test_the_decision_says_which_record_lifted_it(bot: Path) -> None:
    record(bot, "acknowledge", *SCOPE)
    decision = spiritsafe("check", bot / "project.toml", "--json").json["decision"]
    (digest,) = decision["records"]
    assert digest.startswith("sha256:")
    assert any(reason["lifted_by"] == digest for reason in decision["reasons"])


def test_another_document_in_its_place_is_noticed(bot: Path) -> None:
    record(bot, "acknowledge", *SCOPE)
    path = bot / "records" / "acknowledgement-openai-api.toml"
    path.write_text(path.read_text() + 'document_file = "../note.txt"\n')
    assert level(bot, 0)
    (bot / "note.txt").write_text("something else\n")
    assert "is not that of" in spiritsafe("check", bot / "project.toml", code=2).err


def test_a_record_is_not_replaced_by_accident(bot: Path) -> None:
    record(bot, "acknowledge", *SCOPE)
    assert "there is such a record already" in record(bot, "acknowledge", *SCOPE, code=2).err
    record(bot, "acknowledge", *SCOPE, "--replace", until=f"{TODAY + timedelta(150)}")


def test_an_unknown_offering_or_purpose_is_one_line(bot: Path) -> None:
    said = record(bot, "acknowledge", "--purpose", "train_specialst", "--distribution", "internal",
                  code=2)  # fmt: skip
    assert "train_specialst" in said.err
    assert len(said.err.splitlines()) == 1


def test_an_agreement_of_ones_own_is_shown_as_ones_own(bot: Path) -> None:
    shipped = Path(__file__).parents[2] / "policy" / "terms" / "deepseek-api.toml"
    text = shipped.read_text().replace('id = "deepseek-api"', 'id = "our-provider"')
    hosts = [line for line in text.splitlines() if line.startswith("hosts")]
    (bot / "terms").mkdir()
    text = re.sub(r"^supersedes = .*\n", "", text, flags=re.MULTILINE)
    (bot / "terms" / "our-provider.toml").write_text(
        text.replace(hosts[0], 'hosts = ["llm.our.example"]')
    )
    assert "your own agreement" in spiritsafe("terms", "show", "our-provider", "--project", bot).out
    listed = spiritsafe("terms", "list", "--project", bot).out.splitlines()
    assert [line.split()[1] for line in listed if line.startswith("our-provider")] == ["yours"]


def test_two_versions_side_by_side() -> None:
    found = spiritsafe("terms", "diff", "mistral-api@2024-02-08", "mistral-api@2026-08-05").out
    assert "train_competing_general" in found


def test_a_day_before_and_after_a_change() -> None:
    before = spiritsafe("terms", "check", "--as-of", "2025-12-31", "--json").json
    after = spiritsafe("terms", "check", "--as-of", "2026-10-01", "--json").json
    state = [
        {one["entry"]: one["state"] for one in day}["aws-bedrock/nova@2025-08-01"]
        for day in (before, after)
    ]
    assert state == ["current", "superseded"]


def test_check_shows_every_purpose(bot: Path) -> None:
    said = spiritsafe("check", bot / "project.toml", code=3).out
    for purpose in ("train_classifier", "evaluate", "publish_dataset"):
        assert purpose in said
