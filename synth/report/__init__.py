"""What a run found, for people: a page to keep and pass on, and a table for the terminal.

Both are drawn from one `ReportData`, so they cannot disagree. They only show: nothing here reads
the ledger, a clock or the network, and what counts as a gain is in the intervals handed over.

    data = ReportData.model_validate(mapping)
    Path("report.html").write_text(html(data), encoding="utf-8")
    console.print(table(data), coverage(data))
"""

from synth.report.data import ReportData
from synth.report.page import html
from synth.report.terminal import coverage, table

__all__ = ["ReportData", "coverage", "html", "table"]
