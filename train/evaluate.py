"""Judge a candidate on held-out prompts: the untrained student, a trained one, or the teacher.

    result = evaluate(trained(Path("runs/sft")), Path("datasets/support"), settings, permit,
                      out=Path("runs/sft"))
    compare(result, baseline, "exact_match")     # the paired difference and its interval

The student writes greedily and without the instruction, the examples and the schema that the
teacher had. The teacher is judged on the answers it gave; its KL to itself is nothing to report.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch

from policy.errors import BadInput, VerificationFailed
from policy.manifest import check_files, read_manifest
from policy.permit import Action, Permit
from train.bootstrap import Sums, difference, interval
from train.config import Evaluation, Student
from train.data import Dataset, Example, Reader, Row, encode, open_dataset
from train.generate import answer
from train.objectives import Positions, Settings, forward_kl
from train.quiet import quiet
from train.receipt import altered, reseal
from train.scoring import add_scoring
from train.students import Base, find_base, untaught
from train.threads import threads

LONGEST = 4096  # tokens of a held-out row that is scored for KL
PARTS = {
    "exact_match": ("correct", "scored"),
    "valid": ("valid", "rows"),
    "kl": ("kl", "kl_tokens"),
    "top1_agreement": ("top1", "kl_tokens"),
}


@dataclass(frozen=True)
class Candidate:
    """Who is judged; the teacher has no base, its answers are in the dataset."""

    name: str
    kind: Literal["untrained", "trained", "teacher"]
    base: Base | None = None
    student: Student = field(default_factory=Student)
    """What to cut or make of the base, where it was not taught yet."""
    seed: int = 0


TEACHER = Candidate("teacher", "teacher")


def untrained(
    student: Student, cache_dir: Path, name: str = "untrained", *, seed: int = 0
) -> Candidate:
    """The student before any teaching; `seed` is the training's, for random weights. It has the
    whole vocabulary: which tokens are kept depends on what an arm is taught."""
    base = find_base(student.base, cache_dir, weights=not student.scratch)
    return Candidate(name, "untrained", base, student, seed)


def trained(run_dir: Path) -> Candidate:
    """A finished run's student, checked against its manifest."""
    manifest = read_manifest(run_dir)
    if names := altered(run_dir, manifest):
        raise VerificationFailed(
            f"{', '.join(names)} is not as the manifest says",
            where=str(run_dir),
            fix="Train it again.",
        )
    weights = manifest["files"]["student/model.safetensors"]["sha256"]
    return Candidate(run_dir.name, "trained", Base(run_dir.name, run_dir / "student", weights))


