"""Reading without writing: what asks a ledger needs no more than this.

    with Reader(path) as reader:
        reader.rows("SELECT count(*) FROM attempt")

Several processes may read one file at once, and while they do none can write to it.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol, Self

from synth.database import connect

AT_ONCE = 1000  # rows that are fetched together


class Readable(Protocol):
    """An open ledger, or its file as it lies."""

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """All rows of a query of ours."""

    def each(self, sql: str, parameters: Sequence[Any] = ()) -> Iterator[tuple[Any, ...]]:
        """Rows of a query, streamed."""


class Reader:
    """The file of a ledger that was handed over (`Ledger.only_read`), beside other readers."""

    def __init__(self, path: Path) -> None:
        """Raises LedgerBroken where a process writes to it."""
        self._connection = connect(path, only_read=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """All rows of a query of ours."""
        return self._connection.execute(sql, list(parameters)).fetchall()

    def each(self, sql: str, parameters: Sequence[Any] = ()) -> Iterator[tuple[Any, ...]]:
        """Rows of a query, streamed; one query at a time."""
        cursor = self._connection.execute(sql, list(parameters))
        while batch := cursor.fetchmany(AT_ONCE):
            yield from batch
