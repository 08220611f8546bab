"""Gather what the report shows: from the ledger, the manifests, the verdicts and the evaluations.

    data = report_step(bench, ledger, judged, filtered, skipped)      # report.html, report.json

Nothing is computed twice: every figure is read from where a step left it.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from policy.manifest import read_manifest
from synth.bench import Bench, decision_of
from synth.checkpoints import checkpoint
from synth.ledger import Ledger
from synth.report import html
from synth.report.data import ReportData
from synth.steps import Filtered, weights_in_words

SAMPLES = 12  # held-out messages shown side by side on the page


@dataclass(frozen=True, slots=True)
class Judged:
    """Every candidate's evaluation, and the paired differences between them."""

    candidates: list[dict[str, Any]]
    differences: list[dict[str, Any]]


def report_step(
    bench: Bench, ledger: Ledger, judged: Judged, filtered: Filtered, skipped: Mapping[str, str]
) -> ReportData:
    """Write report.html and report.json; returns what they show."""
    project = bench.project
    data = ReportData.model_validate(
        _report(bench, ledger, judged, filtered, _notes(bench, skipped))
    )
    _write(project.home / "report.json", data.model_dump_json(indent=1))
    _write(project.home / "report.html", html(data))
    return data


def _write(path: Path, text: str) -> None:
    partial = path.with_suffix(path.suffix + ".partial")
    partial.write_text(text, encoding="utf-8")
    partial.chmod(0o600)
    partial.replace(path)


def _report(
    bench: Bench, ledger: Ledger, judged: Judged, filtered: Filtered, notes: list[str]
) -> dict[str, Any]:
    project, sections = bench.project, bench.project.sections
    manifest = read_manifest(project.datasets / project.name)
    decision = decision_of(bench)
    served = sorted({name for t in manifest["teachers"] for name in t["served_models"]})
    return {
        "project": project.name,
        "date": bench.today.isoformat(),
        "teacher": {
            "model": sections.teacher.model,
            "offering": sections.teacher.offering,
            "served_models": served,
            "weights": weights_in_words(bench).split(",")[0],
        },
        "use": {"purpose": sections.use.purpose, "distribution": sections.use.distribution},
        "decision": {
            "level": decision.level.name,
            "reasons": [
                {
                    "clause": reason.clause,
                    "document": reason.document,
                    "document_date": reason.document_date,
                    "text": reason.text,
                    "level": reason.level.name,
                }
                for reason in decision.reasons
            ],
            "obligations": decision.obligations,
        },
        "money": money(ledger),
        "coverage": manifest["coverage"],
        "filters": filter_counts(filtered),
        "candidates": [_shown(result, bench) for result in judged.candidates],
        "differences": judged.differences,
        "curves": _curves(bench),
        "samples": _samples(judged.candidates),
        "notes": notes,
        "log": {
            "size": ledger.size,
            "root": ledger.root.hex(),
            "checkpoint": checkpoint(ledger, project.home),
        },
    }


def money(ledger: Ledger) -> dict[str, Any]:
    """Requests, tokens and dollars of a whole ledger."""
    row = ledger.one(
        "SELECT count(*), count(*) FILTER (class = 'ok'), count(*) FILTER (class = 'unknown'),"
        " count(*) FILTER (class NOT IN ('ok', 'unknown')), COALESCE(sum(committed_nano), 0)"
        " FROM state"
    )
    tokens = ledger.one(
        "SELECT COALESCE(sum(prompt_tokens), 0), COALESCE(sum(completion_tokens), 0) FROM outcome"
    )
    return {
        "requests": row[0],
        "answers": row[1],
        "unknown": row[2],
        "failed": row[3],
        "paid_usd": int(row[4]) / 10**9,
        "prompt_tokens": int(tokens[0]),
        "completion_tokens": int(tokens[1]),
    }


def filter_counts(filtered: Filtered) -> list[dict[str, Any]]:
    """What each filter dropped of the training answers, and why."""
    rows = [row for row in filtered.rows if row.split != "test"]
    counts = []
    for name, verdicts in filtered.found.items():
        mine = [verdicts[row.attempt] for row in rows]
        reasons = Counter(verdict.reason for verdict in mine if not verdict.keep)
        kept = sum(verdict.keep for verdict in mine)
        counts.append(
            {
                "filter": name,
                "kept": kept,
                "dropped": len(mine) - kept,
                "reasons": reasons.most_common(5),
            }
        )
    return counts


def _shown(result: dict[str, Any], bench: Bench) -> dict[str, Any]:
    arm = bench.project.sections.arms.get(result["candidate"], {})
    variant = bench.project.sections.dataset.variants.get(str(arm.get("dataset", "")))
    note = ""
    if variant and variant.source == "known":
        note = "control: trained on the known answers alone, no teacher"
    elif variant and "agreement" in variant.require:
        note = "no known answers: kept where the teacher's samples agree"
    elif result["kind"] == "teacher":
        note = "with its long instruction, examples and schema"
    wanted = ("id", "message", "expected", "text", "correct")
    metrics = {
        name: {k: v for k, v in value.items() if k in ("value", "low", "high", "tokens")}
        if isinstance(value, dict)
        else value
        for name, value in result["metrics"].items()
    }
    return {
        "candidate": result["candidate"],
        "control": bool(variant and variant.source == "known"),
        "kind": result["kind"],
        "rows": result["rows"],
        "metrics": metrics,
        "predictions": [{k: p.get(k) for k in wanted} for p in result["predictions"]],
        "note": note,
    }


def _curves(bench: Bench) -> dict[str, list[dict[str, Any]]]:
    curves = {}
    for path in sorted(bench.project.runs.glob("*/metrics.jsonl")):
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        wanted = ("step", "loss", "validation_loss")
        points = [{k: row[k] for k in wanted if k in row} for row in rows if "step" in row]
        curves[path.parent.name] = [point for point in points if len(point) > 1]
    return curves


def _samples(results: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    answers: dict[str, dict[str, str]] = {}
    rows = {p["id"]: p for p in results[0]["predictions"]}
    for result in results:
        for prediction in result["predictions"]:
            answers.setdefault(prediction["id"], {})[result["candidate"]] = prediction["text"]
    return [
        {"message": row["message"], "expected": row["expected"], "answers": answers[one]}
        for one, row in list(rows.items())[:SAMPLES]
    ]


def _notes(bench: Bench, skipped: Mapping[str, str]) -> list[str]:
    sections = bench.project.sections
    notes = [f"Arm {name} was not trained: {reason}." for name, reason in skipped.items()]
    if "verify" in sections.dataset.require:
        notes.append(
            "Answers were kept by comparing them with known answers. That is itself supervision:"
            " read every gain beside the control that learns from the known answers alone."
        )
    if weights := weights_in_words(bench):
        notes.append(f"Teacher weights: {weights}.")
    manifest = read_manifest(bench.project.datasets / bench.project.name)
    signal_rows = manifest["signal"]
    if sections.sampling.logprobs:
        notes.append(
            f"Token probabilities were usable in {signal_rows['rows']} of {signal_rows['of']} rows:"
            " only rows whose stored tokens spell the stored text feed top_k."
        )
    notes.append("One seed; the intervals are over held-out messages, not over training runs.")
    return notes
