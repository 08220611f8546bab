"""After 401, 403 or a policy error nothing is sent until a person has looked."""

from pathlib import Path

import pytest

from tests.command import spiritsafe
from tests.fake_teacher import FakeTeacher, answer, status
from tests.synth.parts import asked, project

ONE = {"concurrency": 1}
WORD = ("--by", "J. Doe", "--because", "The provider lifted the block by mail.")


def refusing(code: int) -> FakeTeacher:
    """A server that answers, refuses one request for good, and would answer again."""
    return FakeTeacher([answer("one"), status(code), answer("more")])


@pytest.mark.parametrize(("code", "exit_code"), [(401, 2), (403, 3)])
def test_a_refusal_stops_every_later_run_until_somebody_looked(
    tmp_path: Path, code: int, exit_code: int
) -> None:
    with refusing(code) as server:
        path = project(tmp_path, server.base_url, limits=ONE)
        spiritsafe("collect", path, code=exit_code)
        sent = len(server.seen)
        again = spiritsafe("collect", path, code=3)
        assert len(server.seen) == sent
        assert "nobody has looked at it yet" in again.err
        assert "spiritsafe resume" in again.err
        spiritsafe("resume", path, *WORD)
        spiritsafe("collect", path)
    assert asked(path, "SELECT count(*) FROM state WHERE class = 'ok'") == [(12,)]
    spiritsafe("verify", path)


def test_another_key_ends_a_refused_key_and_stays_so(tmp_path: Path) -> None:
    with FakeTeacher(api_key="sk-right-0123456789") as server:
        path = project(tmp_path, server.base_url, teacher={"api_key_env": "TEACHER"}, limits=ONE)
        wrong, right = {"TEACHER": "sk-wrong-0123456789"}, {"TEACHER": "sk-right-0123456789"}
        spiritsafe("collect", path, env=wrong, code=2)
        sent = len(server.seen)
        spiritsafe("collect", path, env=wrong, code=3)
        assert len(server.seen) == sent
        spiritsafe("collect", path, env=right)
        path.write_text(path.read_text().replace("max_tokens = 16", "max_tokens = 17"))
        spiritsafe("collect", path, env=right)
    for file in tmp_path.rglob("*"):
        assert not file.is_file() or b"sk-wrong" not in file.read_bytes(), file


def test_another_key_does_not_end_a_forbidden_use(tmp_path: Path) -> None:
    with refusing(403) as server:
        path = project(tmp_path, server.base_url, teacher={"api_key_env": "TEACHER"}, limits=ONE)
        spiritsafe("collect", path, env={"TEACHER": "sk-one-0123456789"}, code=3)
        sent = len(server.seen)
        spiritsafe("collect", path, env={"TEACHER": "sk-two-0123456789"}, code=3)
    assert len(server.seen) == sent


def test_a_clearance_written_by_hand_lifts_nothing_and_an_altered_one_is_named(
    tmp_path: Path,
) -> None:
    with refusing(403) as server:
        path = project(tmp_path, server.base_url, limits=ONE)
        spiritsafe("collect", path, code=3)
        ((attempt,),) = asked(path, "SELECT id FROM state WHERE kind = 'forbidden'")
        forged = tmp_path / "clearances" / f"{attempt}.toml"
        forged.parent.mkdir()
        forged.write_text(f'attempt = "{attempt}"\n')
        spiritsafe("collect", path, code=3)
        spiritsafe("resume", path, *WORD)
        spiritsafe("collect", path)
    forged.write_text(forged.read_text().replace("J. Doe", "J. Roe"))
    assert f"clearances/{attempt}.toml: is altered" in spiritsafe("verify", path, code=5).out


def test_there_is_nothing_to_resume_and_a_reason_is_needed(tmp_path: Path) -> None:
    with refusing(403) as server:
        path = project(tmp_path, server.base_url, limits=ONE)
        spiritsafe("collect", path, code=3)
    short = spiritsafe("resume", path, "--by", "J. Doe", "--because", "ok", code=2)
    assert "because" in short.err
    assert len(short.err.splitlines()) == 1
    spiritsafe("resume", path, *WORD)
    assert "nothing is stopped" in spiritsafe("resume", path, *WORD, code=2).err
