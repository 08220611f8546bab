"""Signed checkpoints of the log: what somebody outside keeps to notice any later change.

    note = checkpoint(ledger, home)      # text of checkpoints/0000001234.note, signed

A checkpoint that stays on this machine proves little: copy it to where the writer of the ledger
cannot change it (a colleague, a git server). The signing key lies in `keys/`, never in the ledger.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from policy.digest import canonical, sha256
from policy.errors import SpiritSafeError
from policy.files import put, stage, staged_path, write_whole
from policy.keys import SigningKey, cosign_note, load_key, new_key, sign_note, verify_note_by
from policy.log import checkpoint_text
from synth.crash import Point
from synth.ledger import Ledger
from synth.notices import KEY_CHANGE, NoticeRow

KEY = Path("keys") / "log.pem"
NEXT = Path("keys") / "log.next.pem"
PUBLIC = Path("keys") / "log.pub"
NOTES = Path("checkpoints")


def checkpoint(ledger: Ledger, home: Path) -> str:
    """Sign the log as it is now; the same size is signed once."""
    key = _key(ledger, home)
    return _keep(ledger, home, sign_note(_text(ledger), ledger.id, key))


def _text(ledger: Ledger) -> str:
    return checkpoint_text(ledger.id, ledger.size, ledger.root)


def _keep(ledger: Ledger, home: Path, note: str) -> str:
    """The ledger remembers a note before the file has its name: a file that it does not remember
    is then one that somebody added, or whose memory somebody deleted."""
    folder = home / NOTES
    for staged in folder.glob(".*.note.partial"):  # a run was killed between the two
        path = folder / staged.name[1 : -len(".partial")]
        size = int(path.stem) if path.stem.isdecimal() else -1
        known = ledger.rows("SELECT note FROM signed WHERE size = ?", [size])
        if known == [(staged.read_text(encoding="utf-8", errors="replace"),)]:
            put(staged, path)
        else:
            staged.unlink()
    path = folder / f"{ledger.size:010d}.note"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        staged = stage(path, note.encode())
        ledger.passing(Point.BEFORE_NOTE)
        ledger.keep_note(ledger.size, note)
        ledger.passing(Point.NOTE_KEPT)
        put(staged, path)
        ledger.passing(Point.AFTER_NOTE)
    return note


def rotate(ledger: Ledger, home: Path, by: str, because: str) -> str:
    """Hand over to a new signing key; returns its public line.

    The hand-over is an entry of the log, and the checkpoint over it is signed by both keys: who
    holds the old public line can follow to the new one. The old private key is gone then.
    """
    old, origin = _key(ledger, home), ledger.id
    new = load_key(home / NEXT) if (home / NEXT).exists() else new_key(home / NEXT)
    line = new.public(origin)
    body = canonical({"old": old.public(origin), "new": line}).decode()
    told = NoticeRow(KEY_CHANGE, "key", "log", sha256(line.encode()), "handed_over",
                     ledger.now(), by, because, body)  # fmt: skip
    ledger.append_all([told])
    _keep(ledger, home, cosign_note(sign_note(_text(ledger), origin, old), origin, new))
    _announce(home, line)
    return line


def notes(home: Path) -> list[str]:
    """Every checkpoint that was written, oldest first."""
    return [
        path.read_text(encoding="utf-8", errors="replace")
        for path in sorted((home / NOTES).glob("*.note"))
    ]


def missing_notes(ledger: Ledger, home: Path) -> Iterator[tuple[str, str]]:
    """(file, what is wrong) of each checkpoint that was made and is not there as it was made. A run
    may be killed just before a file gets its name."""
    known = dict(ledger.rows("SELECT size, note FROM signed ORDER BY size"))
    for size, note in known.items():
        path = home / NOTES / f"{size:010d}.note"
        staged = staged_path(path)
        there = path if path.is_file() or not staged.is_file() else staged
        if not there.is_file():
            yield path.name, "is missing"
        elif there.read_bytes() != note.encode():
            yield path.name, "is altered: the ledger remembers another"
    for path in sorted((home / NOTES).glob("*.note")):
        lines = path.read_bytes().split(b"\n")
        size_signed = lines[1].decode("utf-8", "replace") if len(lines) > 1 else ""
        if path.stem != size_signed.rjust(10, "0"):
            yield path.name, "is not named after the size that it signs"
        elif size_signed.isdecimal() and int(size_signed) not in known:
            yield path.name, "is one that the ledger does not remember"


def public_key(home: Path) -> str:
    """The lines that verify the notes, the newest key last; empty if nothing was ever signed."""
    path = home / PUBLIC
    return path.read_text(encoding="utf-8").strip() if path.exists() else ""


def _key(ledger: Ledger, home: Path) -> SigningKey:
    if (home / NEXT).exists():
        _end_rotation(ledger, home, load_key(home / NEXT).public(ledger.id))
    key = load_key(home / KEY) if (home / KEY).exists() else new_key(home / KEY)
    if not (home / PUBLIC).exists():  # also where the run that made the key ended before this line
        write_whole(home / PUBLIC, f"{key.public(ledger.id)}\n".encode())
    return key


def _end_rotation(ledger: Ledger, home: Path, line: str) -> None:
    """Where a run was killed when the hand-over was signed and the old key still lay there."""
    for (note,) in ledger.rows("SELECT note FROM signed ORDER BY size DESC"):
        with contextlib.suppress(SpiritSafeError):
            verify_note_by(note, line)
            _announce(home, line)
            return


def _announce(home: Path, line: str) -> None:
    keys = public_key(home).split()
    if line not in keys:
        write_whole(home / PUBLIC, "".join(f"{one}\n" for one in [*keys, line]).encode())
    put(home / NEXT, home / KEY)
