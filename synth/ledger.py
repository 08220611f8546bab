"""The ledger: one append-only DuckDB file, one writer, and a head file it must not fall behind.

DuckDB survives kill -9 but forgets a lost or damaged tail of its write-ahead log without a word.
So after each durable commit the size and root of the Merkle log are written to `ledger.head` and
fsynced; a database that opens with less than that is refused.

    with Ledger.open(path, clock=time.time) as ledger:
        await ledger.append(AttemptRow(...))      # returns when it is durable

Appends made at the same time share one commit, and commits go to `ledger.journal` first: DuckDB
takes them by the thousand, and before anything is read (synth/journal.py says why).
"""

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import duckdb
import zstandard

from policy.errors import BadInput, LedgerBroken, SpiritSafeError
from policy.files import sync_folder
from policy.log import Frontier, leaf_body, leaf_hash
from synth.crash import Passing, Point, pass_by
from synth.database import DAMAGE, beside, connect, cores, damaged, write_error
from synth.head import Head, check_root, check_size, head_path, read_head
from synth.journal import Batch, Journal
from synth.merging import forget, merge, squeeze, weigh
from synth.migrations import migrate
from synth.opening import check_version, create, restored, unmerged
from synth.rows import DecisionRow, Row, entry

LINGER = 0.002  # seconds that a commit waits for company: one fsync then serves many attempts
MERGE_ROWS, MERGE_BYTES = 4000, 16 * 2**20  # what DuckDB takes at a time
HEAVY = 8 * 2**10  # bytes an entry
PACKING = zstandard.ZstdCompressionParameters.from_level(1, hash_log=13)
"""Of long bodies. Level 1's own table of 2^14 entries takes a tenth longer, and packs no better."""
MERGE_LAG = 4  # helpings that it may be behind before commits wait for it

__all__ = ["MERGE_BYTES", "MERGE_ROWS", "Ledger", "read_head", "record_decision", "spent_nano"]

Waiting = tuple[Row, asyncio.Future[int]]


