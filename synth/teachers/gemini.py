"""Google's generateContent, as spoken by the Gemini API and by Vertex AI.

    build(teacher, sampling, messages, 0) -> {"contents": [...], "generationConfig": {...}}

The model stands in the path. What the model thought is counted outside its answer and billed with
it, so the two are added. A blocked prompt is a 200 without candidates.

Source: google-genai 3.4 (types.GenerateContentResponse, GenerationConfig, models.py for the names
on the wire), API reference "generateContent".
"""

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from synth.config import Sampling, Teacher
from synth.prompts import Message
from synth.teachers.asking import Lack, versioned
from synth.teachers.evidence import gemini_logprobs
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
from synth.turns import split_data_url, words_of
from synth.wire import Completion, Failure, Usage, text_or_empty

_FILTERED = (
    *("SAFETY", "RECITATION", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "MODEL_ARMOR"),
    *("IMAGE_SAFETY", "IMAGE_PROHIBITED_CONTENT", "IMAGE_RECITATION"),
)
_STOPS = {
    "STOP": "stop",
    "MAX_TOKENS": "length",
    **dict.fromkeys(_FILTERED, "content_filter"),
}
_MODES = {"auto": "AUTO", "none": "NONE", "required": "ANY"}
_OAUTH = "ya29."  # how every access token of Google begins; an API key never does


def path(teacher: Teacher) -> str:
    """`/v1beta/models/MODEL:generateContent`, the version only where the base URL has none."""
    model = quote(teacher.model.removeprefix("models/"), safe="")
    return versioned(teacher, f"/models/{model}:generateContent", "/v1beta", last=False)


def credentials(key: str) -> tuple[tuple[str, str], ...]:
    """An API key in its own header; an access token (Vertex AI) as a bearer token."""
    if key.startswith(_OAUTH):
        return (("authorization", f"Bearer {key}"),)
    return (("x-goog-api-key", key),)


def lacks(teacher: Teacher, sampling: Sampling) -> Lack | None:
    """Several candidates would be billed together and counted in one."""
    if "candidateCount" in table(sampling.extra.get("generationConfig")):
        key = "[sampling] extra.generationConfig.candidateCount"
        return Lack(key, "each sample is a request of its own", "use samples")
    return None


def build(
    teacher: Teacher, sampling: Sampling, messages: tuple[Message, ...], sample: int
) -> dict[str, Any]:
    """The body of one request."""
    spoken = [one for one in messages if one["role"] not in ("system", "developer")]
    system = "\n\n".join(words_of(one) for one in messages if one not in spoken)
    body: dict[str, Any] = {
        **({"systemInstruction": {"parts": [{"text": system}]}} if system else {}),
        "contents": _contents(spoken),
        **sampling.extra,
    }
    given = table(sampling.extra.get("generationConfig"))
    body["generationConfig"] = {**_generation(sampling, sample), **given}
    if sampling.tools:
        declared = [
            {"name": t.name, "description": t.description, "parametersJsonSchema": t.parameters}
            for t in sampling.tools
        ]
        body["tools"] = [{"functionDeclarations": declared}]
        body["toolConfig"] = {"functionCallingConfig": _choice(sampling)}
    return body


def _generation(sampling: Sampling, sample: int) -> dict[str, Any]:
    made: dict[str, Any] = {
        "temperature": sampling.temperature,
        "topP": sampling.top_p,
        "maxOutputTokens": sampling.max_tokens,
    }
    if sampling.seed is not None:
        made["seed"] = sampling.seed + sample
    if sampling.logprobs:
        made |= {"responseLogprobs": True, "logprobs": sampling.logprobs}
    if sampling.json_schema is not None and sampling.response_format != "none":
        made["responseMimeType"] = "application/json"
        if sampling.response_format == "json_schema":
            made["responseJsonSchema"] = sampling.json_schema
    return made


def _contents(messages: list[Message]) -> list[dict[str, Any]]:
    """Turns in this form; a result names its function, which only the call before it knows."""
    made: list[dict[str, Any]] = []
    names: dict[str, str] = {}
    for message in messages:
        for call in message.get("tool_calls") or ():
            names[call["id"]] = call["function"]["name"]
        role = "model" if message["role"] == "assistant" else "user"
        parts = _parts(message, names)
        if made and made[-1]["role"] == role:
            made[-1]["parts"] += parts
        else:
            made.append({"role": role, "parts": parts})
    return made


