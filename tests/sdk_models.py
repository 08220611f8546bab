"""Holds bodies against an SDK's own models; run by the interpreter of the venv that has that SDK.

    echo '{"replies": [...], "requests": [...]}' | PYTHON tests/sdk_models.py anthropic

Prints a JSON list of complaints. `openai` is also imported by tests/test_sdk_models.py directly.
With `--again` it prints what the SDK's models make of the bodies that they took.
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


def openai_batch() -> dict[str, Check]:
    from openai.types import Batch
    from openai.types.batch_create_params import BatchCreateParams

    return {"requests": typed(BatchCreateParams), "states": Batch.model_validate}


def anthropic_batch() -> dict[str, Check]:
    from anthropic.types.messages import MessageBatch, MessageBatchIndividualResponse
    from anthropic.types.messages.batch_create_params import BatchCreateParams

    request = typed(BatchCreateParams)

    def older(body: Any) -> None:
        for one in body["requests"]:
            one["params"] = {k: v for k, v in one["params"].items() if k not in OLDER}
        request(body)

    lines = MessageBatchIndividualResponse.model_validate
    return {"requests": older, "states": MessageBatch.model_validate, "lines": lines}


def google_batch() -> dict[str, Check]:
    from google.genai import Client, batches, types

    api = Client(api_key="none")._api_client
    inner = google()["requests"]

    def request(body: Any) -> None:
        """The SDK's own body for the same contents has the same shape."""
        entries = body["batch"]["inputConfig"]["requests"]["requests"]
        for entry in entries:
            inner(entry["request"])
        source = [
            {"contents": e["request"]["contents"], "metadata": e["metadata"]} for e in entries
        ]
        named = {"display_name": body["batch"]["displayName"]}
        theirs = batches._CreateBatchJobParameters_to_mldev(
            api, {"model": "m", "src": source, "config": named}
        )
        for entry in entries:
            entry["request"] = {"contents": entry["request"]["contents"]}
        if theirs["batch"] != body["batch"]:
            raise ValueError(f"{theirs['batch']} is not {body['batch']}")

    def state(body: Any) -> Any:
        job = types.BatchJob.model_validate(batches._BatchJob_from_mldev(body))
        if job.state is None or job.state.name not in types.JobState.__members__:
            raise ValueError(f"unknown state {job.state}")
        if body["done"] and not job.dest.inlined_responses:
            raise ValueError("no results in it")

    return {"requests": request, "states": state}


def mistral_batch() -> dict[str, Check]:
    from mistralai.client import models

    def request(body: Any) -> None:
        if unknown := set(body) - set(models.CreateBatchJobRequest.model_fields):
            raise ValueError(f"unknown: {sorted(unknown)}")
        models.CreateBatchJobRequest.model_validate(body)

    return {"requests": request, "states": models.BatchJob.model_validate}


def again(checks: dict[str, Check], bodies: dict[str, list[Any]]) -> dict[str, list[Any]]:
    """The bodies as the SDK's models write them."""
    found: dict[str, list[Any]] = {}
    for kind in ("states", "lines"):
        made = [checks[kind](body) for body in bodies.get(kind, ())]
        found[kind] = [one.model_dump(mode="json") for one in made if hasattr(one, "model_dump")]
    return found


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
    "openai-batch": openai_batch,
    "anthropic-batch": anthropic_batch,
    "gemini-batch": google_batch,
    "mistral-batch": mistral_batch,
}


if __name__ == "__main__":
    checks, given = SDKS[sys.argv[1]](), json.load(sys.stdin)
    print(
        json.dumps(again(checks, given) if "--again" in sys.argv else [*complaints(checks, given)])
    )
