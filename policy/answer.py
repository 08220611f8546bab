"""One use of one offering under one entry. It never raises: what is missing is a denial.

    decide(use, register.find("deepseek-api", today), today, offering="deepseek-api")

What is unknown, unreviewed, out of date or not spoken of is DENY, and says so. An acknowledgement
lifts what needs one, a permission what needs one, and nothing lifts a denial.
"""

from collections.abc import Iterator, Sequence
from datetime import date

from policy.clauses import Confidence, Level
from policy.decision import BETWEEN, Code, Decision, Reason, build
from policy.entry import Terms
from policy.names import name_faults
from policy.records import Record, lifted
from policy.rules import Part, about, caps_of, part_for
from policy.terms import split_version
from policy.use import BEFORE_SENDING, NOTHING_GIVEN, Given, Use


def decide(
    use: Use,
    terms: Terms | None,
    today: date,
    *,
    offering: str,
    collected: date | None = None,
    given: Given = NOTHING_GIVEN,
    records: Sequence[Record] = (),
    stale: str = "",
) -> Decision:
    """Decide one use of one offering; `collected` is the day for rows that are already there.

    A channel, and weights made from other people's, are denied here, because other terms bind too:
    `decide_offering` finds those. `stale` says why the entry is thought to have moved.
    """
    if terms is not None and (terms.channel or terms.inherits):
        return denied(use, terms.id, today, offering, [_not_alone(terms)])
    return decide_one(use, terms, today, offering, collected, given, records, stale)


def decide_one(
    use: Use,
    terms: Terms | None,
    today: date,
    offering: str,
    collected: date | None,
    given: Given,
    records: Sequence[Record],
    stale: str = "",
) -> Decision:
    """The same for callers that ask the other terms which bind as well."""
    if terms is None or not terms.is_named(split_version(offering)[0]):
        return denied(use, offering, today, offering, [no_terms(offering)])
    if terms.review.confidence == Confidence.UNREVIEWED:
        return denied(use, offering, today, offering, [_unreviewed(terms)], terms.pin)
    part = part_for(use, terms, given)
    more = [
        *_faults(use, terms, today, collected, given, part),
        *_stale(terms, today, collected, given, stale),
    ]
    if not more and (not records or part.level <= Level.ALLOW_WITH or part.level == Level.DENY):
        return _as_it_stands(part, use, terms, today, offering)
    duties = {*part.obligations, *_above_caps(use, terms)}
    reasons, used = lifted([*part.reasons, *more], records, use, terms, today, bound=bool(duties))
    return build(
        reasons,
        obligations=duties,
        families=part.families,
        pins=[terms.pin],
        offerings=[offering],
        use=(use.purpose, use.distribution),
        day=today.isoformat(),
        name_prefixes=part.name_prefixes,
        caps=part.caps,
        excluded_regions=part.excluded_regions,
        retention_days=part.retention_days,
        records=used,
    )


def _as_it_stands(part: Part, use: Use, terms: Terms, today: date, offering: str) -> Decision:
    """The part with its day. This is nearly every decision, so nothing is worked out again."""
    return Decision.model_construct(
        offering=offering,
        level=part.level,
        reasons=part.reasons,
        obligations=part.obligations,
        student_families=part.families,
        terms_pin=terms.pin,
        purpose=use.purpose,
        distribution=use.distribution,
        date=today.isoformat(),
        fix=part.fix,
        name_prefixes=part.name_prefixes,
        caps=part.caps,
        excluded_regions=part.excluded_regions,
        retention_days=part.retention_days,
        records=(),
    )


def denied(
    use: Use, about_whom: str, today: date, offering: str, reasons: list[Reason], pin: str = ""
) -> Decision:
    """A denial for want of something that no rule could give."""
    return build(
        reasons,
        obligations=(),
        families=None,
        pins=[pin] if pin else [],
        offerings=[offering],
        use=(use.purpose, use.distribution),
        day=today.isoformat(),
    )


