"""The OpenAI chat-completions dialect, as spoken by OpenAI, DeepSeek, Mistral, vLLM, llama.cpp, …

    build(teacher, sampling, messages, 0) -> {"model": "gpt-4o-mini", "messages": [...], ...}

Servers say yes and do something else: they drop `logprobs`, `seed` or `response_format` without a
word, answer 200 with an error inside, or a body that is not UTF-8. What was asked for and is not
there is named in `Completion.ignored`; what cannot be read is a `Failure` that was perhaps paid.

Source: OpenAI API reference, chat completions object (openapi.yaml, 2026-11).
"""

import json
import re
from collections.abc import Mapping
from typing import Any

import jsonschema

from synth.config import Sampling, Teacher
from synth.prompts import Message
from synth.teachers.signal import SENTINEL, decoded
from synth.wire import (
    Completion,
    Failure,
    OutcomeClass,
    TokenLogprobs,
    Usage,
    text_or_empty,
)

MAX_TOKENS = 2**31  # a usage beyond this is not a count
_THINK = re.compile(r"\A\s*<think>(.*?)</think>\s*", re.DOTALL)


def build(
    teacher: Teacher, sampling: Sampling, messages: tuple[Message, ...], sample: int
) -> dict[str, Any]:
    """The body of one request. `n` is never sent: servers bill and count it differently."""
    body: dict[str, Any] = {
        "model": teacher.model,
        "messages": [dict(message) for message in messages],
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "max_tokens": sampling.max_tokens,
        "stream": False,
        **sampling.extra,
    }
    if sampling.seed is not None:
        body["seed"] = sampling.seed + sample
    if sampling.logprobs:
        body |= {"logprobs": True, "top_logprobs": sampling.logprobs}
    if sampling.json_schema is not None and sampling.response_format != "none":
        body["response_format"] = _response_format(sampling)
    return body


def _response_format(sampling: Sampling) -> dict[str, Any]:
    if sampling.response_format == "json_object":
        return {"type": "json_object"}
    wanted = {"name": "answer", "strict": True, "schema": sampling.json_schema}
    return {"type": "json_schema", "json_schema": wanted}


def parse(raw: bytes, sampling: Sampling, headers: Mapping[str, str]) -> Completion | Failure:
    """What a 200 means. Total: any bytes give a Completion or a Failure."""
    try:
        return _parse(raw, sampling, headers)
    except RecursionError:
        return _bad("bad_json", "the reply is nested too deeply")


def _parse(raw: bytes, sampling: Sampling, headers: Mapping[str, str]) -> Completion | Failure:
    try:
        data = decoded(raw)
    except UnicodeDecodeError as error:
        return _bad("bad_utf8", f"the reply is not UTF-8 at byte {error.start}")
    except ValueError as error:
        kind = "html" if raw.lstrip()[:1] == b"<" else "bad_json"
        return _bad(kind, f"the reply is not JSON: {str(error)[:120]}")
    if not isinstance(data, dict):
        return _bad("bad_shape", f"the reply is a JSON {type(data).__name__}, not an object")
    served = _word(data.get("model"))
    usage = _usage(data.get("usage"))
    if data.get("error"):
        message = json.dumps(data["error"])[:200]
        return _bad("error_in_200", f"200 with an error inside: {message}", usage, served)
    choice = _first_choice(data)
    if choice is None:
        keys = ", ".join(sorted(map(str, data)))[:120]
        return _bad("no_choices", f"no choices in the reply (it has {keys})", usage, served)
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
    text, repaired = _clean(text_or_empty(message.get("content")))
    refusal, _ = _clean(text_or_empty(message.get("refusal")))
    reasoning, _ = _clean(
        text_or_empty(message.get("reasoning")) or text_or_empty(message.get("reasoning_content"))
    )
    if not reasoning and (thought := _THINK.match(text)):
        reasoning, text = thought.group(1).strip(), text[thought.end() :]
    tools = json.dumps(message["tool_calls"]) if message.get("tool_calls") else ""
    if not (text or refusal or tools):
        return _bad("empty", "the answer is empty", usage, served)
    if "\0" in text:
        return _bad("nul_in_text", "the answer holds a NUL character", usage, served)
    signal = _logprobs(choice.get("logprobs"))
    finish_reason = _word(choice.get("finish_reason")) or "unknown"
    return Completion(
        text=text,
        finish_reason=finish_reason,
        usage=usage or Usage(estimated=True),
        served_model=served,
        reasoning=reasoning,
        refusal=refusal,
        tool_calls=tools,
        fingerprint=_word(data.get("system_fingerprint")),
        provider_request_id=headers.get("x-request-id", "") or _word(data.get("id")),
        service_tier=_word(data.get("service_tier")),
        logprobs=signal,
        ignored=_ignored(text, finish_reason, signal, sampling),
        repaired=repaired,
    )


