"""A ledger that is only read is looked at by several processes, which find what one finds."""

from pathlib import Path

import duckdb
import pytest

from policy.errors import BadInput, LedgerBroken
from synth.crew import Crew
from synth.ledger_checks import check, parts_of
from synth.reader import Reader
from tests.synth.parts import attempt_row, call, opened


def test_processes_find_what_is_altered(path: Path) -> None:
    with duckdb.connect(str(path.parent / "ledger.duckdb")) as connection:
        connection.execute("UPDATE completion SET text = text || 'x'")
        connection.execute("UPDATE attempt SET reserve_nano = reserve_nano + 1")
    with opened(path) as ledger:
        alone = [one for part in parts_of(ledger) for one in check(ledger, part)]
        ledger.only_read()
        with Crew(ledger, large=1) as crew:
            assert list(crew.findings()) == alone
    assert len(alone) == 6


def test_while_it_is_only_read_others_read_and_nobody_writes(path: Path) -> None:
    with opened(path) as ledger:
        ledger.only_read()
        with pytest.raises(BadInput, match="only read"):
            ledger.append_all([attempt_row(call())])
        with Reader(ledger.path) as reader:
            assert reader.rows("SELECT count(*) FROM attempt") == [(3,)]
            with pytest.raises(LedgerBroken):
                opened(path)
