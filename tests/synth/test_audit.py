"""One changed character anywhere is found and named; a walk leads from a row to its terms."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb
import pytest

from policy.errors import BadInput, LedgerBroken
from synth.audit import findings
from synth.audits.lineage import lineage_of_row
from synth.steps import filter_step, freeze_step
from tests import fake_teacher as fake
from tests.batch_servers import BatchServer
from tests.command import spiritsafe
from tests.fake_teacher import FakeTeacher
from tests.synth.parts import PRICED, ask, asked, bench_of, opened, project


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with answers, failures, verdicts, a dataset and checkpoints; nothing changes it."""

    def script(index: int, request: fake.Json) -> fake.Action:
        if index % 7 == 5:
            return fake.bad_json()
        return fake.reset() if index % 7 == 6 else fake.answer(headers={"x-request-id": "r"})

    home = tmp_path_factory.mktemp("whole")
    with FakeTeacher(script) as server:
        path = project(home, server.base_url, rows=24, limits=PRICED, sampling={"logprobs": 2})
        ask(path)
    (home / "more.jsonl").write_text('{"id": "x", "message": "In a batch", "intent": "late"}\n')
    with BatchServer("openai") as server:
        ask(path, f"teacher.base_url={server.base_url}", "limits.batch=true",
            "limits.batch_poll_seconds=0.05", "prompts.file=more.jsonl")  # fmt: skip
    bench = bench_of(path)
    with bench.open() as ledger:
        freeze_step(bench, ledger, filter_step(bench, ledger))
    return home


@pytest.fixture
def home(whole: Path, tmp_path: Path) -> Path:
    """A copy to spoil."""
    return Path(shutil.copytree(whole, tmp_path / "home"))


def found(home: Path) -> list[str]:
    """What does not verify; a ledger that is refused whole counts as found."""
    try:
        with opened(home / "project.toml") as ledger:
            return [f"{one.object}: {one.problem}" for one in findings(ledger, home)]
    except LedgerBroken as error:
        return [str(error)]


@contextmanager
def raw_access(home: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """The file as somebody who knows DuckDB opens it."""
    with duckdb.connect(str(home / "ledger.duckdb")) as connection:
        yield connection


def spoil(home: Path, sql: str) -> None:
    with raw_access(home) as connection:
        connection.execute(sql)


def test_a_whole_project_verifies(whole: Path) -> None:
    assert found(whole) == []
    done = spiritsafe("verify", whole / "project.toml")
    assert "verified" in done.err


@pytest.mark.parametrize(
    ("sql", "named"),
    [
        ("UPDATE completion SET text = replace(text, 'short', 'shorT')", "completion "),
        ("UPDATE raw SET headers = replace(headers, '\"r\"', '\"s\"')", "raw reply of "),
        ("UPDATE raw SET body = from_hex(replace(hex(body), '0', '1'))", "raw reply of "),
        ("UPDATE attempt SET model = 'smollm2-135n' WHERE seq = (SELECT min(seq) FROM attempt)",
         "is altered"),
        ("UPDATE outcome SET cost_nano = 1 WHERE class = 'unknown'", "is altered"),
        ("UPDATE verdict SET keep = NOT keep", "is altered"),
        ("UPDATE decision SET body = replace(body, 'ALLOW', 'ALLOX')", "leaf 0 is altered"),
        ("UPDATE receipt SET digest = 'sha256:0'", "is altered"),
        ("DELETE FROM completion WHERE attempt = (SELECT min(attempt) FROM completion)", "missing"),
        ("DELETE FROM raw WHERE attempt = (SELECT min(attempt) FROM raw)", "is missing"),
        ("DELETE FROM outcome WHERE seq = (SELECT max(seq) FROM outcome)", "is altered"),
        ("DELETE FROM request WHERE key = (SELECT min(key) FROM request)", "request"),
        ("INSERT INTO attempt SELECT 9999, id || 'x', * EXCLUDE (seq, id) FROM attempt LIMIT 1",
         "attempt 9999: is in no entry"),
        ("INSERT INTO completion SELECT attempt || 'x', * EXCLUDE attempt FROM completion LIMIT 1",
         "has no outcome"),
        ("INSERT INTO completion SELECT * FROM completion LIMIT 1", "more than once"),
    ],
)  # fmt: skip
def test_a_changed_row_is_named(home: Path, sql: str, named: str) -> None:
    spoil(home, sql)
    assert any(named in one for one in found(home))


TABLES = ("meta", "leaf", "batch", "decision", "request", "attempt", "outcome", "completion", "raw",
          "verdict", "receipt", "job", "notice", "signed")  # fmt: skip


def columns(home: Path) -> list[tuple[str, str, str]]:
    with raw_access(home) as connection:
        return connection.execute(
            "SELECT table_name, column_name, data_type FROM information_schema.columns"
            f" WHERE table_name IN {TABLES} ORDER BY ALL"
        ).fetchall()


CHANGED = {
    "VARCHAR": "{0} || 'x'", "BIGINT": "{0} + 1000000", "INTEGER": "{0} + 1",
    "BOOLEAN": "NOT {0}", "BLOB": "{0} || 'x'::BLOB", "VARCHAR[]": "list_append({0}, 'x')",
    "BLOB[]": "list_append({0}, 'x'::BLOB)", "FLOAT[]": "list_append({0}, 0.5)",
    "INTEGER[]": "list_append({0}, 1)",
}  # fmt: skip


def test_any_change_of_any_column_of_any_table_is_found(whole: Path, tmp_path: Path) -> None:
    every, missed = columns(whole), []
    assert {table for table, *_ in every} == set(TABLES)
    for table, column, kind in every:
        home = Path(shutil.copytree(whole, tmp_path / f"{table}.{column}"))
        change = CHANGED[kind].format(column)
        spoil(home, f"UPDATE {table} SET {column} = {change}"
                    f" WHERE rowid = (SELECT max(rowid) FROM {table})")  # fmt: skip
        if not found(home):
            missed.append(f"{table}.{column}")
    assert missed == []


def test_a_leaf_that_was_hashed_anew_does_not_match_the_signed_root(home: Path) -> None:
    from policy.log import leaf_body, leaf_hash
    from synth.rows import attempt_leaf

    seq = asked(home / "project.toml", "SELECT min(seq) FROM attempt")[0][0]
    spoil(home, f"UPDATE attempt SET model = 'another' WHERE seq = {seq}")
    with raw_access(home) as connection:
        row = connection.execute("SELECT * FROM attempt WHERE seq = ?", [seq]).fetchone()
        assert row is not None
        forged = leaf_hash(leaf_body("attempt", seq, attempt_leaf(row)))
        connection.execute("UPDATE leaf SET hash = ? WHERE seq = ?", [forged, seq])
    assert any("checkpoint" in one for one in found(home))


def flip(path: Path, place: int = -3) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    "name",
    ["datasets/bot/train.parquet", "datasets/bot/validation.parquet", "datasets/bot/test.parquet",
     "datasets/bot/README.md"],
)  # fmt: skip
def test_a_changed_file_is_named(home: Path, name: str) -> None:
    flip(home / name)
    assert any(name in one for one in found(home))


