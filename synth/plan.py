"""The plan: which requests a project needs, and what the ledger already knows of each.

    plan(project, prompts, base) -> Calls             in the order they will be sent
    sort_out(ledger, calls, limits) -> Plan           todo, and what is done, failed, held

A call is rendered when it is looked at and forgotten after: of 200,000 requests a plan keeps 40
bytes each, not the 1.4 KB of their bodies.

A request's key covers what changes the answer: the server, the path, the rendered body (teacher,
instruction, sampling) and the sample index. A comment in the project file changes no key.
"""

import json
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

from policy.digest import PREFIX, digest
from synth.config import Limits, Sampling, Teacher
from synth.ledger import Ledger
from synth.prompts import Prompt
from synth.teachers import ADAPTERS
from synth.turns import pictures_of, words_of
from synth.wire import Call

AROUND = 1000  # tokens; Anthropic documents up to 530 for its own words around tools
TERMINAL = ("bad_request", "content_filter")
"""Refusals that the same request would meet again: not sent again by itself."""


class Calls(Sequence[Call]):
    """The calls of a project. A key is computed once, a body as often as it is needed."""

    def __init__(
        self, teacher: Teacher, sampling: Sampling, prompts: Sequence[Prompt], base: str
    ) -> None:
        self._settings = (teacher, sampling, base)
        self._prompts = prompts
        self._more = array("L", [at for at, one in enumerate(prompts) if one.split != "test"])
        self._size = len(prompts) + len(self._more) * (sampling.samples - 1)
        self._keys = bytearray(32 * self._size)

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, at: Any) -> Any:
        """The call at a place, or a list of them for a slice. No `overload`: its registry keeps the
        module alive when Python ends, and DuckDB complains of that on the terminal."""
        if isinstance(at, slice):
            return [self[one] for one in range(*at.indices(self._size))]
        if not -self._size <= at < self._size:
            raise IndexError(at)
        return self._call(at % self._size)

    def _call(self, at: int) -> Call:
        """First samples of all prompts come first, so that early rows cover all."""
        prompt, sample = at, 0
        if at >= len(self._prompts):
            sample, place = divmod(at - len(self._prompts), len(self._more))
            prompt, sample = self._more[place], sample + 1
        teacher, sampling, base = self._settings
        known = bytes(self._keys[32 * at : 32 * at + 32])
        key = PREFIX + known.hex() if any(known) else ""
        call = render(teacher, sampling, self._prompts[prompt], sample, base, key)
        if not key:
            self._keys[32 * at : 32 * at + 32] = bytes.fromhex(call.key.removeprefix(PREFIX))
        return call


class Chosen(Sequence[Call]):
    """Some of the calls, by their places."""

    def __init__(self, calls: Sequence[Call]) -> None:
        self._calls = calls
        self._places = array("L")

    def add(self, at: int) -> None:
        """Choose one more."""
        self._places.append(at)

    @property
    def places(self) -> Sequence[int]:
        """Where they are among the calls."""
        return self._places

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, at: Any) -> Any:
        if isinstance(at, slice):
            return [self._calls[place] for place in self._places[at]]
        return self._calls[self._places[at]]


@dataclass(slots=True)
class Plan:
    """What is to be sent, and why the rest is not."""

    calls: Sequence[Call]
    todo: Chosen
    held: Chosen
    """Outcome lost: perhaps billed, so not sent again by itself."""
    pending: Chosen
    """In a batch at the provider."""
    done: int = 0
    unusable: int = 0
    """Paid for and unusable: asking again would be a second payment."""
    refused: int = 0
    attempts: dict[str, int] = field(default_factory=dict)
    """Attempts that a key already had, where it had any."""
    resends: int = 0

    def waiting(self, max_tokens: int) -> dict[str, int]:
        """The most tokens of each request without an outcome, by its key."""
        calls = chain(self.pending, self.held)
        return {call.key: call.prompt_tokens + max_tokens for call in calls}


def plan(teacher: Teacher, sampling: Sampling, prompts: Sequence[Prompt], base: str) -> Calls:
    """One call a sample; held-out prompts are asked once."""
    return Calls(teacher, sampling, prompts, base)


def render(
    teacher: Teacher, sampling: Sampling, prompt: Prompt, sample: int, base: str, key: str = ""
) -> Call:
    """The call exactly as it will be sent, less the key of the account; `key` is its own, if it is
    known already."""
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
        key=key or request_key(base, path, body, sample),
        prompt_id=prompt.id,
        sample=sample,
        split=prompt.split,
        prompt_tokens=_most_tokens(teacher, sampling, prompt),
    )


def _most_tokens(teacher: Teacher, sampling: Sampling, prompt: Prompt) -> int:
    """A bound for the reserve: no tokenizer makes more tokens than there are bytes. A schema and
    tools go into the prompt, with a few hundred tokens around them."""
    text = sum(len(words_of(message).encode()) + 16 for message in prompt.teacher)
    tools = sum(len(tool.model_dump_json().encode()) + AROUND for tool in sampling.tools)
    schema = sampling.json_schema if sampling.response_format == "json_schema" else None
    asked = len(json.dumps(schema).encode()) + AROUND if schema else 0
    return text + tools + asked + teacher.image_tokens * pictures_of(prompt.teacher)


def request_key(base: str, path: str, body: bytes, sample: int) -> str:
    """Identity of a request."""
    return digest({"base": base, "path": path, "body": body.decode(), "sample": sample})


def sort_out(ledger: Ledger, calls: Sequence[Call], limits: Limits) -> Plan:
    """Ask the ledger what happened to each call before. One query, whatever the size."""
    known: dict[str, list[tuple[str, str]]] = {}
    for key, outcome, kind in ledger.each("SELECT key, class, kind FROM state ORDER BY seq"):
        known.setdefault(key, []).append((outcome, kind))
    todo, held, pending = Chosen(calls), Chosen(calls), Chosen(calls)
    result = Plan(calls, todo, held, pending, resends=_resends(known))
    allowed = limits.max_resends - result.resends if limits.on_unknown == "resend" else 0
    for at, call in enumerate(calls):
        history = known.get(call.key, [])
        if history:
            result.attempts[call.key] = len(history)
        allowed -= _file(result, at, history, allowed)
    return result


def _file(result: Plan, at: int, history: list[tuple[str, str]], allowed: int) -> int:
    """Put a call where its history puts it; returns the resends that it uses."""
    outcomes = [outcome for outcome, _ in history]
    if "ok" in outcomes:
        result.done += 1
    elif "billed_bad" in outcomes:
        result.unusable += 1
    elif "pending" in outcomes:
        result.pending.add(at)
    elif "unknown" in outcomes:
        if allowed <= 0:
            result.held.add(at)
            return 0
        result.todo.add(at)
        return 1
    elif history and history[-1][1] in TERMINAL:
        result.refused += 1
    else:
        result.todo.add(at)
    return 0


def _resends(known: dict[str, list[tuple[str, str]]]) -> int:
    """Attempts that were made after an earlier one of the same request was lost."""
    count = 0
    for history in known.values():
        lost = [place for place, (outcome, _) in enumerate(history) if outcome == "unknown"]
        count += len(history) - 1 - lost[0] if lost else 0
    return count
