"""What the body of an error says, whichever provider wrote it.

    >>> read_error(b'{"error": {"code": 429, "status": "RESOURCE_EXHAUSTED", "details": [{"@type":'
    ...            b' "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "17s"}]}}').wait
    17.0

Shapes: OpenAI and its compatible servers {"error": {message, type, param, code}}; Anthropic
{"type": "error", "error": {type, message, details}, "request_id"}; Google {"error": {code, status,
message, details: [RetryInfo, QuotaFailure, ErrorInfo]}}, or a list of one; Azure's `innererror`;
OpenRouter's `metadata`; Mistral and FastAPI {"detail": [...]}. A verdict rests on codes, never on
prose, with one exception: Anthropic has no code for an empty balance.

Source: anthropic 2.12 (types/shared), google.rpc.error_details, the providers' error pages, bodies
in public issues (tests/golden/errors.json names each).
"""

import json
import re
from typing import Any, NamedTuple

from synth.wire import printable, text_or_empty

_SECONDS = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)s")
_NO_CREDIT = "credit balance is too low"  # Anthropic: 400 invalid_request_error, since 2024
NO_CREDIT = "credit_balance_too_low"


class ErrorBody(NamedTuple):
    """An error body, reduced to what decides."""

    code: str = ""
    """The most telling of its words."""
    message: str = ""
    words: frozenset[str] = frozenset()
    """Every code, type, status and reason in it."""
    param: str = ""
    """The field of the request that it is about."""
    wait: float | None = None
    """Seconds that the body asks us to wait."""
    daily: bool = False
    """A quota of the day is used up: no wait of this run helps."""
    filtered: bool = False
    """A filter's report on this one prompt is attached (Azure, OpenRouter)."""
    request_id: str = ""


def read_error(body: bytes) -> ErrorBody:
    """Any bytes give one."""
    try:
        data: Any = json.loads(body)
    except (ValueError, RecursionError):
        return ErrorBody(message=printable(body[:160].decode("utf-8", "replace")))
    if isinstance(data, list) and data:
        data = data[0]
    whole = data if isinstance(data, dict) else {"message": str(data)}
    error = whole.get("error", whole)
    error = error if isinstance(error, dict) else {"message": str(error)}
    details = error.get("details")
    listed = [one for one in details if isinstance(one, dict)] if isinstance(details, list) else []
    message = _message(error)
    found = _words(error, listed)
    if "invalid_request_error" in found and _NO_CREDIT in message:
        found = [NO_CREDIT, *found]
    return ErrorBody(
        code=printable(found[0])[:80] if found else "",
        message=printable(message)[:240],
        words=frozenset(found),
        param=text_or_empty(error.get("param")),
        wait=_wait(listed),
        daily=_daily(listed),
        filtered="innererror" in error or "reasons" in _table(error.get("metadata")),
        request_id=printable(text_or_empty(whole.get("request_id")))[:120],
    )


def _words(error: dict[str, Any], listed: list[dict[str, Any]]) -> list[str]:
    """The codes of a body, the most telling first."""
    places = [
        _table(error.get("details")).get("error_code"),
        *(one.get("reason") for one in listed),
        error.get("code"),
        error.get("type"),
        error.get("status"),
        _table(error.get("innererror")).get("code"),
        _table(error.get("metadata")).get("error_type"),
        *(one.get("type") for one in _faults(error)),
    ]
    return [place for place in places if isinstance(place, str) and place]


def _message(error: dict[str, Any]) -> str:
    plain = text_or_empty(error.get("message")) or text_or_empty(error.get("detail"))
    faults = [f"{_dotted(one.get('loc'))} {one.get('msg')}".strip() for one in _faults(error)]
    return plain or "; ".join(faults)


def _faults(error: dict[str, Any]) -> list[dict[str, Any]]:
    """FastAPI's list of what is wrong with a body; Mistral also puts it inside `message`."""
    detail = _table(error.get("message")).get("detail", error.get("detail"))
    return [one for one in detail if isinstance(one, dict)] if isinstance(detail, list) else []


def _dotted(place: Any) -> str:
    return ".".join(str(part) for part in place) if isinstance(place, list) else ""


def _wait(listed: list[dict[str, Any]]) -> float | None:
    """RetryInfo's delay, as a protobuf duration."""
    for detail in listed:
        match = _SECONDS.fullmatch(text_or_empty(detail.get("retryDelay")))
        if match:
            return float(match.group(1))
    return None


def _daily(listed: list[dict[str, Any]]) -> bool:
    violations = [_table(one) for detail in listed for one in _list(detail.get("violations"))]
    return any("PerDay" in text_or_empty(one.get("quotaId")) for one in violations)


def _table(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