@pytest.mark.parametrize("word", ['"rows"', "ALLOW", "sha256:", "smollm2", "CC0"])
def test_a_changed_manifest_is_named(home: Path, word: str) -> None:
    manifest = home / "datasets" / "bot" / "manifest.json"
    text = manifest.read_text()
    place = text.index(word) + len(word) + 6
    flip(manifest, len(text[:place].encode()))
    assert any("datasets/bot" in one for one in found(home))


def test_a_changed_date_of_a_manifest_is_named(home: Path) -> None:
    """Its digest leaves the day out, so that a dataset is the same on any day; the log does not."""
    (manifest,) = home.glob("datasets/*/manifest.json")
    manifest.write_text(manifest.read_text().replace('"created": "20', '"created": "19'))
    assert any("manifest.json: is altered" in one for one in found(home))


def test_a_changed_checkpoint_is_named(home: Path) -> None:
    flip(sorted((home / "checkpoints").iterdir())[-1])
    assert any("checkpoint" in one for one in found(home))


def test_another_key_is_noticed(home: Path) -> None:
    flip(home / "keys" / "log.pub", -8)
    assert found(home)


@pytest.mark.parametrize("gone", ["checkpoints", "keys", "datasets/bot", "datasets"])
def test_what_is_gone_is_noticed(home: Path, gone: str) -> None:
    shutil.rmtree(home / gone)
    assert found(home)


def test_the_command_names_it_and_exits_5(home: Path) -> None:
    spoil(home, "UPDATE completion SET text = 'A longer answer.'"
                " WHERE attempt = (SELECT min(attempt) FROM completion)")  # fmt: skip
    flip(home / "datasets" / "bot" / "test.parquet")
    done = spiritsafe("verify", home / "project.toml", code=5)
    assert "completion " in done.out
    assert "test.parquet" in done.out
    assert "Traceback" not in done.err
    assert {one["object"][:4] for one in spiritsafe(
        "verify", home / "project.toml", "--json", code=5).json} >= {"comp"}  # fmt: skip


def test_a_row_leads_to_its_request_its_verdicts_and_its_terms(whole: Path) -> None:
    with opened(whole / "project.toml") as ledger:
        (prompt,) = ledger.one("SELECT min(prompt_id) FROM state WHERE class = 'ok'")
        (step,) = lineage_of_row(ledger, prompt)
    assert step["text"] == "A short answer."
    assert {one["filter"] for one in step["verdicts"]} >= {"finish", "served"}
    assert step["decided"]["level"] == "ALLOW"
    assert step["terms_pin"] == step["decided"]["terms_pin"]


def test_a_failure_has_a_walk_too(whole: Path) -> None:
    with opened(whole / "project.toml") as ledger:
        (prompt,) = ledger.one("SELECT min(prompt_id) FROM state WHERE class = 'unknown'")
        (step,) = lineage_of_row(ledger, prompt)
    assert step["outcome"] == "unknown"
    assert "text" not in step


def test_a_row_that_was_never_asked_is_said(whole: Path) -> None:
    with opened(whole / "project.toml") as ledger, pytest.raises(BadInput, match="no request"):
        lineage_of_row(ledger, "nobody")
