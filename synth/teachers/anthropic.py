"""Anthropic's Messages API, as spoken by Anthropic, llama.cpp, vLLM and gateways.

    build(teacher, sampling, messages, 0) -> {"model": "claude-…", "system": "…", "messages": [...]}

There are no token probabilities, no seed and no JSON without a schema. Models since Opus 4.7 refuse
temperature and top_p, and those since 4.5 refuse the two together, so only what differs from the
default of 1.0 goes out.

Source: anthropic 2.12 (types/message.py, usage.py, message_create_params.py, lib/_parse), the
reference pages "Messages" and "Structured outputs".
"""

import json
from collections.abc import Mapping
from typing import Any

from synth.config import Sampling, Teacher
from synth.logprobs import NO_LOGPROBS
from synth.prompts import Message
from synth.teachers.asking import Lack, at_home, no_json_object, no_logprobs, no_seed, versioned
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
from synth.teachers.schemas import plain_schema
from synth.turns import split_data_url, words_of
from synth.wire import Completion, Failure, Usage, text_or_empty

VERSION = "2023-06-01"
_STOPS = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "refusal",
    "pause_turn": "other",
}
_CHOICES = {"auto": "auto", "none": "none", "required": "any"}


def path(teacher: Teacher) -> str:
    """`/v1/messages`, or `/messages` where the base URL names the version."""
    return versioned(teacher, "/messages", "/v1", last=True)


def credentials(key: str) -> tuple[tuple[str, str], ...]:
    """The key, and the version that every request must name."""
    return (("x-api-key", key), ("anthropic-version", VERSION))


def lacks(teacher: Teacher, sampling: Sampling) -> Lack | None:
    """What cannot be asked for in this dialect."""
    who = "the Messages API"
    if found := no_logprobs(teacher, sampling, who) or no_seed(teacher, sampling, who):
        return found
    if at_home(teacher):
        return None
    if sampling.json_schema is not None and (found := no_json_object(sampling, who)):
        return found
    held_out = sampling.held_out_temperature
    asked = [sampling.temperature, *([] if held_out is None else [held_out])]
    if max(asked) > 1:
        key = f"[sampling] temperature = {max(asked):g}"
        return Lack(key, f"{who} stops at 1.0", "use at most 1.0")
    if sampling.top_p != 1 and any(temperature != 1 for temperature in asked):
        return Lack("[sampling] top_p", f"{who} takes temperature or top_p", "remove one")
    return None


def build(
    teacher: Teacher, sampling: Sampling, messages: tuple[Message, ...], sample: int
) -> dict[str, Any]:
    """The body of one request."""
    spoken = [one for one in messages if one["role"] not in ("system", "developer")]
    system = "\n\n".join(words_of(one) for one in messages if one not in spoken)
    body: dict[str, Any] = {
        "model": teacher.model,
        "max_tokens": sampling.max_tokens,
        **({"system": system} if system else {}),
        "messages": _merged(spoken),
        "stream": False,
        **sampling.extra,
    }
    if at_home(teacher) or sampling.temperature != 1:
        body["temperature"] = sampling.temperature
    if at_home(teacher) or sampling.top_p != 1:
        body["top_p"] = sampling.top_p
    if sampling.json_schema is not None and sampling.response_format == "json_schema":
        wanted = {"type": "json_schema", "schema": plain_schema(sampling.json_schema)}
        body["output_config"] = {**table(body.get("output_config")), "format": wanted}
    if sampling.tools:
        body |= {"tools": _tools(sampling), "tool_choice": _choice(sampling)}
    return body


def _merged(messages: list[Message]) -> list[dict[str, Any]]:
    """Turns in this form; results of tools are the user's, and one role's turns are one."""
    made: list[dict[str, Any]] = []
    for message in messages:
        role = "assistant" if message["role"] == "assistant" else "user"
        blocks = _blocks(message)
        if made and made[-1]["role"] == role:
            made[-1]["content"] += blocks
        else:
            made.append({"role": role, "content": blocks})
    return made


def _blocks(message: Message) -> list[dict[str, Any]]:
    content = message.get("content")
    if message["role"] == "tool":
        block = {"type": "tool_result", "tool_use_id": message["tool_call_id"]}
        return [{**block, "content": words_of(message)}]
    parts = [{"type": "text", "text": content}] if isinstance(content, str) else content or []
    blocks = [_block(part) for part in parts if part.get("text") != ""]
    for call in message.get("tool_calls") or ():
        function = call["function"]
        arguments = json.loads(function["arguments"])
        use = {"type": "tool_use", "id": call["id"], "name": function["name"]}
        blocks.append({**use, "input": arguments})
    return blocks


