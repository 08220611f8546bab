"""How fast a collection goes: requests, tokens and money a second, of late and over all.

    rates.add(event)
    rates.a_second("completion_tokens")     # of the last half minute
    rates.mean("completion_tokens")         # of the whole run

Of late, because the mean of a night does not show what happens now.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from synth.collect import Event

WINDOW = 30  # seconds that a rate looks back


class InForce(NamedTuple):
    """The limit that holds a run back, and how much of it is used."""

    words: str
    """`3,000 requests a minute, told by the server`."""
    used: float | None = None
    """Share, 0 to 1."""

    def __str__(self) -> str:
        share = "" if self.used is None else f", {self.used:.0%} used"
        return f"{self.words}{share}"


@dataclass(slots=True)
class Second:
    """What ended within one second."""

    at: int
    requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    nano: int = 0
    busy: float = 0.0
    """Seconds that its requests were in flight."""

    def add(self, event: Event) -> None:
        """One attempt ended in it."""
        usage = event.result.usage
        self.requests += 1
        self.busy += event.seconds
        self.nano += 0 if event.kind == "hold" else event.cost_nano
        if usage and not usage.estimated:
            self.prompt_tokens += usage.prompt_tokens
            self.completion_tokens += usage.completion_tokens


class Rates:
    """Sums over the last half minute, in buckets of a second, and over the whole run."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._started = clock()
        self._seconds: deque[Second] = deque(maxlen=WINDOW)
        self.whole = Second(0)

    def add(self, event: Event) -> None:
        """One attempt ended."""
        now = int(self._clock())
        if not self._seconds or self._seconds[-1].at != now:
            self._seconds.append(Second(now))
        for second in (self._seconds[-1], self.whole):
            second.add(event)

    @property
    def seconds(self) -> float:
        """How long the run has been going on."""
        return max(1e-9, self._clock() - self._started)

    def a_second(self, name: str) -> float:
        """One of the sums by the time that the window covers."""
        recent = self._clock() - WINDOW
        total = sum(getattr(one, name) for one in list(self._seconds) if one.at > recent)
        return float(total) / max(1.0, min(WINDOW, self.seconds))

    def mean(self, name: str) -> float:
        """One of the sums by the time of the whole run."""
        return float(getattr(self.whole, name)) / self.seconds
