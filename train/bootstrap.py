"""95 % intervals by resampling rows, seeded, so that a figure and its doubt are reproducible.

A metric is a ratio of sums over rows: correct answers over rows, or nats over tokens.

    interval(Sums([1, 0, 1], [1, 1, 1]), resamples=10_000, seed=0)
    {"value": 0.667, "low": 0.0, "high": 1.0}

Efron, 1979, "Bootstrap Methods", Annals of Statistics 7(1); percentile intervals.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

AT_ONCE = 500  # resamples a block: keeps memory small for any number of rows
LEVELS = (0.025, 0.975)


class Sums(NamedTuple):
    """What each row adds above and below the line."""

    above: Sequence[float]
    below: Sequence[float]


def interval(rows: Sums, *, resamples: int, seed: int) -> dict[str, float]:
    """The ratio and its interval."""
    return _summary(_ratio(rows), _resampled([rows], resamples, seed)[0])


def difference(first: Sums, second: Sums, *, resamples: int, seed: int) -> dict[str, float]:
    """first minus second on the same rows: every resample takes the same rows on both sides."""
    one, two = _resampled([first, second], resamples, seed)
    return _summary(_ratio(first) - _ratio(second), one - two)


def _ratio(rows: Sums) -> float:
    return float(np.sum(rows.above) / np.sum(rows.below))


def _resampled(sides: list[Sums], resamples: int, seed: int) -> list[NDArray[np.float64]]:
    rng = np.random.default_rng(seed)
    rows = len(sides[0].above)
    found: list[list[NDArray[np.float64]]] = [[] for _ in sides]
    for start in range(0, resamples, AT_ONCE):
        size = min(AT_ONCE, resamples - start)
        counts = rng.multinomial(rows, [1 / rows] * rows, size=size)
        for side, values in zip(sides, found, strict=True):
            below = counts @ np.asarray(side.below, dtype=float)
            above = counts @ np.asarray(side.above, dtype=float)
            values.append(np.divide(above, below, out=np.full(size, np.nan), where=below > 0))
    return [np.concatenate(values) for values in found]


def _summary(value: float, resampled: NDArray[np.float64]) -> dict[str, float]:
    low, high = np.nanquantile(resampled, LEVELS)
    return {"value": round(value, 6), "low": round(float(low), 6), "high": round(float(high), 6)}