class Ledger:
    """An open ledger. Make one with `open`; it holds the file's lock until `close`."""

    def __init__(
        self, path: Path, connection: duckdb.DuckDBPyConnection, clock: Callable[[], float]
    ) -> None:
        self.path = path
        self._connection = connection
        self._clock = clock
        self._frontier = Frontier()
        self._pack = zstandard.ZstdCompressor(compression_params=PACKING).compress
        self._pending: list[Waiting] = []
        self._idle = True
        self._waiting = threading.Lock()  # what waits, and whether the writer knows
        self._writer: asyncio.Future[None] | None = None
        self._head: Head | None = None
        self._journals: list[Journal] = []
        self._behind: list[Batch] = []
        self._heavy = False
        self._merging: asyncio.Future[None] | None = None
        self._using = threading.RLock()  # DuckDB
        self._writing = threading.RLock()  # the journals, the head and what goes with them
        # Two of its own: each thread that ever wrote keeps memory of its own at hand.
        self._threads = ThreadPoolExecutor(2, thread_name_prefix="ledger")
        self._failed: Exception | None = None
        self.passing: Passing = pass_by
        self.reads_only = False

    @classmethod
    def open(
        cls,
        path: Path,
        *,
        clock: Callable[[], float],
        create: bool = True,
        passing: Passing = pass_by,
    ) -> Self:
        """Open or create. Raises LedgerBroken if it is locked, damaged or behind its head file,
        BadInput if it does not exist and `create` is false."""
        if not path.exists():
            if head_path(path).exists():
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
        ledger.passing = passing
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
        """Release the file. Durable rows stay; nothing else was promised. One that was refused is
        left as it was found: a checkpoint would drop what a person might still mend."""
        self._threads.shutdown()
        if self._head:
            with contextlib.suppress(SpiritSafeError):  # what DuckDB cannot take stays in them
                self._merge()
            self._head.close()
            self._head = None
            self.passing(Point.BEFORE_CLOSE)
            with contextlib.suppress(duckdb.Error):  # on a full disk the log stays beside the file
                self._weigh(())
                self._connection.execute("CHECKPOINT")
        for journal in self._journals:
            journal.close()
        self._journals = []
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
        loop = asyncio.get_running_loop()
        future: asyncio.Future[int] = loop.create_future()
        with self._waiting:
            self._pending.append((row, future))
            idle, self._idle = self._idle, False
        if idle:
            self._writer = loop.run_in_executor(self._threads, self._write, loop)
        return await future  # who is cancelled here gives up the answer, not the row

    def append_all(self, rows: Sequence[Row]) -> list[int]:
        """Make rows durable at once, from code that does not run beside others."""
        if self._failed:
            raise self._failed
        with self._using, self._writing:
            self._merge()
            batch = self._batch(rows)
            if batch:
                self._insert([batch])
                self._committed(batch)
            return list(range(batch.first, batch.size)) if batch else []

    def keep_note(self, size: int, note: str) -> None:
        """Remember a signed checkpoint, so that a lost file is missed. No entry of the log: signing
        must not change what is signed."""
        with self._using, self._writing:
            self._merge()
            try:
                self._connection.execute("INSERT OR IGNORE INTO signed VALUES (?, ?)", [size, note])
            except duckdb.Error as error:
                raise write_error(error, self.path) from error

    def forget(self, erased: str) -> None:
        """Delete the content, the salts and the requests of attempts; `erased` is a query of ours
        that names them. Their entries stay. Raises SpiritSafeError."""
        with self._using, self._writing:
            self._merge()
            try:
                forget(self._connection, erased)
            except duckdb.Error as error:
                raise write_error(error, self.path) from error

    def only_read(self) -> None:
        """Write no more, read with all cores, and let other processes read beside this one:
        `Reader`. Until the last of
        them ends, none can write. Raises LedgerBroken where one began to just now."""
        with self._using, self._writing:
            if self.reads_only:
                return
            self._merge()
            self._connection.execute("CHECKPOINT")
            self._connection.close()
            self._failed = BadInput("the ledger is only read", where=self.path.name)
            self._connection = connect(self.path, only_read=True, threads=cores())
            self.reads_only = True

    async def drained(self) -> None:
        """Wait until nothing is pending."""
        while busy := [one for one in (self._writer, self._merging) if one and not one.done()]:
            await asyncio.wait(busy)

    def _write(self, loop: asyncio.AbstractEventLoop) -> None:
        """The writer's thread: commit what waits, group after group, until nothing does. It takes
        no turn of the loop, which may be busy with a hundred replies."""
        while True:
            time.sleep(LINGER)
            with self._waiting:
                group, self._pending = self._pending, []
                if not group:
                    self._idle = True
                    return
            found: int | Exception
            try:
                found = self._commit([row for row, _ in group]).first
            except Exception as error:
                found = self._failed = write_error(error, self.path)
            with contextlib.suppress(RuntimeError):  # the loop is gone, and who waited with it
                loop.call_soon_threadsafe(self._resolve, loop, group, found)
            if self._behind_by() >= MERGE_LAG:
                self._follow()

    def _resolve(
        self, loop: asyncio.AbstractEventLoop, group: Sequence[Waiting], found: int | Exception
    ) -> None:
        """Tell those who wait, and have DuckDB follow beside the next commits."""
        for place, (_, future) in enumerate(group):
            if future.done():
                continue
            if isinstance(found, Exception):
                future.set_exception(found)
                future.exception()  # seen: a caller that is gone must not warn
            else:
                future.set_result(found + place)
        if self._failed or not self._head:  # or closed meanwhile
            return
        if self._behind_by() >= 1 and (self._merging is None or self._merging.done()):
            self._merging = loop.run_in_executor(self._threads, self._follow)

    def _follow(self) -> None:
        try:
            self._merge()
        except Exception as error:
            self._failed = write_error(error, self.path)

    def _behind_by(self) -> float:
        """What only the journals have, in helpings of DuckDB."""
        rows = self._behind[-1].size - self._behind[0].first if self._behind else 0
        return max(rows / MERGE_ROWS, self._journals[0].size / MERGE_BYTES)

    def _commit(self, rows: Sequence[Row]) -> Batch:
        """Make a group durable in the journal."""
        with self._writing:
            batch = self._batch(rows)
            assert batch
            self.passing(Point.BEFORE_COMMIT)
            self._journals[0].append(batch)
            self._behind.append(batch)
            self._committed(batch)
            return batch

    def _batch(self, rows: Sequence[Row]) -> Batch | None:
        if not rows:
            return None
        frontier = Frontier.from_bytes(self._frontier.to_bytes())
        first = frontier.size
        tables: dict[str, list[tuple[Any, ...]]] = {"leaf": []}
        for index, row in enumerate(rows, first):
            leaf, touched = entry(row, index, self._pack)
            hashed = leaf_hash(leaf_body(row.kind, index, leaf))
            frontier.append(hashed)
            tables["leaf"].append((index, row.kind, hashed))
            for table, values in touched:
                tables.setdefault(table, []).append(values)
        root, edge = frontier.root(), frontier.to_bytes()
        tables["batch"] = [(frontier.size, root, edge, first)]
        return Batch(first, frontier.size, root, edge, tables)

    def _committed(self, batch: Batch) -> None:
        self.passing(Point.AFTER_COMMIT)
        self._frontier = Frontier.from_bytes(batch.frontier)
        assert self._head
        self._head.write(batch.size, batch.root)
        self.passing(Point.AFTER_HEAD)

    def _merge(self) -> None:
        """Give DuckDB what only the journals have. Commits go on in the other one meanwhile."""
        with self._using:
            with self._writing:
                behind, self._behind = self._behind, []
                self._journals.reverse()
            try:
                if behind:
                    self._insert(behind)
            except BaseException:
                with self._writing:
                    self._behind = behind + self._behind
                raise
            if self._journals[1].size:
                self._journals[1].clear()
                self.passing(Point.AFTER_CLEAR)
            if behind:
                squeeze(self._connection, heavy=self._heavy)

    def _weigh(self, batches: Sequence[Batch]) -> None:
        """Whether what came in this session, or all that is there, has many bytes an entry."""
        coming = batches[-1].size - batches[0].first if batches else 0
        held = self.path.stat().st_size if self.path.exists() else 0
        self._heavy = (
            self._heavy
            or self._journals[1].size > HEAVY * coming > 0
            or held > MERGE_BYTES + HEAVY * self._frontier.size
        )
        weigh(self._connection, heavy=self._heavy)

    def _insert(self, batches: Sequence[Batch]) -> None:
        try:
            self._weigh(batches)
            merge(self._connection, batches, self.passing)
        except duckdb.Error as error:
            raise write_error(error, self.path) from error

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
            cursor = beside(self._connection).execute(sql, list(parameters))
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
            with self._using:
                if self._behind:
                    self._merge()
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
            check_size(self.path, self._frontier.size, read_head(self.path))
            create(self._connection)
        check_version(self.path, migrate(self._connection, self.path.parent))
        last = self.rows("SELECT size, frontier FROM batch ORDER BY size DESC LIMIT 1")
        if last:
            self._frontier = restored(self.path, last[0][1], last[0][0])
        self._journals = [Journal(self.path.with_suffix(one)) for one in (".journal", ".journal2")]
        self._frontier, behind = unmerged(self.path, self._journals, self._frontier)
        self._check_head(fresh, behind)
        self._take(behind)
        self._head = Head(self.path)
        self._head.write(self._frontier.size, self._frontier.root())
        sync_folder(self.path.parent)

    def _take(self, behind: list[Batch]) -> None:
        for journal in self._journals:
            journal.trim()
        self._behind = behind
        self._merge()
        self._merge()  # the other one is empty then too

    def _check_head(self, fresh: bool, behind: Sequence[Batch]) -> None:
        head = read_head(self.path)
        if head is None:
            if fresh or self._frontier.size == 0:
                return
            raise LedgerBroken(
                "the head file is missing, so a lost tail could not be noticed",
                where=head_path(self.path).name,
                fix="restore it from where it stood beside ledger.duckdb",
            )
        check_size(self.path, self._frontier.size, head)
        size, root = head
        found = [batch.root for batch in behind if batch.size == size]
        found += [row[0] for row in self.rows("SELECT root FROM batch WHERE size = ?", [size])]
        check_root(self.path, size, found, root)


def record_decision(ledger: Ledger, digest: str, body: str, beside: Sequence[Row] = ()) -> None:
    """Keep a decision once, with what was met beside it, in one commit; the same again adds
    nothing."""
    rows = list(beside)
    if not ledger.rows("SELECT 1 FROM decision WHERE digest = ?", [digest]):
        rows.insert(0, DecisionRow(digest=digest, at=ledger.now(), body=body))
    ledger.append_all(rows)


def spent_nano(ledger: Ledger) -> int:
    """Money committed so far, in billionths of a dollar: billed, and perhaps billed."""
    return int(ledger.one("SELECT COALESCE(SUM(committed_nano), 0) FROM state")[0])
