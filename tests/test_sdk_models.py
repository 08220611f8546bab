"""The providers' own SDKs accept our golden replies as theirs, and what we send as theirs too."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from synth.teachers import ADAPTERS
from synth.teachers.schemas import plain_schema
from tests import golden
from tests.peers import INSTALL
from tests.sdk_models import SDKS, complaints

PYTHON = Path(__file__).parent.parent / ".venv-peers" / "bin" / "python"
SCHEMAS: list[dict[str, Any]] = [
    {"type": "object", "properties": {"a": {"type": "string", "maxLength": 9}}, "required": ["a"]},
    {"type": "object", "additionalProperties": True, "description": "One.", "maxProperties": 3},
    {"type": "array", "items": {"type": "integer", "minimum": 1}, "minItems": 2},
    {"type": "array", "items": {"enum": ["a", None, 1]}, "minItems": 1},
    {"type": "string", "format": "date"},
    {"type": "string", "format": "iban", "title": "Account"},
    {"type": "string", "enum": ["a", "b"], "description": "One."},
    {"const": 3},
    {"oneOf": [{"type": "null"}, {"type": "object"}]},
    {"anyOf": [{"type": "number", "multipleOf": 2}, {"$ref": "#/$defs/b"}],
     "$defs": {"b": {"type": "boolean"}}},
    {"$ref": "#/$defs/b", "$defs": {"b": {"type": "object", "properties": {}}}},
    {"allOf": [{"type": "object", "properties": {"a": {"type": "null"}}}]},
]  # fmt: skip


def bodies(dialect: str) -> dict[str, list[Any]]:
    """Every body that is the provider's own and not a compatible server's."""
    replies = [one["body"] for one in golden.replies(dialect) if "peer" not in one]
    requests = []
    for case in golden.requests(dialect):
        if "peer" not in case:
            teacher, wanted, messages, sample = golden.parts(case, dialect)
            requests.append(ADAPTERS[teacher.adapter].build(teacher, wanted, messages, sample))
    schemas = [[schema, plain_schema(schema)] for schema in SCHEMAS]
    assert len(replies) >= 5
    assert len(requests) >= 2
    return {"replies": replies, "requests": requests, "schemas": schemas}


@pytest.mark.parametrize("dialect", ["openai", "responses"])
def test_openai_s_sdk_takes_our_bodies(dialect: str) -> None:
    assert list(complaints(SDKS[dialect](), bodies(dialect))) == []


@pytest.mark.servers
@pytest.mark.parametrize("dialect", ["anthropic", "gemini"])
def test_the_provider_s_sdk_takes_our_bodies(dialect: str) -> None:
    assert judged(dialect, bodies(dialect)) == []


@pytest.mark.servers
@pytest.mark.parametrize("dialect", ["anthropic", "gemini"])
def test_the_judges_do_complain(dialect: str) -> None:
    wrong = {
        "replies": [{"content": 3, "candidates": 3}],
        "requests": [{"messages": 3, "contents": 3}],
        "schemas": [[{"type": "object"}, {"type": "object"}]],
    }
    assert len(judged(dialect, wrong)) == (3 if dialect == "anthropic" else 2)


def judged(dialect: str, given: dict[str, list[Any]]) -> list[str]:
    module = {"anthropic": "anthropic", "gemini": "google/genai"}[dialect]
    if not list(PYTHON.parent.parent.glob(f"lib/python3*/site-packages/{module}")):
        pytest.skip(f"no {module}: {INSTALL}")
    done = subprocess.run(
        [PYTHON, "-W", "ignore", Path(__file__).parent / "sdk_models.py", dialect],
        input=json.dumps(given), capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    found: list[str] = json.loads(done.stdout)
    return found
