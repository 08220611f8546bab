from datetime import date
from pathlib import Path
from typing import Any

import pytest

from policy.archive import State, import_archive, normal, stale_of
from policy.config import load_toml, parse
from policy.digest import sha256
from policy.errors import BadInput
from policy.terms import SHIPPED, Register, Terms, load_register

TODAY = date(2026, 11, 24)
CLAUSE = "Customer may train other models, such as by model distillation."
PAGE = f"""# Terms

Welcome. [Cookies](https://a.example/?track=17)

*   4.2 Rights. (3) {CLAUSE}
*   4.3 Another matter.
"""


def entry(**changes: Any) -> Terms:
    data = load_toml(SHIPPED / "deepseek-api.toml")
    words = normal(CLAUSE)
    found = {"starts": "customer may train", "words": len(words.split())}
    data["clauses"][0] |= {**found, "sha256_norm": sha256(words.encode())}
    for clause in data["clauses"][1:]:
        for key in ("starts", "words", "sha256_norm"):
            clause.pop(key, None)
    return parse(Terms, data | changes, where="x")


def standing(folder: Path, text: str | None, *entries: Terms) -> Any:
    if text is not None:
        (folder / "DeepSeek").mkdir(exist_ok=True)
        (folder / "DeepSeek" / "Developer Terms.md").write_text(text)
    return import_archive(Register(entries or (entry(),)), folder, TODAY)


def test_a_page_that_changes_around_a_clause_leaves_the_entry_current(tmp_path: Path) -> None:
    pages = (
        PAGE,
        PAGE.replace("track=17", "track=18").replace("Welcome", "Hello"),
        PAGE.replace("may train", "**may** [train](https://b.example)\n  ").replace(
            "4.2 ", "4.2. "
        ),
        PAGE.replace("Customer", "CUST\u200bOMER"),
    )
    for page in pages:
        (found,) = standing(tmp_path, page)
        assert found.state == State.CURRENT, found.why


def test_a_clause_that_changed_makes_the_entry_stale(tmp_path: Path) -> None:
    (found,) = standing(tmp_path, PAGE.replace("other models", "its own models"))
    assert found.state == State.STALE
    assert found.why == "clause 4.2(3) has changed in DeepSeek/Developer Terms.md"
    assert stale_of([found]) == {found.pin: found.why}


@pytest.mark.parametrize("page", ["# Terms\n\nHalf a capture.", ""])
def test_a_clause_that_is_not_found_is_not_gone(tmp_path: Path, page: str) -> None:
    (found,) = standing(tmp_path, page)
    assert found.state == State.STALE
    assert "not found, which may be a fault of the capture" in found.why


def test_a_text_that_vanished_makes_the_entry_stale(tmp_path: Path) -> None:
    (tmp_path / "DeepSeek").mkdir()
    assert standing(tmp_path, None)[0].state == State.STALE


def test_an_archive_that_does_not_follow_the_service_says_nothing(tmp_path: Path) -> None:
    assert standing(tmp_path, None)[0].state == State.UNCHECKED
    other = tmp_path / "contrib-versions"
    other.mkdir()
    assert standing(other, "# Another language")[0].state == State.UNCHECKED


def test_terms_of_the_future_wait_and_the_old_ones_govern(tmp_path: Path) -> None:
    coming = entry(version="2027-01-01", effective=date(2027, 1, 1))
    states = {each.entry: each.state for each in standing(tmp_path, PAGE, entry(), coming)}
    assert states == {
        "deepseek-api@2026-04-29": State.CURRENT,
        "deepseek-api@2027-01-01": State.WAITING,
    }
    register = Register((entry(), coming))
    assert register.find("deepseek-api", TODAY) == entry()
    assert register.find("deepseek-api", date(2027, 1, 1)) == coming


def test_what_was_superseded_is_not_held_against_the_text_of_today(tmp_path: Path) -> None:
    old = entry(version="2025-01-01", effective=date(2025, 1, 1))
    states = {each.entry: each.state for each in standing(tmp_path, PAGE, entry(), old)}
    assert states["deepseek-api@2025-01-01"] == State.SUPERSEDED


def test_an_expired_review_is_stale_whatever_the_text(tmp_path: Path) -> None:
    (found,) = import_archive(Register((entry(),)), tmp_path, date(2027, 6, 1))
    assert found.state == State.STALE


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="there is no such folder"):
        import_archive(load_register(), tmp_path / "none", TODAY)


def test_every_digest_of_the_register_can_be_looked_for(register: Register) -> None:
    hashed = [c for terms in register.all() for c in terms.clauses if c.sha256_norm]
    assert len(hashed) > 30
    for clause in hashed:
        assert normal(clause.starts) == clause.starts
        assert len(clause.starts.split()) <= 8
