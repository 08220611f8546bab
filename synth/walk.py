"""The walk through both rooms: train, evaluate, report, and `run`, which does everything.

The front door's second module, beside synth/cli.py: the only two that may see both rooms. Each
step leaves its result on disk and finds it there the next time, so a walk may be stopped at any
moment and goes on where it was.
"""

import asyncio
import json
import signal
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from policy.config import parse
from policy.decide import Decision, decide, join
from policy.errors import BadInput
from policy.manifest import read_manifest
from policy.permit import Action, Permit, require
from synth.checkpoints import checkpoint
from synth.freeze import Frozen, receipt
from synth.ledger import Ledger
from synth.report import html, table
from synth.report.data import ReportData
from synth.screens import filter_screen
from synth.steps import (
    Bench,
    Collected,
    Filtered,
    Ready,
    collect_step,
    coverage_now,
    decision_of,
    filter_step,
    freeze_step,
    get_ready,
    weights_in_words,
)
from synth.stop import Stop
from train.config import Arm, Evaluation, Student, Training

SAMPLES = 12  # held-out messages shown side by side on the page
TEACHER, UNTRAINED = "teacher", "untrained"


@dataclass(frozen=True, slots=True)
class Lessons:
    """The student's sections of a project."""

    student: Student
    training: Training
    arms: dict[str, Arm]
    evaluation: Evaluation


def lessons_of(bench: Bench) -> Lessons:
    """Read the other room's sections. Raises BadInput naming the section and the key."""
    sections, where = bench.project.sections, bench.project.path
    arms = {
        name: parse(Arm, data, where=f"{where} [arms.{name}]")
        for name, data in sections.arms.items()
    }
    known = {bench.project.name, *sections.dataset.variants}
    for name, arm in arms.items():
        if arm.dataset not in known:
            raise BadInput(
                f"dataset {arm.dataset!r} is not made by this project",
                where=f"{where} [arms.{name}]",
                fix=f"use one of {', '.join(sorted(known))}",
            )
    return Lessons(
        student=parse(Student, sections.student, where=f"{where} [student]"),
        training=parse(Training, sections.training, where=f"{where} [training]"),
        arms=arms or {"student": Arm(dataset=bench.project.name)},
        evaluation=parse(Evaluation, sections.evaluation, where=f"{where} [evaluation]"),
    )


def dataset_permit(bench: Bench, folder: Path, action: Action) -> Permit:
    """Decide again, from the manifest: the terms at collection and the terms now, the stricter."""
    use, manifest = bench.project.sections.use, read_manifest(folder)
    decisions: list[Decision] = []
    for teacher in manifest["teachers"]:
        offering = str(teacher["offering"])
        now = bench.register.find(offering, bench.today)
        decisions.append(decide(use, now, bench.today, offering=offering))
        for day in teacher["collected"]:
            collected = date.fromisoformat(day)
            then = bench.register.find(offering, collected)
            decisions.append(decide(use, then, bench.today, offering=offering, collected=collected))
    return require(join(decisions), action, alternatives=())


def train_step(bench: Bench, only: str = "") -> dict[str, str]:
    """Train every arm; returns what kept an arm from being trained, by name."""
    from train.run import train

    lessons, skipped = lessons_of(bench), {}
    for name, arm in _chosen(lessons.arms, only).items():
        folder = bench.project.datasets / arm.dataset
        permit = dataset_permit(bench, folder, Action.TRAIN)
        training = arm.training(lessons.training)
        if reason := _no_signal(folder, training):
            skipped[name] = reason
            bench.display.say(f"arm {name} is not trained: {reason}")
            continue
        with bench.display.step(f"train {name}", 0) as step:
            train(
                folder,
                lessons.student,
                training,
                permit,
                bench.project.runs / name,
                cache_dir=bench.project.cache,
                on_step=lambda one, step=step: step.reach(  # type: ignore[misc]
                    one.step, one.total, f"loss {one.loss:.3f}, {one.tokens_per_second:.0f} tok/s"
                ),
            )
        _log_run(bench, name)
    return skipped


def _chosen(arms: dict[str, Arm], only: str) -> dict[str, Arm]:
    if not only:
        return arms
    if only not in arms:
        raise BadInput(f"no arm {only!r}", where="--arm", fix=f"one of {', '.join(arms)}")
    return {only: arms[only]}


def _no_signal(folder: Path, training: Training) -> str:
    if "top_k" not in training.objective:
        return ""
    signal_rows = read_manifest(folder)["signal"]
    if signal_rows["rows"]:
        return ""
    return (
        f"objective top_k needs token probabilities, and none of the {signal_rows['of']} rows of"
        f" {folder.name} has usable ones (the server dropped them, or they do not spell the text)"
    )


def _log_run(bench: Bench, name: str) -> None:
    with bench.open(create=True) as ledger:
        row = receipt(bench.project.runs / name, "train", ledger.now())
        known = ledger.rows(
            "SELECT file FROM receipt WHERE kind = 'train' AND name = ? ORDER BY seq DESC LIMIT 1",
            [name],
        )
        if not known or known[0][0] != row.file:
            ledger.append_all([row])
            checkpoint(ledger, bench.project.home)


