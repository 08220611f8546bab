"""What goes from the journals into DuckDB: thousands of rows in one transaction.

    merge(connection, batches, passing)     # all of them, or LedgerBroken and none

The tables have no indexes. Those of the ids took half of the file, 12 us of CPU a row and memory
that grew with every request; looking once a helping for what is there already takes 5.
"""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import duckdb

from policy.errors import LedgerBroken
from synth.crash import Passing, Point
from synth.database import CHECKPOINT, insert
from synth.journal import Batch

KEPT, MORE = "8MB", "64MB"  # of pages that DuckDB may keep at hand between two helpings
READING = "24MB"  # the same, while it looks for what is there

Tables = dict[str, list[tuple[Any, ...]]]


def merge(
    connection: duckdb.DuckDBPyConnection, batches: Sequence[Batch], passing: Passing
) -> None:
    """Batches into DuckDB, in one transaction. Raises LedgerBroken for an id that is there already,
    which only a fault of ours could write, and duckdb.Error."""
    tables: Tables = {}
    for batch in batches:
        for table, rows in batch.tables.items():
            tables.setdefault(table, []).extend(rows)
    _sparingly(connection, lambda: _only_new(connection, tables))
    with _transaction(connection):
        for table, rows in tables.items():
            if rows:
                insert(connection, table, rows)
        passing(Point.BEFORE_MERGE)
    passing(Point.AFTER_MERGE)


def forget(connection: duckdb.DuckDBPyConnection, erased: str) -> None:
    """Delete the content, the salts and the requests of the attempts that the query `erased` names.
    Raises duckdb.Error."""
    keys = f"SELECT a.key FROM ({erased}) e JOIN asked a ON a.id = e.attempt"  # noqa: S608
    with _transaction(connection):
        connection.execute(f"DELETE FROM request WHERE key IN ({keys})")  # noqa: S608
        for table in ("completion", "raw"):
            connection.execute(
                f"DELETE FROM {table} WHERE attempt IN (SELECT attempt FROM ({erased}))"  # noqa: S608
            )
    connection.execute("CHECKPOINT")


@contextlib.contextmanager
def _transaction(connection: duckdb.DuckDBPyConnection) -> Iterator[None]:
    try:
        connection.execute("BEGIN")
        yield
        connection.execute("COMMIT")
    except duckdb.Error:
        with contextlib.suppress(duckdb.Error):  # a full disk invalidates the handle
            connection.execute("ROLLBACK")
        raise


def _sparingly(connection: duckdb.DuckDBPyConnection, work: Callable[[], None]) -> None:
    """Do it with few pages at hand: looking for what is there reads a column of the whole ledger,
    which would otherwise stay until the rows are in."""
    try:
        with _at_most(connection, READING):
            work()
    except duckdb.OutOfMemoryException:
        work()


def squeeze(connection: duckdb.DuckDBPyConnection, *, heavy: bool) -> None:
    """Have DuckDB let go of the pages it has at hand. Its cache would grow with the ledger up to
    four fifths of the machine, and a limit that always held would fail a large transaction."""
    # a query of somebody else may need more
    with (
        contextlib.suppress(duckdb.OutOfMemoryException),
        _at_most(connection, MORE if heavy else KEPT),
    ):
        pass


def weigh(connection: duckdb.DuckDBPyConnection, *, heavy: bool) -> None:
    """Have DuckDB write rows of 100 KB once only: each commit is a checkpoint, in the place of the
    write-ahead log, and none joins small groups of rows by writing them anew. Rows of 1 KB are
    joined, and checkpoints few: 100 runs of 20 rows would take 24 KB a row, not 3."""
    threshold = "1KB" if heavy else CHECKPOINT
    connection.execute(f"SET checkpoint_threshold = '{threshold}'")
    connection.execute("SET max_vacuum_tasks = 0" if heavy else "RESET max_vacuum_tasks")


@contextlib.contextmanager
def _at_most(connection: duckdb.DuckDBPyConnection, pages: str) -> Iterator[None]:
    try:
        connection.execute(f"SET memory_limit = '{pages}'")
        yield
    finally:
        connection.execute("RESET memory_limit")


def _only_new(connection: duckdb.DuckDBPyConnection, tables: Tables) -> None:
    """Drop the requests that are there already: a retry sends the same one again."""
    attempts, outcomes = tables.get("attempt", []), tables.get("outcome", [])
    had = _found(connection, "key, id FROM attempt WHERE key", [row[2] for row in attempts])
    _refuse([row[1] for row in attempts], {name for _, name in had})
    ended = _found(connection, "attempt FROM outcome WHERE attempt", [row[1] for row in outcomes])
    _refuse([row[1] for row in outcomes], {name for (name,) in ended})
    if "request" in tables:
        there = {key for key, _ in had}
        requests = {row[0]: row for row in reversed(tables["request"])}
        tables["request"] = [row for key, row in requests.items() if key not in there]


def _found(
    connection: duckdb.DuckDBPyConnection, what: str, values: list[str]
) -> list[tuple[str, ...]]:
    if not values:
        return []
    sql = f"SELECT {what} IN (SELECT unnest($1::VARCHAR[]))"
    return connection.execute(sql, [values]).fetchall()


def _refuse(new: Iterable[str], there: set[str]) -> None:
    for name in new:
        if name in there:
            raise LedgerBroken(
                f"a row could not be written: attempt {name} is there already",
                where="ledger.duckdb",
                fix="nothing more is sent; run `spiritsafe verify`",
            )
        there.add(name)
