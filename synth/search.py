"""Find a text in everything that the ledger holds, compressed or not: for takedowns and erasures.

    attempts_holding(ledger, "Jane Doe")      # ids of the attempts whose request or reply has it

Compared without regard to case, as it stands and as JSON writes it: `\\u00e9` is an `é`. Nothing is
indexed, so the answer does not depend on what somebody thought of indexing.
"""

import json
from collections.abc import Iterator

from synth.ledger import Ledger, unpack


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
    found = dict.fromkeys(_in_bodies(ledger, wanted))
    found |= dict.fromkeys(_in_completions(ledger, wanted))
    return list(found)


def _in_bodies(ledger: Ledger, wanted: tuple[str, ...]) -> Iterator[str]:
    """Requests and raw replies, as they lie compressed."""
    for attempt, headers, body, request in ledger.each(
        "SELECT a.id, r.headers, r.body, q.body FROM attempt a LEFT JOIN raw r ON r.attempt = a.id"
        " LEFT JOIN request q ON q.key = a.key"
    ):
        parts = [str(headers or ""), *(_plain(one) for one in (body, request) if one is not None)]
        if any(form in part for part in map(str.lower, parts) for form in wanted):
            yield attempt


def _in_completions(ledger: Ledger, wanted: tuple[str, ...]) -> Iterator[str]:
    test = " OR ".join("contains(lower(concat_ws(' ', text, reasoning, refusal, tool_calls)), ?)"
                       for _ in wanted)  # fmt: skip
    for (attempt,) in ledger.each(f"SELECT attempt FROM completion WHERE {test}", wanted):  # noqa: S608
        yield attempt


def _plain(body: bytes) -> str:
    return unpack(bytes(body)).decode("utf-8", "replace")


FIELDS = {
    "attempt": ("prompt_id", "id"),
    "outcome": ("message",),
    "verdict": ("reason", "score"),
    "job": ("note",),
    "notice": ("because", "said_by"),
}
"""Fields that leaves are made of: they cannot go without the entry."""


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
