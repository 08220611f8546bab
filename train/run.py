"""Teach one student from one frozen dataset; leave one run directory with its receipt.

Killed at any moment, the same call goes on from the newest whole checkpoint and ends with the same
bits. A finished directory is returned as it is; one begun from other inputs is refused.

    run = train(Path("datasets/support"), student, training, permit, Path("runs/sft"),
                cache_dir=Path(".cache"))
    run.student      # runs/sft/student: safetensors, tokenizer, chat template
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from policy.manifest import read_manifest
from policy.own import student_offering
from policy.permit import Action, Permit
from policy.stamp import versions
from train import processes, tuning
from train.board import Board
from train.checkpoints import newest, protect, prune, step_of
from train.claim import claim, finished, refuse_other
from train.config import ALONE, Student, Training
from train.coverage import announced, coverage
from train.curves import draw, thinned
from train.disk import boundary, demand_space
from train.material import Material, Reading, gather, read
from train.metrics import Metrics, Step
from train.on_policy import load_teacher
from train.quiet import quiet
from train.receipt import seal
from train.students import shape_of, untaught
from train.threads import threads
from train.vocabulary import Kept, cut

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
    with boundary(out_dir):
        material = gather(dataset_dir, student, training, permit, cache_dir)
        with processes.leader_first():
            inputs = describe_inputs(material)
            if done := finished(out_dir, inputs):
                return Run(out_dir, done)
            refuse_other(out_dir, inputs)
        with quiet(), threads(training.threads):
            lesson = prepare(material)
            schedule = lesson.reading.schedule
            say(announced(lesson.reading.examples, training))
            claim(out_dir, inputs)
            metrics = Metrics(
                out_dir / "metrics.jsonl",
                schedule.steps,
                training.logging_steps,
                schedule.steps_an_epoch,
                clock,
                on_step,
                Board(out_dir / "tensorboard") if training.tensorboard else None,
            )
            gathered = teach(lesson, out_dir / "checkpoints", metrics)
            with processes.leader_first():
                if processes.leads():
                    write_student(lesson, out_dir, gathered)
                    metrics.close()
                    manifest = describe(lesson, permit, metrics)
                    picture = draw(metrics.rows, out_dir / "loss.png")
                    curve = {"loss": thinned(metrics.rows), "picture": picture}
                    seal(out_dir, {**manifest, "curve": curve, "inputs": inputs})
        return Run(out_dir, read_manifest(out_dir))


def describe_inputs(material: Material) -> dict[str, Any]:
    """Everything that decides the weights, and nothing else."""
    student, teacher = material.student, material.teacher
    return {
        "dataset": material.dataset.digest,
        "base": material.base.digest,
        "layers": student.layers,
        "scratch": student.scratch,
        **({"vocabulary": student.vocabulary} if student.vocabulary != "all" else {}),
        "training": material.training.model_dump(mode="json", exclude=FREE_TO_CHANGE),
        **({"teacher": teacher.digest} if teacher else {}),
    }


@dataclass(frozen=True)
class Lesson:
    """The student and what it is about to be taught."""

    model: Any
    material: Material
    reading: Reading
    parameters: int
    trainable: int

    def start(self) -> Any:
        """The model before it was taught, once more and whole: its weights are about to be set."""
        return _start(self.material, self.reading.kept, seed=0)

    @property
    def checkpoint(self) -> int:
        """Numbers that a checkpoint holds: what is trained, and AdamW's two moments of it."""
        kept = self.trainable if tuning.is_adapted(self.model) else self.parameters
        return kept + 2 * self.trainable


def prepare(material: Material) -> Lesson:
    """Tokenise the rows and load the base; refuse what could not teach anything."""
    training = material.training
    reading = read(material)
    four_bits = training.tune == "qlora"
    model = _start(material, reading.kept, training.seed, four_bits=four_bits)
    parameters = model.num_parameters()
    model = tuning.tune(model, training)
    trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
    return Lesson(model, material, reading, parameters, trainable)


