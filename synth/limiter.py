"""When may one more request go? All limits at once, with no clock, socket or task of its own.

    ticket = limiter.ticket(prompt_tokens, max_tokens)
    limiter.wait(ticket, now) -> seconds       0: it may go; infinite: when another one ends
    limiter.take(ticket, now)
    limiter.answered(ticket, now, limits, used) | refused(...) | lost(...) | withdrawn(...)

Limits told in [limits] are ceilings of ours; those that the provider's headers state are mirrored;
a rate that it keeps to itself is found, and told from chance (finder.py, trial.py); the number in
flight follows the server (knee.py); a Retry-After holds all; an outage opens the breaker
(retries.py). The strictest of them wins.
"""

import random
from bisect import bisect
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import log2
from typing import NamedTuple

from synth.config import Limits
from synth.finder import RateFinder, State
from synth.knee import Knee
from synth.mirror import ANSWERED, LOST, REFUSED, Cost, Mirror
from synth.rate_headers import MINUTE, Limit
from synth.retries import Breaker
from synth.trial import Fate, Fates

FOREVER = float("inf")
ROUNDING = 1e-6  # seconds; a wait below it is the error of a float
FIRST, DOUBLES, UNHEARD = 8, 0.25, 64  # in flight until a first reply: at once; seconds; at most
OPENING = 4000.0  # requests a second by which the number in flight grows after it
OVERTAKEN = 0.05  # seconds; requests sent closer together may arrive in another order
KEPT_TIMES = 20_000
LEAST_PAUSE = 0.01  # seconds
STORM = 0.2  # share of refusals from which on a refusal says nothing about its request


class Used(NamedTuple):
    """Tokens as the provider counted them."""

    prompt: int
    completion: int


@dataclass(slots=True)
class Ticket:
    """One request on its way through the limits."""

    prompt: int
    most: int
    number: int = 0
    sent: float = 0.0
    fate: Fate = Fate.OPEN
    busy: bool = False
    asked: float = 0.0
    costs: list[Cost] = field(default_factory=list)
    told: float = 0.0
    answers: int = 0


class _Ceiling:
    """A rate of ours: no burst, and what was reserved too much is given back (GCRA)."""

    def __init__(self, per_minute: float) -> None:
        self._interval = MINUTE / per_minute if per_minute else 0.0
        self._next = 0.0

    def wait(self, now: float) -> float:
        return self._next - now if self._interval else 0.0

    def take(self, cost: float, now: float) -> None:
        self._next = max(self._next, now) + cost * self._interval

    def settle(self, reserved: float, used: float) -> None:
        self._next += (used - reserved) * self._interval


