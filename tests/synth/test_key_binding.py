"""One key serves one project, by a fingerprint that does not give it away."""

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path

import pytest

from policy.errors import BadInput, PolicyDenied
from policy.terms import load_register
from synth.key_binding import BINDINGS, Owner, bind_key, bindings_of, check_key
from synth.secrets import Key
from tests.command import spiritsafe
from tests.fake_teacher import FakeTeacher
from tests.synth.parts import project

DAY = date(2026, 11, 24)
KEY = "sk-canary-0123456789abcdef"
TERMS = Path(__file__).parents[2] / "policy" / "terms"


def hosted(folder: Path, server: FakeTeacher) -> Path:
    """A project of a hosted offering that answers here, by an agreement of the user's own."""
    teacher = {"offering": "deepseek-api", "model": "deepseek-chat", "api_key_env": "TEACHER"}
    limits = {"price": {"input": 1.0, "output": 2.0}, "budget_usd": 1.0}
    path = project(folder, server.base_url, teacher=teacher, limits=limits)
    entry = load_register().find("deepseek-api", DAY)
    assert entry is not None
    text = (TERMS / "deepseek-api.toml").read_text()
    (folder / "terms").mkdir()
    text = text.replace(f'"{entry.hosts[0]}"', '"127.0.0.1"', 1)
    (folder / "terms" / "deepseek-api.toml").write_text(text)
    return path


def test_a_second_project_with_the_same_key_is_refused(tmp_path: Path) -> None:
    env = {"TEACHER": KEY, "XDG_STATE_HOME": str(tmp_path / "state")}
    with FakeTeacher() as server:
        one, two = hosted(tmp_path / "one", server), hosted(tmp_path / "two", server)
        spiritsafe("collect", one, env=env)
        sent = len(server.seen)
        refused = spiritsafe("collect", two, env=env, code=3)
        assert len(server.seen) == sent
        assert str(one) in refused.err
        assert not (two.parent / "ledger.duckdb").exists()
        spiritsafe("collect", two, env={**env, "TEACHER": "sk-another-0123456789"})
        one.write_text(one.read_text().replace("max_tokens = 16", "max_tokens = 17"))
        spiritsafe("collect", one, env=env)
    for file in tmp_path.rglob("*"):
        assert not file.is_file() or KEY.encode() not in file.read_bytes(), file


def test_an_organisation_binds_beside_its_rails_or_not_at_all(tmp_path: Path) -> None:
    env = {"TEACHER": KEY, "XDG_STATE_HOME": str(tmp_path / "state")}
    rails = tmp_path / "guardrails.toml"
    rails.write_text('[offerings."*"]\n')
    with FakeTeacher() as server:
        one, two = hosted(tmp_path / "one", server), hosted(tmp_path / "two", server)
        spiritsafe("collect", one, env=env)
        assert (tmp_path / BINDINGS).is_file()
        spiritsafe("collect", two, env=env, code=3)
        rails.write_text('one_key_per_project = false\n[offerings."*"]\n')
        spiritsafe("collect", two, env=env)
    assert not (tmp_path / "state").exists()


def test_of_many_projects_at_once_one_gets_the_key(tmp_path: Path) -> None:
    place = tmp_path / BINDINGS

    def bind(number: int) -> bool:
        try:
            bind_key(place, Key(KEY), Owner(f"ledger-{number}", "p", "o"), DAY)
        except PolicyDenied:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(bind, range(8))) == 1
    assert len(json.loads(place.read_text())["keys"]) == 1


def test_each_place_has_a_salt_of_its_own(tmp_path: Path) -> None:
    for name in ("a", "b"):
        bind_key(tmp_path / name / BINDINGS, Key(KEY), Owner("l", "p", "o"), DAY)
    a, b = (json.loads((tmp_path / name / BINDINGS).read_text()) for name in ("a", "b"))
    assert a["keys"].keys() != b["keys"].keys()


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"salt": "zz", "keys": {}}', '{"salt": ""}'])
def test_a_damaged_file_is_said(tmp_path: Path, text: str) -> None:
    (tmp_path / BINDINGS).write_text(text)
    with pytest.raises(BadInput, match=BINDINGS):
        check_key(tmp_path / BINDINGS, Key(KEY), "")


def test_where_the_bindings_lie() -> None:
    assert bindings_of(Path("/org"), {}) == Path("/org") / BINDINGS
    assert bindings_of(None, {"HOME": "/home/a"}) == Path(
        "/home/a/.local/state/spiritsafe", BINDINGS
    )
    assert bindings_of(None, {"XDG_STATE_HOME": "/s"}) == Path("/s/spiritsafe", BINDINGS)