def _ignored(
    text: str, finish_reason: str, signal: TokenLogprobs, sampling: Sampling
) -> tuple[str, ...]:
    """What was asked for and is not there. JSON cut off by max_tokens is not the server's fault."""
    schema, found = sampling.json_schema, []
    if sampling.logprobs and not signal.token_bytes:
        found.append("logprobs")
    asked = schema is not None and sampling.response_format == "json_schema"
    if asked and schema and finish_reason == "stop" and not follows_schema(text, schema):
        found.append("response_format")
    return tuple(found)


def follows_schema(text: str, schema: dict[str, Any]) -> bool:
    """Whether a text is JSON of that schema, as the server promised."""
    try:
        jsonschema.validate(json.loads(text), schema)
    except (ValueError, RecursionError, jsonschema.ValidationError):
        return False
    return True


def _first_choice(data: dict[str, Any]) -> dict[str, Any] | None:
    choices = data.get("choices")
    if not (isinstance(choices, list) and choices and isinstance(choices[0], dict)):
        return None
    return choices[0] if isinstance(choices[0].get("message"), dict) else None


def _usage(value: Any) -> Usage | None:
    """Usage as billed, or None where it cannot be believed."""
    if not isinstance(value, dict):
        return None
    prompt: Any = value.get("prompt_tokens")
    completion: Any = value.get("completion_tokens")
    if not (_count(prompt) and _count(completion)):
        return None
    prompt_details = value.get("prompt_tokens_details")
    completion_details = value.get("completion_tokens_details")
    return Usage(
        prompt_tokens=int(prompt),
        completion_tokens=int(completion),
        cached_tokens=_part(prompt_details, "cached_tokens", value.get("prompt_cache_hit_tokens")),
        reasoning_tokens=_part(completion_details, "reasoning_tokens", None),
    )


def _count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < MAX_TOKENS


def _part(details: Any, name: str, otherwise: Any) -> int:
    value = details.get(name) if isinstance(details, dict) else None
    value = otherwise if value is None else value
    return int(value) if _count(value) else 0


def _logprobs(value: Any) -> TokenLogprobs:
    """Stored evidence, by bytes. One malformed entry and the row carries none at all."""
    if isinstance(value, TokenLogprobs):
        return value
    entries = value.get("content") if isinstance(value, dict) else None
    if not isinstance(entries, list) or not entries:
        return TokenLogprobs()
    try:
        tokens = [_entry(entry) for entry in entries]
        tops = [
            [top for top in map(_entry, entry.get("top_logprobs") or ()) if top[1] > SENTINEL]
            for entry in entries
        ]
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
        return TokenLogprobs()
    return TokenLogprobs(
        token_bytes=tuple(token[0] for token in tokens),
        token_logprobs=tuple(token[1] for token in tokens),
        token_ids=_ids(tokens),
        top_bytes=tuple(tuple(top[0] for top in candidates) for candidates in tops),
        top_logprobs=tuple(tuple(top[1] for top in candidates) for candidates in tops),
        top_ids=tuple(_ids(candidates) for candidates in tops),
    )


def _entry(entry: dict[str, Any]) -> tuple[bytes, float, int]:
    """(bytes, logprob, id or -1). `bytes` is null for a token without text; `token` may not be
    UTF-8's whole truth, so it is only read where `bytes` is absent."""
    logprob = float(entry["logprob"])
    if not -1e30 < logprob < 1e-3:
        raise ValueError("not a log probability")
    given = entry["bytes"] if "bytes" in entry else list(entry["token"].encode())
    if not isinstance(given, list | None):
        raise TypeError("a number here would be that many zero bytes")
    number = entry.get("id", -1)
    return bytes(given or ()), logprob, number if _count(number) else -1


def _ids(tokens: list[tuple[bytes, float, int]]) -> tuple[int, ...]:
    ids = tuple(token[2] for token in tokens)
    return ids if ids and min(ids) >= 0 else ()


def _clean(text: str) -> tuple[str, bool]:
    """Lone surrogates become U+FFFD: no file or database takes them. The raw bytes are kept."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace"), True
    return text, False


def _word(value: Any) -> str:
    """A short text of the reply's envelope, storable; anything else counts as absent."""
    return _clean(text_or_empty(value))[0].replace("\0", "\ufffd")


def _bad(kind: str, message: str, usage: Usage | None = None, served: str = "") -> Failure:
    return Failure(OutcomeClass.BILLED_BAD, kind, message, 200, usage=usage, served_model=served)
