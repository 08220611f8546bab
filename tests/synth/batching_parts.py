"""What the tests of batches share: a project that collects in batches, and what its ledger says."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.batch_servers import BatchServer
from tests.synth.parts import asked, project

APIS = ("openai", "mistral", "anthropic", "gemini")
PRICE = {"input": 1.0, "output": 2.0, "batch": 0.5}
LIMITS: dict[str, Any] = {
    "price": PRICE,
    "budget_usd": 1.0,
    "batch": True,
    "batch_poll_seconds": 0.05,
    "deadline_seconds": 5,
}


def batch_project(
    home: Path, server: BatchServer, *, rows: int = 12, **sections: Mapping[str, Any]
) -> Path:
    """A project whose teacher is that server; `limits` are beside those above."""
    limits = {**LIMITS, **sections.pop("limits", {})}
    teacher = {**server.teacher, **sections.pop("teacher", {})}
    sampling = {"seed": 0, **sections.pop("sampling", {})}
    return project(
        home, server.base_url, rows=rows, limits=limits, teacher=teacher, sampling=sampling,
        **sections,
    )  # fmt: skip


def classes(path: Path) -> dict[str, int]:
    """Attempts by their class and kind."""
    rows = asked(path, "SELECT class, kind, count(*) FROM state GROUP BY ALL ORDER BY ALL")
    return {f"{one} {kind}".strip(): count for one, kind, count in rows}


def states(path: Path) -> list[str]:
    """The states that the project's batches went through, in order."""
    return [row[0] for row in asked(path, "SELECT state FROM job ORDER BY seq")]


def committed(path: Path) -> int:
    """Billionths of a dollar, billed or reserved."""
    return int(asked(path, "SELECT sum(committed_nano)::BIGINT FROM state")[0][0])
