"""A ledger that is only read is looked at by several processes, which find what one finds."""

from pathlib import Path

import duckdb
import pytest

from policy.errors import BadInput, LedgerBroken
from synth.crew import Crew
from synth.ledger_checks import check, parts_of
from synth.reader import Reader
from synth.search import Part, attempts_holding, forms, names_holding
from tests.synth.parts import attempt_row, call, opened


def test_processes_find_what_is_altered(path: Path) -> None:
    with duckdb.connect(str(path.parent / "ledger.duckdb")) as connection:
        connection.execute("UPDATE completion SET text = text || 'x'")
        connection.execute("UPDATE attempt SET reserve_nano = reserve_nano + 1")
    with opened(path) as ledger:
        alone = [one for part in parts_of(ledger) for one in check(ledger, part)]
        ledger.only_read()
        with Crew(ledger, check, parts_of(ledger), large=1) as crew:
            assert list(crew.found()) == alone
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


def test_processes_find_a_text_wherever_it_stands(path: Path) -> None:
    with opened(path) as ledger:
        (word,) = ledger.one("SELECT split_part(text, ' ', 1) FROM completion LIMIT 1")
        alone = attempts_holding(ledger, word)
        ledger.only_read()
        parts = [Part(table, at, at + 2, forms(word))
                 for table in ("completion", "raw", "request") for at in (0, 2)]  # fmt: skip
        with Crew(ledger, names_holding, parts, large=1) as crew:
            found = set(crew.found())
        assert attempts_holding(ledger, word) == alone
    assert found.issuperset(alone)
    assert alone