def _block(part: dict[str, Any]) -> dict[str, Any]:
    if part["type"] == "text":
        return {"type": "text", "text": part["text"]}
    address = part["image_url"]["url"]
    split = split_data_url(address)
    if split is None:
        return {"type": "image", "source": {"type": "url", "url": address}}
    source = {"type": "base64", "media_type": split[0], "data": split[1]}
    return {"type": "image", "source": source}


def _tools(sampling: Sampling) -> list[dict[str, Any]]:
    return [
        {"name": tool.name, "description": tool.description, "input_schema": tool.parameters}
        for tool in sampling.tools
    ]


def _choice(sampling: Sampling) -> dict[str, Any]:
    named = _CHOICES.get(sampling.tool_choice)
    return {"type": named} if named else {"type": "tool", "name": sampling.tool_choice}


def parse(raw: bytes, sampling: Sampling, headers: Mapping[str, str]) -> Completion | Failure:
    """What a 200 means. Total: any bytes give a Completion or a Failure."""
    return parsed(raw, lambda data: _parse(data, sampling, headers))


def _parse(
    data: dict[str, Any], sampling: Sampling, headers: Mapping[str, str]
) -> Completion | Failure:
    served, usage = word(data.get("model")), _usage(data.get("usage"))
    if data.get("type") == "error" or data.get("error"):
        error = table(data.get("error"))
        said = f"{word(error.get('type'))} {word(error.get('message'))}"
        return bad("error_in_200", f"200 with an error inside: {said}"[:240], usage, served)
    if not isinstance(data.get("content"), list):
        keys = ", ".join(sorted(map(str, data)))[:120]
        return bad("no_choices", f"no content in the reply (it has {keys})", usage, served)
    return _completion(data, usage, served, sampling, headers)


def _completion(
    data: dict[str, Any],
    usage: Usage | None,
    served: str,
    sampling: Sampling,
    headers: Mapping[str, str],
) -> Completion | Failure:
    blocks = items(data["content"])
    text, repaired = clean(_texts(blocks, "text", "text"))
    stop = finish(data.get("stop_reason"), _STOPS)
    calls = [block for block in blocks if block.get("type") == "tool_use"]
    return checked(
        Completion(
            text=text,
            finish_reason=stop,
            usage=usage or Usage(estimated=True),
            served_model=served,
            reasoning=clean(_texts(blocks, "thinking", "thinking"))[0],
            refusal=_refusal(data) if stop == "refusal" else "",
            tool_calls=tool_calls(
                (word(one.get("id")), word(one.get("name")), one.get("input") or {})
                for one in calls
            ),
            provider_request_id=request_id(headers) or word(data.get("id")),
            service_tier=word(table(data.get("usage")).get("service_tier")),
            ignored=undone(text, stop, NO_LOGPROBS, sampling, seed=False),
            repaired=repaired,
        )
    )


def _texts(blocks: list[dict[str, Any]], kind: str, key: str) -> str:
    return "".join(text_or_empty(b.get(key)) for b in blocks if b.get("type") == kind)


def _refusal(data: dict[str, Any]) -> str:
    """Why, in the provider's words where it gives any."""
    details = table(data.get("stop_details"))
    category, why = word(details.get("category")), word(details.get("explanation"))
    return f"refused ({category or 'no category'}) {why}".strip()


def _usage(value: Any) -> Usage | None:
    """`input_tokens` leaves out what was read from and written to the cache; both are added."""
    given = table(value)
    prompt, completion = given.get("input_tokens"), given.get("output_tokens")
    if not (count(prompt) and count(completion)):
        return None
    read = count_of(given.get("cache_read_input_tokens"))
    written = count_of(given.get("cache_creation_input_tokens"))
    thinking = table(given.get("output_tokens_details")).get("thinking_tokens")
    return Usage(
        prompt_tokens=count_of(prompt) + read + written,
        completion_tokens=count_of(completion),
        cached_tokens=read,
        reasoning_tokens=count_of(thinking),
        cache_write_tokens=written,
    )