@dataclass(frozen=True, slots=True)
class Judged:
    """Every candidate's evaluation, and the paired differences between them."""

    candidates: list[dict[str, Any]]
    differences: list[dict[str, Any]]


def evaluate_step(bench: Bench) -> Judged:
    """Judge the untrained student, every trained arm and the teacher on the held-out prompts."""
    from train.evaluate import TEACHER as THE_TEACHER
    from train.evaluate import evaluate, trained, untrained

    lessons, project = lessons_of(bench), bench.project
    dataset = project.datasets / project.name
    permit = dataset_permit(bench, dataset, Action.EVALUATE)
    runs = [project.runs / name for name in lessons.arms]
    present = [run for run in runs if (run / "manifest.json").is_file()]
    if not present:
        raise BadInput("no trained run yet", where=str(project.runs), fix="run `spiritsafe train`")
    everyone = [
        (THE_TEACHER, project.home / "evaluations" / TEACHER),
        (untrained(lessons.student, project.cache), project.home / "evaluations" / UNTRAINED),
        *((trained(run), run) for run in present),
    ]
    results = []
    for candidate, out in everyone:
        with bench.display.step(f"evaluate {candidate.name}", 0) as step:
            results.append(
                evaluate(
                    candidate,
                    dataset,
                    lessons.evaluation,
                    permit,
                    out=out,
                    on_row=lambda done, total, step=step: step.reach(done, total),  # type: ignore[misc]
                )
            )
        if candidate.kind == "trained":
            _log_run(bench, candidate.name)
    return Judged(results, _differences(results, lessons))


def _differences(results: Sequence[dict[str, Any]], lessons: Lessons) -> list[dict[str, Any]]:
    """The comparisons that a reader asks for: gained, against each other, against the teacher."""
    by_name = {result["candidate"]: result for result in results}
    arms = [name for name in lessons.arms if name in by_name]
    pairs = [(arm, UNTRAINED, "exact_match") for arm in arms]
    for place, one in enumerate(arms):
        for other in arms[place + 1 :]:
            pairs.append((one, other, "exact_match"))
            if lessons.arms[one].dataset == lessons.arms[other].dataset:
                pairs.append((one, other, "kl"))
    pairs += [(arm, TEACHER, "exact_match") for arm in arms]
    return [found for pair in pairs if (found := _compared(by_name, *pair, lessons.evaluation))]


def _compared(
    by_name: Mapping[str, dict[str, Any]], a: str, b: str, metric: str, settings: Evaluation
) -> dict[str, Any] | None:
    from train.evaluate import compare

    if any(metric not in by_name[name]["metrics"] for name in (a, b)):
        return None
    found = compare(
        by_name[a], by_name[b], metric, resamples=settings.resamples, seed=settings.seed
    )
    wanted = {"a": a, "b": b, "metric": metric}
    return wanted | {name: found[name] for name in ("value", "low", "high")}


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


@dataclass(frozen=True, slots=True)
class Walked:
    """What a whole walk left."""

    collected: Collected
    frozen: dict[str, Frozen]
    report: ReportData
    skipped: dict[str, str]

    @property
    def complete(self) -> bool:
        """Whether every request has its completion and every arm its run."""
        return not (self.collected.incomplete or self.skipped)


def run(bench: Bench) -> Walked:
    """Everything, from the decision to the page."""
    lessons_of(bench)  # a mistake in the last section is said before the first request
    ready = get_ready(bench)
    with bench.open(create=True) as ledger:
        collected = collect_blocking(bench, ledger, ready)
        filtered = filter_step(bench, ledger)
        if not filtered.rows:
            raise BadInput("nothing was collected", where=str(bench.project.path))
        left = coverage_now(bench, ledger, filtered)
        bench.display.say(filter_screen(filter_counts(filtered), left))
        frozen = freeze_step(bench, ledger, filtered)
    skipped = train_step(bench)
    judged = evaluate_step(bench)
    with bench.open() as ledger:
        report = report_step(bench, ledger, judged, filtered, skipped)
    return Walked(collected, frozen, report, skipped)


def collect_blocking(bench: Bench, ledger: Ledger, ready: Ready) -> Collected:
    """Collect with Ctrl-C understood: the first one drains, the second one stops at once."""

    async def main() -> Collected:
        loop, stop = asyncio.get_running_loop(), Stop()
        task = asyncio.ensure_future(collect_step(bench, ledger, ready, stop))

        def interrupted() -> None:
            if stop.interrupted:
                task.cancel()
                return
            stop.interrupted = True
            bench.display.say("stopping: waiting for what is in flight (again to stop at once)")

        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, interrupted)
        try:
            return await task
        except asyncio.CancelledError:
            raise KeyboardInterrupt from None

    collected = asyncio.run(main())
    if collected.summary.interrupted:
        raise KeyboardInterrupt
    return collected


def terminal(data: ReportData) -> Any:
    """The table of a report, for the terminal."""
    return table(data)
