"""Teach one student from one frozen dataset; leave one run directory with its receipt.

Killed at any moment, the same call goes on from the newest whole checkpoint and ends with the same
bits. A finished directory is returned as it is; one begun from other inputs is refused.

    run = train(Path("datasets/support"), student, training, permit, Path("runs/sft"),
                cache_dir=Path(".cache"))
    run.student      # runs/sft/student: safetensors, tokenizer, chat template
"""

from __future__ import annotations

import math
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from policy.errors import BadInput
from policy.manifest import read_manifest
from policy.own import student_offering
from policy.permit import Action, Permit
from policy.stamp import versions
from train import processes, tuning
from train.align import Rules
from train.board import Board
from train.checkpoints import newest, protect, prune, step_of
from train.claim import claim, finished, refuse_other
from train.config import ALONE, Student, Training
from train.coverage import announced, coverage, demand, demand_k, stored_k
from train.curves import draw, thinned
from train.data import Dataset, Example, Reader, Row, encode, open_dataset
from train.devices import Hardware, settle
from train.disk import boundary, demand_space
from train.metrics import Metrics, Step
from train.on_policy import find_teacher, load_teacher
from train.preferences import dropped, pairs
from train.quiet import quiet
from train.receipt import seal
from train.students import Base, find_base, untaught
from train.threads import threads

FREE_TO_CHANGE = {
    *("logging_steps", "save_steps", "validation_steps", "validation_rows", "threads"),
    "tensorboard",
}
CARRIED = ("teachers", "sampling", "signal", "coverage", "license", "quantisation")


@dataclass(frozen=True)
class Run:
    """A finished run directory."""

    path: Path
    manifest: dict[str, Any]

    @property
    def student(self) -> Path:
        return self.path / "student"


def train(
    dataset_dir: Path,
    student: Student,
    training: Training,
    permit: Permit,
    out_dir: Path,
    *,
    cache_dir: Path,
    on_step: Callable[[Step], None] | None = None,
    say: Callable[[str], None] = lambda _: None,
    clock: Callable[[], float] = time.monotonic,
) -> Run:
    """Open, tokenise, teach, write; every part of it may be interrupted and called again."""
    Permit.must_be(permit, Action.TRAIN)
    hardware = settle(training)
    processes.join(cpu=not hardware.cuda)
    dataset = open_dataset(dataset_dir, permit)
    training = training.for_data(dataset.manifest)
    with boundary(out_dir):
        with processes.leader_first():
            base = find_base(student.base, cache_dir, weights=not student.scratch)
            teacher = find_teacher(training, cache_dir, permit)
            inputs = describe_inputs(dataset, base, student, training, teacher)
            if done := finished(out_dir, inputs):
                return Run(out_dir, done)
            refuse_other(out_dir, inputs)
        with quiet(), threads(training.threads):
            lesson = prepare(dataset, base, student, training, hardware)
            lesson = replace(lesson, teacher=teacher)
            say(announced(lesson.examples, training))
            claim(out_dir, inputs)
            metrics = Metrics(
                out_dir / "metrics.jsonl",
                lesson.schedule.steps,
                training.logging_steps,
                lesson.schedule.steps_an_epoch,
                clock,
                on_step,
                Board(out_dir / "tensorboard") if training.tensorboard else None,
            )
            gathered = teach(lesson, training, out_dir / "checkpoints", metrics)
            with processes.leader_first():
                if processes.leads():
                    write_student(lesson, training, out_dir, gathered)
                    metrics.close()
                    manifest = describe(dataset, base, lesson, training, permit, metrics)
                    picture = draw(metrics.rows, out_dir / "loss.png")
                    curve = {"loss": thinned(metrics.rows), "picture": picture}
                    seal(out_dir, {**manifest, "curve": curve, "inputs": inputs})
        return Run(out_dir, read_manifest(out_dir))


def describe_inputs(
    dataset: Dataset, base: Base, student: Student, training: Training, teacher: Base | None = None
) -> dict[str, Any]:
    """Everything that decides the weights, and nothing else."""
    return {
        "dataset": dataset.digest,
        "base": base.digest,
        "layers": student.layers,
        "scratch": student.scratch,
        "training": training.model_dump(mode="json", exclude=FREE_TO_CHANGE),
        **({"teacher": teacher.digest} if teacher else {}),
    }


