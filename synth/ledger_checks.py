"""What `verify` looks at in a ledger, in parts that need nothing of each other.

    for part in parts_of(ledger):
        findings += check(ledger, part)

Entries are held against their leaves, bodies against the commitments in them, tables against each
other. Each part is a range of one table, so that a large ledger is checked by all cores at once
(synth/crew.py) and never lies in memory as a whole.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from policy.digest import canonical
from policy.verify import Finding, LogRow, check_content, check_leaves
from synth.bodies import as_received, as_sent
from synth.imported import import_leaf
from synth.jobs import job_leaf
from synth.notices import ERASED, notice_leaf
from synth.plan import request_key
from synth.reader import Readable
from synth.rows import (
    DecisionRow,
    attempt_leaf,
    outcome_leaf,
    raw_content,
    receipt_leaf,
    stored_content,
    verdict_leaf,
)

ENTRIES, BODIES = 50_000, 200_000  # rows of a part: of the log, and of a table of bodies
LOWEST, HIGHEST = -(2**63), 2**63 - 1

Leaf = Callable[[tuple[Any, ...]], Mapping[str, Any]]
_LEAVES: dict[str, Leaf] = {
    "decision": lambda row: DecisionRow(*row[1:]).leaf(),
    "attempt": attempt_leaf,
    "outcome": outcome_leaf,
    "receipt": receipt_leaf,
    "job": job_leaf,
    "notice": notice_leaf,
    "imported": import_leaf,
}
"""Table -> what of a row of it is in the log; verdicts share a leaf and stand apart."""


class Part(NamedTuple):
    """A range of one table, or of the questions about all of them."""

    what: str
    first: int
    last: int


def parts_of(ledger: Readable) -> list[Part]:
    """Everything there is to look at, the longest first."""
    parts = [
        Part(table, first, first + BODIES)
        for table in ("completion", "raw", "request")
        for first in range(0, _end_of(ledger, table, "rowid"), BODIES)
    ]
    size = _end_of(ledger, "leaf", "seq")
    parts += [Part("entries", at, min(at + ENTRIES, size)) for at in range(0, size, ENTRIES)]
    return parts + [Part("tables", at, at + 1) for at in range(len(_QUESTIONS))]


def _end_of(ledger: Readable, table: str, column: str) -> int:
    """One more than the highest number in a column; 0 for a table without rows."""
    ((last,),) = ledger.rows(f"SELECT coalesce(max({column}), -1) FROM {table}")  # noqa: S608
    return int(last) + 1


def check(ledger: Readable, part: Part) -> list[Finding]:
    """What does not hold in one part."""
    return list(_CHECKS[part.what](ledger, part))


# -- entries of the log ---------------------------------------------------------------------------


def _entries(ledger: Readable, part: Part) -> Iterator[Finding]:
    return check_leaves(log_rows(ledger, part), part.first, part.last)


def log_rows(ledger: Readable, part: Part) -> Iterator[LogRow]:
    """Leaves with the fields that each should be the hash of, from the tables as they are."""
    lowest = part.first or LOWEST  # a place below zero is an entry in no order
    found = _fields(ledger, lowest, part.last)
    for seq, kind, hashed in ledger.each(
        "SELECT seq, kind, hash FROM leaf WHERE seq >= ? AND seq < ? ORDER BY seq",
        [lowest, part.last],
    ):
        fields = found.get(seq, _MISSING)
        yield LogRow(seq, kind, fields, bytes(hashed))


_MISSING: Mapping[str, Any] = {"ref": "row is missing"}
_TWICE: Mapping[str, Any] = {"ref": "row is there twice"}


def _fields(ledger: Readable, first: int, last: int) -> dict[int, Mapping[str, Any]]:
    """The fields of each entry by its place."""
    found: dict[int, Mapping[str, Any]] = {}
    for table, leaf in _LEAVES.items():
        for row in ledger.each(
            f"SELECT * FROM {table} WHERE seq >= ? AND seq < ?",  # noqa: S608
            [first, last],
        ):
            found[row[0]] = _TWICE if row[0] in found else leaf(row)
    for seq, fields in _verdicts(ledger, first, last):
        found[seq] = _TWICE if seq in found else fields
    return found


def _verdicts(ledger: Readable, first: int, last: int) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Rows of one attempt share a leaf."""
    seq, attempts, listed = LOWEST, set[str](), list[tuple[Any, ...]]()
    for at, attempt, *verdict in ledger.each(
        "SELECT * FROM verdict WHERE seq >= ? AND seq < ? ORDER BY seq, filter", [first, last]
    ):
        if at != seq and listed:
            yield seq, verdict_leaf(" and ".join(sorted(attempts)), tuple(listed))
            attempts, listed = set(), []
        seq = at
        attempts.add(attempt)
        listed.append(tuple(verdict))
    if listed:
        yield seq, verdict_leaf(" and ".join(sorted(attempts)), tuple(listed))


def fields_of(ledger: Readable, seq: int) -> Mapping[str, Any]:
    """What one entry should be the hash of."""
    return _fields(ledger, seq, seq + 1).get(seq, _MISSING)


# -- bodies ---------------------------------------------------------------------------------------


