"""Have the texts moved? Holds the register's clauses against a checkout of Open Terms Archive.

    standings = import_archive(register, Path("genai-eu-versions"), today)
    register = register.with_stale(stale_of(standings))

Pages change all the time and clauses hardly ever: one services agreement had 116 recorded versions
and 116 hashes, and a single hash of the clause that matters. So a clause is looked up by its first
words and hashed alone. A clause that is not found is not gone: half of some captures lack half of
the text. It is unknown, the entry goes stale, and a person reads it again.

The archive's texts are not ours to hand on, so an entry keeps a digest and a few words.
"""

import re
import unicodedata
from collections.abc import Iterable
from datetime import date
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

from policy.clauses import Clause
from policy.digest import sha256
from policy.entry import Terms
from policy.errors import BadInput
from policy.terms import Register

LINK = re.compile(r"!?\[([^\]]*)\]\([^)]*\)")
TAG = re.compile(r"<[^>\n]*>|https?://\S+")
MARKUP = re.compile(r"[*_`~#>|\\]+")
NUMBERING = re.compile(r"^(?:[-+•–]|\(?[0-9]+(?:\.[0-9]+)*[.)]?|\(?(?:[a-z]|[ivx]{1,5})[.)])\s+")
WHERE = re.compile(r"ota:([^@\s]+)@\w+ ([^;]+?\.md)")
ARCHIVE = re.compile(r"(?:[a-z]+-)*versions$")


class State(StrEnum):
    """How an entry stands."""

    CURRENT = "current"
    STALE = "stale"
    WAITING = "waiting"
    SUPERSEDED = "superseded"
    UNCHECKED = "unchecked"


class Standing(NamedTuple):
    """One entry after a look into the archive."""

    entry: str
    pin: str
    state: State
    why: str


def normal(text: str) -> str:
    """The form that is hashed: no link targets, markup, numbering or case, and single spaces."""
    text = unicodedata.normalize("NFKC", text)
    text = "".join(letter for letter in text if unicodedata.category(letter) != "Cf")
    text = MARKUP.sub("", TAG.sub(" ", LINK.sub(r"\1", text))).lower()
    return " ".join(" ".join(_unnumbered(line) for line in text.splitlines()).split())


def _unnumbered(line: str) -> str:
    line = line.strip()
    while match := NUMBERING.match(line):
        line = line[match.end() :]
    return line


def digests_at(clause: Clause, text: str) -> list[str]:
    """The digests of the places in a normal text where the clause may stand."""
    found = []
    at = text.find(clause.starts)
    while at >= 0:
        if at == 0 or text[at - 1] == " ":
            found.append(
                sha256(" ".join(text[at:].split(" ", clause.words)[: clause.words]).encode())
            )
        at = text.find(clause.starts, at + 1)
    return found


def import_archive(register: Register, folder: Path, today: date) -> tuple[Standing, ...]:
    """How every entry stands. The folder holds `<Service>/<Terms type>.md`."""
    if not folder.is_dir():
        raise BadInput(
            "there is no such folder",
            where=str(folder),
            fix="Give a checkout of an Open Terms Archive versions repository.",
        )
    texts: dict[Path, str] = {}
    return tuple(_standing(entry, register, folder, today, texts) for entry in register.all())


def stale_of(standings: Iterable[Standing]) -> dict[str, str]:
    """What went stale, by pin, with the reason: what `Register.with_stale` takes."""
    return {each.pin: each.why for each in standings if each.state == State.STALE}


def _standing(
    entry: Terms, register: Register, folder: Path, today: date, texts: dict[Path, str]
) -> Standing:
    def says(state: State, why: str) -> Standing:
        return Standing(entry.label, entry.pin, state, why)

    if entry.effective > today:
        return says(State.WAITING, f"takes over on {entry.effective}")
    governing = register.find(entry.id, today)
    if governing is not entry:
        by = governing.label if governing else "nothing"
        return says(State.SUPERSEDED, f"{by} governs")
    if today > entry.review.expires:
        return says(State.STALE, f"its review expired on {entry.review.expires}")
    checked = 0
    for clause in entry.clauses:
        path = _captured(entry, clause, folder)
        if path is None or not clause.sha256_norm:
            continue
        checked += 1
        why = _change(clause, path, texts)
        if why:
            return says(State.STALE, f"clause {clause.ref} {why} in {path.relative_to(folder)}")
    if not checked:
        return says(State.UNCHECKED, "no clause of it has a digest and a text in this archive")
    return says(State.CURRENT, f"{checked} clauses are as they were read")


def _captured(entry: Terms, clause: Clause, folder: Path) -> Path | None:
    """The file a clause should stand in; None where this archive does not follow the service."""
    archive = ARCHIVE.search(folder.resolve().name)
    named = [
        folder / name
        for kept_in, name in WHERE.findall(entry.document(clause).archive)
        if archive is None or archive[0] == kept_in  # another archive follows another language
    ]
    there = [path for path in named if path.is_file()]
    followed = [path for path in named if path.parent.is_dir()]
    return next(iter(there + followed), None)


def _change(clause: Clause, path: Path, texts: dict[Path, str]) -> str:
    """What became of the clause; empty where it stands as it was."""
    if path not in texts:
        texts[path] = _read(path)
    found = digests_at(clause, texts[path])
    if not found:
        return "is not found, which may be a fault of the capture,"
    return "" if clause.sha256_norm in found else "has changed"


def _read(path: Path) -> str:
    try:
        return normal(path.read_text("utf-8"))
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"cannot be read ({error})", where=str(path)) from error
