"""Which rows came from a teacher whose terms forbid a purpose, and which from another teacher than
was asked for.

    forbidden_rows(bench, ledger, use, AsOf("collection"))
    served_mismatch(ledger)

Rows are grouped by offering, day, and the models asked and served: that is all that the terms may
depend on, so a million rows are a few hundred questions.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

from policy.decide import decide_offering
from policy.errors import BadInput
from policy.own import is_own_server
from policy.terms import Level
from policy.use import Distribution, Given, Purpose, Use
from synth.audits.answer import Answer
from synth.bench import Bench
from synth.ledger import Ledger

DAY = 86_400_000
LISTED = 100_000
_DATED = re.compile(r"[-@](\d{4}-\d{2}-\d{2}|\d{8}|\d{3,4}|latest)")
"""How providers name the snapshot that answers for an alias: gpt-4o is gpt-4o-2024-08-06."""
_GROUPS = f"""
SELECT a.offering, a.model, o.served_model, a.at_ms // {DAY} AS day, any_value(a.terms_pin),
       count(*)
FROM attempt a JOIN outcome o ON o.attempt = a.id WHERE o.class = 'ok'
GROUP BY a.offering, a.model, o.served_model, day ORDER BY day, a.offering, o.served_model
"""  # noqa: S608
_IDS = f"""
SELECT a.offering, a.model, o.served_model, a.at_ms // {DAY} AS day, a.prompt_id, a.sample
FROM attempt a JOIN outcome o ON o.attempt = a.id WHERE o.class = 'ok' AND
(a.offering, a.model, o.served_model, a.at_ms // {DAY}) IN
(SELECT unnest($1::VARCHAR[]), unnest($2::VARCHAR[]), unnest($3::VARCHAR[]), unnest($4::BIGINT[]))
ORDER BY a.seq
"""  # noqa: S608


@dataclass(frozen=True, slots=True)
class AsOf:
    """Whose day's terms are asked: collection, now, or a date."""

    word: str = "collection"

    def day(self, collected: date, today: date) -> date:
        """The day whose terms count for rows of that day. Raises BadInput for no such word."""
        if self.word in ("collection", "now"):
            return collected if self.word == "collection" else today
        try:
            return date.fromisoformat(self.word)
        except ValueError as error:
            raise BadInput(
                f"{self.word!r} is no date", where="--as-of", fix="collection, now or 2026-11-24"
            ) from error


@dataclass(frozen=True, slots=True)
class Group:
    """Rows that the terms treat alike."""

    offering: str
    model: str
    served: str
    days: int
    """Days since 1970."""
    pin: str
    rows: int

    @property
    def day(self) -> date:
        """The day of collection, UTC."""
        return datetime.fromtimestamp(self.days * 86400, UTC).date()


def groups(ledger: Ledger) -> list[Group]:
    """Every group of answers in the ledger."""
    return [Group(*row) for row in ledger.rows(_GROUPS)]


def given_of(bench: Bench, group: Group) -> Given:
    """What is known of a group's answers. A server of one's own names models as one likes."""
    teacher = bench.project.sections.teacher
    features = teacher.features if teacher.offering == group.offering else ()
    if is_own_server(group.offering):
        return Given(features=features)
    return Given(features=features, requested=group.model, served=group.served)


def forbidden_rows(bench: Bench, ledger: Ledger, use: Use, as_of: AsOf) -> Answer:
    """Groups that are not allowed as the terms of that day stand, with their rows."""
    found, total = [], 0
    for group in groups(ledger):
        total += group.rows
        decision = decide_offering(
            use,
            bench.register,
            group.offering,
            bench.today,
            in_force=as_of.day(group.day, bench.today),
            collected=group.day,
            given=given_of(bench, group),
            records=bench.records,
        )
        if decision.level >= Level.NEEDS_ACK:
            worst = decision.reasons[0]
            found.append((group, decision.level.name, worst.clause or str(worst.code), worst.text))
    ids = _listed(ledger, [group for group, *_ in found])
    rows = [
        {
            "offering": group.offering,
            "asked": group.model,
            "served": group.served or "(not said)", "said": group.served,
            "day": group.day.isoformat(),
            "rows": group.rows, "level": level, "clause": clause, "why": why,
            "terms_pin": group.pin, "ids": ids.get(group, []),
        }
        for group, level, clause, why in found
    ]  # fmt: skip
    count = sum(group.rows for group, *_ in found)
    question = (
        f"Rows that may not serve {use.purpose} ({use.distribution}), terms as of {as_of.word}"
    )
    return Answer(
        question,
        ("offering", "served", "day", "rows", "level", "clause"),
        rows,
        (f"{count:,} of {total:,} rows; --ids prints one a line",),
    )


def ids_of(ledger: Ledger, wanted: Sequence[Group]) -> Iterator[tuple[Group, str]]:
    """(group, row id) of every row of some groups, in order of the log."""
    by_key: dict[tuple[Any, ...], Group] = {
        (one.offering, one.model, one.served, one.days): one for one in wanted
    }
    columns = [list(column) for column in zip(*by_key, strict=True)] if by_key else [[], [], [], []]
    for *key, prompt, sample in ledger.each(_IDS, columns):
        yield by_key[tuple(key)], f"{prompt}#{sample}"


def ids_in(ledger: Ledger, answer: Answer) -> Iterator[str]:
    """Every row id of an answer, those of one group together."""
    if any("became" in row for row in answer.rows):
        yield from (name for row in answer.rows for name in row["ids"])
        return
    wanted = {(row["offering"], row["asked"], row["said"], row["day"]) for row in answer.rows}
    chosen = [
        one
        for one in groups(ledger)
        if (one.offering, one.model, one.served, one.day.isoformat()) in wanted
    ]
    for _, name in ids_of(ledger, chosen):
        yield name


def use_of(bench: Bench, purpose: str, distribution: str) -> Use:
    """The project's use for another purpose. Raises BadInput naming the words that exist."""
    use = bench.project.sections.use
    try:
        said = {"purpose": Purpose(purpose)}
        if distribution:
            said["distribution"] = Distribution(distribution)  # type: ignore[assignment]
    except ValueError as error:
        words = ", ".join([*Purpose, *Distribution])
        raise BadInput(str(error), where="--forbids", fix=f"one of {words}") from error
    return use.model_copy(update=said)


def _listed(ledger: Ledger, wanted: Sequence[Group]) -> dict[Group, list[str]]:
    """The ids where they are few enough for one document."""
    if sum(one.rows for one in wanted) > LISTED:
        return {}
    listed: dict[Group, list[str]] = {}
    for group, name in ids_of(ledger, wanted):
        listed.setdefault(group, []).append(name)
    return listed


def same_model(asked: str, served: str) -> bool:
    """Whether the model that answered is the one that was asked for, or its dated snapshot."""
    one, other = (name.lower().removeprefix("models/") for name in (asked, served))
    for longer, shorter in ((one, other), (other, one)):
        if longer.startswith(shorter) and shorter:
            rest = longer[len(shorter) :]
            if not rest or _DATED.fullmatch(rest):
                return True
    return False


_SERVED = f"""
SELECT a.offering, a.model, o.served_model, a.at_ms // {DAY} AS day,
       CASE o.class WHEN 'ok' THEN 'kept as an answer' ELSE 'no row: ' || o.kind END AS became,
       count(*), list(a.prompt_id || '#' || a.sample ORDER BY a.seq)[:{LISTED}]
FROM attempt a JOIN outcome o ON o.attempt = a.id
WHERE o.class = 'ok' OR o.served_model <> ''
GROUP BY a.offering, a.model, o.served_model, day, became
HAVING o.served_model <> a.model ORDER BY day, a.offering, o.served_model
"""  # noqa: S608


def served_mismatch(ledger: Ledger) -> Answer:
    """Answers of another model than was asked for, or of one that is not named."""
    rows = [
        {
            "offering": offering, "asked": model, "served": served or "(not said)", "said": served,
            "day": Group(offering, model, served, day, "", 0).day.isoformat(), "rows": count,
            "became": became, "ids": ids,
        }
        for offering, model, served, day, became, count, ids in ledger.rows(_SERVED)
        if not served or not same_model(model, served)
    ]  # fmt: skip
    kept = sum(row["rows"] for row in rows if row["became"].startswith("kept"))
    return Answer(
        "Rows that another model answered than was asked for",
        ("offering", "asked", "served", "day", "rows", "became"),
        rows,
        (f"{sum(row['rows'] for row in rows):,} answers, {kept:,} of them kept",),
    )
