"""Are refusals a limit's, or chance? One experiment tells: send a little less, and see.

Below a limit, of rate, tokens or concurrency, nothing is refused any more. A server that refuses at
random (it sheds load, a gateway is flaky) refuses the same share as before. So three steps, each
with the textbook's test for it:

    fates = Fates()              which requests were refused, in the order in which they went out
    watch = Watch(chance, ...)   more refusals than were known?    (a CUSUM; Page 1954)
    trial = Trial(share)         at the lower rate: none, or the same share?    (SPRT; Wald 1945)

What is measured and what follows from a verdict is in finder.py.
"""

from collections import deque
from enum import Enum
from math import log
from typing import Generic, Protocol, TypeVar

PATIENCE = 0.25  # seconds without a refusal that show an admission, until refusals have come
SLOWER = 2.0  # times the slowest refusal lately: later than that few come
FORGOTTEN = 0.98  # of the slowest, at each refusal
RISEN, BY = 1.6, 0.02  # times the known share, and more: what the watch looks for
UNNOTICED = 1.15  # times the known share, up to which it may change without an alarm
LEAST = 3.0  # the share in the test below a third of that before is a limit's
LIMIT, CHANCE = 7.0, -4.6  # log likelihood: a thousand to one, a hundred to one
LONGEST = 2000  # requests of one test


class Fate(Enum):
    """What became of a request that went out."""

    OPEN = 0
    ADMITTED = 1
    REFUSED = 2
    UNSAID = 3
    """It says nothing: lost, withdrawn, or refused for a limit that is stated."""


class Sent(Protocol):
    """A request as far as its fate goes."""

    sent: float
    fate: Fate


T = TypeVar("T", bound=Sent)


class Fates(Generic[T]):
    """A refusal is back long before an answer, so counting replies as they come would take the
    first moments of any crowd for a storm. What is not refused in a refusal's time is admitted."""

    def __init__(self) -> None:
        self._out: deque[T] = deque()
        self._slowest = PATIENCE / SLOWER

    def take(self, request: T) -> None:
        """It goes out."""
        self._out.append(request)

    def refused(self, seconds: float) -> None:
        """A refusal took so long to come back."""
        self._slowest = max(seconds, self._slowest * FORGOTTEN)

    def known(self, now: float) -> list[T]:
        """Those whose fate is clear, in the order in which they went out."""
        out, found, before = self._out, [], now - SLOWER * self._slowest
        while out:
            first = out[0]
            if first.fate is Fate.OPEN:
                if first.sent >= before:
                    break
                first.fate = Fate.ADMITTED
            found.append(out.popleft())
        return found


class Watch:
    """Whether more is refused than is known to be chance."""

    def __init__(self, chance: float, floor: float, alarm: float, wanted: float = 0.0) -> None:
        """A share up to `floor` is none; `wanted` is the least that matters."""
        known = max(floor, min(0.9, chance * UNNOTICED))
        more = max(wanted, min(0.95, known * RISEN + BY))
        self._refused, self._admitted = log(more / known), log((1 - more) / (1 - known))
        self._alarm = alarm
        self.score = 0.0

    def heard(self, *, refused: bool) -> bool:
        """One more fate; whether it gives the alarm. The score is 0 when all is well."""
        self.score = max(0.0, self.score + (self._refused if refused else self._admitted))
        return self.score > self._alarm


class Verdict(Enum):
    """What a test has shown."""

    UNCLEAR = 0
    LIMIT = 1
    CHANCE = 2


class Trial:
    """Of requests sent more slowly, is the same share refused, or less than a third of it?"""

    def __init__(self, share: float) -> None:
        few = share / LEAST
        self._refused, self._admitted = log(few / share), log((1 - few) / (1 - share))
        self._score = 0.0
        self.requests = self.refusals = 0

    @property
    def share(self) -> float:
        """The share refused in the test."""
        return self.refusals / max(1, self.requests)

    def heard(self, *, refused: bool) -> Verdict:
        """One more request of the test."""
        self.requests += 1
        self.refusals += refused
        self._score += self._refused if refused else self._admitted
        if CHANCE < self._score < LIMIT and self.requests < LONGEST:
            return Verdict.UNCLEAR
        return Verdict.LIMIT if self._score > 0 else Verdict.CHANCE
