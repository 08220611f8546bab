"""The answer to one question: a table for people, 80 columns wide, and the same as JSON.

click.echo(screen(Answer("...", ("day", "usd"), [{"day": "2026-11-24", "usd": "1.20"}])))
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from synth.wire import printable

WIDTH, SHOWN, LEAST = 80, 40, 6


@dataclass(frozen=True, slots=True)
class Answer:
    """What was asked, and what was found."""

    question: str
    columns: tuple[str, ...]
    """What the table shows; a row may hold more, for machines."""
    rows: Sequence[Mapping[str, Any]]
    notes: tuple[str, ...] = ()
    """What a reader must know beside the table."""
    bad: bool = False
    """Whether what was found is not as it should be: exit code 1."""

    @property
    def values(self) -> dict[str, Any]:
        """`--json`."""
        return {"question": self.question, "rows": list(self.rows), "notes": list(self.notes)}


def screen(answer: Answer) -> str:
    """The table: every column as wide as it needs, the widest ones shortened until all fit."""
    lines = [answer.question, ""]
    cells = [[_text(row.get(name)) for name in answer.columns] for row in answer.rows[:SHOWN]]
    widths = _widths([list(answer.columns), *cells])
    for row in [list(answer.columns), *cells] if cells else []:
        lines.append("  ".join(map(_cell, row, widths)).rstrip())
    if not cells:
        lines.append("nothing")
    if len(answer.rows) > SHOWN:
        lines.append(f"... and {len(answer.rows) - SHOWN:,} more; --json lists all")
    return "\n".join([*lines, *(("", *answer.notes) if answer.notes else ())])


def _widths(cells: list[list[str]]) -> list[int]:
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    while sum(widths) + 2 * (len(widths) - 1) > WIDTH and max(widths) > LEAST:
        widths[widths.index(max(widths))] -= 1
    return widths


def _cell(text: str, width: int) -> str:
    return text.ljust(width) if len(text) <= width else text[: width - 1] + "…"


def _text(value: Any) -> str:
    if value is None or value == "":
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or "-"
    if isinstance(value, Mapping):
        return json.dumps(value)
    return printable(str(value)).replace("\n", " ")
