"""Filters on what the answer says."""

import json
from collections.abc import Sequence
from typing import Any

import jsonschema

from synth.config import Filters
from synth.filters.record import Candidate, Verdict, each

_REFUSALS = (
    "i'm sorry, but i can't",
    "i'm sorry, but i cannot",
    "i cannot assist",
    "i can't assist",
    "i can't help with that",
    "i cannot help with that",
    "i'm unable to assist",
    "i am unable to assist",
    "i won't be able to help",
    "as an ai language model",
    "as a large language model",
)
_OPENING = 240  # characters: a refusal says so at once; later it is part of an answer


def refusal(candidates: Sequence[Candidate], settings: Filters) -> list[Verdict]:
    """Drops refusals: by the provider's own field, or by a known phrase in the opening."""
    markers = (*_REFUSALS, *(marker.lower() for marker in settings.refusal_markers))

    def test(candidate: Candidate) -> str:
        if candidate.refusal:
            return "refusal field"
        opening = candidate.text[:_OPENING].lower().replace("’", "'")
        found = next((marker for marker in markers if marker in opening), "")
        return f"says {found!r}" if found else ""

    return each(candidates, test)


def fmt(candidates: Sequence[Candidate], settings: Filters) -> list[Verdict]:
    """Drops answers that are not JSON of the schema that was asked for, whoever promised it."""

    def test(candidate: Candidate) -> str:
        if candidate.json_schema is None:
            return ""
        value = json_object(candidate.text)
        if value is None:
            return "not a JSON object"
        errors = jsonschema.Draft202012Validator(candidate.json_schema).iter_errors(value)
        first = next(iter(errors), None)
        return f"schema: {first.json_path} {first.validator}" if first else ""

    return each(candidates, test)


def reasoning(candidates: Sequence[Candidate], settings: Filters) -> list[Verdict]:
    """Drops answers with a reasoning block that does not close."""
    return each(
        candidates,
        lambda c: "unclosed <think>" if "<think>" in c.text and "</think>" not in c.text else "",
    )


def verify(candidates: Sequence[Candidate], settings: Filters) -> list[Verdict]:
    """Drops answers whose JSON fields differ from the known answer of their prompt."""

    def test(candidate: Candidate) -> str:
        value = json_object(candidate.text)
        if value is None:
            return "not a JSON object"
        for field, column in settings.verify.items():
            if str(value.get(field)) != candidate.expected.get(column):
                return f"{field} differs"
        return ""

    return each(candidates, test)


def json_object(text: str) -> dict[str, Any] | None:
    """The JSON object that a text is, or None."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
