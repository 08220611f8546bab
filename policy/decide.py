"""May it be done? A pure answer with its reasons: same question, same day, same answer.

    >>> terms = load_register().find("deepseek-api", today)
    >>> decide(Use(purpose="evaluate"), terms, today, offering="deepseek-api").level.name
    'ALLOW'

`decide` asks one entry. `decide_offering` takes a name as people write it, such as
`deepseek-r1@aws-bedrock` or `student-of(llama-3.1)`, and joins every text that binds: the
channel's, the model's own, the licence of the weights it was made from.
"""

from collections.abc import Iterator, Sequence
from datetime import date
from typing import NamedTuple

from policy.answer import decide, decide_one, denied, no_terms
from policy.clauses import Level
from policy.decision import Code, Decision, Reason, build, join
from policy.entry import Terms
from policy.fixes import record_file
from policy.names import name_faults
from policy.own import STUDENT_OF
from policy.records import Record
from policy.rules import about, is_own_feature
from policy.terms import HOME, Register, split_version
from policy.use import BEFORE_SENDING, NOTHING_GIVEN, Distribution, Given, Purpose, Use

__all__ = [
    "Code",
    "Decision",
    "Reason",
    "allowing",
    "decide",
    "decide_offering",
    "join",
    "record_file",
]

GENERATIONS = 32
"""Students of students that are followed; nobody has seen more than a handful."""
NO_STUDENT = {Purpose.EVALUATE, Purpose.PUBLISH_DATASET, Purpose.PUBLISH_BENCHMARK}


def decide_offering(
    use: Use,
    register: Register,
    offering: str,
    today: date,
    *,
    in_force: date | None = None,
    collected: date | None = None,
    given: Given = NOTHING_GIVEN,
    records: Sequence[Record] = (),
) -> Decision:
    """Decide an offering as it is named, with everything that binds it.

    `in_force` is the day whose terms are asked, today where it is not given: pass the day of
    collection to hear what the terms of that day say.
    """
    day = in_force or today
    decisions = [
        _decide_part(use, register, part, today, collected, records)
        for part in parts_of(register, offering, day, given)
    ]
    base = register.licence_of(use.student_base, day) if use.student_base else None
    if base and _brings_duties(use, base):
        decisions.append(_with_base(use, base, today, given))
    return decisions[0] if len(decisions) == 1 else join(decisions)


def allowing(register: Register, use: Use, today: date) -> tuple[str, ...]:
    """The offerings of the register that allow this use today, for somebody who was refused."""
    decided = ((name, decide_offering(use, register, name, today)) for name in register.names())
    return tuple(name for name, each in decided if each.level < Level.NEEDS_ACK)


def _decide_part(
    use: Use,
    register: Register,
    part: "Part",
    today: date,
    collected: date | None,
    records: Sequence[Record],
) -> Decision:
    terms = part.terms
    if terms is None:
        missing = part.missing or no_terms(part.offering)
        return denied(use, part.offering, today, part.offering, [missing])
    stale = register.stale.get(terms.pin, "") if register.stale else ""
    return decide_one(use, terms, today, part.offering, collected, part.given, records, stale)


class Part(NamedTuple):
    """One text that binds; without terms, what is missing."""

    offering: str
    terms: Terms | None
    given: Given
    missing: Reason | None = None


def parts_of(register: Register, offering: str, on: date, given: Given) -> Iterator[Part]:
    """Every text that binds a name: teachers of a student, channel, model, weights."""
    if offering.count(STUDENT_OF) > GENERATIONS:
        yield Part(offering, None, given)
        return
    if offering.startswith(STUDENT_OF) and offering.endswith(")"):
        leaving = Given(stage=given.stage, name=given.name)
        for teacher in _split(offering[len(STUDENT_OF) : -1]):
            yield from parts_of(register, _weights_of(register, teacher, on), on, leaving)
        return
    name, model = _channel_and_model(register, offering, on)
    terms = register.find(_staged(register, name, given), on)
    if terms is None:
        yield Part(offering, None, given)
        return
    yield Part(terms.id if model or name != offering else offering, terms, given)
    for other in terms.inherits:
        yield from parts_of(register, other, on, given._replace(served="", requested=""))
    if terms.channel or model:
        yield from _upstream(register, terms, _answered(given, model), on, given)


