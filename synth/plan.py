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
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass
from itertools import chain, pairwise, repeat
from typing import Any

from policy.digest import PREFIX
from synth.config import Limits, Sampling, Teacher
from synth.ledger import Ledger
from synth.moulds import Moulds, digest_of, sent
from synth.prompts import Prompt
from synth.turns import pictures_of, words_of
from synth.wire import Call

_UNKNOWN = bytes(32)
SHORT = 16  # bytes of a key by which calls are told apart
AROUND = 1000  # tokens; Anthropic documents up to 530 for its own words around tools


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
        self._known = False
        self._moulds = Moulds(teacher, sampling, base)

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

    def key(self, at: int) -> str:
        """The key of the call at a place."""
        return PREFIX + self.digest(at).hex()

    def digest(self, at: int) -> bytes:
        """The 32 bytes of that key."""
        known = self._keys[32 * at : 32 * at + 32]
        if known != _UNKNOWN:
            return bytes(known)
        found = self._moulds.digest(*self._where(at))
        self._keys[32 * at : 32 * at + 32] = found
        return found

    def digests(self) -> Iterator[bytes]:
        """Those of all calls, in order."""
        digest, keys = self._moulds.digest, self._keys
        if self._known:
            yield from (bytes(keys[at : at + 32]) for at in range(0, 32 * self._size, 32))
            return
        for at, (prompt, sample) in enumerate(self._each()):
            keys[32 * at : 32 * at + 32] = found = digest(prompt, sample)
            yield found
        self._known = True

    def _each(self) -> Iterator[tuple[Prompt, int]]:
        """What each call asks: first samples of all prompts first, so that early rows cover all."""
        yield from zip(self._prompts, repeat(0))
        for sample in range(1, self._settings[1].samples):
            for place in self._more:
                yield self._prompts[place], sample

    def _call(self, at: int) -> Call:
        teacher, sampling, base = self._settings
        return render(teacher, sampling, *self._where(at), base, self.key(at))

    def _where(self, at: int) -> tuple[Prompt, int]:
        """The same of one."""
        if at < len(self._prompts):
            return self._prompts[at], 0
        sample, place = divmod(at - len(self._prompts), len(self._more))
        return self._prompts[self._more[place]], sample + 1


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


class Queue:
    """Calls still to be made, each rendered as its turn comes."""

    def __init__(self, todo: Sequence[Call]) -> None:
        self._todo = todo
        self._next = 0

    def __len__(self) -> int:
        return len(self._todo) - self._next

    def popleft(self) -> Call:
        """The next one."""
        self._next += 1
        return self._todo[self._next - 1]


class Attempts:
    """How many attempts a key without an answer has had: by the ledger, and in this run until its
    last word."""

    def __init__(self, had: dict[bytes, int], again: Set[bytes]) -> None:
        self._had = had
        self._again = again

    def get(self, key: str, default: int = 0) -> int:
        """So many, or the default where there was none."""
        return self._had.get(_short(key), default)

    def next(self, key: str) -> int:
        """The number of a new one."""
        short = _short(key)
        number = self._had[short] = self._had.get(short, 0) + 1
        return number

    def forget(self, key: str) -> None:
        """A call has its last word; kept where another row asks the same."""
        if (short := _short(key)) not in self._again:
            self._had.pop(short, None)


def _short(key: str) -> bytes:
    """The first 128 bits: a fifth of the memory."""
    return bytes.fromhex(key[len(PREFIX) : len(PREFIX) + 2 * SHORT])


@dataclass(slots=True)
class Plan:
    """What is to be sent, and why the rest is not."""

    calls: Sequence[Call]
    todo: Chosen
    held: Chosen
    """Outcome lost: perhaps billed, so not sent again by itself."""
    pending: Chosen
    """In a batch at the provider."""
    attempts: Attempts
    done: int = 0
    unusable: int = 0
    """Paid for and unusable: asking again would be a second payment."""
    refused: int = 0
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
    path, body = sent(teacher, sampling, prompt, sample)
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
    return PREFIX + digest_of(base, path, body.decode(), sample).hex()