class Schedule(NamedTuple):
    """How long a run is."""

    steps: int
    steps_an_epoch: float
    counts: Counter[str]

    @classmethod
    def of(cls, examples: Sequence[Example], counts: Counter[str], training: Training) -> Schedule:
        """From the rows that teach."""
        an_epoch = len(examples) / (training.batch_size * training.accumulate)
        steps = training.max_steps or math.ceil(an_epoch * training.epochs)
        return cls(steps, an_epoch, counts)


@dataclass(frozen=True)
class Lesson:
    """The student and what it is about to be taught."""

    model: Any
    base: Base
    student: Student
    hardware: Hardware
    reader: Reader
    examples: list[Example]
    validation: list[Example]
    schedule: Schedule
    parameters: int
    trainable: int
    teacher: Base | None = None

    def start(self) -> Any:
        """The model before it was taught, once more and whole: its weights are about to be set."""
        return untaught(self.base, self.student, seed=0)[0]

    @property
    def checkpoint(self) -> int:
        """Numbers that a checkpoint holds: what is trained, and AdamW's two moments of it."""
        kept = self.trainable if tuning.is_adapted(self.model) else self.parameters
        return kept + 2 * self.trainable


def prepare(
    dataset: Dataset, base: Base, student: Student, training: Training, hardware: Hardware
) -> Lesson:
    """Load the base and tokenise the rows; refuse what could not teach anything."""
    if student.scratch and training.tune != "full":
        raise BadInput(
            "random weights have nothing to keep frozen",
            where=f"[student] scratch, [training] tune = {training.tune!r}",
            fix='Set tune = "full".',
        )
    four_bits = training.tune == "qlora"
    model, tokenizer = untaught(base, student, training.seed, four_bits=four_bits)
    parameters = model.num_parameters()
    model = tuning.tune(model, training)
    trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
    reader = Reader(tokenizer)
    examples, counts = tokenise(dataset, reader, training)
    validation, _ = encode(
        dataset.rows("validation")[: training.validation_rows],
        reader,
        max_length=training.max_length,
        rules=_rules(dataset, training),
    )
    schedule = Schedule.of(examples, counts, training)
    return Lesson(
        model, base, student, hardware, reader, examples, validation, schedule,
        parameters, trainable,
    )  # fmt: skip


def tokenise(
    dataset: Dataset, reader: Reader, training: Training
) -> tuple[list[Example], Counter[str]]:
    """The rows that teach, and what was left out; refuses what could not teach anything."""
    rows = dataset.rows("train")
    if "dpo" in training.objective:
        return _paired(dataset, rows, reader, training)
    demand_k(stored_k(rows), training)
    examples, counts = encode(
        rows, reader, max_length=training.max_length, rules=_rules(dataset, training)
    )
    if not examples:
        raise BadInput(
            "no row of the train split can teach",
            where=str(dataset.path),
            fix=f"Counted: {dict(counts)}.",
        )
    demand(coverage(examples), training)
    return examples, counts


def _rules(dataset: Dataset, training: Training) -> Rules:
    return Rules(training.k, not dataset.unbiased, training.reasoning)


def _paired(
    dataset: Dataset, rows: list[Row], reader: Reader, training: Training
) -> tuple[list[Example], Counter[str]]:
    found, counts = pairs(rows, dropped(dataset), reader, training)
    if not found:
        raise BadInput(
            "no prompt has both a kept and a dropped answer, so dpo has no pair",
            where=str(dataset.path),
            fix=f"Collect several samples a prompt. Counted: {dict(counts)}.",
        )
    return found, counts


