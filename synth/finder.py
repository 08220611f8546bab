"""Finds the rate of a server that limits without saying so, from its refusals alone.

At each refusal the server's bucket is empty. Between two such moments it let through exactly what
came back in between, whatever its burst was and however unevenly we sent: so

    rate = (admitted until the second - admitted until the first) / (time between them)

A first refusal cuts the rate by 0.7, and so does each one after it until there is enough to measure
with. Then the rate follows a cubic around what was found, as CUBIC does around a window (Ha, Rhee,
Xu 2008; AWS SDKs, "adaptive" retry mode): a little below, long just under it, then above, until the
next refusal measures again. A refusal while the bucket must have had room is no measure: the rate
dips for a second, and only if many follow the limit is thought to have changed.
"""

from collections import deque
from dataclasses import dataclass

CUT, SOFT_CUT = 0.7, 0.9
FEW = 4  # requests between two refusals, below which the rate is cut hard
GROWTH = 1.15  # a second, or a request if those are rarer
PROBE = 1000.0  # answers from a refusal to the plateau; the next refusal comes after about two
DEPTH = 0.03  # how far below the rate the cubic starts
ENOUGH = 16  # requests between two refusals that measure a rate
RECENT = 2.0  # seconds over which the rate before the first refusal is taken
DIP = 0.5  # seconds
FLOOR = 0.1  # requests a second
LOWERED = 3  # times in a row, after which refusals that go on are chance
CHANCE = 1000  # requests for which refusals are taken for chance
REGAIN = 1.1  # of the rate before, where chance was mistaken for a lower limit
SEVERAL, MANY = 5, 0.04  # refusals and their share: then a lower limit is tried
SHORTEST, LONGEST = (
    10.0,
    300.0,
)  # seconds to the plateau; twice as long after each measure that agrees


@dataclass(slots=True)
class _Empty:
    at: float
    admitted: int


