"""Six hundred changes at random, of any row and any file: `verify` names every one, and what it is.

A change of the ledger is made as somebody would who knows DuckDB, in a copy of its file; a change
of a file by flipping, cutting, deleting, adding or exchanging. Seeded, so that a miss is repeated.
"""

import json
import random
import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path

import duckdb
import pytest

from policy.errors import SpiritSafeError
from policy.manifest import describe_files, read_manifest, write_manifest
from synth.audit import findings
from synth.checkpoints import checkpoint
from synth.freeze import log_receipt
from synth.imports.step import Declared, import_step
from synth.jobs import JobRow, JobState
from synth.steps import filter_step, freeze_step
from tests import fake_teacher as fake
from tests.command import spiritsafe
from tests.fake_teacher import FakeTeacher
from tests.synth.parts import MODEL, OFFERING, PRICED, ask, bench_of, opened, project

CHANGES, SEED = 620, 20261124
TABLES = ("meta", "leaf", "batch", "decision", "request", "attempt", "outcome", "completion", "raw",
          "verdict", "receipt", "job", "notice", "signed", "imported")  # fmt: skip
NEW_VALUE = {
    "VARCHAR": "{0} || 'x'", "BIGINT": "{0} + 7", "INTEGER": "{0} + 1", "BOOLEAN": "NOT {0}",
    "BLOB": "{0} || 'x'::BLOB", "VARCHAR[]": "list_append({0}, 'x')",
}  # fmt: skip

Named = tuple[tuple[str, str], ...]
"""(column, value) of what a row may be called by."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Answers and failures, verdicts, a dataset, a run with weights, a published student, a
    takedown."""
    home = tmp_path_factory.mktemp("mutations")

    def script(index: int, request: fake.Json) -> fake.Action:
        return fake.bad_json() if index % 7 == 5 else fake.answer()

    with FakeTeacher(script) as server:
        path = project(home, server.base_url, rows=16, limits=PRICED, sampling={"logprobs": 1})
        ask(path)
    bench = bench_of(path)
    with bench.open() as ledger:
        freeze_step(bench, ledger, filter_step(bench, ledger))
        bot = read_manifest(home / "datasets" / "bot")
        for place, name in (("runs", "sft"), ("published", "Bot")):
            folder = home / place / name
            (folder / "student").mkdir(parents=True)
            weights = random.Random(1).randbytes(4000)
            (folder / "student" / "model.safetensors").write_bytes(weights)
            (folder / "README.md").write_text("# A card\n")
            data = {"kind": "run", "name": name, "files": describe_files(folder),
                    "dataset": {"name": "bot", "digest": bot["digest"]}}  # fmt: skip
            write_manifest(folder, data)
            log_receipt(ledger, folder, "train" if place == "runs" else "publish")
        checkpoint(ledger, home)
        for state in (JobState.INTENDED, JobState.UPLOADED, JobState.SETTLED):
            job = JobRow("b1", 1, state, "openai", "https://127.0.0.1", OFFERING, MODEL,
                         note="a note", attempts=("a1", "a2"))  # fmt: skip
            ledger.append_all([job])
    imported = home / "answers.jsonl"
    turns = [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}]
    imported.write_text("".join(
        json.dumps({"messages": [{**turns[0], "content": f"Q{n}"}, turns[1]]}) + "\n"
        for n in range(3)))  # fmt: skip
    said = Declared(imported, "openai-finetune", offering="deepseek-api", by="A. Person",
                    model="deepseek-chat", collected_on=date(2026, 6, 1))  # fmt: skip
    import_step(bench, said)
    words = ("--by", "A. Jurist", "--because", "a mistake")
    spiritsafe("takedown", "apply", path, "--row", "p0001", *words)
    return home


def found(home: Path) -> list[str]:
    try:
        with opened(home / "project.toml") as ledger:
            return [f"{one.object}: {one.problem}" for one in findings(ledger, home)]
    except SpiritSafeError as error:
        return [str(error)]


def names_of(row: Named) -> Iterator[str]:
    """What a finding may call a row: the places and ids of it, and the beginning of its key."""
    for column, value in row:
        if column == "key":
            yield value[:19]
        elif column != "row":
            yield value


def names(said: str, wanted: set[str]) -> bool:
    """Whether a finding has one of the words; a number must stand alone."""
    alone = r"(?<![0-9A-Za-z])0*{}(?![0-9A-Za-z])"
    return any(
        one in said if len(one) > 8 else re.search(alone.format(re.escape(one)), said)
        for one in wanted
    )