def evaluate(
    candidate: Candidate,
    dataset_dir: Path,
    settings: Evaluation,
    permit: Permit,
    *,
    out: Path | None = None,
    on_row: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Answer, score, and write out/evaluation.json; the same inputs are not judged twice."""
    Permit.must_be(permit, Action.EVALUATE)
    dataset = open_dataset(dataset_dir, permit, Action.EVALUATE)
    inputs = _inputs(candidate, dataset, settings)
    if out and (before := read(out)) and before.get("inputs") == inputs:
        settle(out, before)
        return before
    rows = _first_answers(dataset.rows("test"), settings.rows)
    if not rows:
        raise BadInput("the test split is empty", where=str(dataset_dir))
    with quiet(), threads(0):
        found = (
            _stored(rows)
            if candidate.base is None
            else _student(candidate, candidate.base, rows, settings, on_row)
        )
    predictions = [
        _judge(row, text, settings) | extra for row, (text, extra) in zip(rows, found, strict=True)
    ]
    result = {
        "schema": 1,
        "candidate": candidate.name,
        "kind": candidate.kind,
        "rows": len(rows),
        "inputs": inputs,
        "metrics": summarise(predictions, settings),
        "predictions": predictions,
    }
    if out:
        write(out, result)
    return result


def summarise(predictions: Sequence[Mapping[str, Any]], settings: Evaluation) -> dict[str, Any]:
    """Every metric that these predictions carry, with its interval."""
    metrics: dict[str, Any] = {}
    for name in PARTS:
        sums = _sums(predictions, name)
        if sum(sums.below):
            metrics[name] = interval(sums, resamples=settings.resamples, seed=settings.seed)
    if "kl" in metrics:
        metrics["kl"]["tokens"] = sum(p.get("kl_tokens", 0) for p in predictions)
    for name in ("prompt_tokens", "completion_tokens"):
        known = [p[name] for p in predictions if p.get(name) is not None]
        if known:
            metrics[name] = round(sum(known) / len(known), 2)
    return metrics


def compare(
    first: Mapping[str, Any],
    second: Mapping[str, Any],
    metric: str = "exact_match",
    *,
    resamples: int = 10_000,
    seed: int = 0,
) -> dict[str, Any]:
    """first minus second, paired by row; `low` above 0 means that first is higher beyond doubt."""
    sides = [{p["id"]: p for p in side["predictions"]} for side in (first, second)]
    _, below = PARTS[metric]
    shared = [
        i for i in sides[0] if i in sides[1] and all(_part(side[i], below) > 0 for side in sides)
    ]
    if not shared:
        raise BadInput(f"{first['candidate']} and {second['candidate']} share no row with {metric}")
    one, two = (_sums([side[i] for i in shared], metric) for side in sides)
    return {
        "metric": metric,
        "first": first["candidate"],
        "second": second["candidate"],
        "rows": len(shared),
        **difference(one, two, resamples=resamples, seed=seed),
    }


def read(folder: Path) -> dict[str, Any] | None:
    """The evaluation that a folder holds, if any."""
    path = folder / "evaluation.json"
    if not path.is_file():
        return None
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def write(folder: Path, result: Mapping[str, Any]) -> None:
    """Write evaluation.json; a run directory's card and manifest are brought up to date."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    partial = folder / "evaluation.partial"
    partial.write_text(json.dumps(result, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    partial.chmod(0o600)
    partial.rename(folder / "evaluation.json")
    if (folder / "manifest.json").is_file():
        reseal(folder, result)


def settle(folder: Path, result: Mapping[str, Any]) -> None:
    """Finish what a kill between evaluation.json and the manifest left open."""
    if (folder / "manifest.json").is_file() and check_files(folder, read_manifest(folder)):
        (folder / "evaluation.partial").unlink(missing_ok=True)
        reseal(folder, result)


def _inputs(candidate: Candidate, dataset: Dataset, settings: Evaluation) -> dict[str, Any]:
    return {
        "dataset": dataset.digest,
        "layers": candidate.student.layers,
        "scratch": candidate.student.scratch,
        "seed": candidate.seed,
        "student": candidate.base.digest if candidate.base else "",
        "settings": settings.model_dump(mode="json", exclude={"batch_size"}),
    }


def _first_answers(rows: Sequence[Row], limit: int) -> list[Row]:
    """One row a prompt: the teacher's first answer, right or wrong."""
    first: dict[str, Row] = {}
    for row in sorted(rows, key=lambda row: row["sample"]):
        first.setdefault(row["id"], row)
    ordered = [first[i] for i in dict.fromkeys(row["id"] for row in rows)]
    return ordered[:limit] if limit else ordered


def _stored(rows: Sequence[Row]) -> list[tuple[str, dict[str, Any]]]:
    return [
        (
            row["completion"][0]["content"] if row["answered"] else "",
            {"prompt_tokens": row["prompt_tokens"], "completion_tokens": row["completion_tokens"]},
        )
        for row in rows
    ]


def _student(
    candidate: Candidate,
    base: Base,
    rows: Sequence[Row],
    settings: Evaluation,
    on_row: Callable[[int, int], None] | None,
) -> list[tuple[str, dict[str, Any]]]:
    model, tokenizer = untaught(base, candidate.student, candidate.seed)
    model.eval()
    reader = Reader(tokenizer)
    written = answer(
        model,
        reader,
        [row["prompt"] for row in rows],
        max_new_tokens=settings.max_new_tokens,
        batch_size=settings.batch_size,
        on_row=on_row,
    )
    scores = agreement(model, reader, rows, settings.batch_size)
    return [
        (
            text.text,
            {
                "prompt_tokens": text.prompt_tokens,
                "completion_tokens": text.completion_tokens,
                **scores.get(row["id"], {}),
            },
        )
        for row, text in zip(rows, written, strict=True)
    ]


@torch.no_grad()
def agreement(
    model: Any, reader: Reader, rows: Sequence[Row], batch_size: int
) -> dict[str, dict[str, Any]]:
    """By row: nats of KL(teacher‖student) over the stored top-k and tail, and shared top tokens."""
    from train.trainer import Collate, features, positions

    examples, _ = encode([r for r in rows if r["signal"]], reader, max_length=LONGEST)
    taught = sorted((e for e in examples if any(e.candidates)), key=lambda e: len(e.input_ids))
    add_scoring(model)
    collate, found = Collate(reader.tokenizer.pad_token_id), {}
    for start in range(0, len(taught), batch_size):
        batch = taught[start : start + batch_size]
        scored = positions(model, collate([features(e) for e in batch]))
        table = torch.stack([forward_kl(scored, Settings()), _same_favourite(scored).float()])
        table = table.where(scored.signal, 0.0)
        pieces = torch.split(table, [len(e.candidates) for e in batch], dim=1)
        for example, piece in zip(batch, pieces, strict=True):
            found[example.id] = _agreement(example, piece)
    return found


def _same_favourite(scored: Positions) -> torch.Tensor:
    """[N] whether the student's likeliest token is the teacher's."""
    best = 1 + scored.top_logprobs.argmax(-1, keepdim=True)
    chosen, _, highest = scored.scores
    own = torch.maximum(chosen.amax(-1), highest)
    return chosen.gather(-1, best).squeeze(-1).eq(own)


def _agreement(example: Example, piece: torch.Tensor) -> dict[str, Any]:
    return {
        "kl": round(float(piece[0].sum()), 6),
        "top1": int(piece[1].sum()),
        "kl_tokens": sum(1 for candidates in example.candidates if candidates),
    }


def _judge(row: Row, text: str, settings: Evaluation) -> dict[str, Any]:
    """METRICS of one row: what was asked, what was due, what came."""
    asked = [m["content"] for m in row["prompt"] if m["role"] == "user"]
    expected = json.loads(row["expected"])[settings.field] if row["expected"] else None
    given = METRICS[settings.metric](text, settings.field)
    return {
        "id": row["id"],
        "message": asked[-1] if asked else "",
        "expected": row["expected"],
        "text": text,
        "valid": given is not None,
        "correct": None if expected is None else given == expected,
    }


def json_field(text: str, field: str) -> Any:
    """The field of the JSON object that `text` is; None where it is none or has no such field."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found.get(field) if isinstance(found, dict) else None


METRICS: dict[str, Callable[[str, str], Any]] = {"json_field": json_field}


def _sums(predictions: Sequence[Mapping[str, Any]], metric: str) -> Sums:
    above, below = PARTS[metric]
    return Sums([_part(p, above) for p in predictions], [_part(p, below) for p in predictions])


def _part(prediction: Mapping[str, Any], name: str) -> float:
    if name == "rows":
        return 1.0
    if name == "scored":
        return float(prediction.get("correct") is not None)
    return float(prediction.get(name) or 0.0)
