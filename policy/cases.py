"""Try a situation without a project: a list of cases in, one answer a case out.

    [{"id": "A", "off": "openai-api", "purpose": "train_classifier", "dist": "internal_only"}]

`off` is an offering, a list of them, or a list with counts of rows ("deepseek-api x990"). What is
left out is taken at its worst; a field that is not known is refused, because a misspelt "ack" would
otherwise change the answer without a word. The form is that of the truth table in tests/policy.
"""

import reprlib
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

from policy.case import Case
from policy.config import nearest
from policy.decide import Decision, decide_offering
from policy.digest import digest
from policy.errors import BadInput
from policy.listing import read_json, read_yaml
from policy.records import Record
from policy.rows import Group, Judgement, decide_rows
from policy.terms import Register

FIELDS = frozenset(
    {"id", "off", "at", "now", "purpose", "dist", "feature", "modality", "field", "base", "name"}
    | {"stage", "ack", "permission", "context", "org_region", "requested", "served"}
)
EXPECTED = frozenset(
    {"want", "why", "oblig", "fix", "drop_blocking", "with_basis_at_collection", "note"}
)
"""What a case may say that it should come to; it is kept with the case and does not count."""


def read_cases(path: Path) -> list[dict[str, Any]]:
    """The list of cases of a JSON or YAML file."""
    where = str(path)
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise BadInput(f"cannot be read ({error.strerror})", where=where) from error
    except UnicodeDecodeError as error:
        wrong = f"is not UTF-8 (byte {error.start})"
        raise BadInput(wrong, where=where, fix="Save it as UTF-8.") from error
    try:
        is_json = path.suffix.lower() == ".json" or text.lstrip()[:2] in ("[{", "[]")
        data = read_json(text, where) if is_json else read_yaml(text, where)
    except RecursionError as error:
        raise BadInput("is nested too deeply", where=where, fix="A case has one level.") from error
    if not isinstance(data, list) or not data:
        raise BadInput("is no list of cases", where=where, fix='Write [{"id": "A", ...}].')
    for number, case in enumerate(data, start=1):
        if not isinstance(case, Mapping):
            wrong = f"case {number} is {reprlib.repr(case)}, and no table of fields"
            raise BadInput(wrong, where=where, fix='Write {"id": "A", "off": ...}.')
    return [dict(case) for case in data]


def evaluate_cases(
    cases: list[dict[str, Any]], register: Register, today: date, *, where: str = "cases"
) -> Iterator[dict[str, Any]]:
    """One JSON-able answer a case, in order; nothing at all where one is not understood."""
    read = [_read(case, today, where, number) for number, case in enumerate(cases, start=1)]
    seen: dict[str, int] = {}
    for number, (name, _) in enumerate(read, start=1):
        if seen.setdefault(name, number) != number:
            raise BadInput(
                f'id = "{name}" is also the id of case {seen[name]}',
                where=f"{where}, case {number}",
                fix="Give each case an id of its own.",
            )
    return (_evaluated(name, case, register) for name, case in read)


def evaluate(
    case: Mapping[Any, Any], register: Register, today: date, *, where: str
) -> dict[str, Any]:
    """The answer to one case. Raises BadInput naming the case and the field."""
    return _evaluated(*_read(case, today, where, 0), register)


def _read(case: Mapping[Any, Any], today: date, where: str, number: int) -> tuple[str, Case]:
    fields = {"off" if key is False else str(key): value for key, value in case.items()}
    name = _name(fields.get("id"), where, number)
    here = f"{where}, case {name}" if number else where
    for key in sorted(fields.keys() - FIELDS - EXPECTED):
        guess = nearest(key, sorted(FIELDS))
        fix = f'Did you mean "{guess}"?' if guess else f"Known fields: {', '.join(sorted(FIELDS))}."
        wrong = f'unknown field "{key}" (value {reprlib.repr(fields[key])})'
        raise BadInput(wrong, where=here, fix=fix)
    return name, Case({**fields, "id": name}, here, today)


def _name(said: Any, where: str, number: int) -> str:
    """The id as text; a case without one is called by its place."""
    if said in (None, ""):
        return str(number or "")
    if isinstance(said, bool) or not isinstance(said, str | int):
        raise BadInput(
            f"id = {reprlib.repr(said)} is no name",
            where=f"{where}, case {number}",
            fix='Write it as text, e.g. "T01".',
        )
    return str(said)


def _evaluated(name: str, read: Case, register: Register) -> dict[str, Any]:
    judged = _judged(read, register, ())
    at_collection = _at_collection(read, register, ()) if read.now > read.at else None
    if read.speaks_of_people:
        asking = {reason.offering for reason in judged.decision.reasons}
        records = read.records(asking)
        judged = _judged(read, register, records)
        at_collection = at_collection and _at_collection(read, register, records)
    answer = _answer(name, judged.decision)
    if at_collection:
        answer["at_collection"] = at_collection.level.name
    if read.counted or len(judged.groups) > 1:
        answer["groups"] = [_group(each) for each in judged.groups]
    if read.counted:
        answer["drop_blocking"] = _dropped(judged)
    return answer


def _judged(read: Case, register: Register, records: Sequence[Record]) -> Judgement:
    return decide_rows(
        read.use, register, read.origins, read.now, records=records, given=read.given
    )


def _answer(name: str, decision: Decision) -> dict[str, Any]:
    written = decision.model_dump(mode="json")
    return {
        "id": name,
        "level": written["level"],
        "obligations": written["obligations"],
        "reasons": written["reasons"],
        "fix": written["fix"],
        "offering": written["offering"],
        "digest": decision.digest,
    }


def _group(group: Group) -> dict[str, Any]:
    level = group.decision.level.name
    clauses = [reason.clause for reason in group.decision.reasons if reason.clause]
    return {
        "offering": group.origin.offering,
        "rows": group.rows,
        "level": level,
        "clauses": list(dict.fromkeys(clauses)),
    }


def _dropped(judged: Judgement) -> dict[str, Any]:
    """What is left when the rows that hold up the rest are dropped: a set with its own digest."""
    left = judged.without_blocking()
    if not left.groups:
        return {"rows": 0, "level": "", "new_root": False}
    roots = [_root(each) for each in (judged, left)]
    return {
        "rows": left.rows,
        "level": left.decision.level.name,
        "new_root": roots[0] != roots[1],
    }


def _root(judged: Judgement) -> str:
    return digest([[each.origin.offering, each.rows] for each in judged.groups])


def _at_collection(read: Case, register: Register, records: Sequence[Record]) -> Decision:
    """What the terms of the day of collection say by themselves."""
    decisions = [
        decide_offering(
            read.use,
            register,
            origin.offering,
            read.now,
            in_force=origin.collected,
            collected=origin.collected,
            given=read.given._replace(
                features=origin.features,
                modality=origin.modality,
                requested=origin.requested,
                served=origin.served,
            ),
            records=records,
        )
        for origin in read.origins
    ]
    return max(decisions, key=lambda each: each.level)
