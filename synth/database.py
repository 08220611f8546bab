"""DuckDB as the ledger uses it: hardened, one statement a group, and its errors in our words.

Every connection is closed to the outside: no extension is fetched, no file read or written by SQL,
and the settings are locked. What DuckDB says when a file is locked, damaged or the disk is full
becomes one line with what to do.
"""

import errno
import os
import re
from pathlib import Path
from typing import Any

import duckdb

from policy.errors import BadInput, LedgerBroken, SpiritSafeError
from policy.files import sync_folder
from synth.crash import Passing, Point, pass_by

HARDENED = """
SET enable_progress_bar=false;
SET autoinstall_known_extensions=false; SET autoload_known_extensions=false;
SET allow_community_extensions=false; SET allow_persistent_secrets=false;
SET allowed_configs=['memory_limit', 'max_vacuum_tasks', 'checkpoint_threshold'];
SET enable_external_access=false; SET lock_configuration=true;
"""


NAME = "ledger"
CHECKPOINT = "4MB"  # of write-ahead log; until then rows lie in memory, twice their size
# A checkpoint writes the last group of rows anew, whole: of the usual 122,880 that takes 90 MB.
# v1.5.0 is the file format: older programs still read it.
_STORAGE = "STORAGE_VERSION 'v1.5.0', ROW_GROUP_SIZE 4096"
# Of a new file: in DuckDB's usual 262,144 bytes a column of so few rows leaves a quarter empty.
_BLOCKS = "BLOCK_SIZE 65536"


def cores() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def connect(path: Path, *, only_read: bool = False, threads: int = 1) -> duckdb.DuckDBPyConnection:
    """Open the file, for writing unless told otherwise, hardened. One thread for small statements:
    handing them about costs more than it saves. Raises LedgerBroken if that cannot be."""
    connection = duckdb.connect(
        config={
            "checkpoint_threshold": CHECKPOINT,
            # A commit that ends in a checkpoint needs no write-ahead log: it is whole or it is not.
            "auto_checkpoint_skip_wal_threshold": 0,
            "threads": threads,
        }
    )
    try:
        new = "" if path.exists() else f", {_BLOCKS}"
        how = "READ_ONLY" if only_read else _STORAGE + new
        connection.execute(f"ATTACH {_quoted(path)} AS {NAME} ({how})")
    except duckdb.IOException as error:
        connection.close()
        raise _open_error(error, path) from error
    except duckdb.Error as error:
        connection.close()
        raise damaged(error, path) from error
    connection.execute(f"USE {NAME}")
    connection.execute("PRAGMA disable_checkpoint_on_shutdown")  # a ledger does it when it is whole
    connection.execute(HARDENED)
    return connection


def beside(connection: duckdb.DuckDBPyConnection) -> duckdb.DuckDBPyConnection:
    """A second way into the open ledger, for a query that others run beside."""
    cursor = connection.cursor()
    cursor.execute(f"USE {NAME}")
    return cursor


def _quoted(path: Path) -> str:
    return "'" + str(path).replace("'", "''") + "'"


_FILES = ("", ".wal", ".wal.checkpoint", ".wal.recovery")  # what DuckDB keeps of one database


def rewrite(path: Path, passing: Passing = pass_by) -> None:
    """Copy what the ledger holds into a new file under its name, so that deleted blocks go too.

    The old file stays open, and so locked, until the new one has the name. Raises LedgerBroken
    where another process holds it, or where a log lies beside it that is not in it yet.
    """
    beside = path.with_name(f"{path.name}.rewritten")
    for left in (beside, beside.with_name(f"{beside.name}.wal")):
        left.unlink(missing_ok=True)
    passing(Point.BEFORE_REWRITE)
    if path.with_name(f"{path.name}.wal").exists():
        raise LedgerBroken("its write-ahead log is not in it yet", where=path.name, fix="run again")
    old, new = (str(one).replace("'", "''") for one in (path, beside))
    with duckdb.connect(":memory:", config={"threads": 1}) as connection:
        allowed = [f"'{one}{end}'" for one in (old, new) for end in _FILES]
        connection.execute(f"SET allowed_paths=[{', '.join(allowed)}]")
        connection.execute(HARDENED)
        try:
            connection.execute(f"ATTACH '{old}' AS old (READ_ONLY)")
            connection.execute(f"ATTACH '{new}' AS new ({_STORAGE}, {_BLOCKS})")
            connection.execute("COPY FROM DATABASE old TO new")
            connection.execute("CHECKPOINT new")
            connection.execute("DETACH new")
        except duckdb.Error as error:
            raise _open_error(error, path) from error
        _swap(beside, path, passing)


def _swap(beside: Path, path: Path, passing: Passing) -> None:
    beside.chmod(0o600)
    for name in (beside, beside.parent):
        handle = os.open(name, os.O_RDONLY)
        os.fsync(handle)
        os.close(handle)
    passing(Point.BEFORE_SWAP)
    os.replace(beside, path)
    sync_folder(path.parent)
    passing(Point.AFTER_SWAP)


def damaged(error: duckdb.Error, path: Path) -> LedgerBroken:
    """What a person reads of a file that DuckDB refuses."""
    return LedgerBroken(
        f"DuckDB cannot read it: {_first_line(error)}",
        where=path.name,
        fix="copy it aside with its .wal and restore a backup; nothing was sent",
    )


def _open_error(error: duckdb.Error, path: Path) -> LedgerBroken:
    if holder := re.search(r"\(PID (\d+)\)", str(error)):
        return LedgerBroken(
            f"process {holder.group(1)} is writing to it",
            where=path.name,
            fix="wait for it to end, or stop it with Ctrl-C",
        )
    return LedgerBroken(
        f"cannot be opened: {_first_line(error)}",
        where=path.name,
        fix="check the path, its permissions and that it is a spiritsafe ledger",
    )


def write_error(error: Exception, path: Path) -> SpiritSafeError:
    """What a person reads of a commit that failed."""
    if isinstance(error, SpiritSafeError):
        return error
    full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EFBIG)
    if full or any(words in str(error) for words in _FULL):
        return BadInput(
            "the disk is full, so nothing more is sent",
            where=path.name,
            fix="free some space and run again: what was acknowledged is kept",
        )
    return LedgerBroken(
        f"a row could not be written: {_first_line(error)}",
        where=path.name,
        fix="nothing more is sent; run `spiritsafe verify`",
    )


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__


_FULL = ("No space left", "disk space", "File too large")
DAMAGE = (
    *(duckdb.Error, duckdb.IOException, duckdb.InternalException, duckdb.FatalException),
    duckdb.SerializationException,
)


def insert(connection: duckdb.DuckDBPyConnection, table: str, rows: list[tuple[Any, ...]]) -> None:
    """Insert a group of rows by DuckDB's appender: half of what one statement with a list a column
    costs, and a fifth where a value has 20 KB. Raises duckdb.Error."""
    appender = connection.appender(table)
    try:
        appender.append_rows(rows)
        appender.flush()
    except BaseException:
        appender.clear()
        raise
