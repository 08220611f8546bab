"""What a case says that people said: its `ack` and `permission`, as records of that situation.

    records_said("ack", {"scope": ["evaluate"], "expires": "2027-01-31"}, ["openai-api"], asked)

A word says that there is one, that there is none or that it has ended. A table gives scope, dates
and offering. What is not understood is refused: it must not lift a level by accident.
"""

import re
from collections.abc import Iterable, Mapping
from datetime import date
from typing import Any, NamedTuple

from policy.config import nearest, parse
from policy.digest import digest
from policy.errors import BadInput
from policy.records import Kind, Record
from policy.use import Distribution, Purpose

KINDS = {"ack": Kind.ACKNOWLEDGEMENT, "permission": Kind.PERMISSION}
YES = {"present", "yes", "true", "valid", "given", "signed", "attached", "current", "on file"}
NO = {"", "absent", "no", "missing", "false", "not given", "null", "~"}
VOID = re.compile(
    r"\b(none|expired|past|ended|lapsed|revoked|withdrawn|invalid|void|foreign|wrong|mismatch\w*"
    r"|other|another|unsigned|draft|pending|requested|without|out of scope)\b"
)
"""Words of a record that lifts nothing here."""
NAMES = {
    "scope": "purposes",
    "dist": "distributions",
    "off": "offering",
    "from": "on",
    "until": "expires",
}
FLAGS = {"valid": True, "expired": False, "revoked": False}
FIELDS = set(Record.model_fields) - {"kind", "document_file", "how"}


class Asked(NamedTuple):
    """The case around it."""

    id: str
    now: date
    where: str


def records_said(field: str, said: Any, offerings: Iterable[str], asked: Asked) -> list[Record]:
    """The records, one for each offering where the case names none."""
    told = _told(field, said, asked)
    if told is None:
        return []
    about = [told.pop("offering")] if "offering" in told else sorted(offerings)
    found = []
    for offering in about:
        data = {
            "by": "a named person of this case",
            "reason": "Assumed for this case.",
            "document": "the case itself",
            "document_sha256": digest(asked.id),
            "on": asked.now,
            "expires": asked.now,
            "purposes": list(Purpose),
            "distributions": list(Distribution),
            **told,
            "kind": KINDS[field].value,
            "offering": offering,
        }
        found.append(parse(Record, data, where=f"{asked.where}: {field}"))
    return [each for each in found if each.on <= asked.now <= each.expires]


def _told(field: str, said: Any, asked: Asked) -> dict[str, Any] | None:
    """The keys of a record that are told; None where there is no record that counts."""
    if said is None or said is False:
        return None
    if said is True:
        return {}
    if isinstance(said, str):
        return {} if _flag(field, said, asked) else None
    if not isinstance(said, Mapping):
        raise _bad(field, said, asked)
    told: dict[str, Any] = {}
    counts = True
    for key, value in said.items():
        if key in FLAGS:
            counts &= _flag(f"{field}.{key}", value, asked) is FLAGS[key]
        else:
            told[_name(field, key, value, asked)] = _listed(key, value)
    if told.get("expires") and told.get("on") is None:
        told["on"] = min(asked.now, _day(told["expires"]) or asked.now)
    return told if counts else None


def _name(field: str, key: Any, value: Any, asked: Asked) -> str:
    name = NAMES.get(str(key), str(key))
    if name not in FIELDS:
        known = sorted({*FIELDS, *NAMES, *FLAGS})
        guess = nearest(str(key), known)
        raise BadInput(
            f'{field}: unknown key "{key}" (value {value!r:.60})',
            where=asked.where,
            fix=f'Did you mean "{guess}"?' if guess else f"Known keys: {', '.join(known)}.",
        )
    return name


def _listed(key: Any, value: Any) -> Any:
    """One purpose may stand without brackets."""
    many = NAMES.get(str(key), str(key)) in ("purposes", "distributions")
    return [value] if many and isinstance(value, str) else value


def _day(value: Any) -> date | None:
    try:
        return value if isinstance(value, date) else date.fromisoformat(str(value))
    except ValueError:
        return None  # the record's own check says so, with the key


def _flag(field: str, value: Any, asked: Asked) -> bool:
    if isinstance(value, bool):
        return value
    word = " ".join(value.lower().replace("_", " ").split()) if isinstance(value, str) else None
    if word in YES:
        return True
    if word is not None and (word in NO or VOID.search(word)):
        return False
    raise _bad(field, value, asked)


def _bad(field: str, value: Any, asked: Asked) -> BadInput:
    return BadInput(
        f"{field} = {value!r:.60} says neither that there is one nor its scope",
        where=asked.where,
        fix="Write present, absent, or a table with scope and expires.",
    )