class Limiter:
    """Everything that paces one run."""

    def __init__(self, limits: Limits, chance: random.Random) -> None:
        self.knee = Knee(limits.concurrency)
        self.finder = RateFinder()
        self.breaker = Breaker(chance)
        self.mirrors: dict[str, Mirror] = {}
        self.held_until = 0.0
        self._mirrored: list[Mirror] = []
        self._requests = _Ceiling(limits.requests_per_minute)
        self._tokens = _Ceiling(limits.tokens_per_minute)
        self._flying: dict[int, Ticket] = {}
        self._fates: Fates[Ticket] = Fates()
        self._first_most = UNHEARD
        self._inside = self._beside = 0
        self._number = 0
        self._times: list[float] = []
        self._start: float | None = None
        self._heard: tuple[float, int] | None = None
        self._answers = 0
        self._refusals = 0.0
        self._latency = 1.0
        self._prompt_share = 1.0
        self._completion_share = 1.0

    @property
    def paced(self) -> bool:
        """Whether a rate holds retries back already, or refusals are known to be chance."""
        return self.finder.state is not State.FREE or self.finder.deaf

    def backoff(self, refusals: int, base: float) -> float:
        """Seconds that a request waits which was refused so many times. Where refusals are chance a
        pause helps nobody, and the first one need not be more either: half as long as an answer
        takes. While refusals are looked into, and after a second, `base` and twice as long each."""
        short = min(base, max(LEAST_PAUSE, self._latency / 2))
        looked_into = self.breaker.open or self.finder.state is State.MEASURE
        if self.finder.deaf and not looked_into:
            return float(short * 2.0 ** (refusals - 1))
        if refusals == 1 and not looked_into:
            return short
        return float(base * 2.0 ** (refusals - (1 if looked_into else 2)))

    @property
    def in_flight(self) -> int:
        """Requests that are out."""
        return len(self._flying)

    def ticket(self, prompt: int, most: int) -> Ticket:
        """A request that may use about `prompt` tokens and at most `most` more."""
        return Ticket(prompt, most)

    def wait(self, ticket: Ticket, now: float) -> float:
        """Seconds until this request may go, as far as is known now."""
        if now < self.held_until:
            return self.held_until - now
        if len(self._flying) >= int(self.knee.limit):
            return FOREVER
        longest = self.breaker.wait(now) if self.breaker.open else 0.0
        if self._heard is None or not self._mirrored:
            longest = max(longest, self._opening(now))
        longest = max(longest, self._requests.wait(now), self._tokens.wait(now))
        longest = max(longest, self.finder.wait(now))
        if self._mirrored:
            costs = self._costs(ticket)
            for mirror, cost in zip(self._mirrored, costs, strict=True):
                longest = max(longest, mirror.wait(cost, now, self._latency))
        return longest if longest > ROUNDING else 0.0

    def take(self, ticket: Ticket, now: float) -> None:
        """It goes."""
        if self._start is None:
            self._start = now
        self._number += 1
        self._times.append(now)
        if len(self._times) > KEPT_TIMES:
            del self._times[: KEPT_TIMES // 2]
        ticket.number, ticket.sent, ticket.answers = self._number, now, self._answers
        ticket.costs = self._costs(ticket)
        for mirror, cost in zip(self._mirrored, ticket.costs, strict=True):
            mirror.take(cost, now)
        expected = self._expected(ticket)
        ticket.told = expected.prompt + expected.completion
        self._requests.take(1.0, now)
        self._tokens.take(ticket.told, now)
        self.finder.take(now)
        if self.breaker.open:
            self.breaker.take(ticket.number)
        self._flying[ticket.number] = ticket
        self._fates.take(ticket)

    def answered(
        self,
        ticket: Ticket,
        now: float,
        limits: Sequence[Limit],
        used: Used | None,
        *,
        learn: bool = True,
    ) -> None:
        """The server did the work; or (`learn` is false) refused this one for what it asks."""
        self._land(ticket, Fate.ADMITTED)
        self._heard = self._heard or (now, len(self._flying) + 1)
        self._answers += 1
        self._refusals *= 0.98
        seconds = now - ticket.sent
        self._latency += (seconds - self._latency) / 16
        real = used or Used(ticket.prompt, ticket.most)
        if used and learn:
            self._learn(ticket, used)
        self._tokens.settle(ticket.told, real.prompt + real.completion)
        for mirror, cost in zip(self._mirrored, ticket.costs, strict=False):
            cost.used = _of(mirror.kind, real)
            mirror.end(cost, ANSWERED, now)
        self._observe(ticket, limits, now)
        if self.breaker.answered(ticket.number):
            self.knee.restart()
        else:
            self.knee.answered(now, seconds, len(self._flying))
        self._hear(now)

    def refused(
        self,
        ticket: Ticket,
        now: float,
        limits: Sequence[Limit],
        *,
        busy: bool,
        asked: float | None,
    ) -> bool:
        """The server did nothing and asks to come again; `busy` where it lacks capacity (503, 529).
        Returns whether this uses up one of the request's tries."""
        late = ticket.fate is Fate.ADMITTED
        self._land(ticket, Fate.REFUSED)
        ticket.busy, ticket.asked = busy, asked or 0.0
        self._fates.refused(now - ticket.sent)
        self._first_most = min(self._first_most, max(1, len(self._flying)))
        self._refusals = self._refusals * 0.98 + 0.02
        self._tokens.settle(ticket.told, 0.0)
        if self._explain(ticket, limits, now):
            ticket.fate = Fate.UNSAID
            self._heard = self._heard or (now, len(self._flying) + 1)
        elif self.knee.probing and not self.finder.deaf:
            self.knee.unproved()
            ticket.fate = Fate.UNSAID
        if self.breaker.open and busy:
            self.breaker.refused(ticket.number, ticket.sent, now, asked or 0.0)
        elif late:
            self._fate(ticket, now)
        self._hear(now)
        if asked is None and not busy:
            asked = _exhausted(limits)
        if asked:
            self.hold(now + asked)
        # With one at a time, or no answer yet, nothing tells the request from the server.
        looked_into = self.finder.trying and self.knee.ceiling > 1 and self._answers > 0
        if self.breaker.open or looked_into or self.finder.deaf:
            return False
        return not (self._refusals > STORM and self._answers > ticket.answers)

    def _hear(self, now: float) -> None:
        """Learn from those whose fate is clear by now."""
        for ticket in self._fates.known(now):
            if ticket.fate is Fate.ADMITTED and self.finder.calm and not self.breaker.open:
                self.finder.calmly()
                self._inside += ticket.number in self._flying
            else:
                self._fate(ticket, now)

    def _fate(self, ticket: Ticket, now: float) -> None:
        if ticket.fate is Fate.UNSAID:
            return
        refused, trying = ticket.fate is Fate.REFUSED, self.finder.trying
        if not self.breaker.open:
            self.finder.heard(ticket.number, ticket.sent, now, refused=refused)
            if not refused:
                self.breaker.answered(ticket.number)
            elif ticket.busy:
                self.breaker.refused(
                    ticket.number, ticket.sent, now, ticket.asked, self.finder.share
                )
        if self.breaker.open:
            self.finder.abort()
        if not refused:
            self._inside += ticket.number in self._flying
        elif self.finder.state is State.MEASURE:
            self._beside = max(self._beside, self._inside)
        if trying and self.finder.limited:
            self.knee.cut(self._beside)
        if not self.finder.trying:
            self._beside = 0

    def lost(self, ticket: Ticket, now: float) -> None:
        """Nobody knows what became of it."""
        self._land(ticket, Fate.UNSAID)
        for mirror, cost in zip(self._mirrored, ticket.costs, strict=False):
            mirror.end(cost, LOST, now)
        self.breaker.lost(ticket.number, now)

    def withdrawn(self, ticket: Ticket, now: float) -> None:
        """It was let go and never sent."""
        self._land(ticket, Fate.UNSAID)
        self._tokens.settle(ticket.told, 0.0)
        for mirror, cost in zip(self._mirrored, ticket.costs, strict=False):
            mirror.end(cost, REFUSED, now)
        self.breaker.lost(ticket.number, now)

    def hold(self, until: float) -> None:
        """The server asked for quiet: nobody goes before that, and afterwards at the rate."""
        if until <= self.held_until:
            return
        self.held_until = until
        self.finder.hold(until)
        for mirror in self._mirrored:
            mirror.hold(until)

    def _land(self, ticket: Ticket, fate: Fate) -> None:
        del self._flying[ticket.number]
        self._inside -= ticket.fate is Fate.ADMITTED
        ticket.fate = fate

    def _opening(self, now: float) -> float:
        """Before the first answer few go, and twice as many in each quarter of a second, until one
        is refused: a refusal comes back faster. Then quickly all."""
        flying = len(self._flying)
        if self._heard is None:
            if flying < min(FIRST, self._first_most) or self._start is None:
                return 0.0
            if flying >= self._first_most:
                return FOREVER
            return max(0.0, DOUBLES * log2((flying + 1) / FIRST) - (now - self._start))
        heard, then = self._heard
        return max(0.0, (flying + 1 - then) / OPENING - (now - heard))

    def _expected(self, ticket: Ticket) -> Used:
        return Used(
            round(ticket.prompt * self._prompt_share), round(ticket.most * self._completion_share)
        )

    def _costs(self, ticket: Ticket) -> list[Cost]:
        if not self._mirrored:
            return []
        expected = self._expected(ticket)
        most = Used(expected.prompt, ticket.most)
        return [
            Cost(_of(mirror.kind, most), _of(mirror.kind, expected)) for mirror in self._mirrored
        ]

    def _learn(self, ticket: Ticket, used: Used) -> None:
        """Our estimate of a prompt is a safe bound, and few answers are as long as allowed."""
        if ticket.prompt:
            self._prompt_share += (used.prompt / ticket.prompt - self._prompt_share) / 8
        if ticket.most:
            self._completion_share += (used.completion / ticket.most - self._completion_share) / 16

    def _observe(self, ticket: Ticket, limits: Sequence[Limit], now: float) -> None:
        crowd = self._crowd(ticket) if self._mirrored else 0
        for limit in limits:
            mirror = self.mirrors.get(limit.name)
            if mirror is None:
                if limit.remaining is not None:
                    self._meet(ticket, limit, now)
                continue
            place = self._mirrored.index(mirror)
            if place < len(ticket.costs):
                mirror.observe(ticket.costs[place], limit, now, crowd)

    def _crowd(self, ticket: Ticket) -> int:
        """How many went out so close to a request that they may have overtaken it."""
        times = self._times
        return bisect(times, ticket.sent + OVERTAKEN) - bisect(times, ticket.sent - OVERTAKEN) - 1

    def _meet(self, ticket: Ticket, limit: Limit, now: float) -> None:
        """A limit is stated for the first time."""
        unseen = []
        for other in self._flying.values():
            expected = self._expected(other)
            most = Used(expected.prompt, other.most)
            cost = Cost(_of(limit.kind, most), _of(limit.kind, expected))
            if len(other.costs) == len(self._mirrored):
                other.costs.append(cost)
            if other.number > ticket.number:
                unseen.append(cost)
        mirror = Mirror(limit, now, unseen)
        self.mirrors[limit.name] = mirror
        self._mirrored.append(mirror)
        if now < self.held_until:
            mirror.hold(self.held_until)

    def _explain(self, ticket: Ticket, limits: Sequence[Limit], now: float) -> bool:
        """Whether a limit that is stated is why: then it is corrected and nothing else is cut."""
        stated = {limit.name: limit for limit in limits}
        explained = False
        for place, mirror in enumerate(self._mirrored):
            cost = ticket.costs[place] if place < len(ticket.costs) else self._costs(ticket)[place]
            if place < len(ticket.costs):
                mirror.end(cost, REFUSED, now)
        for name, mirror in self.mirrors.items():
            cost = self._costs(ticket)[self._mirrored.index(mirror)]
            explained |= mirror.refuse(cost, stated.get(name), now)
        for name, limit in stated.items():
            if name not in self.mirrors and limit.remaining is not None:
                self._meet(ticket, limit, now)
                explained |= limit.remaining < 1.2 * self._costs(ticket)[-1].reserve
        return explained


def _of(kind: str, used: Used) -> float:
    """A request in the unit of one kind of limit."""
    if kind == "requests":
        return 1.0
    if kind == "input_tokens":
        return float(used.prompt)
    return float(used.completion if kind == "output_tokens" else used.prompt + used.completion)


def _exhausted(limits: Sequence[Limit]) -> float | None:
    """A refusal without Retry-After: when what is used up comes back."""
    waits = [one.reset for one in limits if one.remaining is not None and one.remaining < 1]
    return max((wait for wait in waits if wait is not None), default=None)
