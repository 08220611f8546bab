"""What the stored probabilities reach, said before training and written into the receipt.

    found = coverage(examples)
    found["positions"]      # {"top_k": 0.93, "alm": 0.04, "no_end_stored": 0.03}
    found["mass"]           # {"mean": 0.91, "p10": 0.74, "median": 0.95}
    demand(found, training)

`mass` is what the teacher gives the candidates that the student has a token for. Everything else
is the tail: `top_k` teaches its sum exactly and its inside only through sampled tokens, so the less
the list holds, the more is left to chance.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

from policy.errors import BadInput
from train.align import ALM, TOP_K
from train.config import ALONE, Training
from train.data import Example, Row


def coverage(examples: Sequence[Example]) -> dict[str, Any]:
    """Shares of completion tokens by their evidence, and the mass that the candidates hold."""
    kinds = Counter(kind for example in examples for kind in example.kinds)
    lists = [found for example in examples for found in example.candidates if found]
    masses = sorted(math.fsum(math.exp(p) for p in found.values()) for found in lists)
    total = max(kinds.total(), 1)
    return {
        "tokens": kinds.total(),
        "positions": {kind: round(kinds[kind] / total, 6) for kind in sorted(kinds)},
        "mass": _summary(masses),
        "longest_list": max((len(found) for found in lists), default=0),
    }


def _summary(masses: Sequence[float]) -> dict[str, float]:
    if not masses:
        return {}
    return {
        "mean": round(math.fsum(masses) / len(masses), 6),
        "p10": round(masses[len(masses) // 10], 6),
        "median": round(masses[len(masses) // 2], 6),
    }


def demand(found: dict[str, Any], training: Training) -> None:
    """Raise BadInput where the objective asks for evidence that is not there."""
    share = found["positions"]
    if ALM in training.objective and not share.get(ALM):
        raise BadInput(
            "no piece of text that the tokenizers cut differently has a probability, so alm has"
            f" nothing to learn from ({in_words(found)})",
            where="[training] objective",
            fix="Train with top_k or sft.",
        )
    name = listed(training)
    if not name:
        return
    if not share.get(TOP_K):
        raise BadInput(
            f"no stored probability reaches this student, so {name} has nothing to learn from"
            f" ({in_words(found)})",
            where="[training] objective",
            fix="Train with sft, or collect with logprobs.",
        )
    if found["mass"]["mean"] < training.coverage_floor:
        raise BadInput(
            f"the stored candidates hold {found['mass']['mean']:.1%} of the teacher's probability,"
            f" below the floor of {training.coverage_floor:.1%} for {name}",
            where="[training] coverage_floor",
            fix="Collect with more logprobs, train with sft, or lower the floor.",
        )


def listed(training: Training) -> str:
    """The objectives that learn from stored candidates, in words; nothing if there is none."""
    return " and ".join(
        sorted(str(name) for name in training.objective.keys() - {"sft", ALM} - ALONE)
    )


def stored_k(rows: Sequence[Row]) -> int:
    """The longest list of candidates in the rows."""
    return max((len(top or []) for row in rows for top in row["top_logprobs"] or []), default=0)


def demand_k(stored: int, training: Training) -> None:
    """Raise BadInput where more candidates are asked for than the dataset holds."""
    if listed(training) and training.k > stored:
        raise BadInput(
            f"asks for {training.k} candidates and the dataset stores {stored}",
            where="[training] k",
            fix=f"Use at most {stored}, or 0 for all.",
        )


def announced(examples: Sequence[Example], training: Training) -> str:
    """What a run is about to learn from, in one line for people."""
    if ALONE & training.objective.keys():
        return f"{len(examples)} {'pairs' if 'dpo' in training.objective else 'prompts'}"
    return f"evidence: {in_words(coverage(examples))}"


def in_words(found: dict[str, Any]) -> str:
    """One line for people: `top_k 93.1%, alm 4.0%, no_end_stored 2.9%; mass 91.0%`."""
    shares = sorted(found["positions"].items(), key=lambda one: -one[1])
    words = ", ".join(f"{kind} {share:.1%}" for kind, share in shares)
    return words + (f"; mass {found['mass']['mean']:.1%}" if found["mass"] else "")
