"""Audit: walk from a row or a student back to the request, the terms and the decision.

lineage_of_row(ledger, datasets, "b77-0007")   -> the walk, oldest first
rows_by_terms(ledger, register, today)         -> which rows under which pin
findings(ledger, home)                         -> everything that does not verify
"""

import json
from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path
from typing import Any

from policy.decide import decide_offering
from policy.digest import file_digest
from policy.errors import BadInput, SpiritSafeError
from policy.keys import parse_public_key
from policy.manifest import MANIFEST, read_manifest
from policy.terms import Register, Terms
from policy.use import Use
from policy.verify import (
    Finding,
    LogRow,
    check_content,
    verify_dataset,
    verify_log,
    verify_run,
)
from synth.breaker import CLEARANCE, FOLDER, KEY
from synth.checkpoints import notes, public_key
from synth.imported import import_leaf
from synth.jobs import job_leaf
from synth.ledger import Ledger, unpack
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

Walk = list[dict[str, Any]]
_PLACES = {"manifest": "datasets", "train": "runs", "publish": "published"}


def findings(ledger: Ledger, home: Path) -> list[Finding]:
    """Everything that does not hold: log, checkpoints, content, requests, datasets, runs."""
    found = _verify_ledger(ledger, home)
    for folder in _directories(home / "datasets"):
        found += verify_dataset(folder)
    for folder in [*_directories(home / "runs"), *_directories(home / "published")]:
        found += verify_run(folder, home / "datasets")
    return found + list(_receipts(ledger, home))


def _verify_ledger(ledger: Ledger, home: Path) -> list[Finding]:
    public = public_key(home)
    signed = notes(home)
    found: list[Finding] = []
    if signed and not public:
        found.append(Finding("keys/log.pub", "is missing, so no checkpoint can be checked"))
    if ledger.size and not signed:
        found.append(Finding("checkpoints", "none is there, so nothing vouches for the log"))
    if public:
        try:
            found += verify_log(log_rows(ledger), signed, public)
            found += _named_as(ledger, parse_public_key(public).name)
        except SpiritSafeError as error:
            found.append(Finding("keys/log.pub", error.message))
    return found + list(_contents(ledger)) + list(_requests(ledger)) + list(_orphans(ledger))


def _named_as(ledger: Ledger, signer: str) -> list[Finding]:
    """The ledger's own name must be the one that its checkpoints are signed under."""
    names = ledger.rows("SELECT value FROM meta WHERE name = 'origin'")
    if names == [(signer,)]:
        return []
    return [Finding("meta origin", f"is not {signer}, which the checkpoints are signed under")]


def log_rows(ledger: Ledger) -> Iterator[LogRow]:
    """Every leaf with the fields that it should be the hash of, from the tables as they are."""
    fields = _fields(ledger)
    for seq, kind, hashed in ledger.each("SELECT seq, kind, hash FROM leaf ORDER BY seq"):
        yield LogRow(seq, kind, fields.pop(seq, {"ref": "row is missing"}), bytes(hashed))


def _fields(ledger: Ledger) -> dict[int, Any]:
    found: dict[int, Any] = {}
    for seq, digest, at, body in ledger.each("SELECT * FROM decision"):
        found[seq] = DecisionRow(digest, at, body).leaf()
    for row in ledger.each("SELECT * FROM attempt"):
        found[row[0]] = attempt_leaf(row)
    for row in ledger.each("SELECT * FROM outcome"):
        found[row[0]] = outcome_leaf(row)
    verdicts: dict[int, list[tuple[Any, ...]]] = {}
    for seq, *verdict in ledger.each("SELECT * FROM verdict ORDER BY seq, filter"):
        verdicts.setdefault(seq, []).append(tuple(verdict))
    for seq, listed in verdicts.items():
        attempts = " and ".join(sorted({one[0] for one in listed}))  # one, unless moved
        found[seq] = verdict_leaf(attempts, tuple(one[1:] for one in listed))
    for row in ledger.each("SELECT * FROM receipt"):
        found[row[0]] = receipt_leaf(row)
    for row in ledger.each("SELECT * FROM job"):
        found[row[0]] = job_leaf(row)
    for row in ledger.each("SELECT * FROM imported"):
        found[row[0]] = import_leaf(row)
    return found


