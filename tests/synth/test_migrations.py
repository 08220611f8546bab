"""A ledger of an earlier version is brought up to date when it is opened, and verifies."""

import asyncio
import json
import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import duckdb
import pytest
import zstandard

from policy.verify import Finding
from synth.bodies import as_received, as_sent
from synth.database import rewrite
from synth.journal import Journal
from synth.ledger import Ledger
from synth.ledger_checks import check, parts_of
from synth.rows import Row
from tests.command import spiritsafe
from tests.fake_teacher import FakeTeacher
from tests.synth.parts import asked, attempt_row, call, completion, outcome_row, project

PACK = zstandard.ZstdCompressor(level=1).compress
OLDER = {
    "6": "CREATE TABLE old AS SELECT attempt, key, * EXCLUDE (attempt, key) FROM completion"
    " JOIN (SELECT id AS attempt, key FROM asked) USING (attempt);"
    "DROP TABLE completion; ALTER TABLE old RENAME TO completion",
    "5": "ALTER TABLE batch DROP COLUMN first; DELETE FROM signed",
    "4": "DROP VIEW settled; DROP VIEW asked; DROP TABLE imported",
    "3": "DROP VIEW standing; DROP TABLE signed; DROP TABLE notice",
}
"""What a version lacks that the next one has."""


def made_older(path: Path, version: str) -> None:
    with duckdb.connect(str(path)) as connection:
        _pack_bodies(connection)
        for name, lacks in OLDER.items():
            connection.execute(lacks)
            connection.execute("UPDATE meta SET value = ? WHERE name = 'schema'", [name])
            if name == version:
                return


def _pack_bodies(connection: duckdb.DuckDBPyConnection) -> None:
    """Until version 6 every body was packed by itself."""
    requests = connection.execute("SELECT * FROM request").fetchall()
    replies = connection.execute(
        "SELECT r.*, coalesce(c.text, '') FROM raw r LEFT JOIN completion c USING (attempt)"
    ).fetchall()
    connection.execute("ALTER TABLE request DROP COLUMN form; DELETE FROM request;"
                       "ALTER TABLE raw DROP COLUMN form; ALTER TABLE raw DROP COLUMN gap;"
                       "DELETE FROM raw")  # fmt: skip
    for *row, body, form in requests:
        old = [*row, PACK(as_sent(form, body))]
        connection.execute("INSERT INTO request VALUES (?, ?, ?, ?)", old)
    for *row, body, form, gap, text in replies:
        old = [*row, PACK(as_received(form, gap, body, text))]
        connection.execute("INSERT INTO raw VALUES (?, ?, ?, ?)", old)


@pytest.mark.parametrize("version", OLDER)
def test_an_older_ledger_goes_on(tmp_path: Path, version: str) -> None:
    with FakeTeacher() as server:
        path = project(tmp_path, server.base_url, rows=4)
        spiritsafe("collect", path)
        made_older(tmp_path / "ledger.duckdb", version)
        asked_before = server.counts.total()
        spiritsafe("collect", path)
        assert server.counts.total() == asked_before
    assert asked(path, "SELECT value FROM meta WHERE name = 'schema'") == [("7",)]
    spiritsafe("audit", path, "--terms")
    if version != "3":  # a real one of that version would have no entry for a notice
        spiritsafe("verify", path)


def test_what_a_killed_older_program_left_in_its_journal_is_taken(tmp_path: Path) -> None:
    path, copy = tmp_path / "ledger.duckdb", tmp_path / "copy"
    text = "A long answer, twice in what is stored. " * 3
    attempt = attempt_row(call(1))
    outcome = replace(
        outcome_row(attempt), completion=completion(text), raw=json.dumps({"a": text}).encode()
    )
    with Ledger.open(path, clock=time.time) as ledger:
        asyncio.run(_append(ledger, attempt, outcome))
        shutil.copytree(tmp_path, copy)  # as a kill would leave it
    for journal in copy.glob("ledger.journal*"):
        _made_older(journal)
    made_older(copy / "ledger.duckdb", "6")
    with Ledger.open(copy / "ledger.duckdb", clock=time.time) as ledger:
        assert list(check_all(ledger)) == []
        assert ledger.rows("SELECT text FROM completion") == [(text,)]
        assert ledger.rows("SELECT form FROM raw") == [("zstd",)]


async def _append(ledger: Ledger, *rows: Row) -> None:
    for row in rows:
        await ledger.append(row)


def _made_older(path: Path) -> None:
    journal = Journal(path)
    batches = list(journal.read())
    journal.clear()
    for batch in batches:
        tables = batch.tables
        tables["batch"] = [row[:3] for row in tables["batch"]]
        key = tables["attempt"][0][2] if "attempt" in tables else "of another commit"
        for row in tables.pop("completion", []):
            tables["completion"] = [(row[0], key, *row[1:])]
            ((attempt, salt, headers, body, form, gap),) = tables["raw"]
            tables["raw"] = [(attempt, salt, headers, PACK(as_received(form, gap, body, row[1])))]
        for key, base, at, body, form in tables.pop("request", []):
            tables["request"] = [(key, base, at, PACK(as_sent(form, body)))]
        journal.append(batch)
    journal.close()


def check_all(ledger: Ledger) -> Iterator[Finding]:
    for part in parts_of(ledger):
        yield from check(ledger, part)


def test_a_file_with_larger_blocks_stays_and_is_rewritten_with_smaller(tmp_path: Path) -> None:
    path = tmp_path / "ledger.duckdb"
    with duckdb.connect() as connection:
        connection.execute(f"ATTACH '{path}' AS old (STORAGE_VERSION 'v1.5.0')")
    with Ledger.open(path, clock=time.time) as ledger:
        ledger.append_all([attempt_row(call())])
        assert block_size(ledger) == 262144
    rewrite(path)
    with Ledger.open(path, clock=time.time) as ledger:
        assert ledger.one("SELECT count(*) FROM attempt") == (1,)
        assert block_size(ledger) == 65536


def block_size(ledger: Ledger) -> int:
    return int(ledger.one("SELECT block_size FROM pragma_database_size() WHERE block_size > 0")[0])
