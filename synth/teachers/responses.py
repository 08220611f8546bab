"""OpenAI's Responses API, as spoken by OpenAI, Azure, vLLM and llama.cpp.

    build(teacher, sampling, messages, 0) -> {"model": "gpt-4.1", "input": [...], "store": False}

`store` is always false: the API keeps every answer otherwise. There is no seed.
Token probabilities come with `include` and `top_logprobs`, on models that do not reason.

Source: openai 3.54 (types/responses/response.py, response_create_params.py), API reference
"Create a model response"; llama.cpp's server asked in November 2026.
"""

import re
from collections.abc import Mapping
from typing import Any

from synth.config import Sampling, Teacher
from synth.prompts import Message
from synth.teachers.asking import Lack, at_home, no_seed
from synth.teachers.evidence import token_logprobs
from synth.teachers.openai import defaults_left_out
from synth.teachers.reading import (
    bad,
    checked,
    clean,
    count,
    count_of,
    finish,
    items,
    parsed,
    request_id,
    table,
    tool_calls,
    undone,
    word,
)
from synth.turns import words_of
from synth.wire import Completion, Failure, Usage, text_or_empty

_STOPS = {"max_output_tokens": "length", "content_filter": "content_filter"}
_POLICY = re.compile(r"policy|invalid_prompt|content_filter")


def path(teacher: Teacher) -> str:
    """Below the version path of the base URL."""
    return "/responses"


def lacks(teacher: Teacher, sampling: Sampling) -> Lack | None:
    """What cannot be asked for in this dialect."""
    return no_seed(teacher, sampling, "the Responses API")


def build(
    teacher: Teacher, sampling: Sampling, messages: tuple[Message, ...], sample: int
) -> dict[str, Any]:
    """The body of one request."""
    body: dict[str, Any] = {
        "model": teacher.model,
        "input": [item for message in messages for item in _items(message)],
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "max_output_tokens": sampling.max_tokens,
        "store": False,
        "stream": False,
        **sampling.extra,
    }
    defaults_left_out(teacher, body)
    if sampling.logprobs:
        body |= {"include": ["message.output_text.logprobs"], "top_logprobs": sampling.logprobs}
        if at_home(teacher):
            body["logprobs"] = True  # llama.cpp refuses top_logprobs without it
    if sampling.json_schema is not None and sampling.response_format != "none":
        body["text"] = {**table(body.get("text")), "format": _format(sampling)}
    if sampling.tools:
        body |= {"tools": _tools(sampling), "tool_choice": _choice(sampling)}
    return body


def _items(message: Message) -> list[dict[str, Any]]:
    """One turn as input items: calls and their results are items of their own."""
    role, content = message["role"], message.get("content")
    if role == "tool":
        output = words_of(message)
        call = {"type": "function_call_output", "call_id": message["tool_call_id"]}
        return [{**call, "output": output}]
    made: list[dict[str, Any]] = []
    if content:
        made.append({"type": "message", "role": role, "content": _content(role, content)})
    for call in message.get("tool_calls") or ():
        item = {"type": "function_call", "call_id": call["id"], **call["function"]}
        made.append({key: item[key] for key in ("type", "call_id", "name", "arguments")})
    return made


def _content(role: str, content: Any) -> Any:
    if isinstance(content, str):
        return content
    if role == "assistant":
        return words_of({"content": content})
    return [_part(part) for part in content]


def _part(part: dict[str, Any]) -> dict[str, Any]:
    if part["type"] == "text":
        return {"type": "input_text", "text": part["text"]}
    image = part["image_url"]
    return {
        "type": "input_image",
        "image_url": image["url"],
        "detail": image.get("detail", "auto"),
    }


def _format(sampling: Sampling) -> dict[str, Any]:
    if sampling.response_format == "json_object":
        return {"type": "json_object"}
    return {
        "type": "json_schema",
        "name": "answer",
        "schema": sampling.json_schema,
        "strict": True,
    }


def _tools(sampling: Sampling) -> list[dict[str, Any]]:
    return [{"type": "function", **tool.model_dump(), "strict": False} for tool in sampling.tools]


