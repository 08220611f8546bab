"""A log for machines: one JSON line an event, in the words of OpenTelemetry.

    spiritsafe collect project.toml --events run.jsonl
    {"timestamp": "2026-11-24T11:02:03.004Z", "severity_text": "INFO",
     "event_name": "spiritsafe.collect.answer",
     "attributes": {"gen_ai.request.model": "m", "gen_ai.usage.input_tokens": 12, ...}}

Every line stands alone. No prompt, no completion, no key, and no words of the server either, since
an error message may repeat any of them: what was said is in the ledger. A log that cannot be
written is given up, and the run goes on.

Sources: OpenTelemetry logs data model (Timestamp, SeverityText, EventName, Attributes); semantic
conventions for generative AI events (gen_ai.*, error.type, server.*), HTTP (http.response.*).
"""

import json
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO
from urllib.parse import urlsplit

from policy.errors import BadInput
from synth.config import Teacher
from synth.wire import Completion, Failure, Usage

Attributes = Mapping[str, Any]

_PROVIDERS = {
    "openai-api": "openai",
    "anthropic-api": "anthropic",
    "azure-openai": "azure.ai.openai",
    "aws-bedrock": "aws.bedrock",
    "deepseek-api": "deepseek",
    "gemini-api": "gcp.gemini",
    "groq": "groq",
    "mistral-api": "mistral_ai",
    "vertex": "gcp.vertex_ai",
    "xai-enterprise": "x_ai",
}
"""Offerings that the conventions have a word for (`gen_ai.provider.name`); others stand as they
are."""
_NAME = re.compile(r"[\w./:@+-]{1,120}", re.ASCII)
SEVERITY = {"failure": "ERROR", "hold": "ERROR", "retry": "WARN"}


class EventLog:
    """Writes events to one text stream, each with the run's own attributes."""

    def __init__(self, stream: TextIO, clock: Callable[[], float]) -> None:
        self._stream: TextIO | None = stream
        self._clock = clock

    @classmethod
    def open(cls, target: str, standard_output: TextIO, clock: Callable[[], float]) -> "EventLog":
        """Append to a file, or write to standard output for `-`. Raises BadInput."""
        if target == "-":
            return cls(standard_output, clock)
        try:
            return cls(Path(target).open("a", encoding="utf-8"), clock)
        except OSError as error:
            raise BadInput(
                f"cannot be written ({error.strerror})",
                where=f"--events {target}",
                fix="name a file",
            ) from error

    def tell(self, name: str, attributes: Attributes) -> bool:
        """Write one event at once. False where the log was given up."""
        if self._stream is None:
            return False
        moment = datetime.fromtimestamp(self._clock(), UTC).isoformat(timespec="milliseconds")
        line = {
            "timestamp": moment.replace("+00:00", "Z"),
            "severity_text": SEVERITY.get(name, "INFO"),
            "event_name": f"spiritsafe.collect.{name}",
            "attributes": attributes,
        }
        try:
            self._stream.write(json.dumps(line) + "\n")
            self._stream.flush()
        except OSError:
            self._stream = None
            return False
        return True


def of_teacher(teacher: Teacher, proxy: str = "") -> dict[str, Any]:
    """What every event of a run says: who is asked, and where."""
    found: dict[str, Any] = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": _PROVIDERS.get(teacher.offering, teacher.offering),
        "gen_ai.request.model": teacher.model,
    }
    if not teacher.base_url:
        return found
    parts = urlsplit(teacher.base_url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    between = {"spiritsafe.proxy": proxy} if proxy else {}
    return {**found, "server.address": parts.hostname or "", "server.port": port, **between}


def of_result(result: Completion | Failure) -> dict[str, Any]:
    """What a reply says of itself, without a word of its text."""
    found: dict[str, Any] = {}
    if isinstance(result, Failure):
        found["error.type"] = result.kind
        found["spiritsafe.outcome"] = str(result.outcome)
        if result.status:
            found["http.response.status_code"] = result.status
    else:
        found["http.response.status_code"] = 200
        found["gen_ai.response.finish_reasons"] = [_name(result.finish_reason)]
    if result.served_model:
        found["gen_ai.response.model"] = _name(result.served_model)
    if result.provider_request_id:
        found["gen_ai.response.id"] = _name(result.provider_request_id)
    if result.usage and not result.usage.estimated:
        found |= of_usage(result.usage)
    return found


def _name(text: str) -> str:
    """A name that the server gave. One with blanks in it may be anything, a prompt too."""
    return text if _NAME.fullmatch(text) else "(not a name)"


def of_usage(usage: Usage) -> dict[str, int]:
    """Tokens as billed; the two parts only where there are some."""
    found = {
        "gen_ai.usage.input_tokens": usage.prompt_tokens,
        "gen_ai.usage.output_tokens": usage.completion_tokens,
    }
    if usage.cached_tokens:
        found["gen_ai.usage.cache_read.input_tokens"] = usage.cached_tokens
    if usage.reasoning_tokens:
        found["gen_ai.usage.reasoning.output_tokens"] = usage.reasoning_tokens
    return found
