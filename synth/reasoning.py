"""Reasoning is kept only where the terms list it as output and the project asks for it.

    check_reasoning(rails, use, teacher, terms)   # the project asks by features = ["reasoning"]
    without_reasoning(reply)                      # neither the column nor the raw reply holds it

What a provider shows of a model's thinking is not always output that may be used. Where it may not,
nothing of it is stored: the raw reply keeps its place, its length and its digest.
"""

import json
import re
from dataclasses import replace
from typing import Any

from policy.digest import sha256
from policy.guardrails import Asked, Guardrails, check_asked
from policy.terms import Terms
from policy.use import Use
from synth.config import Teacher
from synth.logprobs import NO_LOGPROBS
from synth.wire import Completion, Reply

FEATURE = "reasoning"
_KEYS = frozenset({"reasoning", "reasoning_content", "reasoning_details", "thinking", "thoughts"})
"""Fields that hold thoughts: OpenRouter, Groq, vLLM, DeepSeek, Moonshot, Ollama, Mistral."""
_TYPES = frozenset({"thinking", "redacted_thinking", "reasoning", "reasoning.text"})
"""Kinds of a content part: Anthropic, Mistral, OpenAI Responses."""
_ROOTS = (b'"reasoning', b'thinking"', b'"thought')
"""One of these is in each of the above, and searching for three takes a third of the time."""
_REACH = 32  # bytes before and behind a root
_HINT = re.compile(
    rb'"(?:%b|thought)"\s*(?::(?!\s*(?:null|""|\[\]|false))|\Z)|[:\s]"(?:%b)"'
    % tuple(b"|".join(re.escape(n).encode() for n in sorted(names)) for names in (_KEYS, _TYPES))
)
_KEPT = frozenset({"type", "id", "index", "format"})
_INLINE = re.compile(r"<think>.*?(?:</think>|\Z)", re.DOTALL)


def asked_for(teacher: Teacher) -> bool:
    """Whether the project wants the teacher's reasoning."""
    return FEATURE in teacher.features


def check_reasoning(rails: Guardrails, use: Use, teacher: Teacher, terms: Terms | None) -> None:
    """Raise PolicyDenied where a project asks for reasoning that it may not have."""
    if asked_for(teacher):
        wanted = Asked(use.organisation, teacher.offering, teacher.model, use.purpose, True)
        check_asked(rails, wanted, terms)


def without_reasoning(reply: Reply) -> Reply:
    """The reply as if the teacher had kept its thoughts to itself."""
    result = reply.result
    completion = result if isinstance(result, Completion) else None
    if not (completion and completion.reasoning) and not _may_hold(reply.raw, completion):
        return reply
    try:
        data = json.loads(reply.raw)
    except (ValueError, RecursionError):
        return reply  # not an answer: what an unreadable body holds is nobody's thought
    inline = _thinks(data)
    silent = _silent(data, inline)
    if silent == data and not (completion and completion.reasoning):
        return reply  # a word that looked like one: the token "thinking" among logprobs
    raw = json.dumps(silent, ensure_ascii=False, separators=(",", ":"))
    if completion:
        signal = NO_LOGPROBS if inline else completion.logprobs  # they spell the thoughts too
        result = replace(completion, reasoning="", logprobs=signal)
    return Reply(result, raw.encode("utf-8", "surrogatepass"), reply.headers)


def _may_hold(raw: bytes, completion: Completion | None) -> bool:
    """Whether a reply may hold a thought. 300 KB of token logprobs are no place for one, as long as
    no tokens spell it."""
    if completion and completion.logprobs.place[1]:
        at, end = completion.logprobs.place
        return b"<think>" in completion.logprobs.pieces or _holds(raw[:at] + raw[end:])
    return _holds(raw)


def _holds(raw: bytes) -> bool:
    """Whether a body may hold a thought: a search of its bytes, since most hold none."""
    for root in _ROOTS:
        place = raw.find(root)
        while place >= 0:
            if _HINT.search(raw, max(0, place - _REACH), place + len(root) + _REACH):
                return True
            place = raw.find(root, place + 1)
    return b"<think>" in raw


def _thinks(value: Any) -> bool:
    if isinstance(value, dict):
        return any(_thinks(one) for one in value.values())
    if isinstance(value, list):
        return any(_thinks(one) for one in value)
    return isinstance(value, str) and "<think>" in value


def _silent(value: Any, inline: bool) -> Any:
    """The same JSON with a marker in place of each thought."""
    if isinstance(value, list):
        return [_silent(one, inline) for one in value]
    if isinstance(value, str):
        return _INLINE.sub(lambda found: _marker(found.group()), value)
    if not isinstance(value, dict):
        return value
    if value.get("type") in _TYPES or value.get("thought") is True:
        return _marked(value)
    return {
        key: _marked(one) if key in _KEYS else _silent(one, inline)
        for key, one in value.items()
        if not (inline and key in ("logprobs", "logprobsResult"))
    }


def _marked(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: one if key in _KEPT else _marked(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_marked(one) for one in value]
    return _marker(value) if isinstance(value, str) and value else value


def _marker(text: str) -> str:
    hashed = sha256(text.encode("utf-8", "surrogatepass"))
    return f"[withheld: {len(text)} characters, {hashed}]"
