"""The fake teacher in the other dialects: their paths, their key headers, their bodies.

    with DialectTeacher("anthropic", api_key="sk-1") as teacher:
        teacher.base_url            # a project's adapter = "anthropic" asks it
    teacher.seen[0].headers         # what arrived

Faults are those of tests/fake_teacher.py: a status, a reset or broken bytes are the same in all.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from tests import fake_teacher as fake
from tests.fake_teacher import Action, FakeTeacher, Json, Script

MODEL = "smollm2-135m"
VERSION = "2024-10-21"
PATHS = {
    "openai": ("/v1", "/chat/completions"),
    "azure": ("", f"/openai/deployments/{MODEL}/chat/completions?api-version={VERSION}"),
    "responses": ("/v1", "/responses"),
    "anthropic": ("", "/v1/messages"),
    "gemini": ("/v1beta", f"/models/{MODEL}:generateContent"),
}
"""What a project writes as base_url, and what the adapter adds."""
KEY_HEADERS = {"azure": "api-key", "anthropic": "x-api-key", "gemini": "x-goog-api-key"}
SETTINGS: dict[str, dict[str, str]] = {"azure": {"api_version": VERSION}}
"""What a [teacher] section needs beside the adapter."""


class DialectTeacher(FakeTeacher):
    """A fake teacher that speaks one dialect and answers on no other path."""

    def __init__(self, dialect: str, script: Script | None = None, **options: Any) -> None:
        super().__init__(script or [answer(dialect)], **options)
        self.dialect = dialect

    @property
    def base_url(self) -> str:
        scheme = "https" if self.tls else "http"
        return f"{scheme}://127.0.0.1:{self.port}{PATHS[self.dialect][0]}"

    @property
    def teacher(self) -> dict[str, str]:
        """The keys of a [teacher] section that reach it."""
        return {"adapter": self.dialect, **SETTINGS.get(self.dialect, {})}

    def _is_chat(self, path: str) -> bool:
        return path == "".join(PATHS[self.dialect])

    def _authorised(self, headers: Mapping[str, str]) -> bool:
        if self.dialect not in KEY_HEADERS:
            return super()._authorised(headers)
        if self.dialect == "anthropic" and headers.get("anthropic-version") != "2023-06-01":
            return False
        return not self.api_key or headers.get(KEY_HEADERS[self.dialect]) == self.api_key


def answer(dialect: str, text: str = "A short answer.", *, model: str = MODEL) -> Action:
    """A short answer in that dialect, with its own way of counting tokens."""
    if dialect in ("openai", "azure"):
        return fake.answer(text, model=model)

    def body(request: Json) -> bytes:
        return json.dumps(BODIES[dialect](text, model, len(json.dumps(request)) // 8)).encode()

    return Action(body=body, headers={"content-type": "application/json"})


def _responses(text: str, model: str, prompt: int) -> Json:
    part = {"type": "output_text", "text": text, "annotations": []}
    message = {"id": "msg_1", "type": "message", "role": "assistant", "status": "completed"}
    return {
        "id": "resp_1",
        "object": "response",
        "status": "completed",
        "model": model,
        "output": [{**message, "content": [part]}],
        "usage": {
            "input_tokens": prompt + 40,
            "input_tokens_details": {"cached_tokens": 40},
            "output_tokens": 5,
        },
    }


def _anthropic(text: str, model: str, prompt: int) -> Json:
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [{"type": "text", "text": text}],
        "stop_reason": "end_turn",
        "usage": {"input_tokens": prompt, "cache_read_input_tokens": 40, "output_tokens": 5},
    }


def _gemini(text: str, model: str, prompt: int) -> Json:
    content = {"role": "model", "parts": [{"text": text}]}
    return {
        "candidates": [{"index": 0, "finishReason": "STOP", "content": content}],
        "usageMetadata": {
            "promptTokenCount": prompt + 40,
            "cachedContentTokenCount": 40,
            "candidatesTokenCount": 2,
            "thoughtsTokenCount": 3,
        },
        "modelVersion": model,
        "responseId": "r-1",
    }


BODIES: dict[str, Callable[[str, str, int], Json]] = {
    "responses": _responses,
    "anthropic": _anthropic,
    "gemini": _gemini,
}
