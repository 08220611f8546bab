"""What `train` would do, said before it does it: `train --dry-run`.

Everything is read and checked as for the run itself, the permit first; no weight is loaded and
nothing is written.

    rehearsal = rehearse(Path("datasets/support"), student, training, permit, cache_dir=cache)
    console.print(shown(rehearsal))
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rich.console import Group
from rich.text import Text

from policy.decide import Decision
from policy.permit import Permit
from train.config import Student, Training
from train.coverage import announced, listed
from train.data import Example, Reader
from train.devices import Hardware
from train.material import Schedule, gather, read
from train.memory import Needs, estimate
from train.students import Base, shape_of
from train.vocabulary import renumber

TRAINED, PROMPT = "bold green", "dim"


@dataclass(frozen=True)
class Rehearsal:
    """The run, as far as it can be known."""

    dataset: str
    base: str
    schedule: Schedule
    needs: Needs
    hardware: Hardware
    rows_a_step: int
    longest: int
    vocabulary: str
    objective: str
    evidence: str
    prompt: str
    completion: str
    decision: Decision


def rehearse(
    dataset_dir: Path, student: Student, training: Training, permit: Permit, *, cache_dir: Path
) -> Rehearsal:
    """Check everything that training checks; raises what it would raise."""
    material = gather(dataset_dir, student, training, permit, cache_dir)
    dataset, base, training = material.dataset, material.base, material.training
    reader, examples, _, schedule, kept = read(material)
    longest = max(len(example.input_ids) for example in examples)
    config = shape_of(base, student)
    whole = config.vocab_size
    if kept:
        renumber(config, kept)
    needs = estimate(config, student, training, training.batch_size, longest)
    needs = needs._replace(teacher=_size(material.teacher))
    prompt, completion = _texts(examples[0], reader)
    return Rehearsal(
        dataset=f"{dataset.name} ({dataset.digest})",
        base=base.origin or base.name,
        schedule=schedule,
        needs=needs,
        hardware=material.hardware,
        rows_a_step=training.batch_size * training.accumulate,
        longest=longest,
        vocabulary=f"vocabulary: {len(kept):,} of {whole:,} tokens" if kept else "",
        objective=_objective(training),
        evidence=announced(examples, training),
        prompt=prompt,
        completion=completion,
        decision=permit.decision,
    )


def _objective(training: Training) -> str:
    """What is minimised, by weight, and the weight of the sampled tail where there is one."""
    parts = ", ".join(f"{name} {weight:g}" for name, weight in training.objective.items())
    tail = f"; sampled tail {training.tail_weight:g}" if listed(training) else ""
    return f"objective: {parts}{tail}"


def _size(teacher: Base | None) -> int:
    """Bytes of the weights that score what the student writes."""
    files = teacher.path.glob("*.safetensors") if teacher else ()
    return sum(file.stat().st_size for file in files)


def _texts(example: Example, reader: Reader) -> tuple[str, str]:
    """What the student sees and what it is trained to say, as its own tokens spell them."""
    ids = example.input_ids
    parts = (ids[: example.prompt_length], example.completion)
    prompt, completion = (reader.tokenizer.decode(part) for part in parts)
    return prompt, completion


def shown(rehearsal: Rehearsal) -> Group:
    """For a terminal: figures, the first example with its mask in colour, the decision."""
    example = Text("first example (green is trained):\n")
    example.append(rehearsal.prompt, style=PROMPT)
    example.append("⟦", style=TRAINED).append(rehearsal.completion, style=TRAINED)
    example.append("⟧", style=TRAINED)  # where there is no colour
    return Group(Text("\n".join(_figures(rehearsal))), example, Text(_decision(rehearsal.decision)))


def _figures(one: Rehearsal) -> list[str]:
    schedule, needs, counts = one.schedule, one.needs, one.schedule.counts
    place = f"{'GPU' if one.hardware.cuda else 'CPU'}, {'bf16' if one.hardware.bf16 else 'fp32'}"
    teacher = f", teacher {_gb(needs.teacher)}" if needs.teacher else ""
    left_out = counts["rows"] - counts["examples"]
    return [
        f"dataset: {one.dataset}",
        f"rows: {counts['examples']} teach, {left_out} left out;"
        f" {counts['positions']} tokens, {counts['signal_positions']} with probabilities",
        one.objective,
        one.evidence,
        f"student: {one.base}, {needs.parameters:,} parameters, {needs.trainable:,} trained",
        *([one.vocabulary] if one.vocabulary else []),
        f"steps: {schedule.steps} of {one.rows_a_step} rows,"
        f" {schedule.steps / schedule.steps_an_epoch:.2f} epochs, on {place}",
        f"memory: about {_gb(needs.total)} a process (weights {_gb(needs.weights)}, gradients"
        f" {_gb(needs.gradients)}, moments {_gb(needs.moments)}, activations at most"
        f" {_gb(needs.activations)} at {one.longest} tokens a row{teacher})",
    ]


def _gb(size: int) -> str:
    return f"{size / 1e9:.2f} GB"


def _decision(decision: Decision) -> str:
    level = str(decision.level.name).lower().replace("_", " ")
    reasons = [
        f"  {reason.text}" + (f" ({reason.document} {reason.clause})" if reason.clause else "")
        for reason in decision.reasons
    ]
    duties = ", ".join(decision.obligations) or "none"
    return "\n".join([f"allowed by: {decision.offering}, {level}", *reasons, f"duties: {duties}"])
