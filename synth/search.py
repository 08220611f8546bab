"""Find a text in everything that the ledger holds, compressed or not: for takedowns and erasures.

    attempts_holding(ledger, "Jane Doe")      # ids of the attempts whose request or reply has it

Compared without regard to case, as it stands and as JSON writes it: `\\u00e9` is an `é`. Nothing is
indexed, so the answer does not depend on what somebody thought of indexing.
"""

import json
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from synth.bodies import ZSTD, unpacked
from synth.crew import Crew
from synth.ledger import Ledger
from synth.reader import Readable, end_of

BATCH, ROWS = 2000, 100_000  # bodies that are searched as one; rows of a part
_SEARCHED = {
    "completion": ("attempt", ("text", "reasoning", "refusal", "tool_calls"), False),
    "raw": ("attempt", ("headers",), True),
    "request": ("key", (), True),
}
"""Table -> what names a row of it, its columns of text, and whether it has a body. The text that
was cut out of a reply is that of its completion."""
T = TypeVar("T")


def forms(text: str) -> tuple[str, ...]:
    """How a text may be written in a body: itself, and as JSON escapes it."""
    written = {text, json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1]}
    return tuple(sorted(one.lower() for one in written))


def holds(where: str, text: str) -> bool:
    """Whether a text is in another one."""
    lowered = where.lower()
    return any(form in lowered for form in forms(text))


def attempts_holding(ledger: Ledger, text: str) -> list[str]:
    """Attempts whose request, reply or completion holds the text, in order of the log."""
    parts = [
        Part(table, first, first + ROWS, forms(text))
        for table in _SEARCHED
        for first in range(0, end_of(ledger, table), ROWS)
    ]
    with Crew(ledger, names_holding, parts) as crew:
        found = list(crew.found())
    rows = ledger.rows(
        "SELECT id FROM asked WHERE id IN (SELECT unnest($1::VARCHAR[]))"
        " OR key IN (SELECT unnest($1::VARCHAR[])) ORDER BY seq",
        [found],
    )
    return [one for (one,) in rows]


class Part(NamedTuple):
    """Rows of one table, and what is looked for in them."""

    table: str
    first: int
    last: int
    wanted: tuple[str, ...]


def names_holding(ledger: Readable, part: Part) -> list[str]:
    """Attempts, or keys of requests, whose rows hold a form of the text."""
    name, texts, body = _SEARCHED[part.table]
    found = []
    if texts:
        test = " OR ".join(f"contains(lower({one}), ?)" for one in texts for _ in part.wanted)
        values = [form for _ in texts for form in part.wanted]
        found += ledger.rows(
            f"SELECT {name} FROM {part.table} WHERE rowid >= ? AND rowid < ? AND ({test})",  # noqa: S608
            [part.first, part.last, *values],
        )
    if body:
        rows = ledger.each(
            f"SELECT {name}, form, body FROM {part.table} WHERE rowid >= ? AND rowid < ?",  # noqa: S608
            [part.first, part.last],
        )
        found += [(one,) for one in _in_bodies(rows, part.wanted)]
    return [one for (one,) in found]


def _in_bodies(rows: Iterator[tuple[Any, ...]], wanted: Sequence[str]) -> Iterator[str]:
    """Names of the bodies that hold a form. A batch is searched whole; only where it has a hit is
    each body looked at."""
    for batch in batched(rows, BATCH):
        plain = [_plain(form, bytes(body)) for _, form, body in batch]
        if _holds_any(b"\n".join(plain), wanted):
            yield from (
                str(name)
                for (name, *_), body in zip(batch, plain, strict=True)
                if _holds_any(body, wanted)
            )


def batched(rows: Iterator[T], size: int) -> Iterator[list[T]]:
    """Lists of so many, the last one shorter."""
    while batch := list(islice(rows, size)):
        yield batch


def _holds_any(body: bytes, wanted: Sequence[str]) -> bool:
    if body.isascii():  # then no other letter can be what a form is of
        small = body.lower()
        return any(form.encode() in small for form in wanted if form.isascii())
    lowered = body.decode("utf-8", "replace").lower()
    return any(form in lowered for form in wanted)


def _plain(form: str, body: bytes) -> bytes:
    """What cannot be unpacked can hold nothing that anybody could read."""
    try:
        return unpacked(body) if form == ZSTD else body
    except ValueError:
        return b""


FIELDS = {
    "attempt": ("prompt_id", "id"),
    "outcome": ("message",),
    "verdict": ("reason", "score"),
    "job": ("note",),
    "notice": ("because", "said_by"),
}
"""Fields that leaves are made of: they cannot go without the entry."""


REPEATS = ("runs/*/*.json*", "runs/*/*.md", "published/*/*.json*", "published/*/*.md")
"""Files of students that may repeat an answer: evaluations, cards, examples in them."""


def files_holding(home: Path, texts: Sequence[str]) -> list[str]:
    """Files of runs and of what was published that hold one of the texts, by their paths."""
    return [
        str(path.relative_to(home))
        for pattern in REPEATS
        for path in sorted(home.glob(pattern))
        if any(holds(path.read_text(encoding="utf-8", errors="replace"), one) for one in texts)
    ]


def fields_holding(ledger: Ledger, text: str) -> list[str]:
    """Entries of the log whose own fields hold the text, in words."""
    found = []
    for table, columns in FIELDS.items():
        for column in columns:
            rows = ledger.rows(
                f"SELECT seq FROM {table} WHERE contains(lower({column}), ?) ORDER BY seq LIMIT 3",  # noqa: S608
                [text.lower()],
            )
            found += [
                f"entry {seq} holds it in {table}.{column}, which is hashed" for (seq,) in rows
            ]
    return found
