"""What a ledger does before its first row: make its tables, or find what a crash left.

    frontier, batches = unmerged(path, journals, frontier)    # durable, and not yet in DuckDB

Nothing is changed here but a new file: the head file has the last word on what may be opened.
"""

import os
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

import duckdb

from policy.errors import BadInput, LedgerBroken
from policy.log import Frontier
from synth.journal import Batch, Journal
from synth.migrations import brought_up

SCHEMA_VERSION = "7"
FIRST_SCHEMA = "3"  # what schema.sql makes; synth/migrations.py does the rest


def create(connection: duckdb.DuckDBPyConnection) -> None:
    """The tables of a new ledger, and its name."""
    script = resources.files("synth").joinpath("schema.sql").read_text(encoding="utf-8")
    origin = "spiritsafe.local/" + os.urandom(8).hex()
    connection.execute("BEGIN")
    connection.execute(script)
    connection.execute("INSERT INTO meta VALUES ('schema', ?)", [FIRST_SCHEMA])
    connection.execute("INSERT INTO meta VALUES ('origin', ?)", [origin])
    connection.execute("COMMIT")
    connection.execute("CHECKPOINT")  # its name outlives a lost write-ahead log


def check_version(path: Path, version: str) -> None:
    """Raises BadInput for the ledger of another version."""
    if version != SCHEMA_VERSION:
        raise BadInput(
            f"the ledger has schema {version}, this program reads {SCHEMA_VERSION}",
            where=path.name,
            fix="use the version of spiritsafe that wrote it",
        )


def unmerged(
    path: Path, journals: Sequence[Journal], frontier: Frontier
) -> tuple[Frontier, list[Batch]]:
    """What the journals have of a process that did not live to give it to DuckDB, and the edge of
    the log with it. Raises LedgerBroken where something between is lost."""
    found = []
    try:
        batches = [brought_up(batch) for journal in journals for batch in journal.read()]
    except ValueError as error:
        raise LedgerBroken(
            f"its journal is damaged: {error}",
            where=path.with_suffix(".journal").name,
            fix="restore the ledger's files from one backup; nothing was sent",
        ) from error
    for batch in sorted(batches, key=lambda one: one.first):
        if batch.size <= frontier.size:
            continue
        if batch.first != frontier.size:
            raise LedgerBroken(
                f"entries {frontier.size} to {batch.first - 1} are lost",
                where=path.name,
                fix="restore ledger.duckdb and its .wal from a backup; nothing was sent",
            )
        found.append(batch)
        frontier = restored(path, batch.frontier, batch.size)
    return frontier, found


def restored(path: Path, frontier: bytes, size: int) -> Frontier:
    """The edge of the log after a commit. Raises LedgerBroken where its bytes are none."""
    try:
        found = Frontier.from_bytes(frontier)
        if found.size != size:
            raise BadInput(f"it is called the commit of size {size}, and is of {found.size}")
        return found
    except BadInput as error:
        raise LedgerBroken(
            f"its last commit is damaged: {error.message}",
            where=path.name,
            fix="restore ledger.duckdb from a backup; nothing was sent",
        ) from error
