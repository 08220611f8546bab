"""The loss curves of a run as a picture, drawn once it is over.

matplotlib draws it: the plotting library that the field reads and keeps, without a window or any
global state. The figure is part of the run, so it is covered by the manifest.

    draw(metrics.rows, Path("runs/sft/loss.png"))
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

POINTS = 40  # of the curve that the manifest and the card hold


def draw(rows: Sequence[Mapping[str, Any]], path: Path) -> str:
    """Every loss that was logged, by step, those of the validation rows dashed. Returns the name of
    the picture, empty where matplotlib is not installed: no run fails for want of a picture."""
    if not importlib.util.find_spec("matplotlib"):
        return ""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot(xlabel="step", ylabel="nats a token")
    for name in sorted({key for row in rows for key in row if key.endswith("loss")}):
        points = [(row["step"], row[name]) for row in rows if name in row]
        checked = name.startswith("validation_")
        axes.plot(
            *zip(*points, strict=True),
            label=name.replace("_", " "),
            linestyle="--" if checked else "-",
            marker="o" if checked or len(points) == 1 else "",
            markersize=3,
        )
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=120, metadata={"Software": None})
    return path.name


def thinned(rows: Sequence[Mapping[str, Any]]) -> list[tuple[int, float]]:
    """Step and loss, at most POINTS of them, evenly taken, the last among them."""
    points = [(int(row["step"]), round(float(row["loss"]), 6)) for row in rows if "loss" in row]
    every = -(-len(points) // POINTS) or 1
    return points[::-1][::every][::-1]
