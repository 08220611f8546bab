"""Verify: hold the whole record against itself, and name what does not fit.

    findings(ledger, home)       # [] : nothing altered, missing, added or moved

What an erasure deleted is no finding: its entry of the log says so, and what it should have deleted
and did not is one. The mathematics is policy/verify.py, which imports none of this.
"""

import heapq
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import zstandard

from policy.digest import file_digest
from policy.errors import SpiritSafeError
from policy.keys import parse_public_key
from policy.manifest import MANIFEST, read_manifest
from policy.verify import (
    Edge,
    Finding,
    LogRow,
    check_content,
    verify_dataset,
    verify_log,
    verify_run,
)
from synth.breaker import CLEARANCE, FOLDER, KEY
from synth.checkpoints import missing_notes, notes, public_key
from synth.imported import import_leaf
from synth.jobs import job_leaf
from synth.ledger import Ledger
from synth.notices import ERASED, MARK, notice_leaf
from synth.plan import request_key
from synth.rows import (
    DecisionRow,
    attempt_leaf,
    outcome_leaf,
    raw_bytes,
    receipt_leaf,
    stored_content,
    verdict_leaf,
)
from synth.takedown import FILE, WITHDRAWN, states_at, states_of

_PLACES = {"manifest": "datasets", "train": "runs", "publish": "published"}
_LEAVES: dict[str, Callable[[tuple[Any, ...]], Mapping[str, Any]]] = {
    "decision": lambda row: DecisionRow(*row[1:]).leaf(),
    "attempt": attempt_leaf,
    "outcome": outcome_leaf,
    "receipt": receipt_leaf,
    "job": job_leaf,
    "notice": notice_leaf,
    "imported": import_leaf,
}
"""Table -> what of a row of it is in the log; verdicts share a leaf and stand apart."""

_CONTENTS = (
    "SELECT o.attempt, o.content_commit, o.raw_commit, r.salt, r.headers, r.body, e.seq, c.*"  # noqa: S608
    " FROM settled o LEFT JOIN raw r USING (attempt) LEFT JOIN completion c USING (attempt)"
    f" LEFT JOIN ({ERASED}) e USING (attempt)"
)


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
    if public:
        try:
            found += verify_log(log_rows(ledger), signed, public, edges(ledger))
            found += _named_as(ledger, parse_public_key(public).name)
        except SpiritSafeError as error:
            found.append(Finding("keys/log.pub", error.message))
    parts = (_contents(ledger), _requests(ledger), _orphans(ledger))
    return found + [one for part in parts for one in part]


def edges(ledger: Ledger) -> Iterator[Edge]:
    """The tree after each commit, as the ledger has it."""
    for size, root, frontier in ledger.each("SELECT size, root, frontier FROM batch ORDER BY size"):
        yield Edge(size, bytes(root), bytes(frontier))


def _named_as(ledger: Ledger, signer: str) -> list[Finding]:
    """The ledger's own name must be the one that its checkpoints are signed under."""
    names = ledger.rows("SELECT value FROM meta WHERE name = 'origin'")
    if names == [(signer,)]:
        return []
    return [Finding("meta origin", f"is not {signer}, which the checkpoints are signed under")]


def log_rows(ledger: Ledger) -> Iterator[LogRow]:
    """Every leaf with the fields that it should be the hash of, from the tables as they are."""
    waiting = heapq.merge(*_streams(ledger), key=lambda pair: pair[0])
    ahead = next(waiting, None)
    for seq, kind, hashed in ledger.each("SELECT seq, kind, hash FROM leaf ORDER BY seq"):
        while ahead is not None and ahead[0] < seq:
            ahead = next(waiting, None)
        fields: Mapping[str, Any] = {"ref": "row is missing"}
        if ahead is not None and ahead[0] == seq:
            fields, ahead = ahead[1], next(waiting, None)
            if ahead is not None and ahead[0] == seq:
                fields = {"ref": "row is there twice"}
        yield LogRow(seq, kind, fields, bytes(hashed))


def fields_of(ledger: Ledger, kind: str, seq: int) -> Mapping[str, Any]:
    """What one entry is the hash of. Raises LookupError where its row is gone."""
    if kind == "verdict":
        rows = ledger.rows("SELECT * EXCLUDE seq FROM verdict WHERE seq = ? ORDER BY filter", [seq])
        return verdict_leaf(rows[0][0], tuple(row[1:] for row in rows))
    table = "imported" if kind == "import" else kind
    (row,) = ledger.rows(f"SELECT * FROM {table} WHERE seq = ?", [seq])  # noqa: S608
    return _LEAVES[table](row)


Fields = tuple[int, Mapping[str, Any]]


def _streams(ledger: Ledger) -> list[Iterator[Fields]]:
    """(place in the log, fields of the leaf) of every table, each in order."""
    return [*(_fields(ledger, table) for table in _LEAVES), _verdicts(ledger)]


def _fields(ledger: Ledger, table: str) -> Iterator[Fields]:
    leaf = _LEAVES[table]
    for row in ledger.each(f"SELECT * FROM {table} ORDER BY seq"):  # noqa: S608
        yield row[0], leaf(row)