def no_terms(offering: str) -> Reason:
    """The reason for what nobody registered."""
    text = "No reviewed terms are registered for this offering, and silence is a denial."
    return Reason(offering=offering, code=Code.NO_REVIEWED_TERMS, level=Level.DENY, text=text)


def _unreviewed(terms: Terms) -> Reason:
    clause = terms.clauses[0]
    text = f"No reviewed terms: the governing text was not read. {clause.paraphrase}"
    return about(terms, Code.NO_REVIEWED_TERMS, text)


def _not_alone(terms: Terms) -> Reason:
    text = (
        "Other terms bind as well, and which they are was not said: the model that answered, or "
        "the weights it was made from."
    )
    return about(terms, Code.SERVED_MODEL, text)


def _faults(
    use: Use, terms: Terms, today: date, collected: date | None, given: Given, part: Part
) -> Iterator[Reason]:
    """What is wrong with the entry on that day, or with this very case."""
    yield from _not_in_force(terms, today, collected)
    if part.families is not None and not in_family(use.student_base, part.families):
        said = f'is "{use.student_base}"' if use.student_base else "is not stated"
        allowed = BETWEEN.join(part.families) or "none"
        text = f"The student's base {said}; these terms allow only {allowed}."
        yield about(terms, Code.STUDENT_FAMILY, text)
    if given.served and not terms.channel and not _is_served(given.served, terms):
        text = f'The model that answered, "{given.served}", is not under these terms.'
        yield about(terms, Code.SERVED_MODEL, text)
    if given.stage == "publish":
        duties = [terms.obligations[name] for name in part.obligations]
        for duty, wrong, fix in name_faults(given.name, duties):
            yield about(terms, Code.STUDENT_NAME, wrong, clause=duty.clause, fix=fix)
    for name in _above_caps(use, terms):
        duty = terms.obligations[name]
        text = f"The size that was stated is above the cap. {duty.text}"
        yield about(terms, Code.CAP, text, duty.above_cap, clause=duty.clause)


def _not_in_force(terms: Terms, today: date, collected: date | None) -> Iterator[Reason]:
    if today < terms.effective:
        yield about(terms, Code.NOT_IN_FORCE, f"These terms take effect on {terms.effective}.")
    if terms.until is not None and (collected or today) > terms.until:
        yield about(terms, Code.NOT_IN_FORCE, f"These terms held until {terms.until}.")


def _stale(
    terms: Terms, today: date, collected: date | None, given: Given, moved: str
) -> list[Reason]:
    """Collection stops; what is there already may be used if a named person answers for it."""
    review = terms.review
    if today > review.expires:
        moved = (
            f"The review of these terms by {review.by} on {review.on} expired on {review.expires}"
        )
    if not moved:
        return []
    sending = given.stage in BEFORE_SENDING
    at_work = bool(given.stage) and not sending
    there = collected is not None and not sending and (collected < today or at_work)
    level = Level.NEEDS_ACK if there else Level.DENY
    return [about(terms, Code.STALE, f"{moved}; they may say something else now.", level)]


def _above_caps(use: Use, terms: Terms) -> tuple[str, ...]:
    """The duties that bite because of size, whatever the answers are for."""
    if not (use.monthly_users or use.monthly_revenue_usd):
        return ()
    has = {
        "monthly_users": use.monthly_users or 0,
        "monthly_revenue_usd": use.monthly_revenue_usd or 0,
    }
    return tuple(
        name
        for name, duty in terms.obligations.items()
        if any(has[cap] > limit for cap, limit in caps_of(duty).items())
    )


def _is_served(served: str, terms: Terms) -> bool:
    bare = served.lower().rsplit("/", 1)[-1]
    return terms.covers(served) or terms.covers(bare) or bare == terms.id.split("@", 1)[0]


def in_family(base: str, families: tuple[str, ...]) -> bool:
    """ "meta-llama/Llama-2-7b" is of the family "llama-2"; "llama-3.1" is not of "llama-3"."""
    name = base.lower().rsplit("/", 1)[-1].split("@", 1)[0]
    return any(name == family or name.startswith(f"{family}-") for family in families)
