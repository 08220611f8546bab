"""Find a text in everything that the ledger holds, compressed or not: for takedowns and erasures.

    attempts_holding(ledger, "Jane Doe")      # ids of the attempts whose request or reply has it

Compared without regard to case, as it stands and as JSON writes it: `\\u00e9` is an `é`. Nothing is
indexed, so the answer does not depend on what somebody thought of indexing.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from synth.bodies import ZSTD, unpacked
from synth.ledger import Ledger
from synth.reader import Readable

_SEARCHED = {
    "completion": ("attempt", ("text", "reasoning", "refusal", "tool_calls"), False),
    "raw": ("attempt", ("headers",), True),
    "request": ("key", (), True),
}
"""Table -> what names a row of it, its columns of text, and whether it has a body. The text that
was cut out of a reply is that of its completion."""


def forms(text: str) -> tuple[str, ...]:
    """How a text may be written in a body: itself, and as JSON escapes it."""
    written = {text, json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1]}
    return tuple(sorted(one.lower() for one in written))


def holds(where: str, text: str) -> bool:
    """Whether a text is in another one."""
    lowered = where.lower()
    return any(form in lowered for form in forms(text))


def attempts_holding(ledger: Readable, text: str) -> list[str]:
    """Attempts whose request, reply or completion holds the text, in order of the log."""
    wanted = forms(text)
    found = [name for table in _SEARCHED for name in _names_holding(ledger, table, wanted)]
    rows = ledger.rows(
        "SELECT id FROM asked WHERE id IN (SELECT unnest($1::VARCHAR[]))"
        " OR key IN (SELECT unnest($1::VARCHAR[])) ORDER BY seq",
        [found],
    )
    return [one for (one,) in rows]


def _names_holding(ledger: Readable, table: str, wanted: Sequence[str]) -> Iterator[str]:
    """Attempts, or keys of requests, whose rows hold a form of the text."""
    name, texts, body = _SEARCHED[table]
    narrowed, values = _narrowed(texts, body, wanted)
    columns = [name, *texts, *(("form", "body") if body else ())]
    for found, *row in ledger.each(
        f"SELECT {', '.join(columns)} FROM {table} WHERE {narrowed}",  # noqa: S608
        values,
    ):
        if any(_holds(one, wanted) for one in row[: len(texts)]) or (
            body and _holds(_plain(*row[len(texts) :]), wanted)
        ):
            yield found


def _narrowed(texts: Sequence[str], body: bool, wanted: Sequence[str]) -> tuple[str, list[str]]:
    """What DuckDB can tell of a row by itself, as a condition and its parameters: of ASCII. Its
    small letters of other alphabets are not all Python's."""
    if not all(form.isascii() for form in wanted):
        return "true", []
    tests = [f"contains(lower({one}), ?)" for one in texts for _ in wanted]
    values = [form for _ in texts for form in wanted]
    if body:
        tests.append(f"form = '{ZSTD}'")
        tests += ["coalesce(contains(lower(try(decode(body))), ?), true)" for _ in wanted]
        values += wanted
    return " OR ".join(tests), values


def _holds(where: str | bytes, wanted: Sequence[str]) -> bool:
    text = where.decode("utf-8", "replace") if isinstance(where, bytes) else where
    lowered = text.lower()
    return any(form in lowered for form in wanted)


def _plain(form: str, body: bytes) -> bytes:
    """What cannot be unpacked can hold nothing that anybody could read."""
    try:
        return unpacked(bytes(body)) if form == ZSTD else bytes(body)
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