def _contents(ledger: Ledger) -> Iterator[Finding]:
    """Completions and raw bodies against the commitments in their outcome's leaf."""
    for attempt, content, commitment, salt, headers, raw in ledger.each(
        "SELECT o.attempt, o.content_commit, o.raw_commit, r.salt, r.headers, r.body"
        " FROM settled o LEFT JOIN raw r ON r.attempt = o.attempt"
    ):
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
            yield from _completion(ledger, attempt, content, bytes(salt))


def _completion(ledger: Ledger, attempt: str, commitment: str, salt: bytes) -> Iterator[Finding]:
    rows = ledger.rows("SELECT * FROM completion WHERE attempt = ?", [attempt])
    name = f"completion {attempt}"
    if not rows:
        yield Finding(name, "is missing")
        return
    yield from check_content(name, commitment, salt, stored_content(rows[0][2:]))


def _requests(ledger: Ledger) -> Iterator[Finding]:
    """Each stored body against the key that names it."""
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


def _orphans(ledger: Ledger) -> Iterator[Finding]:
    """Rows that no leaf of the log knows."""
    for table in ("decision", "attempt", "outcome", "verdict", "receipt", "job", "imported"):
        for (seq,) in ledger.each(
            f"SELECT DISTINCT seq FROM {table} ANTI JOIN leaf USING (seq) ORDER BY seq"  # noqa: S608
        ):
            yield Finding(f"{table} {seq}", "is in no entry of the log")
    for (name,) in ledger.each(
        "SELECT attempt FROM completion c JOIN asked a ON a.id = c.attempt WHERE a.key <> c.key"
    ):
        yield Finding(f"completion {name}", "answers another request than its attempt made")
    for table, other, column, lack in (
        ("completion", "settled", "attempt", "outcome"),
        ("attempt", "request", "key", "request"),
        ("imported", "request", "key", "request"),
        ("imported", "completion", "id", "completion"),
    ):
        joined = "o.attempt = t.id" if column == "id" else f"o.{column} = t.{column}"
        for (name,) in ledger.each(
            f"SELECT DISTINCT t.{column} FROM {table} t ANTI JOIN {other} o ON {joined}"  # noqa: S608
        ):
            yield Finding(f"{table} {name}", f"has no {lack}")


def _receipts(ledger: Ledger, home: Path) -> Iterator[Finding]:
    """What the log says was frozen or trained last, against what lies there."""
    rows = ledger.rows("SELECT kind, name, digest, file FROM receipt ORDER BY seq")
    latest = {(of, name): (digest, file) for of, name, digest, file in rows}
    for (of, name), (digest, file) in latest.items():
        if of in (CLEARANCE, KEY):
            yield from _clearance(home, name, file if of == CLEARANCE else "")
            continue
        folder = home / _PLACES.get(of, "runs") / name
        this = f"{folder.parent.name}/{name}"
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


def lineage_of_row(ledger: Ledger, prompt_id: str) -> Walk:
    """Everything that is known of one prompt: attempts, outcomes, completions, verdicts, terms."""
    attempts = ledger.rows(
        "SELECT seq, id, key, at_ms, sample, split, offering, model, decision, terms_pin, class,"
        " kind, message, committed_nano FROM state WHERE prompt_id = ?"
        " UNION ALL SELECT seq, id, key, collected_ms, 0, '', offering, model, decision, terms_pin,"
        " 'imported', 'from ' || name || ', ' || place || ', on the word of ' || declared_by, '', 0"
        " FROM imported WHERE prompt_id = ? ORDER BY seq",
        [prompt_id, prompt_id],
    )
    if not attempts:
        raise BadInput(
            f"no request was ever made for row {prompt_id!r}", fix="`spiritsafe show` lists rows"
        )
    return [_walk(ledger, attempt) for attempt in attempts]


