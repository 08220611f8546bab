"""Erase: the content of rows goes, with its salt, to the last byte; their leaves stay.

    erased = erase(bench, Target(subject="Jane Doe"), by="A. Jurist", because="request 17 of 3 May")

What a leaf names of an answer is SHA-256(salt || content). With both gone nobody can tell what it
was, and every root and proof still holds. The order is such that a kill at any instant is mended
by running it again: a mark beside the ledger, the entries that say what is erased, the deletion,
and a new file without the old blocks under the ledger's name (DuckDB keeps deleted blocks).

Datasets that were frozen before are named and tainted, not rewritten: they never change. With
`datasets=True` their Parquet is deleted, and they are withdrawn.
"""

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from policy.digest import PREFIX, canonical, commit
from policy.errors import BadInput
from policy.files import write_whole
from synth.bench import Bench
from synth.checkpoints import checkpoint
from synth.crash import Passing, Point, pass_by
from synth.database import rewrite
from synth.ledger import Ledger
from synth.notices import ERASE, ERASED, MARK, NoticeRow, account
from synth.reach import Target, attempts_of, plan_takedown
from synth.search import fields_holding, files_holding, holds
from synth.takedown import WITHDRAWN, Effect, notices, states_at, states_of, write_states

DERIVED = ("report.html", "report.json", "evaluations")
"""What repeats answers and is made again by `spiritsafe evaluate`."""


@dataclass(frozen=True, slots=True)
class Erased:
    """What an erasure did."""

    attempts: tuple[str, ...]
    effects: tuple[Effect, ...]
    """What else holds or learned from the rows."""
    left: tuple[str, ...]
    """Where the text still stands, for a person to look at."""


def erase(
    bench: Bench,
    target: Target,
    by: str,
    because: str,
    *,
    datasets: bool = False,
    passing: Passing = pass_by,
) -> Erased:
    """Erase every row of the target. Raises BadInput where none is found and none is unfinished."""
    if target.offering:
        raise BadInput("an offering is taken down, not erased", fix="use --row or --subject")
    project, home = bench.project, bench.project.home
    unfinished = (home / MARK).exists()
    with Ledger.open(project.ledger, clock=bench.clock, create=False, passing=passing) as ledger:
        attempts = attempts_of(ledger, target)
        known = _erased_before(ledger, attempts)
        if not attempts and not unfinished:
            raise BadInput(f"no request holds {target.words}", fix="`spiritsafe show` lists rows")
        _refuse_pending(ledger, attempts)
        effects = plan_takedown(ledger, home, target)
        if datasets:
            effects = [_withdrawn(one) for one in effects]
        begin(home, passing)
        _enter(ledger, target, [one for one in attempts if one not in known], effects, by, because)
        write_states(home, states_of(ledger))
        passing(Point.BEFORE_FORGET)
        finish_inside(ledger, home)
    finish_outside(project.ledger, home, passing)
    left = _left(bench, target, effects)
    return Erased(tuple(attempts), tuple(effects), left)


def _refuse_pending(ledger: Ledger, attempts: Sequence[str]) -> None:
    """What a provider still works on would come back after its erasure."""
    ((waiting,),) = ledger.rows(
        "SELECT count(*) FROM pending WHERE attempt IN (SELECT unnest(?::VARCHAR[]))",
        [list(attempts)],
    )
    if waiting:
        raise BadInput(
            f"{waiting} of these requests are in a batch at the provider, which has their text too",
            where="ledger.duckdb",
            fix="end it first: `spiritsafe batch cancel`, or `spiritsafe collect`; nothing was"
            " erased",
        )


def begin(home: Path, passing: Passing) -> None:
    """From here on an erasure is unfinished, until the last byte is gone."""
    write_whole(home / MARK, b"An erasure was begun; `spiritsafe erase --finish` ends it.\n")
    passing(Point.AFTER_MARK)


def _erased_before(ledger: Ledger, attempts: Sequence[str]) -> set[str]:
    rows = ledger.rows(f"SELECT attempt FROM ({ERASED})")  # noqa: S608
    return {one for (one,) in rows} & set(attempts)


