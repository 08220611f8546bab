"""The golden bodies, read: see README.md beside this file."""

import json
from pathlib import Path
from typing import Any

from synth.config import Sampling, Teacher

HERE = Path(__file__).parent
DIALECTS = ("openai", "responses", "anthropic", "gemini")
ASKED = ({"role": "user", "content": "Hi"},)


def requests(dialect: str) -> list[dict[str, Any]]:
    """Settings, and the path and the body that must come of them."""
    found: list[dict[str, Any]] = read(f"{dialect}/requests.json")
    return found


def replies(dialect: str) -> list[dict[str, Any]]:
    """Bodies of a 200, and what must be read out of them."""
    found: list[dict[str, Any]] = read(f"{dialect}/replies.json")
    return found


def errors() -> list[dict[str, Any]]:
    """Bodies of other statuses, and what must follow."""
    found: list[dict[str, Any]] = read("errors.json")
    return found


def conversation() -> tuple[dict[str, Any], ...]:
    """A system turn, two pictures, a tool call with its result, a last question."""
    return tuple(read("conversation.json"))


def parts(case: dict[str, Any], dialect: str) -> tuple[Teacher, Sampling, tuple[Any, ...], int]:
    """What `build` is given in a case."""
    teacher = {"adapter": case.get("adapter", dialect), **case["teacher"]}
    messages = conversation() if case.get("conversation") else ASKED
    sampling = Sampling.model_validate(case["sampling"])
    return Teacher.model_validate(teacher), sampling, messages, case.get("sample", 0)


def read(name: str) -> Any:
    """One file."""
    return json.loads((HERE / name).read_text(encoding="utf-8"))