class RateFinder:
    """Requests a second; no limit until the first refusal that nothing else explains."""

    def __init__(self) -> None:
        self.rate = float("inf")
        self.measured = False
        """Whether two refusals have measured the rate."""
        self._recent: deque[float] = deque(maxlen=4096)
        self._refused = 0
        self._cut_at = float("-inf")
        self._first: _Empty | None = None
        self._last: _Empty | None = None
        self._doubt: tuple[_Empty, int] | None = None
        self._doubt_at = 0
        self._lowered: list[int] = []
        self._high = 0.0
        self._chance_until = 0
        self._agreed = 0
        self._middle = 0.0
        self._age = 0.0
        self._dip_until = 0.0
        self._room = 1.0
        self._at = 0.0
        self._bound = False

    def wait(self, now: float) -> float:
        """Seconds until one more request may go."""
        if self.rate == float("inf"):
            return 0.0
        self._advance(now)
        if self._room >= 1.0:
            return 0.0
        self._bound = True
        return (1.0 - self._room) / self._current(now)

    def take(self, now: float) -> None:
        """A request goes out."""
        if self.rate == float("inf"):
            self._recent.append(now)
            return
        self._room -= 1.0
        self._grow()

    def hold(self, until: float) -> None:
        """Nobody goes before that; then one, and the others at the rate."""
        self._room = min(self._room, 1.0)
        self._at = max(self._at, until)

    def refused(self, number: int, sent: float, now: float) -> None:
        """The `number`th request of the run was refused. Those that were on the way when the rate
        was cut say nothing new about it."""
        empty = _Empty(sent, number - self._refused)
        self._refused += 1
        before = self._last
        if before is None:
            self._cut_at, self._first, self._last = now, empty, empty
            self._start(now)
        elif sent > self._cut_at:
            self._cut_at = now
            self._judge(empty, before, number, now)
        elif empty.at >= before.at and not self._doubt:
            # The same moment, seen later and so more exactly.
            self._first = empty if self._first is before else self._first
            self._last = empty

    def _start(self, now: float) -> None:
        since = max(now - RECENT, self._recent[0] if self._recent else now)
        count = sum(one >= since for one in self._recent)
        self.rate = CUT * max(count, 1) / max(now - since, 0.05)
        self._at, self._room = now, 0.0
        self._recent.clear()

    def _judge(self, empty: _Empty, before: _Empty, number: int, now: float) -> None:
        if number < self._chance_until:
            self._dip_until = now + DIP
            return
        count, seconds = empty.admitted - before.admitted, empty.at - before.at
        if self.measured:
            had_room = self._middle * seconds - count > 2 + 0.05 * count
            if count < ENOUGH or had_room:
                self._doubts(empty, number, now)
            else:
                self._measure(empty, before, now)
        elif count >= ENOUGH:
            self._measure(empty, before, now)
        elif count >= FEW:
            self._restart(self.rate * SOFT_CUT, now)
        else:  # much too fast: the bucket stays empty
            self._last = empty
            self._restart(self.rate * CUT, now)

    def _measure(self, empty: _Empty, before: _Empty, now: float) -> None:
        """By the longest time over which the limit was the same."""
        count, seconds = empty.admitted - before.admitted, empty.at - before.at
        first = self._first or before
        whole = (empty.admitted - first.admitted) / (empty.at - first.at)
        if abs(whole - count / seconds) * seconds > 3 + 0.04 * count:
            self._first, whole, self._agreed = before, count / seconds, 0
        self._agreed += 1
        self.measured, self._middle, self._doubt = True, whole, None
        self._last = empty
        self._restart(whole * (1 - DEPTH), now)

    def _doubts(self, empty: _Empty, number: int, now: float) -> None:
        """There was room: chance, or a lower limit. What a third of the rate does not cure is
        chance."""
        self._dip_until = now + DIP
        if self._doubt is None or number - self._doubt_at > 4 * ENOUGH:
            self._doubt = (empty, self._refused - 1)
        self._doubt_at = number
        since, refused = self._doubt
        refusals = self._refused - refused
        admitted, seconds = empty.admitted - since.admitted, empty.at - since.at
        share = refusals / (refusals + admitted)
        if refusals < SEVERAL or share < MANY:
            return
        self._doubt = None
        if not self._lowered or number - self._lowered[-1] > 6 * ENOUGH:
            self._lowered, self._high = [], self._middle
        self._lowered.append(number)
        if len(self._lowered) > LOWERED:
            self._lowered, self._chance_until, self.measured = [], number + CHANCE, True
            self._middle = self._high * REGAIN
            self._restart(self._middle, now)
            return
        self._first = self._last = empty
        self.measured, self._agreed = False, 0
        found = admitted / seconds if admitted >= ENOUGH else self.rate * CUT
        self._restart(max(min(found, self.rate * CUT), FLOOR), now)

    def _restart(self, rate: float, now: float) -> None:
        self.rate, self._age = rate, 0.0
        self._at, self._room = max(self._at, now), min(self._room, 0.0)

    def _grow(self) -> None:
        """Only while the rate is what holds requests back: a rate not used is not tested."""
        bound, self._bound = self._bound, False
        if not bound:
            return
        step = 1 / self.rate
        if not self.measured:
            self.rate *= GROWTH ** min(step, 1.0)
            return
        self._age += step
        plateau = min(
            max(PROBE / self._middle, 2 * SHORTEST), LONGEST, SHORTEST * 2.0 ** min(self._agreed, 9)
        )
        self.rate = self._middle * (1 + DEPTH * (self._age / plateau - 1) ** 3)

    def _current(self, now: float) -> float:
        return self.rate * CUT if now < self._dip_until else self.rate

    def _advance(self, now: float) -> None:
        if now > self._at:
            most = max(2.0, self.rate / 10)
            self._room = min(most, self._room + (now - self._at) * self._current(now))
            self._at = now
