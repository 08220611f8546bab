"""A killed writer, a lost or torn write-ahead log, a second writer, a full disk: no row that was
acknowledged is lost in silence."""

import contextlib
import json
import random
import shutil
import signal
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import duckdb
import pytest

from policy.errors import LedgerBroken
from synth.audit import findings
from synth.ledger import MERGE_BYTES, MERGE_ROWS, Ledger, read_head
from tests.command import environment
from tests.synth.parts import attempt_row, call

APPEND = """
import asyncio, os, resource, signal, sys, time
from pathlib import Path
from synth.ledger import MERGE_ROWS, Ledger
from tests.synth.parts import attempt_row, call
path, limit, pad, most = Path(sys.argv[1]), *map(int, sys.argv[2:])
if limit:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
async def main():
    with Ledger.open(path, clock=time.time) as ledger:
        start, number = ledger.size, 0
        async def one():
            nonlocal number
            while number < most:
                number += 1
                body = f"{start} {number} {os.urandom(pad).hex()}".encode()
                print(await ledger.append(attempt_row(call(body=body))), flush=True)
        await asyncio.gather(*(one() for _ in range(8)))
        await asyncio.Event().wait()  # for whoever kills it
try:
    asyncio.run(main())
except Exception as error:
    print(f"{type(error).__name__}: {error}", file=sys.stderr)
"""


def open_(path: Path) -> Ledger:
    return Ledger.open(path, clock=time.time)


