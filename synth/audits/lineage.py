"""Lineage: from a row or a student back to the request, the terms and the decision.

lineage_of_row(ledger, home, "b77-0007")       # the walk, oldest first
lineage_of_run(home, "sft")                    # a student, its dataset, teachers, decisions
"""

import json
from pathlib import Path
from typing import Any

from policy.errors import BadInput
from policy.manifest import read_manifest
from synth.ledger import Ledger
from synth.reach import dataset_rows, spread

Walk = list[dict[str, Any]]


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


def descent_of(home: Path, prompt_id: str) -> list[dict[str, Any]]:
    """What was made of a row: datasets that hold it, runs, what was published, their students."""

    def held(folder: Path, manifest: dict[str, Any]) -> int:
        return sum(row.id == prompt_id for row in dataset_rows(folder))

    return [
        {"what": one.what, "name": one.name, "digest": one.digest, "why": one.why}
        for one in spread(home, held)
    ]


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
