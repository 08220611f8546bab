"""The OpenAI chat-completions dialect, as spoken by OpenAI, DeepSeek, Mistral, vLLM, llama.cpp, …

    build(teacher, sampling, messages, 0) -> {"model": "gpt-4o-mini", "messages": [...], ...}

Servers say yes and do something else: they drop `logprobs`, `seed` or `response_format` without a
word, answer 200 with an error inside, or a body that is not UTF-8. What was asked for and is not
there is named in `Completion.ignored`; what cannot be read is a `Failure` that was perhaps paid.

Source: OpenAI API reference, chat completions object (openapi.yaml, 2026-11); where a provider
differs, its SDK's types: mistralai 3.7, together 3.1, groq 1.7.
"""

import json
import re
from collections.abc import Mapping
from functools import cache
from typing import Any, NamedTuple

from synth.config import Sampling, Teacher
from synth.logprobs import TokenLogprobs
from synth.prompts import Message
from synth.teachers.asking import Lack, no_logprobs
from synth.teachers.evidence import together_logprobs, token_logprobs
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
    undone,
    word,
)
from synth.wire import (
    Completion,
    Failure,
    Usage,
    text_or_empty,
)

_THINK = re.compile(r"\A\s*<think>(.*?)</think>\s*", re.DOTALL)
_STOPS = {
    "stop": "stop",
    "eos": "stop",
    "length": "length",
    "model_length": "length",
    "content_filter": "content_filter",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "refusal": "refusal",
}
"""`eos` is Together's, `model_length` Mistral's."""


class _Ways(NamedTuple):
    """How the chat completions of one provider differ from the common form."""

    length: str = "max_tokens"
    seed: str = "seed"
    store: bool = False
    """Whether the provider keeps answers unless told `store: false`, and knows the field."""
    defaults: bool = True
    """Whether temperature and top_p go out at 1.0 too. OpenAI's default is 1.0 for both, and its
    reasoning models refuse top_p; other servers have defaults of their own."""
    counted: bool = False
    """Whether `logprobs` is a number instead of a flag beside `top_logprobs`."""
    logprobs: bool = True


_OPENAI = _Ways(length="max_completion_tokens", store=True, defaults=False)
_WAYS = {
    "openai-api": _OPENAI,
    "openai-finetune": _OPENAI,
    "azure-openai": _Ways(length="max_completion_tokens", defaults=False),
    "mistral-api": _Ways(seed="random_seed"),  # 422 for any field that it does not know
    "together": _Ways(counted=True),
    "groq": _Ways(logprobs=False),
}


def ways(teacher: Teacher) -> _Ways:
    """Those of the provider behind an offering: `together`, `together/model`, `model@together`."""
    return _ways_of(teacher.offering)


@cache
def _ways_of(offering: str) -> _Ways:
    owners = (offering, offering.partition("/")[0], offering.rpartition("@")[2])
    return next((_WAYS[owner] for owner in owners if owner in _WAYS), _Ways())


def path(teacher: Teacher) -> str:
    """Below the version path of the base URL."""
    return "/chat/completions"


def credentials(key: str) -> tuple[tuple[str, str], ...]:
    """A bearer token."""
    return (("authorization", f"Bearer {key}"),)


def lacks(teacher: Teacher, sampling: Sampling) -> Lack | None:
    """What the provider behind this dialect is known not to have."""
    if ways(teacher).logprobs:
        return None
    return no_logprobs(teacher, sampling, teacher.offering)


def build(
    teacher: Teacher, sampling: Sampling, messages: tuple[Message, ...], sample: int
) -> dict[str, Any]:
    """The body of one request. `n` is never sent: servers bill and count it differently."""
    its = ways(teacher)
    length = its.length if teacher.max_tokens_field == "auto" else teacher.max_tokens_field
    body: dict[str, Any] = {
        "model": teacher.model,
        "messages": [dict(message) for message in messages],
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        length: sampling.max_tokens,
        "stream": False,
        **({"store": False} if its.store else {}),
        **sampling.extra,
    }
    defaults_left_out(teacher, body)
    if sampling.seed is not None:
        body[its.seed] = sampling.seed + sample
    if sampling.logprobs and its.counted:
        body["logprobs"] = sampling.logprobs
    elif sampling.logprobs:
        body |= {"logprobs": True, "top_logprobs": sampling.logprobs}
    if sampling.json_schema is not None and sampling.response_format != "none":
        body["response_format"] = _response_format(sampling)
    if sampling.tools:
        body |= {"tools": _tools(sampling), "tool_choice": _tool_choice(sampling)}
    return body


def defaults_left_out(teacher: Teacher, body: dict[str, Any]) -> None:
    """Take temperature and top_p out of a body where 1.0 is what the provider does anyway."""
    if not ways(teacher).defaults:
        for name in ("temperature", "top_p"):
            if body.get(name) == 1.0:
                del body[name]


def _response_format(sampling: Sampling) -> dict[str, Any]:
    if sampling.response_format == "json_object":
        return {"type": "json_object"}
    wanted = {"name": "answer", "strict": True, "schema": sampling.json_schema}
    return {"type": "json_schema", "json_schema": wanted}


