"""The audit as one page: what was asked of whom, under which terms, and what became of each row.

It is one HTML file that opens from a disk, sends nothing, and lets a reader search any row and
follow it from the seed to the students that learnt from it.

    account = gather(ledger, home, title="bank-support", findings=[], register=register)
    write(Path("audit.html"), html(account, "2026-11-24"))
"""

from synth.audit_page.gather import gather
from synth.audit_page.page import html, write

__all__ = ["gather", "html", "write"]