_HISTORY = """
WITH s AS MATERIALIZED (SELECT seq, substr(key, 8, 32) AS short, class, kind FROM state)
SELECT standing, attempts, string_agg(short, '') FROM
(SELECT short, CASE WHEN bool_or(class = 'billed_bad') THEN 'unusable'
                    WHEN bool_or(class = 'pending') THEN 'pending'
                    WHEN bool_or(class = 'unknown') THEN 'lost'
                    WHEN arg_max(kind, seq) IN ('bad_request', 'content_filter') THEN 'refused'
                    ELSE 'again' END AS standing, count(*) AS attempts
FROM s WHERE class <> 'ok' GROUP BY short) GROUP BY standing, attempts
UNION ALL SELECT 'done', 0, string_agg(short, '') FROM s WHERE class = 'ok'
UNION ALL SELECT 'resends', count(*), '' FROM s
JOIN (SELECT short, min(seq) AS lost FROM s WHERE class = 'unknown' GROUP BY short) USING (short)
WHERE seq > lost
"""  # refusals that the same request would meet again are not sent again by themselves


def _history(ledger: Ledger) -> tuple[dict[bytes, str], dict[bytes, int], int]:
    """How each key stands, how many attempts those without an answer had, and how many of all were
    made again after their outcome was lost. One query, whatever the size."""
    standings: dict[bytes, str] = {}
    attempts: dict[bytes, int] = {}
    done: list[bytes] = []
    resends = 0
    for standing, count, shorts in ledger.each(_HISTORY):
        keys = _split(bytes.fromhex(shorts or ""))
        match standing:
            case "resends":
                resends = count
            case "done":
                done = keys
            case _:
                standings.update(dict.fromkeys(keys, standing))
                attempts.update(dict.fromkeys(keys, count))
    standings.update(dict.fromkeys(done, "done"))  # an answer is the last word, whatever was before
    for key in done if attempts else ():
        attempts.pop(key, None)
    return standings, attempts, resends


def sort_out(ledger: Ledger, calls: Sequence[Call], limits: Limits) -> Plan:
    """Ask the ledger what happened to each call before."""
    known, before, resends = _history(ledger)
    asked, again, done = array("Q"), set[bytes](), 0
    had = Attempts(before, again)
    result = Plan(calls, Chosen(calls), Chosen(calls), Chosen(calls), had, resends=resends)
    allowed = limits.max_resends - resends if limits.on_unknown == "resend" else 0
    for at, standing in enumerate(map(known.get, _shorts(calls))):
        if standing == "done":
            done += 1
            continue
        if standing == "lost" and allowed > 0:
            allowed, standing = allowed - 1, "again"
        if standing in (None, "again"):
            result.todo.add(at)
            asked.append(int.from_bytes(_short_of(calls, at)[:8]))
        else:
            _count(result, at, standing)
    result.done = done
    again.update(_twice(calls, result.todo.places, asked))
    return result


def _split(keys: bytes) -> list[bytes]:
    return [keys[at : at + SHORT] for at in range(0, len(keys), SHORT)]


def _twice(calls: Sequence[Call], places: Sequence[int], numbers: Sequence[int]) -> Iterator[bytes]:
    """Keys that several rows ask for, by the first 64 bits of each: a set of all whole keys would
    be a fifth of what a large collection takes."""
    ordered = sorted(numbers)
    double = {one for one, other in pairwise(ordered) if one == other}
    if double:
        for at, number in zip(places, numbers, strict=True):
            if number in double:
                yield _short_of(calls, at)


def _short_of(calls: Sequence[Call], at: int) -> bytes:
    """The beginning of a call's key, without the rest of the call where that is possible."""
    return calls.digest(at)[:SHORT] if isinstance(calls, Calls) else _short(calls[at].key)


def _shorts(calls: Sequence[Call]) -> Iterator[bytes]:
    """Those of all."""
    if isinstance(calls, Calls):
        return (digest[:SHORT] for digest in calls.digests())
    return (_short(call.key) for call in calls)


def _count(result: Plan, at: int, standing: str) -> None:
    """File a call that is not to be sent."""
    match standing:
        case "unusable":
            result.unusable += 1
        case "pending":
            result.pending.add(at)
        case "lost":
            result.held.add(at)
        case _:
            result.refused += 1
