"""A ledger that is only read is looked at by several processes, which find what one finds."""

from pathlib import Path

import duckdb
import pytest

from policy.errors import BadInput, LedgerBroken
from synth.crew import Crew
from synth.ledger_checks import check, parts_of
from synth.reader import Reader
from synth.search import attempts_holding
from tests.fake_teacher import FakeTeacher, answer
from tests.synth.parts import ask, attempt_row, call, opened, project


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


@pytest.mark.parametrize("word", ["Μάϊος", "ΚΌΣΜΟΣ", 'O\'Neill "Jack"', "jane doe"])
def test_a_name_is_found_in_any_letters_and_wherever_it_stands(tmp_path: Path, word: str) -> None:
    with FakeTeacher(lambda index, request: answer(f"It was {word.upper()}, said one.")) as server:
        path = project(tmp_path, server.base_url, rows=3)
        ask(path)
    with opened(path) as ledger:
        found = attempts_holding(ledger, word)
        assert len(found) == 3
        assert attempts_holding(ledger, f"{word}x") == []
        ledger.only_read()
        assert attempts_holding(ledger, word) == found