def _raws(ledger: Readable, part: Part) -> Iterator[Finding]:
    """Raw bodies against the commitments in their entries."""
    for attempt, salt, headers, raw, form, gap, text, commitment in ledger.each(
        "SELECT r.attempt, r.salt, r.headers, r.body, r.form, r.gap, coalesce(c.text, ''),"  # noqa: S608
        " o.raw_commit FROM raw r JOIN settled o USING (attempt)"
        " LEFT JOIN completion c USING (attempt)"
        f" WHERE r.rowid >= ? AND r.rowid < ? AND attempt NOT IN (SELECT attempt FROM ({ERASED}))",
        [part.first, part.last],
    ):
        name = f"raw reply of {attempt}"
        try:
            reply = as_received(form, gap, bytes(raw), text)
            body = b"".join(raw_content(canonical(json.loads(headers)), reply))
        except (ValueError, TypeError) as error:
            yield Finding(name, f"is altered: {error}")
            continue
        yield from check_content(name, commitment, bytes(salt), body)


def _completions(ledger: Readable, part: Part) -> Iterator[Finding]:
    """Completions against the commitments in their entries."""
    for commitment, salt, attempt, *columns in ledger.each(
        "SELECT o.content_commit, r.salt, c.*"  # noqa: S608
        " FROM completion c JOIN settled o USING (attempt)"
        " JOIN (SELECT attempt, salt FROM raw) r USING (attempt)"
        f" WHERE c.rowid >= ? AND c.rowid < ? AND attempt NOT IN (SELECT attempt FROM ({ERASED}))",
        [part.first, part.last],
    ):
        content = stored_content(tuple(columns))
        yield from check_content(f"completion {attempt}", commitment, bytes(salt), content)


def _requests(ledger: Readable, part: Part) -> Iterator[Finding]:
    """Each stored body against the key that names it."""
    for key, base, path, body, form, sample in ledger.each(
        "SELECT r.key, r.base, r.path, r.body, r.form, a.sample FROM request r"
        " JOIN asked a USING (key) WHERE r.rowid >= ? AND r.rowid < ?",
        [part.first, part.last],
    ):
        name = f"request {key[:19]}"
        try:
            text = as_sent(form, bytes(body))
            if request_key(base, path, text, sample) != key:
                yield Finding(name, "its body is not the one that its key names")
        except ValueError as error:
            yield Finding(name, f"is altered: {error}")


# -- tables against each other --------------------------------------------------------------------


class _Question(NamedTuple):
    """A query whose every row is a finding: the name in its first column."""

    sql: str
    object: str
    problem: str


def _lacks(table: str, column: str, other: str, named: str, lack: str, but: str) -> _Question:
    return _Question(
        f"SELECT DISTINCT {column} FROM {table} t WHERE NOT EXISTS"  # noqa: S608
        f" (SELECT 1 FROM {other} o WHERE o.{named} = t.{column}) {but}",
        f"{table} {{}}",
        f"has no {lack}",
    )


_GONE = f"IN (SELECT attempt FROM ({ERASED}))"  # noqa: S608
_KEYS_GONE = f"AND key NOT IN (SELECT a.key FROM ({ERASED}) e JOIN asked a ON a.id = e.attempt)"  # noqa: S608
_QUESTIONS = (
    *(
        _Question(
            f"SELECT DISTINCT seq FROM {table} ANTI JOIN leaf USING (seq) ORDER BY seq",  # noqa: S608
            f"{table} {{}}",
            "is in no entry of the log",
        )
        for table in (*_LEAVES, "verdict")
    ),
    *(
        _Question(
            f"SELECT {column} FROM {table} GROUP BY {column} HAVING count(*) > 1",  # noqa: S608
            f"{table} {{}}",
            "is there more than once",
        )
        for table, column in (
            *(("request", "key"), ("attempt", "id"), ("outcome", "attempt")),
            *(("completion", "attempt"), ("raw", "attempt")),
        )
    ),
    _lacks("completion", "attempt", "settled", "attempt", "outcome", ""),
    _lacks("raw", "attempt", "settled", "attempt", "outcome", ""),
    _lacks("request", "key", "asked", "key", "attempt", ""),
    _lacks("attempt", "key", "request", "key", "request", _KEYS_GONE),
    _lacks("imported", "key", "request", "key", "request", _KEYS_GONE),
    _Question(
        f"SELECT attempt FROM settled ANTI JOIN raw USING (attempt) WHERE attempt NOT {_GONE}",  # noqa: S608
        "raw reply of {}",
        "is missing",
    ),
    _Question(
        "SELECT attempt FROM settled ANTI JOIN completion USING (attempt)"  # noqa: S608
        f" WHERE content_commit <> '' AND attempt NOT {_GONE}",
        "completion {}",
        "is missing",
    ),
    _Question(
        f"SELECT attempt, seq FROM ({ERASED}) WHERE attempt IN"  # noqa: S608
        " (SELECT attempt FROM raw UNION ALL SELECT attempt FROM completion)",
        "content of {}",
        "entry {} erased it; it is there",
    ),
    _Question(
        "SELECT name FROM meta WHERE name NOT IN ('schema', 'origin')",
        "meta {}",
        "is nothing that a ledger says of itself",
    ),
)


def _tables(ledger: Readable, part: Part) -> Iterator[Finding]:
    for question in _QUESTIONS[part.first : part.last]:
        for name, *more in ledger.each(question.sql):
            yield Finding(question.object.format(name), question.problem.format(*more))


_CHECKS: dict[str, Callable[[Readable, Part], Iterator[Finding]]] = {
    "entries": _entries,
    "completion": _completions,
    "raw": _raws,
    "request": _requests,
    "tables": _tables,
}
