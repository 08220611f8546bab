"""What `spiritsafe terms` prints."""

from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

from policy.changes import Change
from policy.errors import BadInput
from policy.terms import Register, Terms


def entry_of(register: Register, offering: str, on: date) -> Terms:
    """The entry of a name, with or without a version. Raises BadInput naming what exists."""
    entry = register.find(offering, on)
    if entry is None:
        history = ", ".join(one.label for one in register.history(offering))
        raise BadInput(
            f"no terms of {offering!r} are in force on {on}",
            fix=f"there are {history}" if history else "see `spiritsafe terms list`",
        )
    return entry


def list_screen(register: Register, entries: Sequence[Terms]) -> str:
    """A line an entry; the user's own are marked."""
    lines = []
    for entry in entries:
        whose = "yours" if register.is_own(entry) else "ours"
        review = entry.review
        state = f"reviewed until {review.expires}"
        if review.confidence.value == "unreviewed":
            state = "not reviewed: denied"
        if entry.pin in register.stale:
            state = f"stale: {register.stale[entry.pin]}"
        lines.append(f"{entry.label:<46} {whose:<6} {state}")
    return "\n".join(lines)


def terms_screen(register: Register, entry: Terms) -> str:
    """One register entry."""
    review = entry.review
    whose = "your own agreement" if register.is_own(entry) else "shipped with Spirit Safe"
    lines = [
        f"{entry.label}  {entry.entity}, {entry.product} ({whose})",
        f"pin {entry.pin}",
        f"reviewed {review.on} by {review.by}, until {review.expires}, {review.confidence}",
        "",
        "Documents",
    ]
    for document in entry.documents:
        lines.append(f"  {document.title}, {document.date}  {document.address}")
    lines += ["", "Clauses"]
    lines += [f"  {clause.ref}: {clause.paraphrase}" for clause in entry.clauses]
    lines += ["", "What they mean here"]
    for rule in entry.rules:
        where = f" ({', '.join(rule.distributions)})" if rule.distributions else ""
        where += f" where {rule.narrowing}" if rule.narrowing else ""
        lines.append(f"  {rule.level.name}: {', '.join(rule.purposes)}{where}")
    if entry.notes:
        lines += ["", "Notes", *(f"  {note}" for note in entry.notes)]
    versions = [one.label for one in register.history(entry.id) if one.label != entry.label]
    if versions:
        lines += ["", f"Other versions: {', '.join(versions)}"]
    return "\n".join(lines)


def impact_of(project: Path, one: Terms, other: Terms) -> list[dict[str, Any]]:
    """The rows of a project's ledger that were collected under either version."""
    import time

    from synth.ledger import Ledger
    from synth.project import load

    pins = {one.pin: one.label, other.pin: other.label}
    with Ledger.open(load(project).ledger, clock=time.time, create=False) as ledger:
        rows = ledger.rows(
            "SELECT terms_pin, count(*), count(*) FILTER (class = 'ok') FROM state"
            " GROUP BY terms_pin ORDER BY terms_pin"
        )
    return [
        {"terms": pins.get(pin, pin), "attempts": attempts, "answers": answers}
        for pin, attempts, answers in rows
        if pin in pins
    ]


def diff_screen(one: Terms, other: Terms, found: Sequence[Change], touched: Any) -> str:
    """Two versions side by side."""
    lines = [f"{one.label} -> {other.label}", ""]
    for change in found:
        lines += [
            f"{change.kind}: {change.name}",
            f"  - {change.before or '(nothing)'}",
            f"  + {change.after or '(nothing)'}",
        ]
    if not found:
        lines.append("no clause and no rule differs")
    for row in touched or ():
        lines.append(f"{row['attempts']} requests, {row['answers']} answers under {row['terms']}")
    return "\n".join(lines)


def standing_on(register: Register, day: date) -> list[dict[str, str]]:
    """How every entry stands on a day."""
    found = []
    for entry in sorted(register.all(), key=lambda one: (one.id, one.version)):
        current = register.find(entry.id, day)
        if entry.effective > day:
            state, why = "waiting", f"takes effect on {entry.effective}"
        elif current is not None and current.pin != entry.pin:
            state, why = "superseded", f"by {current.label}"
        elif entry.review.confidence.value == "unreviewed":
            state, why = "unreviewed", "its governing clause could not be read: denied"
        elif entry.pin in register.stale:
            state, why = "stale", register.stale[entry.pin]
        elif day > entry.review.expires:
            state, why = "stale", f"its review expired on {entry.review.expires}"
        else:
            state, why = "current", f"reviewed until {entry.review.expires}"
        found.append({"entry": entry.label, "state": state, "why": why})
    return found


def standing_screen(found: Sequence[dict[str, str]]) -> str:
    """A line an entry."""
    return "\n".join(f"{one['state']:<11} {one['entry']:<46} {one['why']}" for one in found)
