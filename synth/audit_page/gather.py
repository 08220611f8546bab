"""Reads the account of a project from its ledger, its datasets and its runs.

Set-based questions to DuckDB, so that a million rows take seconds.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from policy.errors import SpiritSafeError
from policy.manifest import MANIFEST, read_manifest
from policy.terms import Register
from policy.verify import Finding
from synth.audit_page.account import Account, Day, Decided, Frozen, Loss, Student, Teacher
from synth.audit_page.pieces import pack_rows
from synth.checkpoints import notes
from synth.ledger import Ledger
from synth.takedown import States, states_of

REASONS = 6
"""Reasons of a filter that are named; the others are counted together."""


def gather(
    ledger: Ledger, home: Path, *, title: str, findings: Sequence[Finding], register: Register
) -> Account:
    """The whole account. Reads only; `findings` are what `verify` said."""
    decisions = _decisions(ledger)
    gone = states_of(ledger)
    datasets = _datasets(home / "datasets", gone)
    signed = notes(home)
    return Account(
        title=title,
        ledger=ledger.id,
        size=ledger.size,
        root=ledger.root.hex(),
        checkpoint=signed[-1] if signed else "",
        checkpoints=len(signed),
        findings=findings,
        teachers=_teachers(ledger, decisions, register),
        decisions=decisions,
        outcomes=_outcomes(ledger),
        days=_days(ledger),
        losses=_losses(ledger),
        datasets=datasets,
        students=_students(home, datasets, gone),
        receipts=_receipts(ledger),
        rows=pack_rows(
            ledger, home, [one.name for one in datasets], [one.digest for one in decisions]
        ),
    )


def _decisions(ledger: Ledger) -> list[Decided]:
    """Each once, where it was made first; those that nothing rests on too."""
    found = ledger.rows(
        "SELECT d.digest, min(d.seq), min(d.at_ms), any_value(d.body), COALESCE(any_value(n), 0)"
        " FROM decision d"
        " LEFT JOIN (SELECT decision, count(*) n FROM"
        "  (SELECT decision FROM attempt UNION ALL SELECT decision FROM imported) GROUP BY 1) a"
        " ON a.decision = d.digest"
        " GROUP BY d.digest ORDER BY min(d.seq)"
    )
    return [
        Decided(digest, entry, at, attempts, json.loads(body))
        for digest, entry, at, body, attempts in found
    ]


def _teachers(ledger: Ledger, decisions: Sequence[Decided], register: Register) -> list[Teacher]:
    labels = {entry.pin: entry.label for entry in register.all()}
    places = {one.digest: place for place, one in enumerate(decisions)}
    found = []
    for offering, pin, models, served, made, first, last, sent, answers, nano in ledger.rows(
        "WITH every AS (SELECT s.seq, offering, terms_pin, model, served_model, decision,"
        "  s.at_ms, s.class = 'ok' AS answered, 1 AS sent, committed_nano"
        "  FROM state s LEFT JOIN outcome o ON o.attempt = s.id"
        "  UNION ALL SELECT seq, offering, terms_pin, model, served_model, decision,"
        "  collected_ms, true, 0, 0 FROM imported)"
        " SELECT offering, terms_pin, list(DISTINCT model ORDER BY model),"
        " list(DISTINCT served_model ORDER BY served_model) FILTER (served_model <> ''),"
        " list(DISTINCT decision ORDER BY decision), min(at_ms), max(at_ms), sum(sent)::BIGINT,"
        " count(*) FILTER (answered), sum(committed_nano)::BIGINT"
        " FROM every GROUP BY offering, terms_pin ORDER BY min(seq)"
    ):
        known = [labels[one] for one in pin.split(", ") if one in labels]
        whole = len(known) == len(pin.split(", "))
        found.append(
            Teacher(
                offering=offering,
                models=models,
                served=served or [],
                entry=", ".join(known) if whole else "",
                pin=pin,
                decisions=[places[one] for one in made if one in places],
                first_ms=first,
                last_ms=last,
                sent=sent,
                answers=answers,
                nano=nano,
            )
        )
    return found


def _outcomes(ledger: Ledger) -> list[tuple[str, str, int, int]]:
    return [
        (of, kind, count, nano)
        for of, kind, count, nano in ledger.rows(
            "SELECT class, kind, count(*), sum(committed_nano)::BIGINT FROM state"
            " GROUP BY 1, 2 ORDER BY 3 DESC, 1, 2"
        )
    ]


def _days(ledger: Ledger) -> list[Day]:
    return [
        Day(str(day), sent, answers, billed, reserved, tokens)
        for day, sent, answers, billed, reserved, tokens in ledger.rows(
            "SELECT make_timestamp_ms(s.at_ms)::DATE, count(*), count(*) FILTER (s.class = 'ok'),"
            " COALESCE(sum(o.cost_nano), 0)::BIGINT,"
            " (sum(s.committed_nano) - COALESCE(sum(o.cost_nano), 0))::BIGINT,"
            " COALESCE(sum(o.prompt_tokens + o.completion_tokens), 0)::BIGINT"
            " FROM state s LEFT JOIN outcome o ON o.attempt = s.id"
            " GROUP BY 1 ORDER BY 1"
        )
    ]


def _losses(ledger: Ledger) -> list[Loss]:
    """The filter that dropped most comes first."""
    kept: dict[str, int] = {}
    dropped: dict[str, list[tuple[str, int]]] = {}
    for name, keep, reason, count in ledger.rows(
        "WITH newest AS (SELECT attempt, filter, max_by(struct_pack(k := keep, r := reason), seq) v"
        " FROM verdict GROUP BY 1, 2)"
        " SELECT filter, v.k, CASE WHEN v.k THEN '' ELSE v.r END, count(*) FROM newest"
        " GROUP BY ALL ORDER BY count(*) DESC, 1, 3"
    ):
        kept.setdefault(name, 0)
        dropped.setdefault(name, [])
        if keep:
            kept[name] += count
        else:
            dropped[name].append((reason, count))
    losses = [
        Loss(name, kept[name], sum(count for _, count in why), _few(why))
        for name, why in dropped.items()
    ]
    return sorted(losses, key=lambda one: (-one.dropped, one.filter))


def _few(reasons: Sequence[tuple[str, int]]) -> list[tuple[str, int]]:
    rest = sum(count for _, count in reasons[REASONS:])
    return [*reasons[:REASONS], *([("other reasons", rest)] if rest else [])]


def _datasets(folder: Path, gone: States) -> list[Frozen]:
    found = []
    for name, manifest in _manifests(folder):
        rows = {
            file.removesuffix(".parquet"): int(entry.get("rows", 0))
            for file, entry in manifest.get("files", {}).items()
            if file.endswith(".parquet")
        }
        state = gone.of_digest(str(manifest.get("digest")))
        found.append(Frozen(name, manifest, rows, state))
    return found


def _students(home: Path, datasets: Sequence[Frozen], gone: States) -> list[Student]:
    digests = {one.manifest.get("digest"): place for place, one in enumerate(datasets)}
    public: dict[str, list[str]] = {}
    for name, manifest in _manifests(home / "published"):
        run = manifest.get("run", {})
        public.setdefault(str(run.get("name", "")), []).append(name)
    return [
        Student(
            name,
            manifest,
            digests.get(manifest.get("dataset", {}).get("digest")),
            tuple(public.get(name, ())),
            gone.of_digest(str(manifest.get("digest"))),
        )
        for name, manifest in _manifests(home / "runs")
    ]


def _manifests(folder: Path) -> list[tuple[str, Mapping[str, Any]]]:
    """Those that can be read; what is wrong with the others is among the findings."""
    found = list[tuple[str, Mapping[str, Any]]]()
    for path in sorted(folder.glob(f"*/{MANIFEST}")):
        try:
            found.append((path.parent.name, read_manifest(path.parent)))
        except SpiritSafeError:
            continue
    return found


def _receipts(ledger: Ledger) -> list[tuple[int, str, str, str, int]]:
    return [
        (seq, kind, name, digest, at)
        for seq, kind, name, digest, at in ledger.rows(
            "SELECT seq, kind, name, digest, at_ms FROM receipt ORDER BY seq"
        )
    ]