def appender(
    path: Path, *, limit: int = 0, pad: int = 1, most: int = 200_000
) -> subprocess.Popen[str]:
    """A process that appends in a loop and prints each index that was acknowledged."""
    return subprocess.Popen(
        [sys.executable, "-c", APPEND, str(path), str(limit), str(pad), str(most)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment(),
    )  # fmt: skip


def killed(path: Path, rows: int, *, pad: int = 1, most: int = 200_000) -> int:
    """Append until about `rows` are acknowledged, kill -9; the highest that was."""
    child = appender(path, pad=pad, most=most)
    assert child.stdout is not None
    for line in child.stdout:
        if int(line) >= rows:
            break
    child.send_signal(signal.SIGKILL)
    rest = child.stdout.read()  # not `communicate`: it passes over what is read ahead
    child.communicate()
    return max([int(line), *(int(one) for one in rest.splitlines()[:-1])])


@pytest.mark.parametrize("seed", range(4))
def test_kill_9_loses_no_acknowledged_row(tmp_path: Path, seed: int) -> None:
    path, chance = tmp_path / "ledger.duckdb", random.Random(seed)
    last = 0
    for _ in range(2):
        last = max(last, killed(path, last + chance.randint(1, 120)))
    with open_(path) as ledger:
        assert ledger.size > last
        assert ledger.one("SELECT count(*) FROM attempt")[0] == ledger.size


@pytest.mark.parametrize("seed", range(4))
def test_kill_9_while_each_commit_is_a_checkpoint(tmp_path: Path, seed: int) -> None:
    """Rows of 100 KB: DuckDB takes 150 of them at a time, and writes no log of them."""
    path, chance = tmp_path / "ledger.duckdb", random.Random(seed)
    last = 0
    for _ in range(3):
        last = max(last, killed(path, last + chance.randint(150, 400), pad=100_000))
        log = Path(f"{path}.wal")
        assert not log.exists() or log.stat().st_size < MERGE_BYTES / 2
    with open_(path) as ledger:
        assert ledger.size > last
        assert [one.object for one in findings(ledger, tmp_path)] == ["checkpoints"]  # none signed
        assert ledger.one("SELECT count(*) FROM attempt")[0] == ledger.size


@pytest.mark.parametrize("name", ["ledger.duckdb.wal", "ledger.journal*"])
def test_a_lost_tail_is_noticed(tmp_path: Path, name: str) -> None:
    path = tmp_path / "ledger.duckdb"
    with open_(path) as ledger:
        ledger.append_all([attempt_row(call(number)) for number in range(20)])
        shutil.copytree(tmp_path, tmp_path / "copy")
    killed(tmp_path / "copy" / "ledger.duckdb", 50)
    for file in (tmp_path / "copy").glob(name):
        file.unlink()
    with pytest.raises(LedgerBroken, match="are lost"):
        open_(tmp_path / "copy" / "ledger.duckdb")


def test_the_journal_makes_up_for_a_lost_write_ahead_log(tmp_path: Path) -> None:
    path = tmp_path / "ledger.duckdb"
    last = killed(path, 50, most=MERGE_ROWS // 2)  # DuckDB has been given none of them
    Path(f"{path}.wal").unlink(missing_ok=True)
    with open_(path) as ledger:
        assert ledger.size > last
        assert ledger.one("SELECT count(*) FROM attempt")[0] == ledger.size


def test_a_torn_record_was_never_acknowledged(tmp_path: Path) -> None:
    path = tmp_path / "ledger.duckdb"
    last = killed(path, 50)
    journal = max(tmp_path.glob("ledger.journal*"), key=lambda file: file.stat().st_size)
    whole = journal.read_bytes()
    for torn in (b"\x07", whole[:200], whole[:-3], bytes(64), whole[:8] + bytes(50)):
        journal.write_bytes(whole + torn)
        with open_(path) as ledger:
            assert ledger.size > last
            assert ledger.one("SELECT count(*) FROM attempt")[0] == ledger.size
        journal.write_bytes(whole)


def test_a_journal_of_something_else_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "ledger.duckdb"
    open_(path).close()
    body = b"\x93\x01\x02\x03"
    record = struct.pack("<II", len(body), zlib.crc32(body)) + body
    path.with_suffix(".journal").write_bytes(record)
    with pytest.raises(LedgerBroken, match="journal is damaged") as raised:
        open_(path)
    assert "\n" not in str(raised.value)


def test_a_damaged_journal_loses_nothing_in_silence(tmp_path: Path) -> None:
    path, chance = tmp_path / "ledger.duckdb", random.Random(0)
    last = killed(path, 60)
    for number in range(12):
        copy = tmp_path / f"{number}"
        copy.mkdir()
        for file in tmp_path.glob("ledger.*"):
            shutil.copy(file, copy / file.name)
        journal = max(copy.glob("ledger.journal*"), key=lambda file: file.stat().st_size)
        data = bytearray(journal.read_bytes())
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        journal.write_bytes(data)
        with contextlib.suppress(LedgerBroken), open_(copy / "ledger.duckdb") as ledger:
            assert ledger.size > last


FILES = ("ledger.duckdb", "ledger.duckdb.wal", "ledger.journal", "ledger.journal2", "ledger.head")


def copies(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in FILES if (folder / name).exists()}


def put(folder: Path, files: dict[str, bytes]) -> Path:
    folder.mkdir()
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder / "ledger.duckdb"


def flipped(data: bytes, chance: random.Random) -> bytes:
    place = chance.randrange(len(data))
    return data[:place] + bytes([data[place] ^ 1 << chance.randrange(8)]) + data[place + 1 :]


def cut(data: bytes, chance: random.Random) -> bytes:
    return data[: chance.randrange(len(data))]


def blanked(data: bytes, chance: random.Random) -> bytes:
    """A sector that never reached the disk."""
    place = chance.randrange(len(data)) // 512 * 512
    return data[:place] + bytes(len(data[place : place + 512])) + data[place + 512 :]


@pytest.fixture(scope="module")
def torn(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, bytes], int]:
    """The files that a killed writer left, and the highest index that it was told is durable."""
    folder = tmp_path_factory.mktemp("torn")
    last = killed(folder / "ledger.duckdb", 2 * MERGE_ROWS)  # so that DuckDB was given rows
    files = copies(folder)
    assert files.keys() == set(FILES)
    return files, last


@pytest.mark.parametrize("damage", [flipped, cut, blanked])
@pytest.mark.parametrize("name", ["ledger.duckdb", "ledger.duckdb.wal", "a journal"])
def test_damage_loses_nothing_in_silence_and_a_refusal_changes_nothing(
    tmp_path: Path,
    torn: tuple[dict[str, bytes], int],
    name: str,
    damage: Callable[[bytes, random.Random], bytes],
) -> None:
    """Either all that was acknowledged is there, or the ledger is refused, again and again, with
    every byte as it was: what is damaged may still be mended."""
    files, last = torn
    chance, refused = random.Random(0), 0
    if name == "a journal":
        name = max(FILES[2:4], key=lambda one: len(files[one]))
    for number in range(8):
        damaged = {**files, name: damage(files[name], chance)}
        path = put(tmp_path / f"{number}", damaged)
        for _ in range(2):
            try:
                with open_(path) as ledger:
                    assert ledger.size > last
            except LedgerBroken as error:
                refused += "\n" not in str(error)
                left = copies(path.parent)
                assert left == damaged
    assert refused or name == "ledger.duckdb"


def test_a_refused_ledger_opens_once_its_log_is_back(
    tmp_path: Path, torn: tuple[dict[str, bytes], int]
) -> None:
    files, last = torn
    torn_log = files["ledger.duckdb.wal"][:999]
    path = put(tmp_path / "home", {**files, "ledger.duckdb.wal": torn_log})
    with pytest.raises(LedgerBroken):
        open_(path)
    (tmp_path / "home" / "ledger.duckdb.wal").write_bytes(files["ledger.duckdb.wal"])
    with open_(path) as ledger:
        assert ledger.size > last


def test_a_log_of_another_time_or_ledger_is_refused(
    tmp_path: Path, torn: tuple[dict[str, bytes], int]
) -> None:
    """The files of a backup that was taken while a run went on do not belong together."""
    files, _ = torn
    killed(tmp_path / "ledger.duckdb", 3 * MERGE_ROWS)
    others = copies(tmp_path)
    for name in ("ledger.duckdb", "ledger.duckdb.wal", "ledger.head"):
        path = put(tmp_path / f"with {name}", {**others, name: files[name]})
        with pytest.raises(LedgerBroken):
            open_(path)


def test_a_head_that_is_behind_is_caught_up(tmp_path: Path) -> None:
    """A process may die between its commit and its head: the database proves that it goes on."""
    path = tmp_path / "ledger.duckdb"
    killed(path, 20)
    behind = path.with_suffix(".head").read_bytes()
    with open_(path) as ledger:
        ledger.append_all([attempt_row(call(99))])
        size = ledger.size
    path.with_suffix(".head").write_bytes(behind)
    with open_(path) as ledger:
        assert ledger.size == size
        assert read_head(path) == (size, ledger.root.hex())


def test_a_row_that_was_taken_out_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "ledger.duckdb"
    with open_(path) as ledger:
        for number in range(5):
            ledger.append_all([attempt_row(call(number))])
    with duckdb.connect(str(path)) as other:
        for table in ("leaf", "attempt"):
            other.execute(f"DELETE FROM {table} WHERE seq = 4")
        other.execute("DELETE FROM batch WHERE size = 5")
    with pytest.raises(LedgerBroken, match="1 are lost"):
        open_(path)


def test_a_second_writer_gets_one_line_with_the_pid(tmp_path: Path) -> None:
    path = tmp_path / "ledger.duckdb"
    child = appender(path)
    assert child.stdout is not None
    child.stdout.readline()
    try:
        with pytest.raises(LedgerBroken, match=f"process {child.pid} is writing") as raised:
            open_(path)
    finally:
        child.kill()
        child.communicate()
    assert "\n" not in str(raised.value)


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """A file system of 8 MB, where this user may mount one."""
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(folder)],
        capture_output=True, check=False,
    )  # fmt: skip
    if mounted.returncode:
        pytest.skip("may not mount a small disk here; the file size limit is tested instead")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize(
    ("limit", "pad"),
    [(0, 4000), (3_000_000, 4000), (40_000_000, 100_000)],
    ids=["disk", "journal", "checkpoint"],
)
def test_a_full_disk_is_one_line_and_loses_nothing(tmp_path: Path, limit: int, pad: int) -> None:
    """Of the disk, or of what one file may have: first the journal's, or the ledger's."""
    disk = contextlib.nullcontext(tmp_path) if limit else small_disk(tmp_path / "disk")
    with disk as folder:
        path = folder / "ledger.duckdb"
        child = appender(path, limit=limit, pad=pad)
        out, said = child.communicate(timeout=120)
        acknowledged = [int(line) for line in out.splitlines()]
        saved = tmp_path / "saved"
        saved.mkdir()
        for file in folder.glob("ledger*"):
            shutil.copy(file, saved / file.name)
    assert acknowledged
    assert len(said.splitlines()) == 1
    assert said.startswith("BadInput: ledger.duckdb: the disk is full")
    with open_(saved / "ledger.duckdb") as ledger:
        assert ledger.size > max(acknowledged)
        assert json.dumps(ledger.rows("SELECT count(*) FROM attempt")) == f"[[{ledger.size}]]"
