"""The walk through both rooms: train, evaluate, report, and `run`, which does everything.

The front door's second module, beside synth/cli.py: the only two that may see both rooms. Each
step leaves its result on disk and finds it there the next time, so a walk may be stopped at any
moment and goes on where it was.
"""

import asyncio
import importlib.util
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from io import StringIO
from pathlib import Path
from typing import Any

from policy.config import parse
from policy.errors import BadInput
from policy.manifest import read_manifest
from policy.permit import Action
from synth.bench import Bench
from synth.checkpoints import checkpoint
from synth.display import Display
from synth.drop import drop_blocking
from synth.freeze import Frozen, log_receipt
from synth.gates import dataset_permit
from synth.gather import Judged, filter_counts, report_step
from synth.ledger import Ledger
from synth.report.data import ReportData
from synth.screens import filter_screen
from synth.steps import (
    Collected,
    Ready,
    collect_step,
    coverage_now,
    filter_step,
    freeze_step,
    get_ready,
)
from synth.stop import Stop
from train.config import Arm, Evaluation, Student, Training

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


def demand_training() -> None:
    """Raises BadInput where the other room's libraries are not installed: better before the first
    request than after the last."""
    missing = [name for name in ("torch", "transformers", "trl", "datasets") if not _there(name)]
    if missing:
        raise BadInput(
            f"training needs {', '.join(missing)}, which this environment lacks",
            fix="pip install 'spiritsafe[train]'; or `spiritsafe collect`, and train elsewhere",
        )


def _there(name: str) -> bool:
    return importlib.util.find_spec(name) is not None


def train_step(bench: Bench, only: str = "", *, drop: bool = False) -> dict[str, str]:
    """Train every arm; returns what kept an arm from being trained, by name. With `drop`, rows that
    today's terms block are left out of a new dataset first."""
    demand_training()
    from train import processes
    from train.run import train

    lessons, skipped = lessons_of(bench), {}
    bench = _among_others(bench, lessons.training)
    for name, arm in _chosen(lessons.arms, only).items():
        folder = bench.project.datasets / arm.dataset
        with processes.leader_first():  # each opens the ledger
            folder = _lawful(bench, folder) if drop else folder
            training = arm.training(lessons.training)
            permit = dataset_permit(bench, folder, Action.TRAIN, scored_by=training.scored_by)
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
                say=bench.display.say,
                on_step=lambda one, step=step: step.reach(  # type: ignore[misc]
                    one.step, one.total, f"loss {one.loss:.3f}, {one.tokens_per_second:.0f} tok/s"
                ),
            )
        if processes.leads():
            _log_run(bench, name)
    return skipped


def rehearse_step(bench: Bench, only: str = "") -> None:
    """Show on standard output what `train` would do with every arm; write nothing."""
    demand_training()
    from rich.console import Console

    from train.rehearsal import rehearse, shown

    console, lessons = Console(soft_wrap=True, highlight=False), lessons_of(bench)
    for name, arm in _chosen(lessons.arms, only).items():
        folder = bench.project.datasets / arm.dataset
        training = arm.training(lessons.training)
        permit = dataset_permit(bench, folder, Action.TRAIN, scored_by=training.scored_by)
        if reason := _no_signal(folder, training):
            console.print(f"arm {name} would not be trained: {reason}", markup=False)
            continue
        found = rehearse(folder, lessons.student, training, permit, cache_dir=bench.project.cache)
        console.print(f"arm {name}", style="bold", markup=False)
        console.print(shown(found))


def _among_others(bench: Bench, training: Training) -> Bench:
    """Where torchrun started several processes: all meet here, and one of them talks."""
    from train import processes
    from train.devices import settle

    processes.join(cpu=not settle(training).cuda)
    return bench if processes.leads() else replace(bench, display=Display.on(StringIO()))


def _lawful(bench: Bench, folder: Path) -> Path:
    target, dropped = drop_blocking(bench, folder)
    for group in dropped:
        bench.display.say(f"left out: {group.rows} rows of {group.offering}")
    if dropped:
        bench.display.say(f"{target.name}: {read_manifest(target)['digest']}")
        with bench.open(create=True) as ledger:
            log_receipt(ledger, target, "manifest")
            checkpoint(ledger, bench.project.home)
    return target


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
        if log_receipt(ledger, bench.project.runs / name, "train"):
            checkpoint(ledger, bench.project.home)


def evaluate_step(bench: Bench) -> Judged:
    """Judge the untrained student, every trained arm and the teacher on the held-out prompts."""
    demand_training()
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
        (
            untrained(lessons.student, project.cache, seed=lessons.training.seed),
            project.home / "evaluations" / UNTRAINED,
        ),
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
    demand_training()
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


def collect_blocking(
    bench: Bench, ledger: Ledger, ready: Ready, follow: frozenset[str] | None = None
) -> Collected:
    """Collect, or with `follow` wait for these batches. Ctrl-C is understood: the first one drains,
    the second one stops at once. A closed terminal is one too."""

    async def main() -> Collected:
        loop, stop = asyncio.get_running_loop(), Stop()
        task = asyncio.ensure_future(collect_step(bench, ledger, ready, stop, follow))

        def interrupted() -> None:
            if stop.interrupted:
                task.cancel()
                return
            stop.interrupted = True
            bench.display.say("stopping: waiting for what is in flight (again to stop at once)")

        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            ignored = signal.getsignal(number) is signal.SIG_IGN
            if number != signal.SIGHUP or not ignored:  # nohup ignores it, and means it
                loop.add_signal_handler(number, interrupted)
        try:
            return await task
        except asyncio.CancelledError:
            raise KeyboardInterrupt from None

    collected = asyncio.run(main())
    if collected.summary.interrupted:
        raise KeyboardInterrupt
    return collected
