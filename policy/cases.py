"""Try a situation without a project: a list of cases in, one answer a case out.

    [{"id": "A", "off": "openai-api", "purpose": "train_classifier", "dist": "internal_only"}]

`off` is an offering, a list of them, or a list with counts of rows ("deepseek-api x990"). What is
left out is taken at its worst; a field that is not known is refused, because a misspelt "ack" would
otherwise change the answer without a word. The form is that of the truth table in tests/policy.
"""

import importlib
import json
from collections.abc import Iterator, Mapping
from datetime import date
from pathlib import Path
from typing import Any

from policy.case import Case
from policy.config import nearest
from policy.decide import Decision, decide_offering
from policy.digest import digest
from policy.errors import BadInput
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
    """A JSON list of cases, or a YAML one where PyYAML is installed."""
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"cannot be read ({error})", where=str(path)) from error
    data = _yaml(text, path) if path.suffix in (".yaml", ".yml") else _json(text, path)
    if not isinstance(data, list) or not all(isinstance(case, Mapping) for case in data):
        raise BadInput("is no list of cases", where=str(path), fix='Write [{"id": "A", ...}].')
    return [dict(case) for case in data]


def evaluate_cases(
    cases: list[dict[str, Any]], register: Register, today: date, *, where: str = "cases"
) -> Iterator[dict[str, Any]]:
    """One JSON-able answer a case, in order."""
    for number, case in enumerate(cases, start=1):
        name = str(case.get("id", number))
        yield evaluate(case, register, today, where=f"{where}, case {name}", name=name)


def evaluate(
    case: Mapping[Any, Any], register: Register, today: date, *, where: str, name: str = ""
) -> dict[str, Any]:
    """The answer to one case. Raises BadInput naming the case and the field."""
    case = {"off" if key is False else str(key): value for key, value in case.items()}
    for key in case.keys() - FIELDS - EXPECTED:
        guess = nearest(str(key), sorted(FIELDS))
        fix = f'Did you mean "{guess}"?' if guess else f"Known fields: {', '.join(sorted(FIELDS))}."
        raise BadInput(f'unknown field "{key}"', where=where, fix=fix)
    read = Case(case, where, today)
    judged = decide_rows(
        read.use,
        register,
        read.origins,
        read.now,
        records=read.records(register),
        given=read.given,
    )
    answer = _answer(name or str(case.get("id", "")), judged.decision)
    if read.now > read.at:
        answer["at_collection"] = _at_collection(read, register).level.name
    if read.counted or len(judged.groups) > 1:
        answer["groups"] = [_group(each) for each in judged.groups]
    if read.counted:
        answer["drop_blocking"] = _dropped(judged)
    return answer


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


def _at_collection(read: Case, register: Register) -> Decision:
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
            records=read.records(register),
        )
        for origin in read.origins
    ]
    return max(decisions, key=lambda each: each.level)


def _json(text: str, path: Path) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise BadInput(f"is not JSON: {error}", where=str(path)) from error


def _yaml(text: str, path: Path) -> Any:
    """Words only: YAML's own idea of `off` is the truth value false, and ours is an offering."""
    try:
        yaml = importlib.import_module("yaml")
    except ImportError as error:
        raise BadInput(
            "is YAML, and PyYAML is not installed", where=str(path), fix="Install it, or use JSON."
        ) from error
    try:
        return yaml.load(text, Loader=yaml.BaseLoader)
    except yaml.YAMLError as error:
        raise BadInput(f"is not YAML: {error}", where=str(path)) from error