def _start(material: Material, kept: Kept, seed: int, *, four_bits: bool = False) -> Any:
    """The student before any teaching, with the tokens that it keeps."""
    model, _ = untaught(material.base, material.student, seed, four_bits=four_bits)
    if kept:
        cut(model, kept)
    return model


def teach(lesson: Lesson, folder: Path, metrics: Metrics) -> dict[str, Tensor] | None:
    """Run TRL's loop, from the newest whole checkpoint where there is one. Returns the weights on
    the leader where each process holds a part of them."""
    steps = lesson.reading.schedule.steps
    written = lesson.checkpoint if steps > lesson.material.training.save_steps else 0
    demand_space(folder, lesson.parameters, checkpoint=written)
    start = newest(folder)
    processes.wait()
    if processes.leads():
        prune(folder, start)
    metrics.resume(step_of(start))
    trainer = _trainer(lesson, folder, metrics)
    trainer.teach(start)
    tuning.demand_numbers(lesson.model, steps)
    whole: dict[str, Tensor] | None = trainer.whole_weights()
    return whole


def _trainer(lesson: Lesson, folder: Path, metrics: Metrics) -> Any:
    """TRL's trainer for the objective; importing it takes seconds."""
    from train.stable_trainers import OnPolicyTrainer, PreferenceTrainer
    from train.trainer import Plan, StudentTrainer, Watch

    material, reading = lesson.material, lesson.reading
    model, reader, training = lesson.model, reading.reader, material.training
    plan = Plan(reading.schedule.steps, folder, material.hardware)
    watch = Watch(metrics, reading.validation, training)
    taught = (model, reader, reading.examples, training, plan, watch)
    if not ALONE & training.objective.keys():
        return StudentTrainer.of(*taught)
    if material.teacher is None:
        return PreferenceTrainer.of(*taught)
    model.generation_config.eos_token_id = [reader.end_of_turn]
    teacher = load_teacher(material.teacher, model.config.vocab_size)
    return OnPolicyTrainer.of(*taught, teacher)


def describe(lesson: Lesson, permit: Permit, metrics: Metrics) -> dict[str, Any]:
    """What the manifest says beside its files: from what, by what right, with what result."""
    dataset, base = lesson.material.dataset, lesson.material.base
    schedule = lesson.reading.schedule
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
            **_vocabulary(lesson),
        },
        "training": {
            **lesson.material.training.model_dump(mode="json"),
            "steps": schedule.steps,
            "counts": dict(sorted(schedule.counts.items())),
            "coverage": coverage(lesson.reading.examples),
        },
        "decision": permit.decision.model_dump(mode="json"),
        "obligations": sorted(duties),
        "as_teacher": student_offering(permit.decision.offering),
        "versions": versions(),
        "metrics": metrics.final(),
    }


def _vocabulary(lesson: Lesson) -> dict[str, Any]:
    """By what rule tokens were kept and how many, where not all were."""
    material, kept = lesson.material, lesson.reading.kept
    if not kept:
        return {}
    whole = shape_of(material.base, material.student).vocab_size
    return {"vocabulary": {"rule": material.student.vocabulary, "of": whole, "tokens": len(kept)}}


def write_student(lesson: Lesson, out_dir: Path, gathered: dict[str, Tensor] | None) -> None:
    """Weights, tokenizer and template, whole or not at all; LoRA's updates beside them."""
    model, base, reader = lesson.model, lesson.material.base, lesson.reading.reader
    if tuning.is_adapted(model):
        with _whole(out_dir / "adapter") as partial:
            tuning.save_adapter(model, partial, base.origin or base.name)
        model = tuning.merge(model, out_dir / "adapter", lesson.start, lesson.material.training)
    elif gathered is not None:
        model = lesson.start()
        model.load_state_dict(gathered)
    model.config.use_cache = True
    model.generation_config.update(
        eos_token_id=[reader.end_of_turn], pad_token_id=reader.tokenizer.pad_token_id
    )
    with _whole(out_dir / "student") as partial:
        model.save_pretrained(partial)
        reader.tokenizer.save_pretrained(partial)


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