def _enter(
    ledger: Ledger,
    target: Target,
    attempts: Sequence[str],
    effects: Sequence[Effect],
    by: str,
    because: str,
) -> None:
    """Every entry in one commit: who, why, which attempts, and what they reach."""
    taken, _ = notices(ledger, effects, by, because)
    if not attempts:
        ledger.append_all(taken)
        return
    now, salt = ledger.now(), os.urandom(16)
    body = canonical({"account": account(), "attempts": len(attempts)}).decode()
    named = [
        NoticeRow(ERASE, "attempt", one, "", "erased", now, by, because, body) for one in attempts
    ]
    named += [
        NoticeRow(ERASE, "row", one, "", "erased", now, by, because, body) for one in target.rows
    ]
    if target.subject:
        whom = commit(salt, target.subject.lower().encode())
        named.append(
            NoticeRow(ERASE, "subject", salt.hex(), whom, "erased", now, by, because, body)
        )
    ledger.append_all([*named, *taken])


def is_subject(salt: str, whom: str, subject: str) -> bool:
    """Whether an erasure was of this subject: who knows the name can ask, nobody can read it."""
    return whom.startswith(PREFIX) and commit(bytes.fromhex(salt), subject.lower().encode()) == whom


def finish_inside(ledger: Ledger, home: Path) -> None:
    """Delete what the log says is erased, and sign."""
    ledger.forget(ERASED)
    checkpoint(ledger, home)


def finish_outside(path: Path, home: Path, passing: Passing = pass_by) -> None:
    """The bytes, of the file and of what repeats answers; then the mark."""
    rewrite(path, passing)
    for name in DERIVED:
        _remove(home / name)
    for place in ("datasets", "published"):
        for partial in (home / place).glob(".*.partial"):
            _remove(partial)
    for folder in (home / "datasets").glob("*/"):
        if _is_withdrawn(home, folder):
            for file in folder.glob("*.parquet"):
                file.unlink()
    passing(Point.BEFORE_UNMARK)
    (home / MARK).unlink(missing_ok=True)


def finish(bench: Bench, passing: Passing = pass_by) -> bool:
    """End an erasure that was interrupted; False where there is none."""
    home = bench.project.home
    if not (home / MARK).exists():
        return False
    with Ledger.open(bench.project.ledger, clock=bench.clock, create=False) as ledger:
        write_states(home, states_of(ledger))
        finish_inside(ledger, home)
    finish_outside(bench.project.ledger, home, passing)
    return True


def _is_withdrawn(home: Path, folder: Path) -> bool:
    return folder.name[0] != "." and states_at(home).is_withdrawn("dataset", folder)


def _withdrawn(effect: Effect) -> Effect:
    if effect.what != "dataset":
        return effect
    return Effect(effect.what, effect.name, effect.digest, WITHDRAWN, effect.why, effect.rows)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _left(bench: Bench, target: Target, effects: Sequence[Effect]) -> tuple[str, ...]:
    """What this program does not delete: datasets frozen before, the user's own prompts, fields
    that an entry of the log is made of."""
    found = [
        f"datasets/{one.name} was frozen with it and is {one.state}"
        for one in effects
        if one.what == "dataset" and one.state != WITHDRAWN
    ]
    source = bench.project.folder / bench.project.sections.prompts.file
    text = source.read_text(encoding="utf-8", errors="replace") if source.is_file() else ""
    wanted = [one for one in [target.subject, *(f'"{row}"' for row in target.rows)] if one]
    found += [
        f"{name} repeats it, and its run is sealed with it: evaluate that run again without the"
        " row, or delete it"
        for name in files_holding(bench.project.home, wanted)
    ]
    if any(holds(text, one) for one in wanted):
        found.append(f"{source.name} is yours: take it out there, or the file keeps it")
    if target.subject:
        with bench.open() as ledger:
            found += fields_holding(ledger, target.subject)
    return tuple(found)