def _verdicts(ledger: Ledger) -> Iterator[Fields]:
    """Rows of one attempt share a leaf."""
    seq, attempts, listed = -1, set[str](), list[tuple[Any, ...]]()
    for at, attempt, *verdict in ledger.each("SELECT * FROM verdict ORDER BY seq, filter"):
        if at != seq and listed:
            yield seq, verdict_leaf(" and ".join(sorted(attempts)), tuple(listed))
            attempts, listed = set(), []
        seq = at
        attempts.add(attempt)
        listed.append(tuple(verdict))
    if listed:
        yield seq, verdict_leaf(" and ".join(sorted(attempts)), tuple(listed))


def _unpacker() -> Callable[[bytes], bytes]:
    """As `unpack`, with one decompressor for all: making one costs more than using it."""
    decompress = zstandard.ZstdDecompressor().decompress

    def unpacked(data: bytes) -> bytes:
        try:
            return decompress(data, allow_extra_data=False)
        except zstandard.ZstdError as error:
            raise ValueError(f"not one whole zstd frame: {error}") from error

    return unpacked


def _contents(ledger: Ledger) -> Iterator[Finding]:
    """Completions and raw bodies against the commitments in their outcome's leaf."""
    unpack = _unpacker()
    for attempt, content, commitment, salt, headers, raw, erased, *completion in ledger.each(
        _CONTENTS
    ):
        if erased is not None:
            if salt is not None or completion[0] is not None:
                yield Finding(f"content of {attempt}", f"entry {erased} erased it; it is there")
            continue
        if salt is None:
            yield Finding(f"raw reply of {attempt}", "is missing")
            continue
        try:
            body = raw_bytes(json.loads(headers), unpack(bytes(raw)))
        except ValueError as error:
            yield Finding(f"raw reply of {attempt}", f"is altered: {error}")
            continue
        yield from check_content(f"raw reply of {attempt}", commitment, bytes(salt), body)
        if content:
            yield from _completion(attempt, content, bytes(salt), tuple(completion))


def _completion(
    attempt: str, commitment: str, salt: bytes, row: tuple[Any, ...]
) -> Iterable[Finding]:
    name = f"completion {attempt}"
    if row[0] is None:
        return [Finding(name, "is missing")]
    return check_content(name, commitment, salt, stored_content(row[2:]))


def _requests(ledger: Ledger) -> Iterator[Finding]:
    """Each stored body against the key that names it."""
    unpack = _unpacker()
    for key, base, path, body, sample in ledger.each(
        "SELECT DISTINCT r.key, r.base, r.path, r.body, a.sample"
        " FROM request r JOIN asked a ON a.key = r.key"
    ):
        name = f"request {key[:19]}"
        try:
            text = unpack(bytes(body))
            if request_key(base, path, text, sample) != key:
                yield Finding(name, "its body is not the one that its key names")
        except ValueError as error:
            yield Finding(name, f"is altered: {error}")


_ONCE = (
    *(("request", "key"), ("attempt", "id"), ("outcome", "attempt")),
    *(("completion", "attempt"), ("raw", "attempt")),
)


def _orphans(ledger: Ledger) -> Iterator[Finding]:
    """Rows that no leaf of the log knows."""
    for table in (*_LEAVES, "verdict"):
        for (seq,) in ledger.each(
            f"SELECT DISTINCT seq FROM {table} ANTI JOIN leaf USING (seq) ORDER BY seq"  # noqa: S608
        ):
            yield Finding(f"{table} {seq}", "is in no entry of the log")
    for (name,) in ledger.each(
        "SELECT attempt FROM completion c JOIN asked a ON a.id = c.attempt WHERE a.key <> c.key"
    ):
        yield Finding(f"completion {name}", "answers another request than its attempt made")
    for table, column in _ONCE:
        for (name,) in ledger.each(
            f"SELECT {column} FROM {table} GROUP BY {column} HAVING count(*) > 1"  # noqa: S608
        ):
            yield Finding(f"{table} {name}", "is there more than once")
    erased = f"SELECT a.key FROM ({ERASED}) e JOIN asked a ON a.id = e.attempt"  # noqa: S608
    kept = f" WHERE t.key NOT IN ({erased})"
    gone = f" WHERE t.id NOT IN (SELECT attempt FROM ({ERASED}))"  # noqa: S608
    for table, other, column, lack, but in (
        ("completion", "settled", "attempt", "outcome", ""),
        ("raw", "settled", "attempt", "outcome", ""),
        ("attempt", "request", "key", "request", kept),
        ("imported", "request", "key", "request", kept),
        (
            "imported",
            "completion",
            "id",
            "completion",
            gone,
        ),
        ("request", "asked", "key", "attempt", ""),
    ):
        joined = "o.attempt = t.id" if column == "id" else f"o.{column} = t.{column}"
        for (name,) in ledger.each(
            f"SELECT DISTINCT t.{column} FROM {table} t ANTI JOIN {other} o ON {joined}{but}"  # noqa: S608
        ):
            yield Finding(f"{table} {name}", f"has no {lack}")


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
