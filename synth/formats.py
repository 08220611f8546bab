"""Parquet that `datasets.load_dataset` reads as it lies, written the same to the byte each time.

DuckDB writes it from an in-memory database with one thread and an explicit order: same rows, same
bytes, so a dataset's digest is a function of its content.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb

from policy.errors import BadInput

COLUMNS: dict[str, str] = {
    "id": "VARCHAR",
    "sample": "INTEGER",
    "prompt": "STRUCT(role VARCHAR, content VARCHAR)[]",
    "completion": "STRUCT(role VARCHAR, content VARCHAR)[]",
    "reasoning": "VARCHAR",
    "answered": "BOOLEAN",
    "expected": "VARCHAR",
    "key": "VARCHAR",
    "leaf": "BIGINT",
    "offering": "VARCHAR",
    "served_model": "VARCHAR",
    "terms_pin": "VARCHAR",
    "decision": "VARCHAR",
    "origin": "VARCHAR",
    "at_ms": "BIGINT",
    "prompt_tokens": "INTEGER",
    "completion_tokens": "INTEGER",
    "signal": "BOOLEAN",
    "token_ids": "INTEGER[]",
    "token_bytes": "BLOB[]",
    "token_logprobs": "FLOAT[]",
    "top_ids": "INTEGER[][]",
    "top_bytes": "BLOB[][]",
    "top_logprobs": "FLOAT[][]",
}
"""Every column of a frozen split, with its DuckDB type."""


def write_parquet(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write one split; an empty one still has its columns."""
    table = ", ".join(f"{name} {kind}" for name, kind in COLUMNS.items())
    with duckdb.connect(":memory:", config={"threads": "1"}) as connection:
        connection.execute(f"SET allowed_directories=['{_quoted(path.parent)}']")
        connection.execute("SET enable_external_access=false")
        connection.execute(f"CREATE TABLE split (place INTEGER, {table})")
        for start in range(0, len(rows), 500):
            part = rows[start : start + 500]
            columns = [[row[name] for row in part] for name in COLUMNS]
            unnested = ", ".join(
                f"unnest(${place}::{kind}[])" for place, kind in enumerate(COLUMNS.values(), 2)
            )
            places = list(range(start, start + len(part)))
            connection.execute(
                f"INSERT INTO split SELECT unnest($1), {unnested}",
                [places, *columns],
            )
        connection.execute(
            f"COPY (SELECT * EXCLUDE place FROM split ORDER BY place)"  # noqa: S608
            f" TO '{_quoted(path)}' (FORMAT parquet, COMPRESSION zstd)"
        )
    path.chmod(0o600)


def read_parquet(path: Path) -> list[dict[str, Any]]:
    """The rows of a split, in order. Raises BadInput for a file that is no such split."""
    return [dict(zip(COLUMNS, row, strict=True)) for row in read_columns(path, tuple(COLUMNS))]


def read_columns(path: Path, columns: Sequence[str]) -> list[tuple[Any, ...]]:
    """Some columns of a split, in order. Raises BadInput for a file that is no such split."""
    with duckdb.connect(":memory:", config={"threads": "1"}) as connection:
        connection.execute(f"SET allowed_directories=['{_quoted(path.parent)}']")
        connection.execute("SET enable_external_access=false")
        try:
            source = f"FROM read_parquet('{_quoted(path)}')"
            return connection.execute(f"SELECT {', '.join(columns)} {source}").fetchall()
        except duckdb.Error as error:
            line = str(error).splitlines()[0]
            raise BadInput(
                f"cannot be read: {line}", where=str(path), fix="freeze it again"
            ) from None


def _quoted(path: Path) -> str:
    return str(path).replace("'", "''")


def read_any_parquet(path: Path) -> list[dict[str, Any]]:
    """The rows of anybody's Parquet file. Raises BadInput for a file that is none."""
    with duckdb.connect(":memory:", config={"threads": "1"}) as connection:
        connection.execute(f"SET allowed_directories=['{_quoted(path.parent)}']")
        connection.execute("SET enable_external_access=false")
        try:
            found = connection.execute(f"SELECT * FROM read_parquet('{_quoted(path)}')")  # noqa: S608
            names = [column[0] for column in found.description or ()]
            return [dict(zip(names, row, strict=True)) for row in found.fetchall()]
        except duckdb.Error as error:
            line = str(error).splitlines()[0]
            raise BadInput(f"cannot be read: {line}", where=str(path)) from None
