"""The breaker: after a 401, a 403 or a policy error nothing is sent until a person has looked.

    check_breaker(ledger, home, offering, key)   # PolicyDenied while a trip stands
    clear(ledger, home, offering, by, because, today)

A trip is an outcome in the ledger, so neither a restart nor an overnight supervisor forgets it. A
refused key is over when the key is another one; the rest ends when a named person says why it may.
What they say is a file in `clearances/` and an entry of the log.
"""

import os
from datetime import date
from pathlib import Path
from typing import NamedTuple

from pydantic import Field

from policy.config import Section, parse, toml_value
from policy.digest import digest, file_digest
from policy.errors import BadInput, PolicyDenied
from synth.key_binding import fingerprint
from synth.ledger import Ledger
from synth.rows import ReceiptRow
from synth.secrets import Key

FOLDER, CLEARANCE, KEY = "clearances", "clearance", "key"
KINDS = ("bad_key", "forbidden", "policy")
"""Failures after which going on would be going around: 401, 403, and refusals by policy."""


class Trip(NamedTuple):
    """The outcome that stopped an offering, or the answer to a question about a batch."""

    attempt: str
    """Of a batch: its number, and that of the entry that says so."""
    kind: str
    message: str


class Clearance(Section):
    """A named person says why it may go on."""

    attempt: str = Field(pattern=r"^[0-9a-f]{24}\.[0-9]+$")
    """The attempt that tripped the breaker."""

    offering: str = Field(min_length=1)
    """What it was asked of."""

    said: str
    """What the provider said."""

    by: str = Field(min_length=1)
    """The person."""

    on: date
    """The day."""

    because: str = Field(min_length=10)
    """What they found, and why it may go on."""


def check_breaker(ledger: Ledger, home: Path, offering: str, key: Key | None) -> None:
    """Raise PolicyDenied while a trip of this offering stands. Logs the key's fingerprint, if the
    server wants a key."""
    trip = standing(ledger, home, offering)
    changed = key is not None and _key_changed(ledger, offering, key)
    if trip is None:
        return
    if trip.kind == "bad_key" and changed:
        _log(ledger, CLEARANCE, trip.attempt, digest("another key"), "")
        return
    raise PolicyDenied(
        f"the provider refused ({trip.message}), and nobody has looked at it yet",
        where=offering,
        fix="ask why; then `spiritsafe resume PROJECT --by NAME --because TEXT`"
        + (", or name another key" if trip.kind == "bad_key" else ""),
    )


def standing(ledger: Ledger, home: Path, offering: str) -> Trip | None:
    """The newest trip of an offering that nobody has cleared."""
    marks = ", ".join("?" for _ in KINDS)
    rows = ledger.rows(
        f"SELECT id, kind, message FROM refusal WHERE offering = ? AND kind IN ({marks})"  # noqa: S608
        " ORDER BY seq DESC LIMIT 1",
        [offering, *KINDS],
    )
    trip = Trip(*map(str, rows[0])) if rows else None
    return None if trip is None or _ended(ledger, home, trip) else trip


def _ended(ledger: Ledger, home: Path, trip: Trip) -> bool:
    """Only what the log knows counts: a file that somebody wrote or altered by hand does not."""
    logged = [row[1] for row in _logged(ledger, CLEARANCE, trip.attempt)]
    path = home / FOLDER / f"{trip.attempt}.toml"
    return "" in logged or (path.is_file() and file_digest(path) in logged)


def clear(ledger: Ledger, home: Path, offering: str, by: str, because: str, today: date) -> Path:
    """Put a person's word on record and in the log. Raises BadInput where nothing is stopped."""
    trip = standing(ledger, home, offering)
    if trip is None:
        raise BadInput("nothing is stopped", where=offering, fix="run `spiritsafe collect`")
    said = {
        "attempt": trip.attempt,
        "offering": offering,
        "said": trip.message,
        "by": by,
        "on": today,
        "because": because,
    }
    clearance = parse(Clearance, said, where=f"clearance of {offering}")
    path = _written(home / FOLDER / f"{trip.attempt}.toml", clearance)
    content = digest(clearance.model_dump(mode="json"))
    _log(ledger, CLEARANCE, trip.attempt, content, file_digest(path))
    return path


def _written(path: Path, clearance: Clearance) -> Path:
    lines = [f"{name} = {toml_value(value)}" for name, value in clearance]
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text("\n".join(lines) + "\n", encoding="utf-8")
    partial.replace(path)
    return path


def _key_changed(ledger: Ledger, offering: str, key: Key) -> bool:
    """Whether another key is used than the last time. What is logged of a key is its fingerprint,
    with the salt."""
    before = _logged(ledger, KEY, offering)
    salt = before[-1][1] if before else os.urandom(16).hex()
    now = fingerprint(key, salt)
    if before and before[-1][0] == now:
        return False
    _log(ledger, KEY, offering, now, salt)
    return bool(before)


def _logged(ledger: Ledger, kind: str, name: str) -> list[tuple[str, str]]:
    rows = ledger.rows(
        "SELECT digest, file FROM receipt WHERE kind = ? AND name = ? ORDER BY seq", [kind, name]
    )
    return [(str(one), str(other)) for one, other in rows]


def _log(ledger: Ledger, kind: str, name: str, content: str, file: str) -> None:
    ledger.append_all([ReceiptRow(kind, name, content, file, ledger.now())])
