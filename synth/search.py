"""Find a text in everything that the ledger holds, compressed or not: for takedowns and erasures.

    attempts_holding(ledger, "Jane Doe")      # ids of the attempts whose request or reply has it

Compared without regard to case, as it stands and as JSON writes it: `\\u00e9` is an `é`. Nothing is
indexed, so the answer does not depend on what somebody thought of indexing.
"""

import json
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import zstandard

from synth.ledger import Ledger, unpack

BATCH = 2000
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
    wanted = forms(text)
    found = set(_in_completions(ledger, wanted))
    found |= set(_in_bodies(ledger.each("SELECT attempt, body FROM raw"), wanted))
    keys = list(_in_bodies(ledger.each("SELECT key, body FROM request"), wanted))
    rows = ledger.rows(
        "SELECT id FROM asked WHERE id IN (SELECT unnest(?::VARCHAR[]))"
        " OR key IN (SELECT unnest(?::VARCHAR[])) ORDER BY seq",
        [sorted(found), keys],
    )
    return [one for (one,) in rows]


def _in_bodies(rows: Iterator[tuple[Any, ...]], wanted: Sequence[str]) -> Iterator[str]:
    """Names of the compressed bodies that hold a form. A batch is unpacked by all cores at once and
    searched whole; only where it has a hit is each body looked at."""
    unpacker = zstandard.ZstdDecompressor()
    for batch in batched(rows, BATCH):
        bodies: list[Any] = [bytes(body) for _, body in batch]
        try:
            whole = unpacker.multi_decompress_to_buffer(bodies, threads=-1)
            plain: list[Any] = [whole[place] for place in range(len(whole))]
        except (zstandard.ZstdError, ValueError):  # one of them is damaged: one by one then
            plain = [_plain(body) for body in bodies]
        if _holds_any(b"\n".join(plain), wanted):
            yield from (
                str(name)
                for (name, _), body in zip(batch, plain, strict=True)
                if _holds_any(bytes(body), wanted)
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


def _plain(body: bytes) -> bytes:
    """What cannot be unpacked can hold nothing that anybody could read."""
    try:
        return unpack(body)
    except ValueError:
        return b""


def _in_completions(ledger: Ledger, wanted: Sequence[str]) -> Iterator[str]:
    """What is stored as text: completions, and the headers of replies."""
    for table, columns in (
        ("completion", ("text", "reasoning", "refusal", "tool_calls")),
        ("raw", ("headers",)),
    ):
        test = " OR ".join(f"contains(lower({one}), ?)" for one in columns for _ in wanted)
        values = [form for _ in columns for form in wanted]
        for (attempt,) in ledger.each(f"SELECT attempt FROM {table} WHERE {test}", values):  # noqa: S608
            yield attempt


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
