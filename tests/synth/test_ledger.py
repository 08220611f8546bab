"""What was acknowledged is there, and what is not there any more is noticed."""

import asyncio
import contextlib
import os
import random
import stat
import time
from pathlib import Path

import duckdb
import pytest

from policy.errors import BadInput, LedgerBroken, SpiritSafeError
from policy.log import root_of
from synth.ledger import Ledger, read_head, record_decision, spent_nano
from tests.synth.parts import attempt_row, call, outcome_row


def open_(path: Path, *, create: bool = True) -> Ledger:
    return Ledger.open(path, clock=time.time, create=create)


def filled(path: Path, rows: int = 20) -> Path:
    with open_(path) as ledger:
        for number in range(rows):
            ledger.append_all([attempt_row(call(number))])
    return path


def test_rows_are_there_after_it_was_closed(tmp_path: Path) -> None:
    path = tmp_path / "ledger.duckdb"
    with open_(path) as ledger:
        attempt = attempt_row(call())
        indexes = ledger.append_all([attempt, outcome_row(attempt)])
        root = ledger.root
    with open_(path) as ledger:
        assert indexes == [0, 1]
        assert (ledger.size, ledger.root) == (2, root)
        assert ledger.one("SELECT text FROM completion")[0] == "All good"


def test_the_log_is_the_tree_over_its_leaves(ledger: Ledger) -> None:
    for number in range(9):
        ledger.append_all([attempt_row(call(number))])
    leaves = [bytes(row[0]) for row in ledger.rows("SELECT hash FROM leaf ORDER BY seq")]
    assert ledger.root == root_of(leaves)


def test_rows_that_come_together_share_a_commit(ledger: Ledger) -> None:
    async def main() -> list[int]:
        rows = [attempt_row(call(number)) for number in range(200)]
        return await asyncio.gather(*(ledger.append(row) for row in rows))

    assert sorted(asyncio.run(main())) == list(range(200))
    assert ledger.one("SELECT count(*) FROM batch")[0] <= 5


def test_the_head_follows_every_commit(ledger: Ledger) -> None:
    for number in range(3):
        ledger.append_all([attempt_row(call(number))])
        assert read_head(ledger.path) == (number + 1, ledger.root.hex())


def test_an_attempt_with_no_outcome_is_unknown_and_keeps_its_reserve(ledger: Ledger) -> None:
    attempt = attempt_row(call(1), reserve=100)
    ledger.append_all([attempt_row(call(0), reserve=100), attempt, outcome_row(attempt)])
    found = dict(ledger.rows("SELECT prompt_id, class FROM state"))
    assert found == {"p0000": "unknown", "p0001": "ok"}
    assert spent_nano(ledger) == 107


def test_the_same_attempt_twice_is_refused_and_nothing_is_half_written(ledger: Ledger) -> None:
    ledger.append_all([attempt_row(call(0))])
    with pytest.raises(LedgerBroken, match="could not be written"):
        ledger.append_all([attempt_row(call(1)), attempt_row(call(0))])
    assert ledger.one("SELECT count(*) FROM attempt")[0] == ledger.size == 1
    ledger.append_all([attempt_row(call(2))])
    assert ledger.size == 2


def test_a_decision_is_kept_once(ledger: Ledger) -> None:
    record_decision(ledger, "sha256:d", "{}")
    record_decision(ledger, "sha256:d", "{}")
    assert ledger.size == 1


@pytest.mark.parametrize("share", [0.0, 0.3, 0.6, 0.9])
def test_a_truncated_file_is_noticed_or_whole(tmp_path: Path, share: float) -> None:
    path = filled(tmp_path / "ledger.duckdb", 100)
    os.truncate(path, int(path.stat().st_size * share))
    with contextlib.suppress(LedgerBroken), open_(path) as ledger:
        assert share > 0.5
        assert len(ledger.rows("SELECT * FROM state")) == ledger.size == 100


