"""May it be done? A pure answer with its reasons: same question, same day, same answer.

It never raises: what is unknown, unreviewed, out of date or not spoken of is DENY, and says so.

    >>> terms = load_register().find("deepseek-api", today)
    >>> decide(Use(purpose="evaluate"), terms, today, offering="deepseek-api").level.name
    'ALLOW'
"""

from collections.abc import Iterable
from datetime import date
from enum import StrEnum
from functools import cached_property

from pydantic import Field

from policy.config import Section
from policy.digest import digest
from policy.errors import BadInput
from policy.terms import Confidence, Level, LevelName, Register, Rule, Terms, split_version
from policy.use import Distribution, Purpose, Use

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

    @cached_property
    def digest(self) -> str:
        """The name under which ledgers, manifests and permits refer to it."""
        return digest(self.model_dump(mode="json"))


def decide(
    use: Use,
    terms: Terms | None,
    today: date,
    *,
    offering: str,
    collected: date | None = None,
) -> Decision:
    """Decide one use of one offering; `collected` is the day for rows that are already there.

    For the stricter of the terms at collection and the terms now, decide both and `join` them.
    """
    if terms is None or terms.id != split_version(offering)[0]:
        terms, rules = None, []
        reasons = [_no_terms(offering)]
    else:
        rules = _rules_for(use, terms)
        reasons = [
            *(reason for rule in rules for reason in _clauses(rule, terms)),
            *_faults_of_entry(terms, today, collected),
            *([] if rules else [_silent(use, terms)]),
        ]
    families = _families(rules)
    if terms and families is not None and not _in_family(use.student_base, families):
        reasons.append(_wrong_student(use, terms, families))
    return _decision(
        reasons,
        obligations=(name for rule in rules for name in rule.obligations),
        families=families,
        pins=[terms.pin] if terms else [],
        offerings=[offering],
        use=(use.purpose, use.distribution),
        day=today.isoformat(),
    )


def join(decisions: Iterable[Decision]) -> Decision:
    """One decision over many teachers: the strictest level, all obligations, the common families.

    The order and repetitions do not matter, and a denial stays a denial.
    """
    parts = list(decisions)
    if not parts:
        raise BadInput("there is no decision to join", fix="Decide every offering first.")
    uses = {(part.purpose, part.distribution) for part in parts}
    if len(uses) > 1:
        raise BadInput("decisions about different uses do not join", fix="Decide them for one use.")
    bound = [set(part.student_families) for part in parts if part.student_families is not None]
    families = tuple(sorted(set.intersection(*bound))) if bound else None
    reasons = [reason for part in parts for reason in part.reasons]
    offerings = {name for part in parts for name in part.offering.split(BETWEEN)}
    if families == ():
        reasons.append(_no_common_student())
    return _decision(
        reasons,
        obligations=(name for part in parts for name in part.obligations),
        families=families,
        pins={pin for part in parts for pin in part.terms_pin.split(BETWEEN) if pin},
        offerings=offerings,
        use=uses.pop(),
        day=max(part.date for part in parts),
    )


def allowing(register: Register, use: Use, today: date) -> tuple[str, ...]:
    """The offerings of the register that allow this use today, for somebody who was refused."""
    names = sorted({terms.id for terms in register.all()})
    decisions = (decide(use, register.find(name, today), today, offering=name) for name in names)
    return tuple(each.offering for each in decisions if each.level < Level.NEEDS_ACK)


def _decision(
    reasons: Iterable[Reason],
    *,
    obligations: Iterable[str],
    families: tuple[str, ...] | None,
    pins: Iterable[str],
    offerings: Iterable[str],
    use: tuple[Purpose, Distribution],
    day: str,
) -> Decision:
    """Everything sorted and single, so that a decision does not remember its making."""
    ordered = tuple(sorted(set(reasons), key=_rank))
    level = ordered[0].level
    return Decision(
        offering=BETWEEN.join(sorted(offerings)),
        level=level,
        reasons=ordered,
        obligations=tuple(sorted(set(obligations))),
        student_families=families,
        terms_pin=BETWEEN.join(sorted(pins)),
        purpose=use[0],
        distribution=use[1],
        date=day,
        fix=_fix([reason for reason in ordered if reason.level == level], families),
    )


def _rank(reason: Reason) -> tuple[int, tuple[str, ...]]:
    return -reason.level, tuple(str(value) for value in reason.__dict__.values())


def _rules_for(use: Use, terms: Terms) -> list[Rule]:
    """Every rule that fits. A dataset that everybody gets is also a published dataset."""
    purposes = {use.purpose}
    if use.distribution == Distribution.DATASET_PUBLIC:
        purposes.add(Purpose.PUBLISH_DATASET)
    fitting = [
        rule
        for rule in terms.rules
        if purposes.intersection(rule.purposes)
        and (not rule.distributions or use.distribution in rule.distributions)
    ]
    spoken_of = {purpose for rule in fitting for purpose in rule.purposes}
    return fitting if purposes <= spoken_of else []


