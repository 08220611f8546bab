"""Where the marks of the charts go: plain geometry, drawn by charts.html.j2.

The charts are small panels of one fixed width, set side by side where there is room and one under
the other on a phone. So their letters stay readable at any width, without a script.

    whiskers(data, "exact_match").marks[0].x
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from synth.report.data import CurvePoint, Interval, ReportData
from synth.report.text import decimal

WIDTH = 340.0
RIGHT = WIDTH - 14
WHISKER_LEFT = 8.0
WHISKER_ROW = 38.0
CURVE_LEFT, CURVE_TOP, CURVE_BOTTOM, CURVE_HEIGHT = 40.0, 26.0, 176.0, 214.0
MOST_POINTS = 400
"""More points than a panel has pixels only make the page heavy."""


@dataclass(frozen=True)
class Tick:
    """A place on an axis and its number."""

    at: float
    label: str


@dataclass(frozen=True)
class Mark:
    """One candidate's dot and whisker."""

    name: str
    kind: str
    words: str
    y: float
    x: float
    low: float
    high: float


@dataclass(frozen=True)
class Whiskers:
    """A panel of dots and whiskers, one row a candidate."""

    marks: tuple[Mark, ...]
    ticks: tuple[Tick, ...]
    bottom: float
    height: float
    width: float = WIDTH


@dataclass(frozen=True)
class Line:
    """One curve: its corner points, and what it is."""

    kind: str
    points: tuple[tuple[float, float], ...]

    @property
    def path(self) -> str:
        """The corners as SVG wants them."""
        return " ".join(f"{x:.1f},{y:.1f}" for x, y in self.points)


@dataclass(frozen=True)
class Curves:
    """A panel with the training and the validation loss of one run."""

    name: str
    words: str
    lines: tuple[Line, ...]
    across: tuple[Tick, ...]
    up: tuple[Tick, ...]
    not_finite: int
    left: float = CURVE_LEFT
    right: float = RIGHT
    top: float = CURVE_TOP
    bottom: float = CURVE_BOTTOM
    height: float = CURVE_HEIGHT
    width: float = WIDTH


def whiskers(data: ReportData, metric: str, highest: float | None = None) -> Whiskers | None:
    """The panel of one metric, from zero to `highest` or a round number; none if nobody has it."""
    measured = [(one, getattr(one.metrics, metric)) for one in data.candidates]
    rows = [(one, interval) for one, interval in measured if interval and _finite(interval)]
    if not rows:
        return None
    steps = axis(highest or max(interval.high for _, interval in rows))
    scale = (RIGHT - WHISKER_LEFT) / steps[-1]
    marks = []
    for row, (one, found) in enumerate(rows):
        x, low, high = (WHISKER_LEFT + scale * v for v in (found.value, found.low, found.high))
        name = shortened_name(one.name)
        marks.append(
            Mark(name, one.kind, decimal(found.value), 28 + WHISKER_ROW * row, x, low, high)
        )
    bottom = 6 + WHISKER_ROW * len(rows)
    ticks = tuple(Tick(WHISKER_LEFT + scale * step, f"{step:g}") for step in steps)
    return Whiskers(tuple(marks), ticks, bottom, bottom + 24)


def curves(name: str, points: Sequence[CurvePoint]) -> Curves | None:
    """The panel of one run, its loss axis from zero; none if it logged no finite loss."""
    train = [(one.step, one.loss) for one in points if one.loss is not None]
    validation = [
        (one.step, one.validation_loss) for one in points if one.validation_loss is not None
    ]
    kept = {"train": _thinned(train), "validation": _thinned(validation)}
    every = [point for line in kept.values() for point in line]
    if not every:
        return None
    last, up = max(1, *(x for x, _ in every)), axis(max(y for _, y in every))
    wide = (RIGHT - CURVE_LEFT) / last
    tall = (CURVE_BOTTOM - CURVE_TOP) / up[-1]
    return Curves(
        name=name,
        words=_ends(kept),
        lines=tuple(
            Line(kind, tuple((CURVE_LEFT + wide * x, CURVE_BOTTOM - tall * y) for x, y in line))
            for kind, line in kept.items()
            if line
        ),
        across=tuple(Tick(CURVE_LEFT + wide * x, f"{x:g}") for x in axis(last) if x <= last),
        up=tuple(Tick(CURVE_BOTTOM - tall * y, f"{y:g}") for y in up),
        not_finite=sum(not math.isfinite(loss) for _, loss in train + validation),
    )


def axis(highest: float) -> list[float]:
    """Round steps from zero to just above `highest`: axis(0.83) == [0, 0.2, 0.4, 0.6, 0.8, 1.0]."""
    if highest <= 0:
        return [0.0, 1.0]
    rough = highest / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * nice for nice in (1, 2, 5, 10) if power * nice >= rough * 0.999)
    return [step * count for count in range(math.ceil(highest / step - 1e-9) + 1)]


def shortened_name(name: str, longest: int = 38) -> str:
    """A name that fits above its whisker."""
    return name if len(name) <= longest else name[: longest - 1] + "…"


def _finite(interval: Interval) -> bool:
    return all(math.isfinite(v) for v in (interval.value, interval.low, interval.high))


def _thinned(points: list[tuple[int, float]]) -> list[tuple[int, float]]:
    """At most `MOST_POINTS` of the finite points, the last one always among them."""
    finite = sorted(point for point in points if math.isfinite(point[1]))
    stride = max(1, math.ceil(len(finite) / MOST_POINTS))
    return finite[::-1][::stride][::-1]


def _ends(kept: dict[str, list[tuple[int, float]]]) -> str:
    """The chart in words, for those who cannot see it."""
    told = []
    for kind, line in kept.items():
        if line:
            (first, start), (last, end) = line[0], line[-1]
            told.append(f"{kind} loss {decimal(start)} at step {first}, {decimal(end)} at {last}")
    return "; ".join(told)