def _tools(sampling: Sampling) -> list[dict[str, Any]]:
    return [{"type": "function", "function": tool.model_dump()} for tool in sampling.tools]


def _tool_choice(sampling: Sampling) -> Any:
    if sampling.tool_choice in ("auto", "none", "required"):
        return sampling.tool_choice
    return {"type": "function", "function": {"name": sampling.tool_choice}}


def parse(raw: bytes, sampling: Sampling, headers: Mapping[str, str]) -> Completion | Failure:
    """What a 200 means. Total: any bytes give a Completion or a Failure."""
    return parsed(raw, lambda data: _parse(data, sampling, headers))


def _parse(
    data: dict[str, Any], sampling: Sampling, headers: Mapping[str, str]
) -> Completion | Failure:
    served = word(data.get("model"))
    usage = _usage(data.get("usage"))
    choice = _first_choice(data)
    error = data.get("error") or (choice or {}).get("error")
    if error:
        message = json.dumps(error)[:200]
        return bad("error_in_200", f"200 with an error inside: {message}", usage, served)
    if choice is None:
        keys = ", ".join(sorted(map(str, data)))[:120]
        return bad("no_choices", f"no choices in the reply (it has {keys})", usage, served)
    return _completion(data, choice, usage, served, sampling, headers)


def _completion(
    data: dict[str, Any],
    choice: dict[str, Any],
    usage: Usage | None,
    served: str,
    sampling: Sampling,
    headers: Mapping[str, str],
) -> Completion | Failure:
    message = choice["message"]
    given, chunks = _content(message.get("content"))
    text, repaired = clean(given)
    refusal, _ = clean(text_or_empty(message.get("refusal")))
    reasoning, _ = clean(
        text_or_empty(message.get("reasoning"))
        or text_or_empty(message.get("reasoning_content"))
        or chunks
    )
    if not reasoning and (thought := _THINK.match(text)):
        reasoning, text = thought.group(1).strip(), text[thought.end() :]
    signal = _logprobs(choice.get("logprobs"))
    stop = _stop(choice, refusal)
    return checked(
        Completion(
            text=text,
            finish_reason=stop,
            usage=usage or Usage(estimated=True),
            served_model=served,
            reasoning=reasoning,
            refusal=refusal,
            tool_calls=json.dumps(message["tool_calls"]) if message.get("tool_calls") else "",
            fingerprint=word(data.get("system_fingerprint")),
            provider_request_id=request_id(headers) or word(data.get("id")),
            service_tier=word(data.get("service_tier")),
            logprobs=signal,
            ignored=undone(text, stop, signal, sampling),
            repaired=repaired,
        )
    )


def _stop(choice: dict[str, Any], refusal: str) -> str:
    """A refusal says stop, and so does a forced tool call (vLLM)."""
    stop = finish(choice.get("finish_reason"), _STOPS)
    if stop != "stop":
        return stop
    return "refusal" if refusal else "tool_calls" if choice["message"].get("tool_calls") else stop


def _content(value: Any) -> tuple[str, str]:
    """(text, thinking). Mistral's reasoning models answer in chunks of both.

    Source: mistralai 3.7 (client/models/thinkchunk.py).
    """
    if not isinstance(value, list):
        return text_or_empty(value), ""
    chunks = items(value)
    text = "".join(text_or_empty(c.get("text")) for c in chunks if c.get("type") == "text")
    thoughts = [items(c.get("thinking")) for c in chunks if c.get("type") == "thinking"]
    return text, "".join(text_or_empty(p.get("text")) for parts in thoughts for p in parts)


def _first_choice(data: dict[str, Any]) -> dict[str, Any] | None:
    choices = data.get("choices")
    if not (isinstance(choices, list) and choices and isinstance(choices[0], dict)):
        return None
    return choices[0] if isinstance(choices[0].get("message"), dict) else None


def _usage(value: Any) -> Usage | None:
    """Usage as billed, or None where it cannot be believed."""
    given = table(value)
    prompt, completion = given.get("prompt_tokens"), given.get("completion_tokens")
    if not (count(prompt) and count(completion)):
        return None
    into = table(given.get("prompt_tokens_details"))
    out = table(given.get("completion_tokens_details"))
    cached = into.get("cached_tokens")
    if cached is None:  # DeepSeek; Moonshot
        cached = given.get("prompt_cache_hit_tokens", given.get("cached_tokens"))
    return Usage(
        prompt_tokens=count_of(prompt),
        completion_tokens=count_of(completion),
        cached_tokens=count_of(cached),
        reasoning_tokens=count_of(out.get("reasoning_tokens", given.get("reasoning_tokens"))),
        cache_write_tokens=count_of(into.get("cache_write_tokens")),
    )


def _logprobs(value: Any) -> TokenLogprobs:
    """Stored evidence, by bytes."""
    if isinstance(value, TokenLogprobs):
        return value
    given = table(value)
    return together_logprobs(given) if "tokens" in given else token_logprobs(given.get("content"))
