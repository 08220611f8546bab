"""The guide teaches what the code does: its files are read and its example is run."""

import re
import tomllib
from pathlib import Path

import pytest

from policy.config import parse
from policy.records import Record
from policy.terms import read_terms
from policy.use import Distribution, Purpose

GUIDE = (Path(__file__).parents[2] / "docs/guides/terms.md").read_text("utf-8")
ENTRY, RECORD = re.findall(r"```toml\n(.*?)```", GUIDE, re.DOTALL)
(EXAMPLE,) = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)


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


def test_the_example_of_the_guide_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "terms").mkdir()
    (tmp_path / "terms" / "acme-inference.toml").write_text(ENTRY)
    monkeypatch.chdir(tmp_path)
    exec(EXAMPLE, {})  # its asserts are the test


def test_the_record_of_the_guide_is_sound() -> None:
    record = parse(Record, tomllib.loads(RECORD), where="docs/guides/terms.md")
    assert record.offering == "acme-inference"