class Spoiler:
    """Makes one change, chosen by a seeded generator, and says which."""

    def __init__(self, home: Path, rng: random.Random) -> None:
        self.home, self.rng = home, rng
        self.names = set[str]()
        """Words of which a finding must have one."""

    def change(self) -> str:
        ways: list[Callable[[], str]] = [self.row, self.row, self.row, self.file, self.file]
        while not (done := self.rng.choice(ways)()):
            pass
        return done

    def row(self) -> str:
        """Flip, delete, insert or exchange in a table."""
        with duckdb.connect(str(self.home / "ledger.duckdb")) as connection:
            table = self.rng.choice(TABLES)
            ids = [one for (one,) in connection.execute(f"SELECT rowid FROM {table}").fetchall()]
            columns = connection.execute(
                "SELECT column_name, data_type FROM information_schema.columns"
                f" WHERE table_name = '{table}' ORDER BY ordinal_position"
            ).fetchall()
            column, kind = self.rng.choice(columns)
            what = self.rng.choice(("flip", "flip", "delete", "insert", "exchange"))
            one, before = self.rng.choice(ids), self._rows(connection, table)
            done = getattr(self, f"_{what}")(table, column, kind, one, columns, ids)
            try:
                connection.execute(done)
            except duckdb.ConstraintException:
                return ""  # a key that is there already: DuckDB refuses it, so would the liar
            self.names = {
                name for row in before ^ self._rows(connection, table) for name in names_of(row)
            }
            return str(done)

    @staticmethod
    def _rows(
        connection: duckdb.DuckDBPyConnection, table: str
    ) -> set[tuple[tuple[str, str], ...]]:
        """The rows that name a thing, as text."""
        columns = ("seq", "size", "first", "name", "id", "attempt", "key")
        there = [one for (one,) in connection.execute(
            f"SELECT column_name FROM information_schema.columns WHERE table_name = '{table}'"
        ).fetchall() if one in columns]  # fmt: skip
        named = ", ".join(f"CAST({one} AS VARCHAR)" for one in there)
        rows = connection.execute(
            f"SELECT {named}, md5(CAST(t AS VARCHAR)) FROM {table} t"
        ).fetchall()
        counted = Counter(rows)
        return {
            (*zip(there, row, strict=False), ("row", f"{row[-1]} {count}"))
            for row, count in counted.items()
        }

    @staticmethod
    def _flip(table: str, column: str, kind: str, one: int, *_: object) -> str:
        return f"UPDATE {table} SET {column} = {NEW_VALUE[kind].format(column)} WHERE rowid = {one}"

    @staticmethod
    def _delete(table: str, column: str, kind: str, one: int, *_: object) -> str:
        return f"DELETE FROM {table} WHERE rowid = {one}"

    @staticmethod
    def _insert(
        table: str, column: str, kind: str, one: int, columns: list[tuple[str, str]], _: object
    ) -> str:
        """A row that is like another but for its first column, or is the same again."""
        (first, kind_of_first), *rest = columns
        names = ", ".join([NEW_VALUE[kind_of_first].format(first), *(name for name, _ in rest)])
        return f"INSERT INTO {table} SELECT {names} FROM {table} WHERE rowid = {one}"

    def _exchange(
        self, table: str, column: str, kind: str, one: int, columns: object, ids: list[int]
    ) -> str:
        """Two rows exchange a value; where it is the same, one is flipped instead."""
        other = self.rng.choice(ids)
        value = f"(SELECT {column} FROM {table} WHERE rowid = {other})"
        alike = f"{column} IS NOT DISTINCT FROM {value}"
        new = NEW_VALUE[kind].format(column)
        return (f"UPDATE {table} SET {column} = CASE WHEN {alike} THEN {new} ELSE {value} END"
                f" WHERE rowid = {one}")  # fmt: skip

    def file(self) -> str:
        """Flip a bit, cut, delete or double a file; add one; exchange two."""
        places = ("datasets", "runs", "published", "checkpoints")
        files = [one for place in places for one in (self.home / place).rglob("*") if one.is_file()]
        path, other = self.rng.sample(sorted(files), 2)
        what = self.rng.choice(("flip", "flip", "flip", "cut", "delete", "add", "exchange"))
        self.names = {path.name if path.name != "manifest.json" else path.parent.name}
        if what == "exchange":
            self.names.add(other.name if other.name != "manifest.json" else other.parent.name)
        data = bytearray(path.read_bytes())
        if what == "flip":
            data[self.rng.randrange(len(data))] ^= 1 << self.rng.randrange(8)
            path.write_bytes(data)
        elif what == "cut":
            path.write_bytes(data[: self.rng.randrange(len(data))])
        elif what == "delete":
            path.unlink()
        elif what == "add":
            path.with_name(f"0{path.name}").write_bytes(data)
        else:
            there = other.read_bytes()
            other.write_bytes(data)
            path.write_bytes(there if there != bytes(data) else there + b"x")
        return f"{what} {path.relative_to(self.home)} {other.name}"


@pytest.mark.timeout(600)
def test_no_change_is_missed(whole: Path, tmp_path: Path) -> None:
    assert found(whole) == []
    rng, missed = random.Random(SEED), []
    home = tmp_path / "home"
    for number in range(CHANGES):
        shutil.copytree(whole, home)
        spoiler = Spoiler(home, rng)
        what, said = spoiler.change(), found(home)
        if not any(names(one, spoiler.names) for one in said):
            missed.append(f"{number}: {what}: {said} names none of {spoiler.names}")
        shutil.rmtree(home)
    assert not missed, "\n".join(missed)


def test_the_command_ends_with_five_and_names_the_entry(whole: Path, tmp_path: Path) -> None:
    home = Path(shutil.copytree(whole, tmp_path / "home"))
    with duckdb.connect(str(home / "ledger.duckdb")) as connection:
        connection.execute("UPDATE verdict SET keep = NOT keep WHERE rowid = 0")
        row = connection.execute("SELECT seq FROM verdict WHERE rowid = 0").fetchone()
    assert row is not None
    done = spiritsafe("verify", home / "project.toml", code=5)
    assert f"leaf {row[0]} is altered" in done.out
