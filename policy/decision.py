"""The answer to a question of use, and how several answers become one.

A decision is whole enough to be judged again by somebody who was not there: every reason carries
its clause, document, date and address. Everything in it is sorted and single, so it does not
remember in which order it was made.

    join([decide(use, one, ...), decide(use, other, ...)]).level     # the stricter of both
"""

from collections.abc import Iterable, Mapping
from enum import StrEnum
from functools import cached_property
from itertools import pairwise
from typing import Any

from pydantic import Field

from policy.clauses import Level, LevelName
from policy.config import Section
from policy.digest import digest
from policy.errors import BadInput
from policy.fixes import fix_for
from policy.use import Distribution, Purpose

BETWEEN = ", "


class Code(StrEnum):
    """The kind of a reason."""

    CLAUSE = "clause"
    NO_REVIEWED_TERMS = "no_reviewed_terms"
    NOT_IN_FORCE = "not_in_force"
    STALE = "stale"
    SILENT = "silent"
    STUDENT_FAMILY = "student_family"
    NO_COMMON_STUDENT = "no_student_base_satisfies_all"
    STUDENT_NAME = "student_name"
    NO_COMMON_NAME = "no_name_satisfies_all"
    SERVED_MODEL = "served_model"
    CAP = "cap"
    STUDENT_BASE = "student_base"


class Reason(Section):
    """Why the level is at least this high."""

    offering: str
    """The offering whose terms say so."""

    code: Code
    """`clause`, or what is missing."""

    level: LevelName
    """The level that follows from this reason alone."""

    text: str
    """The clause in our own words, or what is missing."""

    applies: str = ""
    """How it applies to this use, where that is not plain."""

    clause: str = ""
    """The clause's number or heading."""

    document: str = ""
    """The document's title."""

    document_date: str = ""
    """The document's date."""

    address: str = ""
    """Where to read it."""

    fix: str = ""
    """What would change it, where that depends on this very case."""

    lifted_by: str = ""
    """Digest of the acknowledgement or permission that lowered its level; empty where none did."""


class Decision(Section):
    """The answer, whole enough to be judged again by somebody who was not there."""

    offering: str
    """The offering, or several in alphabetical order."""

    level: LevelName
    """The strictest level of all reasons."""

    reasons: tuple[Reason, ...] = Field(min_length=1)
    """Every reason, the strictest first."""

    obligations: tuple[str, ...]
    """Names of what must be done in return."""

    student_families: tuple[str, ...] | None
    """The families of students that may learn from it; None means any."""

    terms_pin: str
    """Digest of the terms entry; empty where there is none."""

    purpose: Purpose
    """What the answers are for."""

    distribution: Distribution
    """Who gets at the result."""

    date: str
    """The day of the decision, ISO 8601."""

    fix: str
    """What would change it: the file and who writes it. Empty where nothing is needed."""

    name_prefixes: tuple[str, ...] = ()
    """What the student's name must begin with."""

    caps: Mapping[str, int] = Field(default_factory=dict)
    """Monthly users and revenue above which more is asked; the smallest of all terms."""

    excluded_regions: tuple[str, ...] = ()
    """Where the organisation must not be established for this answer to hold."""

    retention_days: int | None = None
    """Days after which we must have deleted such answers; None where no text sets a limit."""

    records: tuple[str, ...] = ()
    """Digests of the acknowledgements and permissions that lifted a level."""

    @cached_property
    def digest(self) -> str:
        """The name under which ledgers, manifests and permits refer to it."""
        return digest(self.model_dump(mode="json"))


def join(decisions: Iterable[Decision]) -> Decision:
    """One decision over many teachers: the strictest level, all duties, what is left to each.

    The order and repetitions do not matter, and a denial stays a denial.
    """
    parts = list(decisions)
    if not parts:
        raise BadInput("there is no decision to join", fix="Decide every offering first.")
    if len({(part.purpose, part.distribution) for part in parts}) > 1:
        raise BadInput("decisions about different uses do not join", fix="Decide them for one use.")
    bound = [set(part.student_families) for part in parts if part.student_families is not None]
    families = tuple(sorted(set.intersection(*bound))) if bound else None
    prefixes = sorted({prefix for part in parts for prefix in part.name_prefixes})
    reasons = [reason for part in parts for reason in part.reasons]
    if families == ():
        reasons.append(_no_common("student base", Code.NO_COMMON_STUDENT, "allowed families"))
    if not common_prefix(prefixes):
        reasons.append(_no_common("name", Code.NO_COMMON_NAME, "required beginnings"))
    kept = [part.retention_days for part in parts if part.retention_days is not None]
    return build(
        reasons,
        obligations=(name for part in parts for name in part.obligations),
        families=families,
        pins={pin for part in parts for pin in part.terms_pin.split(BETWEEN) if pin},
        offerings={name for part in parts for name in part.offering.split(BETWEEN)},
        use=(parts[0].purpose, parts[0].distribution),
        day=max(part.date for part in parts),
        name_prefixes=tuple(prefixes),
        caps=smallest(part.caps for part in parts),
        excluded_regions=tuple(sorted({r for part in parts for r in part.excluded_regions})),
        retention_days=min(kept, default=None),
        records=tuple(sorted({record for part in parts for record in part.records})),
    )


def build(
    reasons: Iterable[Reason],
    *,
    obligations: Iterable[str],
    families: tuple[str, ...] | None,
    pins: Iterable[str],
    offerings: Iterable[str],
    use: tuple[Purpose, Distribution],
    day: str,
    **limits: Any,
) -> Decision:
    """Everything sorted and single. Its parts are ours and typed, so they are not checked again."""
    ordered = tuple(sorted(set(reasons), key=rank))
    level = ordered[0].level
    return Decision.model_construct(
        offering=BETWEEN.join(sorted(offerings)),
        level=level,
        reasons=ordered,
        obligations=tuple(sorted(set(obligations))),
        student_families=families,
        terms_pin=BETWEEN.join(sorted(pins)),
        purpose=use[0],
        distribution=use[1],
        date=day,
        fix=fix_for(ordered, families),
        **limits,
    )


def rank(reason: Reason) -> tuple[int, tuple[str, ...]]:
    """The strictest first, then in one fixed order."""
    return -reason.level, tuple(str(value) for value in reason.__dict__.values())


def common_prefix(prefixes: Iterable[str]) -> bool:
    """Whether one name can begin with all of them: each must be the beginning of the next."""
    ordered = sorted(prefixes, key=len)
    return all(longer.startswith(shorter) for shorter, longer in pairwise(ordered))


def smallest(caps: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """Of several caps of one name the lowest."""
    found: dict[str, int] = {}
    for each in caps:
        for name, cap in each.items():
            found[name] = min(cap, found.get(name, cap))
    return dict(sorted(found.items()))


def _no_common(what: str, code: Code, which: str) -> Reason:
    text = f"No {what} satisfies all of these offerings: their {which} do not meet."
    return Reason(offering="all", code=code, level=Level.DENY, text=text)
