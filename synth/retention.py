"""How long answers may be kept: the terms' own limits, the stricter of then and now.

    due(bench, ledger)        # groups of rows past their day, or with one before them

A terms entry says how many days, sometimes only for a feature (Google's grounded results: 30). The
timer is looked at whenever the ledger is opened for a step: what is due is said, and with
`retention = "erase"` in [dataset] it is erased then and there.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta

from policy.decide import decide_offering
from policy.use import Use
from synth.audits.answer import Answer
from synth.audits.teachers import DAY, Group, given_of, groups, ids_of
from synth.bench import Bench
from synth.erase import erase
from synth.ledger import Ledger
from synth.notices import ERASED, account
from synth.reach import Target


@dataclass(frozen=True, slots=True)
class Timer:
    """Rows that must be gone after a day."""

    group: Group
    days: int
    until: date
    """The last day on which they may be kept."""
    kept: int
    """Rows of the group whose content is still there."""

    def is_due(self, today: date) -> bool:
        """Whether that day is over and something is left."""
        return today > self.until and self.kept > 0


def timers(bench: Bench, ledger: Ledger) -> Iterator[Timer]:
    """Every group with a limit, the stricter of the terms at collection and of today."""
    for group in groups(ledger):
        said = [
            decide_offering(
                Use(), bench.register, group.offering, bench.today, in_force=day,
                collected=group.day, given=given_of(bench, group),
            ).retention_days
            for day in {group.day, bench.today}
        ]  # fmt: skip
        limits = [days for days in said if days is not None]
        own = bench.project.sections.dataset.retention_days
        limits += [own] if own is not None else []
        if limits:
            days = min(limits)
            kept = group.rows - _erased(ledger, group)
            yield Timer(group, days, group.day + timedelta(days=days), kept)


def _erased(ledger: Ledger, group: Group) -> int:
    names = ledger.rows(f"SELECT 1 FROM ({ERASED}) LIMIT 1")  # noqa: S608
    if not names:
        return 0
    row = ledger.one(
        "SELECT count(*) FROM attempt a JOIN outcome o ON o.attempt = a.id AND o.class = 'ok'"  # noqa: S608
        f" JOIN ({ERASED}) e ON e.attempt = a.id WHERE a.offering = ? AND a.model = ?"
        " AND o.served_model = ? AND a.at_ms // 86400000 = ?",
        [group.offering, group.model, group.served, group.days],
    )
    return int(row[0])


def retention(bench: Bench, ledger: Ledger) -> Answer:
    """Which rows exceed a retention limit, and when the others will."""
    found = list(timers(bench, ledger))
    rows = [
        {
            "offering": one.group.offering, "day": one.group.day.isoformat(), "rows": one.kept,
            "limit_days": one.days, "keep_until": one.until.isoformat(),
            "state": "DUE" if one.is_due(bench.today) else "kept" if one.kept else "erased",
        }
        for one in found
    ]  # fmt: skip
    due = sum(one.kept for one in found if one.is_due(bench.today))
    return Answer(
        "Which rows exceed a retention limit",
        ("offering", "day", "rows", "limit_days", "keep_until", "state"),
        rows,
        (f"{due:,} rows are due; `spiritsafe erase --due` erases them",),
        bad=due > 0,
    )


def due_attempts(bench: Bench, ledger: Ledger) -> tuple[str, ...]:
    """Attempts whose content is due to go."""
    late = [one.group for one in timers(bench, ledger) if one.is_due(bench.today)]
    names = [name.rpartition("#") for _, name in ids_of(ledger, late)] if late else []
    days = {one.days for one in late}
    wanted = {(prompt, int(sample)) for prompt, _, sample in names}
    return tuple(
        attempt
        for attempt, prompt, sample, day in ledger.each(
            f"SELECT id, prompt_id, sample, at_ms // {DAY} FROM attempt ORDER BY seq"  # noqa: S608
        )
        if day in days and (prompt, sample) in wanted
    )


def look(bench: Bench, ledger: Ledger) -> int:
    """Rows that are due, said to whoever opened the ledger. Costs a glance where no text that
    binds sets a limit."""
    own = bench.project.sections.dataset.retention_days
    if own is None:
        offerings = [one for (one,) in ledger.rows("SELECT DISTINCT offering FROM attempt")]
        if not any(_limited(bench, name) for name in offerings):
            return 0
    found = sum(one.kept for one in timers(bench, ledger) if one.is_due(bench.today))
    if found:
        bench.display.say(
            f"{found:,} answers are past their retention limit (`spiritsafe audit retention`);"
            " `spiritsafe erase --due` erases them"
        )
    return found


def minded(bench: Bench, ledger: Ledger) -> Ledger:
    """The ledger after its timers were looked at; where the project says so, without what is due.
    Then it was closed in between: the file is written anew."""
    try:
        if not look(bench, ledger) or bench.project.sections.dataset.retention != "erase":
            return ledger
        target = Target(attempts=due_attempts(bench, ledger))
    except BaseException:
        ledger.close()
        raise
    ledger.close()
    erased = erase(bench, target, account(), "past the retention limit of the terms")
    bench.display.say(f"erased {len(erased.attempts):,} answers that were past their limit")
    return Ledger.open(bench.project.ledger, clock=bench.clock, create=False)


def _limited(bench: Bench, offering: str) -> bool:
    """Whether any version of the terms that bind it limits how long we may keep its answers."""
    parts = offering.replace("student-of(", " ").replace(")", " ").replace(",", " ").split()
    return any(
        limit.kept_by == "customer"
        for name in (offering, *parts, *offering.split("@"))
        for entry in bench.register.history(name)
        for limit in entry.retention
    )
