"""The guide teaches what the code does: its files are read and its example is run."""

import re
import tomllib
from datetime import date
from pathlib import Path

from policy.cases import evaluate_cases, read_cases
from policy.config import parse
from policy.decide import decide_offering
from policy.records import Record
from policy.terms import SHIPPED, Level, load_register, read_terms
from policy.use import Distribution, Purpose, Use

GUIDE = (Path(__file__).parents[2] / "docs/guides/terms.md").read_text("utf-8")
ENTRY, RECORD = re.findall(r"```toml\n(.*?)```", GUIDE, re.DOTALL)
(CASES,) = re.findall(r"```yaml\n(.*?)```", GUIDE, re.DOTALL)


def test_the_entry_of_the_guide_is_sound_and_whole(tmp_path: Path) -> None:
    path = tmp_path / "acme-inference.toml"
    path.write_text(ENTRY)
    terms = read_terms(path)
    assert terms.id == path.stem
    for purpose in Purpose:
        for distribution in Distribution:
            assert any(
                purpose in rule.purposes and distribution in (rule.distributions or Distribution)
                for rule in terms.rules
            )


def test_the_cases_of_the_guide_come_to_what_it_says(tmp_path: Path) -> None:
    (tmp_path / "acme-inference.toml").write_text(ENTRY)
    file = tmp_path / "cases.yaml"
    file.write_text(CASES)
    cases = read_cases(file)
    answers = evaluate_cases(cases, load_register(tmp_path), date(2026, 11, 24))
    for case, answer in zip(cases, answers, strict=True):
        assert answer["level"] == case["want"]
        assert answer["obligations"] == case.get("oblig", [])


def test_an_entry_that_ran_out_is_renewed_in_the_project(tmp_path: Path) -> None:
    """Our entry with a review of the user's own: what the guide says to do when ours has ended."""
    late = date(2027, 3, 1)
    use = Use(purpose=Purpose.TRAIN_SPECIALIST_GENERATIVE)
    assert decide_offering(use, load_register(), "qwen3@self-host", late).level == Level.DENY
    text = (SHIPPED / "qwen3@self-host.toml").read_text()
    renewed = re.sub(r"on = .*\nexpires = .*", "on = 2027-02-28\nexpires = 2027-05-29", text)
    (tmp_path / "qwen3@self-host.toml").write_text(renewed)
    own = load_register(tmp_path)
    assert decide_offering(use, own, "qwen3@self-host", late).level == Level.ALLOW


def test_the_record_of_the_guide_is_sound() -> None:
    record = parse(Record, tomllib.loads(RECORD), where="docs/guides/terms.md")
    assert record.offering == "acme-inference"
