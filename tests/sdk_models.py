"""Holds bodies against an SDK's own models; run by the interpreter of the venv that has that SDK.

    echo '{"replies": [...], "requests": [...]}' | PYTHON tests/sdk_models.py anthropic

Prints a JSON list of complaints. `openai` is also imported by tests/test_sdk_models.py directly.
"""

import json
import sys
from collections.abc import Callable, Iterator
from typing import Any, get_type_hints

from pydantic import TypeAdapter

Check = Callable[[Any], object]
OLDER = {"temperature", "top_p"}
"""anthropic 2.12 took them out of its types, because current models refuse them; models before
Opus 4.7 take them still."""


def complaints(checks: dict[str, Check], bodies: dict[str, list[Any]]) -> Iterator[str]:
    for kind, check in checks.items():
        for number, body in enumerate(bodies.get(kind, ())):
            try:
                check(body)
            except Exception as error:
                yield f"{kind} {number}: {type(error).__name__}: {str(error)[:400]}"


def openai_chat() -> dict[str, Check]:
    from openai.types.chat import ChatCompletion
    from openai.types.chat.completion_create_params import CompletionCreateParamsNonStreaming

    request = typed(CompletionCreateParamsNonStreaming)
    return {"replies": ChatCompletion.model_validate, "requests": request}


def openai_responses() -> dict[str, Check]:
    from openai.types.responses import Response
    from openai.types.responses.response_create_params import ResponseCreateParamsNonStreaming

    request = typed(ResponseCreateParamsNonStreaming)
    return {"replies": Response.model_validate, "requests": request}


def anthropic() -> dict[str, Check]:
    from anthropic.lib._parse._transform import transform_schema
    from anthropic.types import Message
    from anthropic.types.message_create_params import MessageCreateParamsNonStreaming

    request = typed(MessageCreateParamsNonStreaming)

    def schema(pair: Any) -> None:
        whole, ours = pair
        theirs = transform_schema(whole)
        if theirs != ours:
            raise ValueError(f"{theirs} is not {ours}")

    return {
        "replies": Message.model_validate,
        "requests": lambda body: request({k: v for k, v in body.items() if k not in OLDER}),
        "schemas": schema,
    }


def google() -> dict[str, Check]:
    from google.genai import types

    models = {
        "contents": TypeAdapter(list[types.Content]),
        "systemInstruction": TypeAdapter(types.Content),
        "generationConfig": TypeAdapter(types.GenerationConfig),
        "tools": TypeAdapter(list[types.Tool]),
        "toolConfig": TypeAdapter(types.ToolConfig),
    }

    def request(body: Any) -> None:
        for key, value in body.items():
            models[key].validate_python(value)

    return {"replies": types.GenerateContentResponse.model_validate, "requests": request}


def typed(params: Any) -> Check:
    """A check by a TypedDict: no key that it lacks, and every value read to its end."""
    adapter = TypeAdapter(params)
    known = set(get_type_hints(params))

    def check(body: Any) -> None:
        if unknown := set(body) - known:
            raise ValueError(f"unknown: {sorted(unknown)}")
        consume(adapter.validate_python(body))

    return check


def consume(value: Any) -> None:
    """pydantic reads an Iterable only when somebody else does."""
    if isinstance(value, dict):
        value = list(value.values())
    if hasattr(value, "__iter__") and not isinstance(value, str | bytes):
        for one in value:
            consume(one)


SDKS = {
    "openai": openai_chat,
    "responses": openai_responses,
    "anthropic": anthropic,
    "gemini": google,
}


if __name__ == "__main__":
    print(json.dumps(list(complaints(SDKS[sys.argv[1]](), json.load(sys.stdin)))))
