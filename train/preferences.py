"""Pairs for `dpo`: an answer that the filters kept, and one of the same prompt that they dropped.

A dataset holds them where the project says `[dataset] rejected = true`: the dropped answers are a
split of their own, with the same columns, terms and decisions as the rows that were kept.

    examples, counts = pairs(dataset.rows("train"), dropped(dataset), reader, training)
    examples[0].completion, examples[0].rejected
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import replace

from policy.errors import BadInput
from train.align import Rules
from train.config import Training
from train.data import Dataset, Example, Reader, Row, encode

SPLIT = "rejected"


def dropped(dataset: Dataset) -> list[Row]:
    """The answers that the filters dropped. Raises BadInput where the dataset holds none."""
    if f"{SPLIT}.parquet" not in dataset.manifest.get("files", {}):
        raise BadInput(
            "holds no dropped answers, so dpo has nothing to prefer anything to",
            where=str(dataset.path),
            fix="Set [dataset] rejected = true and freeze again.",
        )
    return dataset.rows(SPLIT)


def pairs(
    kept: Iterable[Row], rejected: Iterable[Row], reader: Reader, training: Training
) -> tuple[list[Example], Counter[str]]:
    """The first kept answer of a prompt with its first dropped one, the second with the second."""
    worse: dict[str, list[Example]] = defaultdict(list)
    for example in _texts(rejected, reader, training)[0]:
        worse[example.id].append(example)
    better, counts = _texts((row for row in kept if row["id"] in worse), reader, training)
    found = []
    for example in better:
        others = worse[example.id]
        while others:
            other = others.pop(0)
            if other.completion != example.completion:
                found.append(replace(example, rejected=other.completion))
                break
        else:
            counts["unpaired"] += 1
    counts["pairs"] = len(found)
    return found, counts


def _texts(
    rows: Iterable[Row], reader: Reader, training: Training
) -> tuple[list[Example], Counter[str]]:
    """The rows as text alone: a preference looks at no stored probability."""
    plain = [{**row, "signal": False} for row in rows]
    rules = Rules(reasoning=training.reasoning)
    return encode(plain, reader, max_length=training.max_length, rules=rules)
