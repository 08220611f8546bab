"""On what it rests: clauses behind a dataset, people's words, a student's duties, the policy."""

import json
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from policy.errors import BadInput
from policy.manifest import read_manifest
from policy.records import Kind, Record
from policy.terms import Terms
from synth.audits.answer import Answer
from synth.bench import Bench
from synth.formats import read_columns
from synth.ledger import Ledger
from synth.notices import POLICY
from synth.reach import SPLITS


def when(milliseconds: int) -> str:
    """A moment for people, UTC."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")


def basis(bench: Bench, folder: Path) -> Answer:
    """Which terms text (hash, date, section) justified each decision that a dataset's rows are
    under."""
    manifest = read_manifest(folder)
    rows = _rows_by_decision(folder)
    entries = {entry.pin: entry for entry in bench.register.all()}
    found = []
    for decision in manifest.get("decisions", []):
        for reason in decision["reasons"]:
            terms = _entry(entries, decision, reason["offering"])
            found.append(
                {
                    "decision": decision["digest"], "rows": rows.get(decision["digest"], 0),
                    "level": decision["level"], "purpose": decision["purpose"],
                    "decided": decision["date"], "offering": reason["offering"],
                    "clause": reason["clause"], "document": reason["document"],
                    "dated": reason["document_date"], "text": reason["text"],
                    "address": reason["address"], "terms_pin": decision["terms_pin"],
                    "clause_sha256": _clause_hash(terms, reason["clause"]),
                    "in_register": terms.label if terms else "",
                }
            )  # fmt: skip
    named = sum(rows.values())
    return Answer(
        f"What justified each decision of dataset {folder.name} ({manifest['digest']})",
        ("decided", "level", "rows", "offering", "clause", "document", "dated"),
        found,
        (f"{named:,} rows rest on {len(rows)} decisions; --json has pins, hashes and addresses",),
    )


def _rows_by_decision(folder: Path) -> Counter[str]:
    named: Counter[str] = Counter()
    for split in SPLITS:
        path = folder / f"{split}.parquet"
        if path.is_file():
            named.update(one for (one,) in read_columns(path, ("decision",)) if one)
    return named


def _entry(entries: dict[str, Terms], decision: dict[str, Any], offering: str) -> Terms | None:
    pinned = [entries[pin] for pin in decision["terms_pin"].split(", ") if pin in entries]
    return next((one for one in pinned if one.is_named(offering)), pinned[0] if pinned else None)


def _clause_hash(terms: Terms | None, ref: str) -> str:
    found = [clause.sha256_norm for clause in terms.clauses if clause.ref == ref] if terms else []
    return found[0] if found else ""


def _decided_under(ledger: Ledger) -> dict[str, list[tuple[str, int]]]:
    """Record digest -> (offering, rows) of the answers whose decision it lowered."""
    used: dict[str, list[tuple[str, int]]] = {}
    for body, offering, rows in ledger.rows(
        "SELECT d.body, c.offering, c.rows FROM (SELECT decision, offering,"
        " count(*) FILTER (class = 'ok') AS rows FROM state GROUP BY ALL) c"
        " JOIN decision d ON d.digest = c.decision ORDER BY c.offering"
    ):
        for record in json.loads(body).get("records", []):
            used.setdefault(record, []).append((offering, int(rows)))
    return used


def acks(bench: Bench, ledger: Ledger, expiring: int | None) -> Answer:
    """Who acknowledged which ambiguity, for what scope, until when; with `expiring` only what ends
    within so many days or has ended."""
    kinds = (Kind.ACKNOWLEDGEMENT, Kind.ATTESTATION)
    until = bench.today + timedelta(days=expiring) if expiring is not None else None
    rows = [
        row
        for record, row in _said(bench, ledger, kinds)
        if until is None or record.expires <= until
    ]
    ended = any(row["days_left"] < 0 for row in rows)
    return Answer(
        "Who acknowledged what the terms leave open",
        ("offering", "kind", "by", "purposes", "expires", "days_left", "rows"),
        rows,
        ("--json has the reason, the document and its digest",),
        bad=ended and until is not None,
    )


def permissions(bench: Bench, ledger: Ledger) -> Answer:
    """Which permissions, order forms and own agreements back which rows."""
    rows = [row for _, row in _said(bench, ledger, (Kind.PERMISSION, Kind.ACCEPTANCE))]
    counts = dict(
        ledger.rows("SELECT terms_pin, count(*) FROM state WHERE class = 'ok' GROUP BY terms_pin")
    )
    for entry in bench.register.all():
        if bench.register.is_own(entry):
            rows.append(
                {
                    "offering": entry.id, "kind": "own terms", "by": entry.review.by,
                    "document": entry.documents[0].title, "expires": entry.review.expires,
                    "rows": sum(n for pin, n in counts.items() if entry.pin in pin.split(", ")),
                    "pin": entry.pin,
                }
            )  # fmt: skip
    return Answer(
        "Which permissions and order forms back which rows",
        ("offering", "kind", "by", "document", "expires", "rows"),
        rows,
    )


def _said(
    bench: Bench, ledger: Ledger, kinds: tuple[Kind, ...]
) -> Iterator[tuple[Record, dict[str, Any]]]:
    used = _decided_under(ledger)
    for record in sorted(bench.records, key=lambda one: (one.expires, one.offering)):
        if record.kind in kinds:
            yield record, {
                "offering": record.offering, "kind": str(record.kind), "by": record.by,
                "role": record.role, "purposes": [str(one) for one in record.purposes],
                "distributions": [str(one) for one in record.distributions],
                "on": record.on, "expires": record.expires,
                "days_left": (record.expires - bench.today).days,
                "rows": sum(rows for _, rows in used.get(record.digest, [])),
                "reason": record.reason, "document": record.document,
                "document_sha256": record.document_sha256, "digest": record.digest,
            }  # fmt: skip


def obligations(bench: Bench, name: str) -> Answer:
    """What a student must do in return: name, notices, caps, regions, families, retention."""
    run = read_manifest(bench.project.runs / name)
    decision = run["decision"]
    rows: list[dict[str, Any]] = []
    for duty in run["obligations"]:
        known = bench.register.obligation(duty)
        rows.append(
            {"kind": "duty", "name": duty, "clause": known.clause if known else "",
             "says": known.text if known else "no entry of the register explains it"}
        )  # fmt: skip
    for kind, values in (
        ("name begins", decision.get("name_prefixes") or ()),
        ("not for", decision.get("excluded_regions") or ()),
        ("families", decision.get("student_families") or ()),
        ("cap", [f"{k} {v:,}" for k, v in (decision.get("caps") or {}).items()]),
    ):
        rows += [{"kind": kind, "name": str(value), "clause": "", "says": ""} for value in values]
    if decision.get("retention_days") is not None:
        days = f"answers gone after {decision['retention_days']} days"
        rows.append({"kind": "retention", "name": days, "clause": "", "says": ""})
    return Answer(
        f"What student {name} carries, decided {decision['date']}: {decision['level']}",
        ("kind", "name", "clause", "says"),
        rows,
    )


def policy_changes(ledger: Ledger) -> Answer:
    """Who changed the policy or the caps, and when it was first met."""
    last: dict[tuple[str, str], str] = {}
    rows = []
    for seq, what, name, found, state, at, by, body in ledger.rows(
        "SELECT seq, what, name, digest, state, at_ms, said_by, body FROM notice WHERE kind = ?"
        " ORDER BY seq",
        [POLICY],
    ):
        before = last.get((what, name), "")
        last[what, name] = found
        rows.append(
            {"entry": seq, "met": when(at), "account": by, "what": what, "name": name,
             "state": "changed" if before and found else state, "before": before, "digest": found,
             "says": json.loads(body)}
        )  # fmt: skip
    return Answer(
        "Who changed the policy or the caps, and when",
        ("entry", "met", "account", "name", "state", "says"),
        rows,
        ("a change is dated when a step first met it; --json has the values before and after",),
    )


def dataset_folder(bench: Bench, name: str) -> Path:
    """A dataset of this project. Raises BadInput naming those that exist."""
    folder = bench.project.datasets / (name or bench.project.name)
    if not (folder / "manifest.json").is_file():
        there = sorted(one.name for one in bench.project.datasets.glob("[!.]*"))
        raise BadInput(
            f"no dataset {folder.name!r}",
            where=str(bench.project.datasets),
            fix=f"there are {', '.join(there)}" if there else "run `spiritsafe freeze`",
        )
    return folder
