"""What every dialect's parser needs: bytes to an object, words that can be stored, counts that can
be believed, and one normal form for tool calls, stops and what a server left undone.

    data = load(raw)                      # a dict, or the Failure that says why it is none
    finish("SAFETY", {...}, ...)          # -> "content_filter"
"""

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jsonschema

from synth.config import Sampling
from synth.logprobs import TokenLogprobs
from synth.teachers.signal import decoded
from synth.wire import Completion, Failure, OutcomeClass, Usage, text_or_empty

MAX_TOKENS = 2**31  # a usage beyond this is not a count
REQUEST_IDS = ("x-request-id", "request-id", "apim-request-id", "mistral-correlation-id")
"""OpenAI and most others, Anthropic, Azure, Mistral."""


def load(raw: bytes) -> dict[str, Any] | Failure:
    """The object of a reply. Blank lines before it are keep-alives (DeepSeek, OpenRouter)."""
    try:
        data = decoded(raw)
    except UnicodeDecodeError as error:
        return bad("bad_utf8", f"the reply is not UTF-8 at byte {error.start}")
    except ValueError as error:
        kind = "html" if raw.lstrip()[:1] == b"<" else "bad_json"
        return bad(kind, f"the reply is not JSON: {str(error)[:120]}")
    if not isinstance(data, dict):
        return bad("bad_shape", f"the reply is a JSON {type(data).__name__}, not an object")
    return data


def parsed(
    raw: bytes, read: Callable[[dict[str, Any]], Completion | Failure]
) -> Completion | Failure:
    """What `read` makes of the object of a reply. Total, however deep the reply is nested."""
    try:
        data = load(raw)
        return data if isinstance(data, Failure) else read(data)
    except RecursionError:
        return bad("bad_json", "the reply is nested too deeply")


def bad(kind: str, message: str, usage: Usage | None = None, served: str = "") -> Failure:
    """A 200 that cannot be used, and was perhaps paid for."""
    return Failure(OutcomeClass.BILLED_BAD, kind, message, 200, usage=usage, served_model=served)


def checked(completion: Completion) -> Completion | Failure:
    """The completion, or why it is none: an answer needs a text, a refusal or a tool call."""
    usage, served = completion.usage, completion.served_model
    known = None if usage.estimated else usage
    if not (completion.text or completion.refusal or completion.tool_calls):
        if completion.finish_reason == "content_filter":
            return bad("content_filter", "the provider filtered the answer", known, served)
        why = f"the answer is empty (finish_reason {completion.finish_reason})"
        return bad("empty", why, known, served)
    if "\0" in completion.text:
        return bad("nul_in_text", "the answer holds a NUL character", known, served)
    return completion


def finish(given: Any, known: Mapping[str, str]) -> str:
    """A provider's word for why it stopped, in ours."""
    if not isinstance(given, str) or not given:
        return "unknown"
    return known.get(given, "other")


def undone(
    text: str,
    finish_reason: str,
    signal: TokenLogprobs,
    sampling: Sampling,
    *,
    seed: bool = True,
) -> tuple[str, ...]:
    """What was asked for and is not there. JSON cut off by max_tokens is not the server's fault.
    `seed` says whether the dialect has one."""
    schema, found = sampling.json_schema, []
    if sampling.logprobs and not signal.counts:
        found.append("logprobs")
    asked = schema is not None and sampling.response_format == "json_schema"
    if asked and schema and finish_reason == "stop" and not follows_schema(text, schema):
        found.append("response_format")
    if sampling.seed and not seed:
        found.append("seed")
    return tuple(found)


def follows_schema(text: str, schema: dict[str, Any]) -> bool:
    """Whether a text is JSON of that schema, as the server promised."""
    try:
        jsonschema.validate(json.loads(text), schema)
    except (ValueError, RecursionError, jsonschema.ValidationError):
        return False
    return True


def tool_calls(calls: Iterable[tuple[str, str, Any]]) -> str:
    """(id, name, arguments) as the JSON list of a chat completion's `tool_calls`."""
    made = [
        {
            "id": identity,
            "type": "function",
            "function": {
                "name": name,
                "arguments": given if isinstance(given, str) else json.dumps(given),
            },
        }
        for identity, name, given in calls
    ]
    return json.dumps(made) if made else ""


def items(value: Any) -> list[dict[str, Any]]:
    """The objects of what should be a list of objects; anything else is left out."""
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def table(value: Any) -> dict[str, Any]:
    """What should be an object; anything else counts as an empty one."""
    return value if isinstance(value, dict) else {}


def count(value: Any) -> bool:
    """Whether a value can be a number of tokens, or a token's id."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < MAX_TOKENS


def count_of(value: Any) -> int:
    """A number of tokens; what cannot be one counts as zero."""
    return int(value) if count(value) else 0


def clean(text: str) -> tuple[str, bool]:
    """Lone surrogates become U+FFFD: no file or database takes them. The raw bytes are kept."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace"), True
    return text, False


def word(value: Any) -> str:
    """A short text of the reply's envelope, storable; anything else counts as absent."""
    return clean(text_or_empty(value))[0].replace("\0", "\ufffd")


def request_id(headers: Mapping[str, str]) -> str:
    """The provider's name for this request, for its support and for an audit."""
    return next((headers[name] for name in REQUEST_IDS if headers.get(name)), "")