def rows_by_terms(ledger: Ledger, register: Register, today: date) -> list[dict[str, Any]]:
    """Which rows were collected under which pin of which terms, the oldest first. `state` says what
    became of that entry: in force, superseded, or no longer in the register, word for word."""
    entries = {entry.pin: entry for entry in register.all()}
    found = []
    for offering, pin, first, last, sent, answers, nano, rows in ledger.rows(
        "SELECT offering, terms_pin, min(at_ms), max(at_ms), count(*),"
        " count(*) FILTER (class = 'ok'), sum(committed_nano)::BIGINT,"
        " list(prompt_id || '#' || sample ORDER BY prompt_id, sample) FILTER (class = 'ok')"
        " FROM state GROUP BY ALL ORDER BY min(seq)"
    ):
        known = [entries[one] for one in pin.split(", ") if one in entries]
        now = decide_offering(Use(), register, offering, today).terms_pin
        found.append(
            {
                "offering": offering,
                "terms_pin": pin,
                "entry": ", ".join(entry.label for entry in known),
                "state": _standing(pin, now, known, register),
                "pin_now": now,
                "collected": [first, last],
                "sent": sent,
                "answers": answers,
                "cost_nano": nano,
                "decisions": [
                    digest
                    for (digest,) in ledger.rows(
                        "SELECT DISTINCT decision FROM attempt WHERE offering = ? AND terms_pin = ?"
                        " ORDER BY decision",
                        [offering, pin],
                    )
                ],
                "rows": rows or [],
            }
        )
    return found


def _standing(pin: str, now: str, known: Sequence[Terms], register: Register) -> str:
    """A joined pin names every text that bound, so it stands only if all of them do."""
    if len(known) < len(pin.split(", ")):
        return "another text than any in today's register"
    stale = [register.stale[entry.pin] for entry in known if entry.pin in register.stale]
    if stale:
        return f"stale: {stale[0]}"
    return "in force" if pin == now else "superseded"


def _walk(ledger: Ledger, attempt: tuple[Any, ...]) -> dict[str, Any]:
    names = (
        *("entry", "attempt", "key", "at", "sample", "split", "offering", "model", "decision"),
        *("terms_pin", "outcome", "kind", "message", "cost_nano"),
    )
    step = dict(zip(names, attempt, strict=True))
    for text, finish in ledger.rows(
        "SELECT text, finish_reason FROM completion WHERE attempt = ?", [step["attempt"]]
    ):
        step |= {"text": text, "finish_reason": finish}
    step["verdicts"] = [
        {"entry": seq, "filter": name, "keep": keep, "reason": reason, "score": score}
        for seq, name, keep, reason, score in ledger.rows(
            "SELECT seq, filter, keep, reason, score FROM verdict WHERE attempt = ?"
            " QUALIFY row_number() OVER (PARTITION BY filter ORDER BY seq DESC) = 1"
            " ORDER BY filter",
            [step["attempt"]],
        )
    ]
    rows = ledger.rows("SELECT body FROM decision WHERE digest = ?", [step["decision"]])
    step["decided"] = json.loads(rows[0][0]) if rows else None
    return step


def lineage_of_run(home: Path, name: str) -> dict[str, Any]:
    """From a student back to its dataset, its teachers and the decisions."""
    run = read_manifest(home / "runs" / name)
    dataset = read_manifest(home / "datasets" / run["dataset"]["name"])
    return {
        "run": {"name": name, "digest": run["digest"], "student": run["student"]},
        "dataset": {
            "name": dataset["name"],
            "digest": dataset["digest"],
            "same": dataset["digest"] == run["dataset"]["digest"],
            "rows": {file: entry.get("rows") for file, entry in dataset["files"].items()},
            "filters": list(dataset["filters"]),
        },
        "teachers": dataset["teachers"],
        "decisions": dataset["decisions"],
        "decided_at_training": run["decision"],
        "obligations": run["obligations"],
        "ledger": dataset["ledger"],
    }
