"""Which rows were collected under which text of which terms, and what became of that text.

rows_by_terms(ledger, register, today)
"""

from collections.abc import Sequence
from datetime import date
from typing import Any

from policy.decide import decide_offering
from policy.terms import Register, Terms
from policy.use import Use
from synth.ledger import Ledger

_COLLECTED = (
    "SELECT seq, offering, terms_pin, decision, at_ms, class, committed_nano, prompt_id, sample"
    " FROM state UNION ALL SELECT seq, offering, terms_pin, decision, collected_ms, 'imported', 0,"
    " prompt_id, 0 FROM imported"
)
"""What was asked for, and what was brought in: that was not sent by us."""


def rows_by_terms(ledger: Ledger, register: Register, today: date) -> list[dict[str, Any]]:
    """Which rows were collected under which pin of which terms, the oldest first. `state` says what
    became of that entry: in force, superseded, or no longer in the register, word for word."""
    entries = {entry.pin: entry for entry in register.all()}
    found = []
    for offering, pin, first, last, sent, answers, nano, rows in ledger.rows(
        "SELECT offering, terms_pin, min(at_ms), max(at_ms), count(*) FILTER (class <> 'imported'),"  # noqa: S608
        " count(*) FILTER (class IN ('ok', 'imported')), sum(committed_nano)::BIGINT,"
        " list(prompt_id || '#' || sample ORDER BY prompt_id, sample)"
        f" FILTER (class IN ('ok', 'imported')) FROM ({_COLLECTED})"
        " GROUP BY ALL ORDER BY min(seq)"
    ):
        known = [entries[one] for one in pin.split(", ") if one in entries]
        now = decide_offering(Use(), register, offering, today).terms_pin
        found.append(
            {
                "offering": offering,
                "terms_pin": pin,
                "entry": ", ".join(entry.label for entry in known),
                "state": _standing(pin, now, known, register),
                "pin_now": now,
                "collected": [first, last],
                "sent": sent,
                "answers": answers,
                "cost_nano": nano,
                "decisions": [
                    digest
                    for (digest,) in ledger.rows(
                        f"SELECT DISTINCT decision FROM ({_COLLECTED})"  # noqa: S608
                        " WHERE offering = ? AND terms_pin = ? ORDER BY decision",
                        [offering, pin],
                    )
                ],
                "rows": rows or [],
            }
        )
    return found


def _standing(pin: str, now: str, known: Sequence[Terms], register: Register) -> str:
    """A joined pin names every text that bound, so it stands only if all of them do."""
    if len(known) < len(pin.split(", ")):
        return "another text than any in today's register"
    stale = [register.stale[entry.pin] for entry in known if entry.pin in register.stale]
    if stale:
        return f"stale: {stale[0]}"
    return "in force" if pin == now else "superseded"