def _choice(sampling: Sampling) -> Any:
    if sampling.tool_choice in ("auto", "none", "required"):
        return sampling.tool_choice
    return {"type": "function", "name": sampling.tool_choice}


def parse(raw: bytes, sampling: Sampling, headers: Mapping[str, str]) -> Completion | Failure:
    """What a 200 means. Total: any bytes give a Completion or a Failure."""
    return parsed(raw, lambda data: _parse(data, sampling, headers))


def _parse(
    data: dict[str, Any], sampling: Sampling, headers: Mapping[str, str]
) -> Completion | Failure:
    served, usage = word(data.get("model")), _usage(data.get("usage"))
    error = table(data.get("error"))
    if data.get("error") or data.get("status") in ("failed", "cancelled"):
        code = word(error.get("code"))
        kind = "content_filter" if _POLICY.search(code) else "error_in_200"
        message = f"200 with an error inside: {code} {word(error.get('message'))}"[:240]
        return bad(kind, message, usage, served)
    if not isinstance(data.get("output"), list):
        keys = ", ".join(sorted(map(str, data)))[:120]
        return bad("no_choices", f"no output in the reply (it has {keys})", usage, served)
    return _completion(data, usage, served, sampling, headers)


def _completion(
    data: dict[str, Any],
    usage: Usage | None,
    served: str,
    sampling: Sampling,
    headers: Mapping[str, str],
) -> Completion | Failure:
    output = items(data["output"])
    parts = _answer_parts(output)
    said = [part for part in parts if part.get("type") == "output_text"]
    text, repaired = clean("".join(text_or_empty(part.get("text")) for part in said))
    refused = [text_or_empty(part.get("refusal")) for part in parts]
    calls = [one for one in output if one.get("type") == "function_call"]
    stop = _stop(data, bool(calls), any(refused))
    entries = [entry for part in said for entry in part.get("logprobs") or ()]
    signal = token_logprobs(entries)
    return checked(
        Completion(
            text=text,
            finish_reason=stop,
            usage=usage or Usage(estimated=True),
            served_model=served,
            reasoning=clean(_reasoning(output))[0],
            refusal=clean("".join(refused))[0],
            tool_calls=tool_calls(
                (word(one.get("call_id")), word(one.get("name")), word(one.get("arguments")))
                for one in calls
            ),
            provider_request_id=request_id(headers) or word(data.get("id")),
            service_tier=word(data.get("service_tier")),
            logprobs=signal,
            ignored=undone(text, stop, signal, sampling, seed=False),
            repaired=repaired,
        )
    )


def _answer_parts(output: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The parts of the answer; a message marked as commentary is talk on the way to it."""
    messages = [one for one in output if one.get("type") == "message"]
    final = [one for one in messages if one.get("phase") != "commentary"]
    return [part for message in final or messages for part in items(message.get("content"))]


def _reasoning(output: list[dict[str, Any]]) -> str:
    """The reasoning itself where a server shows it, else the summaries of it."""
    found = []
    for item in output:
        if item.get("type") == "reasoning":
            parts = items(item.get("content")) or items(item.get("summary"))
            found += [text_or_empty(part.get("text")) for part in parts]
    return "\n\n".join(part for part in found if part)


def _stop(data: dict[str, Any], called: bool, refused: bool) -> str:
    status = data.get("status")
    if status == "incomplete":
        return finish(table(data.get("incomplete_details")).get("reason"), _STOPS)
    if status not in ("completed", None):
        return "other"
    return "tool_calls" if called else "refusal" if refused else "stop"


def _usage(value: Any) -> Usage | None:
    """Cached tokens are inside input_tokens, reasoning inside output_tokens."""
    given = table(value)
    prompt, completion = given.get("input_tokens"), given.get("output_tokens")
    if not (count(prompt) and count(completion)):
        return None
    into = table(given.get("input_tokens_details"))
    out = table(given.get("output_tokens_details"))
    return Usage(
        prompt_tokens=count_of(prompt),
        completion_tokens=count_of(completion),
        cached_tokens=count_of(into.get("cached_tokens")),
        reasoning_tokens=count_of(out.get("reasoning_tokens")),
        cache_write_tokens=count_of(into.get("cache_write_tokens")),
    )
