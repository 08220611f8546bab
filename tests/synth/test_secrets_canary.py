"""The key is in no byte that a run leaves or prints, whatever the server does, and every file is
its owner's alone."""

import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from synth.bodies import ZSTD, unpacked
from tests import fake_teacher as fake
from tests.command import Done, spiritsafe
from tests.dialect_servers import KEY_HEADERS, PATHS, DialectTeacher, answer
from tests.fake_teacher import SCRIPTS, FakeTeacher, Script, status
from tests.synth.parts import opened, project

CANARY = "sk-canary-7f3a9c51d2"
ECHO = f"Incorrect API key provided: {CANARY}"
FAULTS: list[fake.Action] = [
    script[0] for name, script in SCRIPTS.items()
    if not callable(script) and name not in ("no_money", "reset_unread", "overloaded")
]  # fmt: skip
ECHOES = [
    fake.answer(ECHO),
    fake.answer("a", extra={"model": CANARY}),
    fake.answer("a", headers={"x-request-id": CANARY, "x-ratelimit-limit": CANARY}),
    fake.raw(b"not json " + CANARY.encode()),
    fake.html(),
    status(400, {"error": {"message": ECHO, "code": CANARY}}),
    status(500, f"<pre>Authorization: Bearer {CANARY}</pre>"),
    status(429, ECHO, headers={"retry-after-ms": "5", "x-request-id": CANARY}),
]  # fmt: skip


def every_fault(dialect: str) -> Script:
    """All of them, with an answer in between so that the run goes on."""
    actions = [*FAULTS, *ECHOES, answer(dialect, ECHO), answer(dialect, model=CANARY)]

    def script(index: int, request: fake.Json) -> fake.Action:
        fault = index % 2 == 0 and index // 2 < len(actions)
        return actions[index // 2] if fault else answer(dialect)

    return script


def run(home: Path, server: FakeTeacher, *options: str, **env: str) -> Done:
    own = server.teacher if isinstance(server, DialectTeacher) else {}
    path = project(
        home, server.base_url, rows=2 * len(FAULTS + ECHOES) + 8,
        teacher={"api_key_env": "TEACHER_KEY", **own},
        limits={"deadline_seconds": 1.5, "max_response_bytes": 2**20, "tries": 2},
    )  # fmt: skip
    return spiritsafe("collect", path, *options, env={"TEACHER_KEY": CANARY, **env}, code=None)


def stored(home: Path) -> Iterator[str]:
    """Every value of every table, unpacked."""
    with opened(home / "project.toml") as ledger:
        names = ledger.rows("SELECT table_name FROM information_schema.tables")
        for (name,) in names:
            for row in ledger.each(f"SELECT * FROM {name}"):
                yield repr(row)
        long = "SELECT form, body FROM raw UNION ALL SELECT form, body FROM request"
        yield from (repr(unpacked(body)) for form, body in ledger.each(long) if form == ZSTD)


def holders(home: Path, done: Done) -> list[str]:
    """Where the canary is."""
    found = [str(p) for p in home.rglob("*") if p.is_file() and CANARY.encode() in p.read_bytes()]
    found += [name for name in ("out", "err") if CANARY in getattr(done, name)]
    return found + (["a table"] if any(CANARY in value for value in stored(home)) else [])


@pytest.mark.parametrize(
    ("dialect", "options"), [("openai", ("--json",)), *((dialect, ()) for dialect in PATHS)]
)
def test_no_fault_leaves_or_prints_the_key(
    tmp_path: Path, dialect: str, options: tuple[str, ...]
) -> None:
    with DialectTeacher(dialect, every_fault(dialect), api_key=CANARY) as server:
        done = run(tmp_path, server, *options)
    assert done.code == 1, done.err
    assert len(server.seen) > 2 * len(FAULTS + ECHOES)
    header = KEY_HEADERS.get(dialect, "authorization")
    assert all(seen.headers[header].endswith(CANARY) for seen in server.seen)
    assert holders(tmp_path, done) == []
    assert "Traceback" not in done.err


@pytest.mark.parametrize(
    "action",
    [
        status(401, {"error": {"message": ECHO}}),
        status(404, {"error": {"message": ECHO}}),
        status(403, ECHO),
        status(429, {"error": {"code": "insufficient_quota", "message": ECHO}}),
        fake.redirect(f"http://127.0.0.1:9/?key={CANARY}"),
    ],
    ids=["401", "404", "403", "quota", "redirect"],
)
def test_no_end_of_a_run_does_either(tmp_path: Path, action: fake.Action) -> None:
    with FakeTeacher([action]) as server:
        done = run(tmp_path, server)
    assert done.code in (2, 3, 4)
    assert server.seen
    assert holders(tmp_path, done) == []


def test_the_sdk_s_own_log_does_not_print_it(tmp_path: Path) -> None:
    with FakeTeacher() as server:
        done = run(tmp_path, server, OPENAI_LOG="debug", PYTHONASYNCIODEBUG="1")
    assert done.code == 0
    assert holders(tmp_path, done) == []


@pytest.mark.parametrize("value", [CANARY + "\nx", CANARY + " and", "\x7f" + CANARY])
def test_a_key_that_is_none_is_not_repeated(tmp_path: Path, value: str) -> None:
    with FakeTeacher() as server:
        done = run(tmp_path, server, TEACHER_KEY=value)
    assert (done.code, server.seen) == (2, [])
    assert "TEACHER_KEY" in done.err
    assert CANARY not in done.err + done.out


def test_every_file_and_folder_is_its_owner_s_alone(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with FakeTeacher() as server:
        run(home, server)
        path = home / "project.toml"
        ours = {path, home / "prompts.jsonl"}
        for verb in ("filter", "freeze", "verify"):
            spiritsafe(verb, path)
    made = [one for one in home.rglob("*") if one not in ours]
    assert len(made) > 10
    modes = {str(one.relative_to(home)): stat.S_IMODE(one.stat().st_mode) for one in made}
    assert {name for name, mode in modes.items() if mode & 0o077} == set()
