"""Signed checkpoints of the log: what somebody outside keeps to notice any later change.

    note = checkpoint(ledger, home)      # text of checkpoints/0000001234.note, signed

A checkpoint that stays on this machine proves little: copy it to where the writer of the ledger
cannot change it (a colleague, a git server). The signing key lies in `keys/`, never in the ledger.
"""

import os
from collections.abc import Iterator
from pathlib import Path

from policy.keys import SigningKey, load_key, new_key, sign_note
from policy.log import checkpoint_text
from synth.crash import Point
from synth.ledger import Ledger

KEY = Path("keys") / "log.pem"
PUBLIC = Path("keys") / "log.pub"
NOTES = Path("checkpoints")


def checkpoint(ledger: Ledger, home: Path) -> str:
    """Sign the log as it is now; the same size is signed once."""
    key = _key(home, ledger.id)
    note = sign_note(checkpoint_text(ledger.id, ledger.size, ledger.root), ledger.id, key)
    path = home / NOTES / f"{ledger.size:010d}.note"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        _write(partial, note)
        ledger.passing(Point.BEFORE_NOTE)
        partial.replace(path)
        ledger.passing(Point.AFTER_NOTE)
    ledger.keep_note(ledger.size, note)
    return note


def notes(home: Path) -> list[str]:
    """Every checkpoint that was written, oldest first."""
    return [
        path.read_text(encoding="utf-8", errors="replace")
        for path in sorted((home / NOTES).glob("*.note"))
    ]


def missing_notes(ledger: Ledger, home: Path) -> Iterator[tuple[str, str]]:
    """(file, what is wrong) of each checkpoint that was made and is not there as it was made. One
    that the ledger does not know was written just before a kill."""
    for size, note in ledger.rows("SELECT size, note FROM signed ORDER BY size"):
        path = home / NOTES / f"{size:010d}.note"
        if not path.is_file():
            yield path.name, "is missing"
        elif path.read_bytes() != note.encode():
            yield path.name, "is altered: the ledger remembers another"
    for path in sorted((home / NOTES).glob("*.note")):
        lines = path.read_bytes().split(b"\n")
        size = lines[1].decode("utf-8", "replace") if len(lines) > 1 else ""
        if path.stem != size.rjust(10, "0"):
            yield path.name, "is not named after the size that it signs"


def public_key(home: Path) -> str:
    """The line that verifies the notes; empty if nothing was ever signed."""
    path = home / PUBLIC
    return path.read_text(encoding="utf-8").strip() if path.exists() else ""


def _key(home: Path, origin: str) -> SigningKey:
    key = load_key(home / KEY) if (home / KEY).exists() else new_key(home / KEY)
    if not (home / PUBLIC).exists():  # also where the run that made the key ended before this line
        partial = home / PUBLIC.with_suffix(".partial")
        _write(partial, key.public(origin) + "\n")
        partial.replace(home / PUBLIC)
    return key


def _write(path: Path, text: str) -> None:
    """On the disk when this returns."""
    with path.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
