"""What a run is made of, read and checked before any weight is: by the run and by its dry run.

Whatever can be refused without the weights is refused here, so `train --dry-run` refuses what
`train` would, and a run that is refused leaves no directory.

    material = gather(Path("datasets/support"), student, training, permit, cache_dir)
    reading = read(material)
    reading.examples, reading.schedule.steps
"""

from __future__ import annotations

import math
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from policy.errors import BadInput
from policy.permit import Action, Permit
from train import processes
from train.align import Rules
from train.config import Student, Training
from train.coverage import coverage, demand, demand_k, stored_k
from train.data import Dataset, Example, Reader, Row, encode, open_dataset
from train.devices import Hardware, settle
from train.on_policy import demand_one_vocabulary, find_teacher
from train.preferences import dropped, pairs
from train.students import Base, find_base, shape_of, tokenizer_of
from train.vocabulary import WHERE, Kept, demand_rows, demand_the_same, narrow, special_ids


@dataclass(frozen=True)
class Material:
    """The parts of a run, each found as it says it is."""

    dataset: Dataset
    student: Student
    training: Training
    hardware: Hardware
    base: Base
    teacher: Base | None
    """For `on_policy`: the weights that score what the student writes."""


def gather(
    dataset_dir: Path, student: Student, training: Training, permit: Permit, cache_dir: Path
) -> Material:
    """Find the parts, the permit first. Raises PolicyDenied without one, and BadInput where a part
    is missing, altered, or contradicts another."""
    Permit.must_be(permit, Action.TRAIN)
    _demand_sense(student, training)
    hardware = settle(training)
    processes.join(cpu=not hardware.cuda)
    dataset = open_dataset(dataset_dir, permit)
    with processes.leader_first():  # a GGUF is converted by one
        base = find_base(student.base, cache_dir, weights=not student.scratch)
        teacher = find_teacher(training, cache_dir, permit)
    return Material(dataset, student, training, hardware, base, teacher)


def _demand_sense(student: Student, training: Training) -> None:
    if student.scratch and training.tune != "full":
        raise BadInput(
            "random weights have nothing to keep frozen",
            where=f"[student] scratch, [training] tune = {training.tune!r}",
            fix='Set tune = "full".',
        )
    if student.vocabulary == "data" and "on_policy" in training.objective:
        raise BadInput(
            "on_policy needs a teacher with the student's own vocabulary, and a narrowed one is"
            " nobody else's",
            where=WHERE,
            fix='Set vocabulary = "all"; or train with sft or top_k.',
        )
    if student.vocabulary == "data" and training.tune == "qlora":
        raise BadInput(
            "a table of tokens is narrowed in fp32, and qlora loads the base in 4 bits",
            where=WHERE,
            fix='Set tune = "lora", or vocabulary = "all".',
        )


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


class Reading(NamedTuple):
    """The rows as this student reads them."""

    reader: Reader
    examples: list[Example]
    validation: list[Example]
    schedule: Schedule
    kept: Kept = ()


class Listening(Reader):
    """A reader that remembers the tokens it met."""

    def __init__(self, tokenizer: Any) -> None:
        self.met: set[int] = set()
        super().__init__(tokenizer)

    def ids(self, texts: list[str]) -> list[list[int]]:
        found = super().ids(texts)
        self.met.update(*found)
        return found


def read(material: Material) -> Reading:
    """Tokenise the rows. Raises BadInput for what could not teach anything."""
    training = material.training
    reader, kept = _reader(material)
    if material.teacher:
        size = shape_of(material.base, material.student).vocab_size
        demand_one_vocabulary(material.teacher, reader.tokenizer, size)
    examples, counts = _taught(material.dataset, reader, training)
    validation = _held_out(material.dataset, reader, training)
    return Reading(reader, examples, validation, Schedule.of(examples, counts, training), kept)


def _reader(material: Material) -> tuple[Reader, Kept]:
    """The base's reader, or with a narrowed vocabulary one that reads every training row as before.
    Raises BadInput where it would not."""
    tokenizer = tokenizer_of(material.base)
    if material.student.vocabulary == "all":
        return Reader(tokenizer), ()
    listening = Listening(tokenizer)
    before = _plain(material, listening)
    shape = shape_of(material.base, material.student)
    narrowed, kept = narrow(tokenizer, listening.met | special_ids(shape))
    demand_rows(shape, kept)
    reader = Reader(narrowed)
    demand_the_same(before, _plain(material, reader), kept)
    return reader, kept


def _plain(material: Material, reader: Reader) -> list[list[int]]:
    """The tokens of every training row, however long, its dropped answers for dpo among them."""
    dataset, training = material.dataset, material.training
    rows = dataset.rows("train")
    if "dpo" in training.objective:
        asked = {row["id"] for row in rows}
        rows += [row for row in dropped(dataset) if row["id"] in asked]
    plain = [{**row, "signal": False} for row in rows]
    rules = Rules(reasoning=training.reasoning)
    return [one.input_ids for one in encode(plain, reader, max_length=sys.maxsize, rules=rules)[0]]


def _taught(
    dataset: Dataset, reader: Reader, training: Training
) -> tuple[list[Example], Counter[str]]:
    """The rows that teach, and what was left out."""
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


def _held_out(dataset: Dataset, reader: Reader, training: Training) -> list[Example]:
    """Validation rows, as what the objective learns from: answers, prompts, or pairs."""
    rows = dataset.rows("validation")[: training.validation_rows]
    if "dpo" in training.objective:
        return pairs(rows, dropped(dataset), reader, training)[0]
    rules = _rules(dataset, training)
    return encode(rows, reader, max_length=training.max_length, rules=rules)[0]


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
