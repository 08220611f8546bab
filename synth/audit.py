"""Verify: hold the whole record against itself, and name what does not fit.

    findings(ledger, home)       # [] : nothing altered, missing, added or moved

What an erasure deleted is no finding: its entry of the log says so, and what it should have deleted
and did not is one. The mathematics is policy/verify.py, which imports none of this.
"""

from collections.abc import Iterator
from pathlib import Path

from policy.digest import file_digest, sha256
from policy.errors import SpiritSafeError
from policy.keys import parse_public_key
from policy.manifest import MANIFEST, read_manifest
from policy.verify import (
    Edge,
    Finding,
    verify_dataset,
    verify_run,
    verify_tree,
)
from synth.breaker import CLEARANCE, FOLDER, KEY
from synth.checkpoints import missing_notes, notes, public_key
from synth.crew import Crew
from synth.ledger import Ledger
from synth.notices import KEY_CHANGE, MARK
from synth.takedown import FILE, WITHDRAWN, states_at, states_of

_PLACES = {"manifest": "datasets", "train": "runs", "publish": "published"}


def findings(ledger: Ledger, home: Path) -> list[Finding]:
    """Everything that does not hold: log, checkpoints, content, requests, datasets, runs."""
    found = _verify_ledger(ledger, home)
    gone = states_of(ledger)
    if (home / MARK).exists():
        found.append(
            Finding(MARK, "an erasure was begun and not ended: `spiritsafe erase --finish`")
        )
    if gone != states_at(home):
        found.append(Finding(FILE, "does not say what the log says of takedowns"))
    for folder in _directories(home / "datasets"):
        if not gone.is_withdrawn("dataset", folder):
            found += verify_dataset(folder)
    for folder in [*_directories(home / "runs"), *_directories(home / "published")]:
        if not gone.is_withdrawn(folder.parent.name.removesuffix("s"), folder):
            found += verify_run(folder, home / "datasets")
    return found + list(receipts(ledger, home))


def _verify_ledger(ledger: Ledger, home: Path) -> list[Finding]:
    public = public_key(home)
    signed = notes(home)
    found: list[Finding] = []
    if signed and not public:
        found.append(Finding("keys/log.pub", "is missing, so no checkpoint can be checked"))
    if ledger.size and not signed:
        found.append(Finding("checkpoints", "none is there, so nothing vouches for the log"))
    found += [Finding(f"checkpoints/{name}", why) for name, why in missing_notes(ledger, home)]
    with Crew(ledger) as crew:
        if public:
            try:
                found += verify_tree(_hashes(ledger), signed, public, edges(ledger))
                found += _named_as(ledger, parse_public_key(public.split()[0]).name)
                found += _handed_over(ledger, public.split())
            except SpiritSafeError as error:
                found.append(Finding("keys/log.pub", error.message))
        found += crew.findings()
    return list(dict.fromkeys(found))


def _hashes(ledger: Ledger) -> Iterator[bytes]:
    for (hashed,) in ledger.each("SELECT hash FROM leaf ORDER BY seq"):
        yield bytes(hashed)


def edges(ledger: Ledger) -> Iterator[Edge]:
    """The tree after each commit, as the ledger has it."""
    for first, size, root, frontier in ledger.each(
        "SELECT first, size, root, frontier FROM batch ORDER BY size"
    ):
        yield Edge(first, size, bytes(root), bytes(frontier))


def _handed_over(ledger: Ledger, keys: list[str]) -> Iterator[Finding]:
    """Every key but the first is announced by an entry of the log."""
    rows = ledger.rows("SELECT digest FROM notice WHERE kind = ?", [KEY_CHANGE])
    told = {digest for (digest,) in rows}
    for number, line in enumerate(keys[1:], 2):
        if sha256(line.encode()) not in told:
            yield Finding(f"key {number} of the log", "is in no entry of it")


def _named_as(ledger: Ledger, signer: str) -> list[Finding]:
    """The ledger's own name must be the one that its checkpoints are signed under."""
    names = ledger.rows("SELECT value FROM meta WHERE name = 'origin'")
    if names == [(signer,)]:
        return []
    return [Finding("meta origin", f"is not {signer}, which the checkpoints are signed under")]


def receipts(ledger: Ledger, home: Path) -> Iterator[Finding]:
    """What the log says was frozen or trained last, against what lies there."""
    rows = ledger.rows("SELECT kind, name, digest, file FROM receipt ORDER BY seq")
    latest = {(of, name): (digest, file) for of, name, digest, file in rows}
    gone = states_of(ledger)
    for (of, name), (digest, file) in latest.items():
        if of in (CLEARANCE, KEY):
            yield from _clearance(home, name, file if of == CLEARANCE else "")
            continue
        folder = home / _PLACES.get(of, "runs") / name
        this = f"{folder.parent.name}/{name}"
        if gone.state(folder.parent.name.removesuffix("s"), name, digest) == WITHDRAWN:
            continue  # its receipt stays in the log; its files may go
        try:
            present = read_manifest(folder)["digest"]
        except SpiritSafeError as error:
            yield Finding(this, error.message)
            continue
        if present != digest:
            yield Finding(this, "is not the one that the log names")
        elif file_digest(folder / MANIFEST) != file:
            yield Finding(f"{this}/{MANIFEST}", "is altered: the log names other bytes")


def _clearance(home: Path, attempt: str, file: str) -> Iterator[Finding]:
    if not file:
        return  # a key's fingerprint, or a key that ended it: the log holds it whole
    path = home / FOLDER / f"{attempt}.toml"
    if not path.is_file():
        yield Finding(f"{FOLDER}/{attempt}.toml", "is missing")
    elif file_digest(path) != file:
        yield Finding(f"{FOLDER}/{attempt}.toml", "is altered: the log names other bytes")


def _directories(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return [one for one in sorted(folder.iterdir()) if one.is_dir() and one.name[0] != "."]