def _weights_of(register: Register, teacher: str, on: date) -> str:
    """A teacher is an offering; where it is named as a bare model, the offering of its weights."""
    if register.history(teacher) or "@" in teacher or "(" in teacher:
        return teacher
    licence = register.licence_of(teacher, on)
    return licence.id if licence else teacher


def _upstream(
    register: Register, channel: Terms, model: str, on: date, given: Given
) -> Iterator[Part]:
    """The model's own terms behind a channel. What nobody named or registered is a denial."""
    licence = register.licence_of(model, on) if model else None
    if licence is None:
        said = f'"{model}"' if model else "not known"
        text = f"The model that answered is {said}, whose own terms bind and are not registered."
        missing = about(channel, Code.SERVED_MODEL, text)
        yield Part(f"{model or 'unknown'} through {channel.id}", None, given, missing)
        return
    features = tuple(each for each in given.features if not is_own_feature(channel, each))
    passed_on = given._replace(features=features, served="", requested="")
    yield from parts_of(register, licence.id, on, passed_on)


def _answered(given: Given, model: str) -> str:
    """The model that answered; before anything is sent, the one that will be asked for."""
    if given.served:
        return given.served
    if model:
        return model
    return given.requested if given.stage in BEFORE_SENDING else ""


def _channel_and_model(register: Register, offering: str, on: date) -> tuple[str, str]:
    """("aws-bedrock", "deepseek-r1") of either way to write it; no model where it stands alone."""
    if register.find(offering, on) or register.history(offering):
        return offering, ""
    bare = split_version(offering)[0]
    model, _, channel = bare.rpartition("@")
    if not model:
        channel, _, model = bare.partition("/")
    if register.history(f"{channel}/{model}"):
        return f"{channel}/{model}", ""
    if model and register.find(channel, on):
        return channel, model
    return offering, ""


def _staged(register: Register, name: str, given: Given) -> str:
    """A preview has terms of its own."""
    preview = f"{name}/preview-model"
    return preview if "preview" in given.features and register.history(preview) else name


def _split(teachers: str) -> list[str]:
    """The teachers between the brackets, who may be students themselves."""
    found, depth = [""], 0
    for letter in teachers:
        depth += (letter == "(") - (letter == ")")
        if letter == "," and depth == 0:
            found.append("")
        else:
            found[-1] += letter
    return [each.strip() for each in found]


def _brings_duties(use: Use, base: Terms) -> bool:
    return bool(
        base.id.endswith(HOME)
        and base.base_obligations
        and use.distribution != Distribution.INTERNAL_ONLY
        and use.purpose not in NO_STUDENT
    )


def _with_base(use: Use, base: Terms, today: date, given: Given) -> Decision:
    """The duties of the weights that the student starts from, which it hands on with itself."""
    duties = [base.obligations[name] for name in base.base_obligations]
    text = f'The student starts from "{use.student_base}" and leaves the house with these weights.'
    clause = duties[0].clause
    reasons = [about(base, Code.STUDENT_BASE, text, Level.ALLOW_WITH, clause=clause)]
    if given.stage == "publish":
        reasons += [
            about(base, Code.STUDENT_NAME, wrong, clause=duty.clause, fix=fix)
            for duty, wrong, fix in name_faults(given.name, duties)
        ]
    return build(
        reasons,
        obligations=base.base_obligations,
        families=None,
        pins=[base.pin],
        offerings=[base.id],
        use=(use.purpose, use.distribution),
        day=today.isoformat(),
        name_prefixes=tuple(sorted({duty.name_prefix for duty in duties if duty.name_prefix})),
    )