def _clauses(rule: Rule, terms: Terms) -> Iterable[Reason]:
    for ref in rule.clauses:
        clause = terms.clause(ref)
        document = terms.document(clause)
        yield Reason(
            offering=terms.id,
            code=Code.CLAUSE,
            level=rule.level,
            text=clause.paraphrase,
            applies=rule.why,
            clause=ref,
            document=document.title,
            document_date=document.date.isoformat(),
            address=document.address,
        )


def _faults_of_entry(terms: Terms, today: date, collected: date | None) -> Iterable[Reason]:
    """What is wrong with the entry itself on that day."""
    review = terms.review
    if review.confidence == Confidence.UNREVIEWED:
        yield _no_terms(terms.id)
    if today < terms.effective:
        yield _about(terms, Code.NOT_IN_FORCE, f"These terms take effect on {terms.effective}.")
    if today > review.expires:
        old_rows = collected is not None and collected < today
        yield _about(
            terms,
            Code.STALE,
            f"The review of these terms by {review.by} on {review.on} expired on "
            f"{review.expires}; they may have changed since.",
            level=Level.NEEDS_ACK if old_rows else Level.DENY,
        )


def _about(terms: Terms, code: Code, text: str, level: Level = Level.DENY) -> Reason:
    document = terms.documents[0]
    return Reason(
        offering=terms.id,
        code=code,
        level=level,
        text=text,
        document=document.title,
        document_date=document.date.isoformat(),
        address=document.address,
    )


def _no_terms(offering: str) -> Reason:
    text = "No reviewed terms are registered for this offering, and silence is a denial."
    return Reason(offering=offering, code=Code.NO_REVIEWED_TERMS, level=Level.DENY, text=text)


def _silent(use: Use, terms: Terms) -> Reason:
    text = f"The entry says nothing about {use.purpose} with {use.distribution}."
    return _about(terms, Code.SILENT, text)


def _wrong_student(use: Use, terms: Terms, families: tuple[str, ...]) -> Reason:
    said = f'is "{use.student_base}"' if use.student_base else "is not stated"
    text = f"The student's base {said}; these terms allow only {BETWEEN.join(families) or 'none'}."
    return _about(terms, Code.STUDENT_FAMILY, text)


def _no_common_student() -> Reason:
    text = "No student base satisfies all of these offerings: their allowed families do not meet."
    return Reason(offering="all", code=Code.NO_COMMON_STUDENT, level=Level.DENY, text=text)


def _families(rules: list[Rule]) -> tuple[str, ...] | None:
    bound = [set(rule.student_families) for rule in rules if rule.student_families]
    return tuple(sorted(set.intersection(*bound))) if bound else None


def _in_family(base: str, families: tuple[str, ...]) -> bool:
    """ "meta-llama/Llama-2-7b" is of the family "llama-2"; "llama-3.1" is not of "llama-3"."""
    name = base.lower().rsplit("/", 1)[-1]
    return any(name == family or name.startswith(f"{family}-") for family in families)


def record_file(kind: str, offering: str) -> str:
    """Where the record that lifts a level lies in the user's project."""
    return f"records/{kind}-{offering.replace('/', '--')}.toml"


def _fix(blocking: list[Reason], families: tuple[str, ...] | None) -> str:
    """What would change it, for exactly the reasons that set the level."""
    lines = dict.fromkeys(_fix_one(reason, families) for reason in blocking)
    return " ".join(line for line in lines if line)


def _fix_one(reason: Reason, families: tuple[str, ...] | None) -> str:
    offering = reason.offering
    if reason.level == Level.NEEDS_PERMISSION:
        return (
            f"Obtain the written permission of the provider of {offering} for this purpose and "
            f"distribution, and cite the document in {record_file('permission', offering)}; "
            "an acknowledgement does not suffice."
        )
    if reason.level == Level.NEEDS_ACK:
        return (
            f"A named person who may decide it records an acknowledgement, with scope, reason and "
            f"expiry, in {record_file('acknowledgement', offering)}."
        )
    if reason.level == Level.ALLOW_WITH:
        return "Meet the obligations before the result leaves you."
    return _fix_denial(reason, families) if reason.level == Level.DENY else ""


def _fix_denial(reason: Reason, families: tuple[str, ...] | None) -> str:
    file = f"terms/{reason.offering.replace('/', '--')}.toml"
    match reason.code:
        case Code.NO_REVIEWED_TERMS | Code.SILENT:
            return f"Add a reviewed entry that cites your agreement, {file}, to your project."
        case Code.STALE:
            return (
                f"Read {reason.document} again; put the entry, with the dates of that review, "
                f"into {file} of your project, or take a newer release."
            )
        case Code.NO_COMMON_STUDENT:
            return "Leave out one of these offerings."
        case Code.NOT_IN_FORCE:
            return "Use the terms that are in force today."
        case Code.STUDENT_FAMILY:
            return f"Set [use] student_base to one of: {BETWEEN.join(families or ()) or 'none'}."
        case _:
            return "Nothing lifts a denial: choose another teacher, or another purpose."
