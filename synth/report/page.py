"""The report as one HTML file that needs nothing else: no script, font or picture from elsewhere.

The page holds what models wrote, so it is built to be harmless. Every text goes through `shown` and
is escaped, because the template engine does both to whatever it puts out, not because each place
remembers to; and the page's own security policy allows nothing but its one style, named by hash.

    html(data).startswith("<!doctype html>")
"""

from functools import partial
from importlib.resources import files

from jinja2 import Environment

from synth.report import chart, finding, text
from synth.report.data import ReportData
from synth.report.safe import csp_hash, environment

PANELS = (
    ("exact_match", "Exact match", "more is better", 1.0),
    ("valid", "Valid form", "more is better", 1.0),
    ("kl", "Held-out KL", "nats a token; less is better", None),
)
"""Metric, title, how to read it, top of the scale."""
UNFOLDED = 6
"""Samples shown before the fold."""


def html(data: ReportData) -> str:
    """The whole page. The same data gives the same bytes."""
    style = files("synth.report").joinpath("page.css").read_text(encoding="utf-8")
    template = _environment(data).get_template("page.html.j2")
    return template.render(
        style=style,
        style_hash=csp_hash(style),
        finding=finding.finding(data),
        saving=finding.saving(data),
        panels=_panels(data),
        curves=_curves(data),
        coverage=sorted(data.coverage, key=lambda row: (row.share, row.label)),
        vanished=sorted(row.label for row in data.coverage if not row.messages_kept),
        unfolded=UNFOLDED,
    ).lstrip()


def _environment(data: ReportData) -> Environment:
    engine = environment("synth.report")
    engine.globals.update(
        data=data,
        estimate=finding.estimate,
        percent=text.percent,
        right=partial(finding.right, data=data),
        sentence=partial(finding.sentence, data=data),
        shortened=text.shortened,
        tokens=_tokens,
    )
    return engine


def _tokens(mean: float | None) -> str:
    return "–" if mean is None else f"{mean:,.0f}"


def _panels(data: ReportData) -> list[tuple[str, str, str, chart.Whiskers]]:
    drawn = [
        (metric, title, hint, chart.whiskers(data, metric, top))
        for metric, title, hint, top in PANELS
    ]
    return [(metric, title, hint, panel) for metric, title, hint, panel in drawn if panel]


def _curves(data: ReportData) -> list[chart.Curves]:
    drawn = [chart.curves(data.named(name), points) for name, points in data.curves.items()]
    return [panel for panel in drawn if panel]