def test_a_flipped_byte_of_the_file_never_crashes(tmp_path: Path) -> None:
    path, chance = filled(tmp_path / "ledger.duckdb", 100), random.Random(1)
    data = path.read_bytes()
    for _ in range(15):
        broken = bytearray(data)
        broken[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        path.write_bytes(broken)
        with contextlib.suppress(SpiritSafeError), open_(path) as ledger:
            assert len(list(ledger.each("SELECT * FROM state"))) == ledger.size == 100


@pytest.mark.parametrize(
    "sql",
    [
        "DELETE FROM batch WHERE size > 5",
        "UPDATE batch SET root = repeat('00', 32)::BLOB WHERE size = 20",
        "DELETE FROM batch",
        "DROP TABLE meta",
        "DROP TABLE batch",
    ],
)
def test_rows_that_somebody_deleted_are_noticed(tmp_path: Path, sql: str) -> None:
    path = filled(tmp_path / "ledger.duckdb")
    with duckdb.connect(str(path)) as other:
        other.execute(sql)
    with pytest.raises(LedgerBroken) as raised:
        open_(path)
    assert "\n" not in str(raised.value)


def test_an_older_copy_is_noticed(tmp_path: Path) -> None:
    path = filled(tmp_path / "ledger.duckdb")
    older = path.read_bytes()
    filled_more = open_(path)
    filled_more.append_all([attempt_row(call(99))])
    filled_more.close()
    path.write_bytes(older)
    with pytest.raises(LedgerBroken, match="1 are lost"):
        open_(path)


@pytest.mark.parametrize("head", ["", "{", "[]", '{"size": "x", "root": 1}', '{"size": 3}'])
def test_a_broken_head_file_is_said(tmp_path: Path, head: str) -> None:
    path = filled(tmp_path / "ledger.duckdb")
    path.with_suffix(".head").write_text(head)
    with pytest.raises(LedgerBroken, match=r"ledger\.head"):
        open_(path)


@pytest.mark.parametrize("name", ["ledger.duckdb", "ledger.head"])
def test_a_missing_half_is_said(tmp_path: Path, name: str) -> None:
    path = filled(tmp_path / "ledger.duckdb")
    (tmp_path / name).unlink()
    with pytest.raises(LedgerBroken, match="head file"):
        open_(path)


def test_no_ledger_is_made_where_one_is_only_read(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="spiritsafe collect"):
        open_(tmp_path / "ledger.duckdb", create=False)
    assert list(tmp_path.iterdir()) == []


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "ledger.duckdb"
    path.write_text("not a database" * 1000)
    with pytest.raises(LedgerBroken):
        open_(path)


def groups_after_sessions(path: Path) -> int:
    for session in range(4):
        with open_(path) as ledger:
            ledger.append_all([attempt_row(call(number + 10 * session)) for number in range(10)])
    with open_(path) as ledger:
        sql = "SELECT count(DISTINCT row_group_id) FROM pragma_storage_info('attempt')"
        return int(ledger.one(sql)[0])


def test_small_sessions_share_their_groups_of_rows(tmp_path: Path) -> None:
    assert groups_after_sessions(tmp_path / "ledger.duckdb") == 1


def test_rows_of_many_bytes_are_not_written_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("synth.ledger.HEAVY", 1)
    monkeypatch.setattr("synth.ledger.MERGE_BYTES", 1)
    assert groups_after_sessions(tmp_path / "ledger.duckdb") == 4


@pytest.mark.parametrize(
    "sql",
    [
        "COPY attempt TO '{0}/x.csv'", "COPY attempt FROM '{0}/in.csv'",
        "SELECT * FROM read_csv('{0}/in.csv')", "SELECT * FROM '{0}/in.csv'",
        "SELECT * FROM read_text('{0}/in.csv')", "SELECT * FROM glob('{0}/*')",
        "ATTACH '{0}/other.duckdb'", "EXPORT DATABASE '{0}/out'", "INSTALL httpfs", "LOAD httpfs",
        "SET enable_external_access=true", "SET allow_unsigned_extensions=true",
        "SET autoinstall_known_extensions=true", "RESET lock_configuration",
        "SELECT * FROM sniff_csv('{0}/in.csv')", "CREATE PERSISTENT SECRET s (TYPE s3)",
    ],
)  # fmt: skip
def test_the_connection_reaches_nothing_but_its_file(ledger: Ledger, sql: str) -> None:
    (ledger.path.parent / "in.csv").write_text("a\n1\n")
    with pytest.raises(duckdb.Error):
        ledger.rows(sql.format(ledger.path.parent))


@pytest.mark.usefixtures("private")
def test_every_file_is_its_owner_s_alone(tmp_path: Path) -> None:
    with open_(tmp_path / "home" / "ledger.duckdb") as ledger:
        ledger.append_all([attempt_row(call())])
        files = list((tmp_path / "home").iterdir())
        assert {path.name for path in files} >= {"ledger.duckdb", "ledger.head"}
        assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
