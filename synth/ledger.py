"""The ledger: one append-only DuckDB file, one writer, and a head file it must not fall behind.

DuckDB survives kill -9 but forgets a lost or damaged tail of its write-ahead log without a word.
So after each durable commit the size and root of the Merkle log are written to `ledger.head` and
fsynced; a database that opens with less than that is refused.

    async with Ledger.open(path, clock=time.time) as ledger:
        await ledger.append(AttemptRow(...))      # returns when it is durable

Appends made at the same time share one commit (a few rows cost as much as one).
"""

import asyncio
import contextlib
import json
import os
import zlib
from collections.abc import Callable, Iterator, Sequence
from importlib import resources
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import duckdb

from policy.errors import BadInput, LedgerBroken
from policy.log import Frontier, leaf_body, leaf_hash
from synth.database import DAMAGE, connect, damaged, insert, write_error
from synth.rows import DecisionRow, Row, table_rows

LINGER = 0.004  # seconds that a commit waits for company: one fsync then serves many attempts
SCHEMA_VERSION = "2"


class Ledger:
    """An open ledger. Make one with `open`; it holds the file's lock until `close`."""

    def __init__(
        self, path: Path, connection: duckdb.DuckDBPyConnection, clock: Callable[[], float]
    ) -> None:
        self.path = path
        self._connection = connection
        self._clock = clock
        self._frontier = Frontier()
        self._pending: list[tuple[Row, asyncio.Future[int]]] = []
        self._flusher: asyncio.Task[None] | None = None
        self._head = -1
        self._failed: Exception | None = None

    @classmethod
    def open(cls, path: Path, *, clock: Callable[[], float], create: bool = True) -> Self:
        """Open or create. Raises LedgerBroken if it is locked, damaged or behind its head file,
        BadInput if it does not exist and `create` is false."""
        if not path.exists():
            if _head_path(path).exists():
                raise LedgerBroken(
                    "the head file is there but the ledger is gone",
                    where=path.name,
                    fix="restore ledger.duckdb from a backup; nothing was sent",
                )
            if not create:
                raise BadInput(
                    "there is no ledger yet", where=str(path), fix="run `spiritsafe collect` first"
                )
        path.parent.mkdir(parents=True, exist_ok=True)
        connection = connect(path)
        ledger = cls(path, connection, clock)
        try:
            ledger._start()
        except duckdb.Error as error:
            ledger.close()
            raise damaged(error, path) from error
        except BaseException:
            ledger.close()
            raise
        return ledger

    def close(self) -> None:
        """Release the file. Durable rows stay; nothing else was promised."""
        if self._head >= 0:
            os.close(self._head)
            self._head = -1
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # -- writing ------------------------------------------------------------------------------

    def now(self) -> int:
        """Milliseconds since 1970 by this ledger's clock."""
        return int(self._clock() * 1000)

    async def append(self, row: Row) -> int:
        """Make one row durable, together with whatever else is waiting. Returns its log index."""
        if self._failed:
            raise self._failed
        future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._pending.append((row, future))
        if self._flusher is None or self._flusher.done():
            self._flusher = asyncio.create_task(self._flush())
        return await asyncio.shield(future)

    def append_all(self, rows: Sequence[Row]) -> list[int]:
        """Make rows durable at once, from code that does not run beside others."""
        if self._failed:
            raise self._failed
        return self._commit(rows)

    async def drained(self) -> None:
        """Wait until nothing is pending."""
        while self._flusher is not None and not self._flusher.done():
            await asyncio.wait([self._flusher])

    async def _flush(self) -> None:
        await asyncio.sleep(LINGER)
        while self._pending:
            group, self._pending = self._pending, []
            try:
                sequence = await asyncio.to_thread(self._commit, [row for row, _ in group])
            except Exception as error:
                self._failed = write_error(error, self.path)
                for _, future in group:
                    if not future.done():
                        future.set_exception(self._failed)
                        future.exception()  # seen: a caller that is gone must not warn
                continue
            for (_, future), index in zip(group, sequence, strict=True):
                if not future.done():
                    future.set_result(index)

    def _commit(self, rows: Sequence[Row]) -> list[int]:
        if not rows:
            return []
        frontier = Frontier.from_bytes(self._frontier.to_bytes())
        first = frontier.size
        tables: dict[str, list[tuple[Any, ...]]] = {"leaf": []}
        for index, row in enumerate(rows, first):
            hashed = leaf_hash(leaf_body(row.kind, index, row.leaf()))
            frontier.append(hashed)
            tables["leaf"].append((index, row.kind, hashed))
            for table, values in table_rows(row, index):
                tables.setdefault(table, []).append(values)
        root = frontier.root()
        tables["batch"] = [(frontier.size, root, frontier.to_bytes())]
        try:
            self._connection.execute("BEGIN")
            for table, group in tables.items():
                insert(self._connection, table, group)
            self._connection.execute("COMMIT")
        except duckdb.Error as error:
            self._rollback()
            raise write_error(error, self.path) from error
        self._frontier = frontier
        self._write_head(frontier.size, root)
        return list(range(first, frontier.size))

    def _rollback(self) -> None:
        try:
            self._connection.execute("ROLLBACK")
        except duckdb.Error:
            return  # a full disk invalidates the handle; what was acknowledged is on disk

    def _write_head(self, size: int, root: bytes) -> None:
        line = json.dumps({"size": size, "root": root.hex()}).ljust(127) + "\n"
        os.pwrite(self._head, line.encode(), 0)
        os.fdatasync(self._head)

    # -- reading ------------------------------------------------------------------------------

    @property
    def size(self) -> int:
        """Entries in the log."""
        return self._frontier.size

    @property
    def root(self) -> bytes:
        """Merkle root over all entries."""
        return self._frontier.root()

    @property
    def id(self) -> str:
        """Name of this ledger's log, made once."""
        return str(self.one("SELECT value FROM meta WHERE name = 'origin'")[0])

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """All rows of a query of ours. User text goes in `parameters`, never in `sql`."""
        with self._reading():
            return self._connection.execute(sql, list(parameters)).fetchall()

    def one(self, sql: str, parameters: Sequence[Any] = ()) -> tuple[Any, ...]:
        """The single row of a query that always has one."""
        with self._reading():
            row = self._connection.execute(sql, list(parameters)).fetchone()
        assert row is not None, sql
        return row

    def each(self, sql: str, parameters: Sequence[Any] = ()) -> Iterator[tuple[Any, ...]]:
        """Rows of a query, streamed."""
        with self._reading():
            cursor = self._connection.cursor().execute(sql, list(parameters))
        while True:
            with self._reading():
                batch = cursor.fetchmany(1000)
            if not batch:
                return
            yield from batch

    @contextlib.contextmanager
    def _reading(self) -> Iterator[None]:
        """A block that fails its checksum is read late: then too it is one line."""
        try:
            yield
        except duckdb.Error as error:
            if type(error) in DAMAGE:
                raise damaged(error, self.path) from error
            raise

    # -- opening ------------------------------------------------------------------------------

    def _start(self) -> None:
        known = self.rows("SELECT 1 FROM information_schema.tables WHERE table_name = 'meta'")
        fresh = not known
        if fresh:
            self._create()
        version = self.one("SELECT value FROM meta WHERE name = 'schema'")[0]
        if version != SCHEMA_VERSION:
            raise BadInput(
                f"the ledger has schema {version}, this program reads {SCHEMA_VERSION}",
                where=self.path.name,
                fix="use the version of spiritsafe that wrote it",
            )
        last = self.rows("SELECT size, frontier FROM batch ORDER BY size DESC LIMIT 1")
        if last:
            self._frontier = self._restored(last[0][1])
        self._check_head(fresh)
        flags = os.O_RDWR | os.O_CREAT
        self._head = os.open(_head_path(self.path), flags, 0o600)
        self._write_head(self._frontier.size, self._frontier.root())

    def _restored(self, frontier: bytes) -> Frontier:
        try:
            return Frontier.from_bytes(frontier)
        except BadInput as error:
            raise LedgerBroken(
                f"its last commit is damaged: {error.message}",
                where=self.path.name,
                fix="restore ledger.duckdb from a backup; nothing was sent",
            ) from error

    def _create(self) -> None:
        script = resources.files("synth").joinpath("schema.sql").read_text(encoding="utf-8")
        origin = "spiritsafe.local/" + os.urandom(8).hex()
        self._connection.execute("BEGIN")
        self._connection.execute(script)
        self._connection.execute("INSERT INTO meta VALUES ('schema', ?)", [SCHEMA_VERSION])
        self._connection.execute("INSERT INTO meta VALUES ('origin', ?)", [origin])
        self._connection.execute("COMMIT")

    def _check_head(self, fresh: bool) -> None:
        head = read_head(self.path)
        if head is None:
            if fresh or self._frontier.size == 0:
                return
            raise LedgerBroken(
                "the head file is missing, so a lost tail could not be noticed",
                where=_head_path(self.path).name,
                fix="restore it from where it stood beside ledger.duckdb",
            )
        size, root = head
        found = self.rows("SELECT root FROM batch WHERE size = ?", [size])
        if size > self._frontier.size:
            raise LedgerBroken(
                f"it holds {self._frontier.size} entries, but {size} were made durable:"
                f" {size - self._frontier.size} are lost",
                where=self.path.name,
                fix="restore ledger.duckdb and its .wal from a backup; nothing was sent",
            )
        if size and (not found or bytes(found[0][0]).hex() != root):
            raise LedgerBroken(
                f"entry {size} is not the one that the head file remembers",
                where=self.path.name,
                fix="restore both from one backup; nothing was sent",
            )


