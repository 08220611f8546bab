"""The same findings for a terminal of 80 columns.

Texts become `rich.text.Text`, never markup: a candidate named "[red]" or an intent with an escape
code in it must not paint the screen.

    Console().print(table(data), coverage(data))
"""

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from synth.report.data import Candidate, CoverageRow, Difference, ReportData
from synth.report.finding import estimate, finding, sentence
from synth.report.text import decimal, shown

BAR = 12
"""Characters of a full bar."""


def table(data: ReportData) -> RenderableType:
    """A row a candidate, then each difference as a sentence, then the headline."""
    grid = Table(box=box.SIMPLE_HEAD, padding=(0, 1), show_edge=False, pad_edge=False)
    grid.add_column("candidate", overflow="fold", min_width=12)
    for heading in ("exact match [95 %]", "valid", "held-out\nKL", "prompt\ntokens"):
        grid.add_column(heading, justify="right", no_wrap=True, vertical="top")
    for one in data.candidates:
        grid.add_row(*_cells(one))
    differences = [_difference(one, data) for one in data.differences]
    found = finding(data)
    headline = Text(shown(found.headline), style="bold")
    further = [Text(shown(text)) for text in (found.teacher, found.control) if text]
    return Group(grid, Text(), *differences, Text(), headline, *further)


def coverage(data: ReportData) -> RenderableType:
    """A row a class, the least covered first; what vanished is told in red and in words."""
    grid = Table(box=box.SIMPLE_HEAD, padding=(0, 1), show_edge=False, pad_edge=False)
    grid.add_column("intent", overflow="fold", min_width=12)
    grid.add_column("messages that still teach", no_wrap=True)
    grid.add_column("answers kept", justify="right", no_wrap=True)
    for row in sorted(data.coverage, key=lambda one: (one.share, one.label)):
        grid.add_row(*_coverage_cells(row))
    vanished = sorted(row.label for row in data.coverage if not row.messages_kept)
    if not vanished:
        return grid
    alarm = (
        f"✗ Nothing of {', '.join(vanished)} passed the filters: the student was never taught that."
    )
    return Group(grid, Text(shown(alarm), style="bold red"))


def _cells(one: Candidate) -> list[Text]:
    metrics = one.metrics
    tokens = "–" if metrics.prompt_tokens is None else f"{metrics.prompt_tokens:,.0f}"
    return [
        Text(shown(one.name), style="bold" if one.kind == "trained" else ""),
        Text(estimate(metrics.exact_match)),
        Text(decimal(metrics.valid.value) if metrics.valid else "–"),
        Text(decimal(metrics.kl.value) if metrics.kl else "–"),
        Text(tokens),
    ]


def _difference(one: Difference, data: ReportData) -> RenderableType:
    """Hangs under its own mark, so that wrapped sentences stay apart."""
    line = Table.grid(padding=(0, 1))
    line.add_row(Text("○" if one.includes_zero else "●"), Text(shown(sentence(one, data))))
    return line


def _coverage_cells(row: CoverageRow) -> list[Text]:
    full = round(BAR * min(row.share, 1.0))
    bar = "█" * full + "░" * (BAR - full)
    style = "" if row.messages_kept else "bold red"
    messages = f"{bar} {row.messages_kept:>3} of {row.asked}"
    return [
        Text(shown(row.label), style=style),
        Text(messages + ("" if row.messages_kept else "  ✗ none"), style=style),
        Text(f"{row.kept} of {row.answered}", style=style),
    ]
