"""A ledger of an earlier version is brought up to date when it is opened, and verifies."""

from pathlib import Path

import duckdb
import pytest

from tests.command import spiritsafe
from tests.fake_teacher import FakeTeacher
from tests.synth.parts import asked, project

OLDER = {
    "5": "ALTER TABLE batch DROP COLUMN first; DELETE FROM signed",
    "4": "DROP VIEW settled; DROP VIEW asked; DROP TABLE imported",
    "3": "DROP VIEW standing; DROP TABLE signed; DROP TABLE notice",
}
"""What a version lacks that the next one has."""


def made_older(path: Path, version: str) -> None:
    with duckdb.connect(str(path)) as connection:
        for name, lacks in OLDER.items():
            connection.execute(lacks)
            connection.execute("UPDATE meta SET value = ? WHERE name = 'schema'", [name])
            if name == version:
                return


@pytest.mark.parametrize("version", OLDER)
def test_an_older_ledger_goes_on(tmp_path: Path, version: str) -> None:
    with FakeTeacher() as server:
        path = project(tmp_path, server.base_url, rows=4)
        spiritsafe("collect", path)
        made_older(tmp_path / "ledger.duckdb", version)
        asked_before = server.counts.total()
        spiritsafe("collect", path)
        assert server.counts.total() == asked_before
    assert asked(path, "SELECT value FROM meta WHERE name = 'schema'") == [("6",)]
    spiritsafe("audit", path, "--terms")
    if version != "3":  # a real one of that version would have no entry for a notice
        spiritsafe("verify", path)