def read_head(path: Path) -> tuple[int, str] | None:
    """(size, root in hex) of the head file beside a ledger, or None if there is none."""
    try:
        data = json.loads(_head_path(path).read_text(encoding="utf-8"))
        return int(data["size"]), str(data["root"])
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise LedgerBroken(
            f"unreadable: {error}", where=_head_path(path).name, fix="restore it from a backup"
        ) from error


def unpack(data: bytes) -> bytes:
    """The bytes behind a compressed column. Raises zlib.error for anything but one whole stream."""
    unpacking = zlib.decompressobj()
    content = unpacking.decompress(data)
    if not unpacking.eof or unpacking.unused_data:
        raise zlib.error("not one whole zlib stream")
    return content


def record_decision(ledger: Ledger, digest: str, body: str) -> None:
    """Keep a decision once; the same decision again adds nothing."""
    if not ledger.rows("SELECT 1 FROM decision WHERE digest = ?", [digest]):
        ledger.append_all([DecisionRow(digest=digest, at=ledger.now(), body=body)])


def spent_nano(ledger: Ledger) -> int:
    """Money committed so far, in billionths of a dollar: billed, and perhaps billed."""
    return int(ledger.one("SELECT COALESCE(SUM(committed_nano), 0) FROM state")[0])


def _head_path(path: Path) -> Path:
    return path.with_suffix(".head")