def teach(
    lesson: Lesson, training: Training, folder: Path, metrics: Metrics
) -> dict[str, Tensor] | None:
    """Run TRL's loop, from the newest whole checkpoint where there is one. Returns the weights on
    the leader where each process holds a part of them."""
    written = lesson.checkpoint if lesson.schedule.steps > training.save_steps else 0
    demand_space(folder, lesson.parameters, checkpoint=written)
    start = newest(folder)
    processes.wait()
    if processes.leads():
        prune(folder, start)
    metrics.resume(step_of(start))
    trainer = _trainer(lesson, training, folder, metrics)
    trainer.teach(start)
    tuning.demand_numbers(lesson.model, lesson.schedule.steps)
    whole: dict[str, Tensor] | None = trainer.whole_weights()
    return whole


def _trainer(lesson: Lesson, training: Training, folder: Path, metrics: Metrics) -> Any:
    """TRL's trainer for the objective; importing it takes seconds."""
    from train.stable_trainers import OnPolicyTrainer, PreferenceTrainer
    from train.trainer import Plan, StudentTrainer, Watch

    model, tokenizer, examples = lesson.model, lesson.reader.tokenizer, lesson.examples
    plan = Plan(lesson.schedule.steps, folder, lesson.hardware)
    if not ALONE & training.objective.keys():
        watch = Watch(metrics, lesson.validation, training)
        return StudentTrainer.of(model, tokenizer, examples, training, plan, watch)
    watch = Watch(metrics, [], training)  # no row of one answer tells how these two fare
    if lesson.teacher is None:
        return PreferenceTrainer.of(model, tokenizer, examples, training, plan, watch)
    model.generation_config.eos_token_id = [lesson.reader.end_of_turn]
    teacher = load_teacher(lesson.teacher, tokenizer, model.config.vocab_size)
    return OnPolicyTrainer.of(model, tokenizer, examples, training, plan, watch, teacher)


def describe(
    dataset: Dataset,
    base: Base,
    lesson: Lesson,
    training: Training,
    permit: Permit,
    metrics: Metrics,
) -> dict[str, Any]:
    """What the manifest says beside its files: from what, by what right, with what result."""
    duties = {*permit.obligations, *dataset.manifest.get("obligations", [])}
    return {
        "dataset": {"name": dataset.name, "digest": dataset.digest},
        "data": {key: dataset.manifest[key] for key in CARRIED if key in dataset.manifest},
        "student": {
            "base": base.name,
            "base_digest": base.digest,
            "origin": base.origin,
            "license": base.license,
            "quantisation": base.quantisation,
            "layers": lesson.model.config.num_hidden_layers,
            "parameters": lesson.parameters,
            "trainable": lesson.trainable,
        },
        "training": {
            **training.model_dump(mode="json"),
            "steps": lesson.schedule.steps,
            "counts": dict(sorted(lesson.schedule.counts.items())),
            "coverage": coverage(lesson.examples),
        },
        "decision": permit.decision.model_dump(mode="json"),
        "obligations": sorted(duties),
        "as_teacher": student_offering(permit.decision.offering),
        "versions": versions(),
        "metrics": metrics.final(),
    }


def write_student(
    lesson: Lesson, training: Training, out_dir: Path, gathered: dict[str, Tensor] | None
) -> None:
    """Weights, tokenizer and template, whole or not at all; LoRA's updates beside them."""
    model = lesson.model
    if tuning.is_adapted(model):
        with _whole(out_dir / "adapter") as partial:
            tuning.save_adapter(model, partial, lesson.base.origin or lesson.base.name)
        model = tuning.merge(model, out_dir / "adapter", lesson.start, training)
    elif gathered is not None:
        model = lesson.start()
        model.load_state_dict(gathered)
    model.config.use_cache = True
    model.generation_config.update(
        eos_token_id=[lesson.reader.end_of_turn], pad_token_id=lesson.reader.tokenizer.pad_token_id
    )
    with _whole(out_dir / "student") as partial:
        model.save_pretrained(partial)
        lesson.reader.tokenizer.save_pretrained(partial)


@contextmanager
def _whole(target: Path) -> Iterator[Path]:
    """A folder to fill, renamed to `target` once everything in it is on the disk."""
    partial = target.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(mode=0o700)
    yield partial
    protect(partial)
    shutil.rmtree(target, ignore_errors=True)
    partial.rename(target)
