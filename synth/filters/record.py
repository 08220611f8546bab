"""What a filter reads and what it says."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Candidate:
    """One stored completion and the prompt row that it answers."""

    attempt: str
    prompt_id: str
    sample: int
    split: str
    text: str
    finish_reason: str
    refusal: str
    tool_calls: str
    ignored: tuple[str, ...]
    requested_model: str
    served_model: str
    expected: dict[str, Any]
    """The known answer columns of the prompt row."""
    json_schema: dict[str, Any] | None
    """The schema that was asked for."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Keep, or drop with the reason; with a score where there is one."""

    attempt: str
    keep: bool
    reason: str = ""
    score: str = ""


def each(candidates: Any, test: Any) -> list[Verdict]:
    """Verdicts of a test that looks at one candidate: it returns the drop reason, or nothing."""
    found = [(candidate, test(candidate)) for candidate in candidates]
    return [Verdict(candidate.attempt, not reason, reason) for candidate, reason in found]