def _parts(message: Message, names: Mapping[str, str]) -> list[dict[str, Any]]:
    content = message.get("content")
    if message["role"] == "tool":
        name = names.get(message["tool_call_id"], message["tool_call_id"])
        result = {"name": name, "response": {"result": words_of(message)}}
        return [{"functionResponse": result}]
    given = [{"type": "text", "text": content}] if isinstance(content, str) else content or []
    parts = [_part(part) for part in given if part.get("text") != ""]
    for call in message.get("tool_calls") or ():
        function = call["function"]
        args = json.loads(function["arguments"])
        parts.append({"functionCall": {"name": function["name"], "args": args}})
    return parts


def _part(part: dict[str, Any]) -> dict[str, Any]:
    if part["type"] == "text":
        return {"text": part["text"]}
    address = part["image_url"]["url"]
    split = split_data_url(address)
    if split is None:
        return {"fileData": {"fileUri": address}}
    return {"inlineData": {"mimeType": split[0], "data": split[1]}}


def _choice(sampling: Sampling) -> dict[str, Any]:
    mode = _MODES.get(sampling.tool_choice)
    if mode:
        return {"mode": mode}
    return {"mode": "ANY", "allowedFunctionNames": [sampling.tool_choice]}


def parse(raw: bytes, sampling: Sampling, headers: Mapping[str, str]) -> Completion | Failure:
    """What a 200 means. Total: any bytes give a Completion or a Failure."""
    return parsed(raw, lambda data: _parse(data, sampling, headers))


def _parse(
    data: dict[str, Any], sampling: Sampling, headers: Mapping[str, str]
) -> Completion | Failure:
    served, usage = word(data.get("modelVersion")), _usage(data.get("usageMetadata"))
    if data.get("error"):
        error = table(data["error"])
        said = f"{word(error.get('status'))} {word(error.get('message'))}"
        return bad("error_in_200", f"200 with an error inside: {said}"[:240], usage, served)
    if blocked := word(table(data.get("promptFeedback")).get("blockReason")):
        why = f"the provider blocked the prompt: {blocked}"
        return bad("content_filter", why, usage, served)
    candidates = items(data.get("candidates"))
    if not candidates:
        keys = ", ".join(sorted(map(str, data)))[:120]
        return bad("no_choices", f"no candidates in the reply (it has {keys})", usage, served)
    return _completion(data, candidates[0], usage, served, sampling, headers)


def _completion(
    data: dict[str, Any],
    candidate: dict[str, Any],
    usage: Usage | None,
    served: str,
    sampling: Sampling,
    headers: Mapping[str, str],
) -> Completion | Failure:
    parts = items(table(candidate.get("content")).get("parts"))
    text, repaired = clean(_texts(parts, thought=False))
    calls = [table(part["functionCall"]) for part in parts if part.get("functionCall")]
    stop = finish(candidate.get("finishReason"), _STOPS)
    stop = "tool_calls" if calls and stop == "stop" else stop
    signal = gemini_logprobs(candidate.get("logprobsResult"))
    return checked(
        Completion(
            text=text,
            finish_reason=stop,
            usage=usage or Usage(estimated=True),
            served_model=served,
            reasoning=clean(_texts(parts, thought=True))[0],
            tool_calls=tool_calls(
                (word(one.get("id")) or f"call_{n}", word(one.get("name")), one.get("args") or {})
                for n, one in enumerate(calls)
            ),
            provider_request_id=request_id(headers) or word(data.get("responseId")),
            service_tier=word(table(data.get("usageMetadata")).get("trafficType")),
            logprobs=signal,
            ignored=undone(text, stop, signal, sampling),
            repaired=repaired,
        )
    )


def _texts(parts: list[dict[str, Any]], *, thought: bool) -> str:
    return "".join(text_or_empty(p.get("text")) for p in parts if bool(p.get("thought")) == thought)


def _usage(value: Any) -> Usage | None:
    """Thoughts stand beside the candidates, cached tokens inside the prompt. Where the total says
    more than the parts, it is the total that is billed."""
    given = table(value)
    if not count(given.get("promptTokenCount")):
        return None
    prompt = count_of(given["promptTokenCount"]) + count_of(given.get("toolUsePromptTokenCount"))
    thoughts = count_of(given.get("thoughtsTokenCount"))
    answer = count_of(given.get("candidatesTokenCount")) + thoughts
    return Usage(
        prompt_tokens=prompt,
        completion_tokens=max(answer, count_of(given.get("totalTokenCount")) - prompt),
        cached_tokens=count_of(given.get("cachedContentTokenCount")),
        reasoning_tokens=thoughts,
    )
