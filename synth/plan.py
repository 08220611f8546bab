"""The plan: which requests a project needs, and what the ledger already knows of each.

    plan(project, prompts, base) -> [Call, ...]       in the order they will be sent
    sort_out(ledger, calls, limits) -> Plan           todo, and what is done, failed, held

A request's key covers what changes the answer: the server, the path, the rendered body (teacher,
instruction, sampling) and the sample index. A comment in the project file changes no key.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field

from policy.digest import digest
from synth.config import Limits, Sampling, Teacher
from synth.ledger import Ledger
from synth.prompts import Prompt
from synth.teachers import ADAPTERS
from synth.turns import pictures_of, words_of
from synth.wire import Call

TERMINAL = ("bad_request", "content_filter")
"""Refusals that the same request would meet again: not sent again by itself."""


@dataclass(slots=True)
class Plan:
    """What is to be sent, and why the rest is not."""

    calls: list[Call]
    todo: list[Call] = field(default_factory=list)
    done: int = 0
    unusable: int = 0
    """Paid for and unusable: asking again would be a second payment."""
    refused: int = 0
    held: list[Call] = field(default_factory=list)
    """Outcome lost: perhaps billed, so not sent again by itself."""
    pending: list[Call] = field(default_factory=list)
    """In a batch at the provider."""
    attempts: dict[str, int] = field(default_factory=dict)
    """Attempts that each key already had."""
    resends: int = 0


def plan(teacher: Teacher, sampling: Sampling, prompts: Sequence[Prompt], base: str) -> list[Call]:
    """One call a sample: first samples of all prompts come first, so that early rows cover all."""
    rounds = range(sampling.samples)
    return [
        render(teacher, sampling, prompt, sample, base)
        for sample in rounds
        for prompt in prompts
        if sample == 0 or prompt.split != "test"
    ]


def render(teacher: Teacher, sampling: Sampling, prompt: Prompt, sample: int, base: str) -> Call:
    """The call exactly as it will be sent, less the key of the account."""
    adapter = ADAPTERS[teacher.adapter]
    if prompt.split == "test" and sampling.held_out_temperature is not None:
        sampling = sampling.model_copy(update={"temperature": sampling.held_out_temperature})
    built = adapter.build(teacher, sampling, prompt.teacher, sample)
    # In the order of the project file, not sorted: a grammar follows the order of a schema's keys.
    body = json.dumps(built, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
    path = adapter.path(teacher)
    return Call(
        path=path,
        body=body,
        key=request_key(base, path, body, sample),
        prompt_id=prompt.id,
        sample=sample,
        split=prompt.split,
        prompt_tokens=_most_tokens(teacher, sampling, prompt),
    )


def _most_tokens(teacher: Teacher, sampling: Sampling, prompt: Prompt) -> int:
    """A bound for the reserve: no tokenizer makes more tokens than there are bytes."""
    text = sum(len(words_of(message).encode()) + 16 for message in prompt.teacher)
    tools = sum(len(tool.model_dump_json()) + 64 for tool in sampling.tools)
    return text + tools + teacher.image_tokens * pictures_of(prompt.teacher)


def request_key(base: str, path: str, body: bytes, sample: int) -> str:
    """Identity of a request."""
    return digest({"base": base, "path": path, "body": body.decode(), "sample": sample})


def sort_out(ledger: Ledger, calls: Sequence[Call], limits: Limits) -> Plan:
    """Ask the ledger what happened to each call before. One query, whatever the size."""
    known: dict[str, list[tuple[str, str]]] = {}
    for key, outcome, kind in ledger.each("SELECT key, class, kind FROM state ORDER BY seq"):
        known.setdefault(key, []).append((outcome, kind))
    result = Plan(calls=list(calls), resends=_resends(known))
    allowed = limits.max_resends - result.resends if limits.on_unknown == "resend" else 0
    for call in calls:
        history = known.get(call.key, [])
        result.attempts[call.key] = len(history)
        allowed -= _file(result, call, history, allowed)
    return result


def _file(result: Plan, call: Call, history: list[tuple[str, str]], allowed: int) -> int:
    """Put a call where its history puts it; returns the resends that it uses."""
    outcomes = [outcome for outcome, _ in history]
    if "ok" in outcomes:
        result.done += 1
    elif "billed_bad" in outcomes:
        result.unusable += 1
    elif "pending" in outcomes:
        result.pending.append(call)
    elif "unknown" in outcomes:
        if allowed <= 0:
            result.held.append(call)
            return 0
        result.todo.append(call)
        return 1
    elif history and history[-1][1] in TERMINAL:
        result.refused += 1
    else:
        result.todo.append(call)
    return 0


def _resends(known: dict[str, list[tuple[str, str]]]) -> int:
    """Attempts that were made after an earlier one of the same request was lost."""
    count = 0
    for history in known.values():
        lost = [place for place, (outcome, _) in enumerate(history) if outcome == "unknown"]
        count += len(history) - 1 - lost[0] if lost else 0
    return count
