"""Finds the rate of a server that limits without saying so, and is not fooled by one that refuses
at random.

At a refusal by a limit the server's bucket is empty. Between two such moments it let through
exactly what came back in between, whatever its burst was and however unevenly we sent: so

    rate = (admitted until the second - admitted until the first) / (time between them)

Where refusals come closer together than is known of this server, they are counted (MEASURE) until
there are enough to know their share and that rate; then a tenth less is sent (TRY). If refusals
cease it was a limit, and the rate follows a cubic around it, as CUBIC does around a window (Ha,
Rhee, Xu 2008; AWS SDKs, "adaptive" retry mode): a little below, long just under it, then above,
until the next refusal measures again. If the same share is refused it was chance: all goes on as
before, and only a share that rises is looked into again.
"""

from collections import deque
from dataclasses import dataclass
from enum import Enum

from synth.trial import UNNOTICED, Trial, Verdict, Watch

LESS = 0.9  # of the measured rate: the trial
REFUSALS, ADMITTED = 16, 16  # that measure a share, and a rate
SPAN = 1.0  # seconds of a measure; over less it would be of the order of arrival
FEW = 2  # refusals in a trial that leave no doubt
CAUTIOUS = 0.8  # of the measured share: it may have been high by accident
BY_CHANCE = 0.6  # share of refusals from which on chance is no explanation
HALVED, REGROWN = 0.5, 1.25  # the rate, at a refusal and at an admission, while most are refused
CROWD = 0.25  # seconds for which those who were on their way still arrive
ROUND = 0.1  # seconds between two steps up
FLOOR = 0.5  # requests a second, below which only a measured rate goes
ENDLESS = 2000  # requests of a measure that finds too few refusals
CUBIC_AFTER = 2000.0  # answers from a refusal to the plateau; the next comes after about twice that
DEPTH = 0.03  # how far below the rate the cubic starts
RECENT = 2.0  # seconds over which the present rate is taken
DIP, DIPPED = 0.5, 0.7  # seconds, and of the rate, after a refusal that had room
SHORTEST, LONGEST = 10.0, 300.0  # seconds to the plateau; twice as long as the measures agree
DEAF, FAINT = 0.03, 0.004  # share of chance from which on a single refusal says nothing; at a limit
KEPT, YIELDS = 0.85, 0.98  # of the rate of the latest trial: single refusals take no more at once
FREE_FLOOR, FREE_ALARM = 0.001, 5.0  # one in a thousand is none; two within fifty are looked into
LIMIT_FLOOR, LIMIT_ALARM, LIMIT_WANTED = 0.01, 8.0, 0.1  # four within some ten, at a known limit
CROWDED = 3.0  # of the watch: two within some ten
AGAIN, SELDOM = 1000, 16_000  # requests until what was chance is tried again, and at most
PROBATION = 2000  # requests for which a limit just found may still turn out to be chance
FORGET, SLOWLY = (
    1 / 500,
    1 / 2000,
)  # weight of one request in the share of chance; while none is known
REFRESH = 100  # requests


class State(Enum):
    """What is known of the server."""

    FREE = 0
    LIMITED = 1
    MEASURE = 2
    TRY = 3


@dataclass(slots=True)
class _Empty:
    at: float
    admitted: int


@dataclass(slots=True)
class _Cubic:
    """Around `middle` requests a second."""

    middle: float = float("inf")
    age: float = 0.0
    agreed: int = 0

    @property
    def plateau(self) -> float:
        least = max(CUBIC_AFTER / self.middle, 2 * SHORTEST)
        return float(min(least, LONGEST, SHORTEST * 2.0 ** min(self.agreed, 9)))

    @property
    def rate(self) -> float:
        return float(self.middle * (1 + DEPTH * (self.age / self.plateau - 1) ** 3))


class RateFinder:
    """Requests a second; no limit until a trial has shown one."""

    def __init__(self) -> None:
        self.rate = float("inf")
        self.state = State.FREE
        self.chance = 0.0
        """The share that is refused whatever the rate."""
        self._cubic = _Cubic()
        self._watch = Watch(0.0, FREE_FLOOR, FREE_ALARM)
        self._recent: deque[float] = deque(maxlen=4096)
        self._known = self._admitted = self._taken = 0
        self._cut_at = float("-inf")
        self._grown_at = self._started_at = 0.0
        self._since = _Empty(0.0, 0)
        self._counted = self._refusals = 0
        self._first = self._last = _Empty(0.0, 0)
        self._before = float("inf")
        self._anchor = self._found = 0.0
        self._most = float("inf")
        self._trial: Trial | None = None
        self._trial_from = 0
        self._found_at = -PROBATION
        self._again_at, self._again = 0, AGAIN
        self._share = self._found_chance = 0.0
        self._dip_until = 0.0
        self._room = 1.0
        self._at = 0.0
        self._bound = False

    @property
    def trying(self) -> bool:
        """Whether an experiment is under way."""
        return self.state in (State.MEASURE, State.TRY)

    @property
    def limited(self) -> bool:
        """Whether the latest trial has shown a limit."""
        return self.state is State.LIMITED and self._known == self._found_at

    @property
    def on_probation(self) -> bool:
        """Whether a limit was found so lately that it may still turn out to be chance."""
        return self._known - self._found_at <= PROBATION

    @property
    def deaf(self) -> bool:
        """Whether a single refusal says nothing."""
        return self.chance >= (FAINT if self.state is State.LIMITED else DEAF)

    @property
    def share(self) -> float:
        """The share that may be refused by chance, as far as is seen by now."""
        seen = self._refusals / self._counted if self.trying and self._counted > REFUSALS else 0.0
        return max(self.chance, seen if seen < BY_CHANCE else 0.0)

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
        self._taken += 1
        self._recent.append(now)
        if self.rate == float("inf"):
            return
        self._room -= 1.0
        if self.state is State.LIMITED and self._bound:
            # Only while the rate is what holds requests back: one not used is not tested.
            self._cubic.age += 1 / self.rate
            self.rate = self._cubic.rate
        self._bound = False

    def hold(self, until: float) -> None:
        """Nobody goes before that; then one, and the others at the rate."""
        self._room = min(self._room, 1.0)
        self._at = max(self._at, until)

    def heard(self, number: int, sent: float, now: float, *, refused: bool) -> None:
        """The fate of the `number`th request. They are told in the order of sending."""
        self._known += 1
        self._admitted += not refused
        if self.state is State.MEASURE:
            self._measure(sent, now, refused)
        elif self.state is State.TRY:
            self._try(number, sent, now, refused)
        elif sent > self._cut_at:  # what was on the way when the rate was cut says nothing new
            self._settled(sent, now, refused)

    @property
    def calm(self) -> bool:
        """Whether one more admission changes nothing."""
        return self.state is State.FREE and not self._share and not self._watch.score

    def calmly(self) -> None:
        """`heard` of an admission, where all is calm."""
        self._known += 1
        self._admitted += 1

    def abort(self) -> None:
        """The server is down: what it refuses now says nothing."""
        if self.trying:
            self._back(self.chance)

    def _settled(self, sent: float, now: float, refused: bool) -> None:
        alarm = self._watch.heard(refused=refused)
        self._share += (FORGET if self.chance else SLOWLY) * (refused - self._share)
        if self._known % REFRESH == 0:
            self._refresh()
        free_again = self.state is State.FREE and self.deaf and self._known >= self._again_at
        if alarm or (refused and free_again):
            self._start(sent, now)
        elif refused and self.state is State.LIMITED and not self.deaf:
            self._judge(_Empty(sent, self._admitted), now)

    def _refresh(self) -> None:
        """Chance changes slowly. At a limit that is kept hardly anything is refused: what is, and
        often, is chance too."""
        if self.chance:
            self.chance = min(self._found_chance * UNNOTICED, self._share)
        elif self.state is State.LIMITED and self._share > FAINT:
            self.chance = self._found_chance = self._share
            self._cubic.agreed = 0
        else:
            return
        score = self._watch.score
        self._look()
        self._watch.score = score

    def _start(self, sent: float, now: float) -> None:
        """Count, at no more than the present rate."""
        if self._trial is None and not self.on_probation:
            self._before = self._cubic.middle
        # Not those that gave the alarm: by them any share would look higher than it is.
        self._since, self._started_at = _Empty(sent, self._admitted), sent
        self._counted = self._refusals = 0
        self._found = 0.0
        self.state = State.MEASURE
        if self.rate == float("inf"):
            last = self._recent[-1]
            since = max(last - RECENT, self._recent[0])
            count = sum(one >= since for one in self._recent)
            self._pace(count / max(last - since, 0.05), now)
        if self._trial is None:
            self._most = self.rate
        self._trial = None

    def _measure(self, sent: float, now: float, refused: bool) -> None:
        self._watch.heard(refused=refused)
        self._counted += 1
        self._refusals += refused
        if not refused:
            if self.rate < self._most and sent >= max(self._cut_at, self._grown_at + ROUND):
                self.rate, self._grown_at = min(self._most, self.rate * REGROWN), sent
            if (self._watch.score <= 0.0 and not self.deaf) or self._counted > ENDLESS:
                self._back(self.chance)
            return
        if sent < self._started_at + CROWD:
            self._since = _Empty(sent, self._admitted)
        admitted, share = self._admitted - self._since.admitted, self._refusals / self._counted
        seconds = sent - self._since.at
        if self._refusals < REFUSALS:
            return
        if admitted >= ADMITTED and seconds >= SPAN:
            found = admitted / seconds
            self._last, self._first = _Empty(sent, self._admitted), self._since
            self._send_less(min(found, self._most), share, now)
        elif share >= BY_CHANCE and sent > self._cut_at:
            self._pace(max(FLOOR, self.rate * HALVED), now)

    def _send_less(self, found: float, share: float, now: float) -> None:
        """Than the rate that was found, when `share` of the requests were refused."""
        self._trial, self._trial_from = Trial(CAUTIOUS * min(share, BY_CHANCE)), self._taken
        self.state, self._cubic = State.TRY, _Cubic(found)
        self._pace(LESS * found, now)

    def _try(self, number: int, sent: float, now: float, refused: bool) -> None:
        assert self._trial
        if number <= self._trial_from:
            return
        if not self._trial.requests and refused:
            # It lets nothing through: a window that is closed.
            if sent > self._cut_at:
                self._pace(max(min(FLOOR, self.rate), self.rate * HALVED), now)
            return
        if not self._trial.requests:
            self.rate = LESS * self._cubic.middle
        verdict = self._trial.heard(refused=refused)
        if verdict is Verdict.UNCLEAR:
            return
        share, before = self._trial.share, self._refusals / self._counted
        if verdict is Verdict.LIMIT and share < before / 2:
            if self._trial.refusals <= FEW:
                self._limited(0.0, now)
                return
            # What is left is chance, or the rate was taken too high: that, too, can be tried.
            self._found = self._cubic.middle
            self._counted, self._refusals = self._trial.requests, self._trial.refusals
            self._send_less(self.rate * (1 - share), share, now)
            return
        requests = self._counted + self._trial.requests
        share = (self._refusals + self._trial.refusals) / requests
        if self._found:
            self._cubic = _Cubic(self._found)
            self._limited(share, now)
        elif share < BY_CHANCE:
            self._again_at, self._again = self._known + self._again, min(2 * self._again, SELDOM)
            self._back(share)
        else:  # nothing but refusals: what was measured was no rate
            self._start(sent, now)

    def _limited(self, chance: float, now: float) -> None:
        self.state, self._trial = State.LIMITED, None
        self._anchor = self._cubic.middle
        self.chance = self._share = self._found_chance = chance
        self._found_at = self._known
        self._pace(self._cubic.rate, now)
        self._look()

    def _back(self, chance: float) -> None:
        """It was chance, or nothing: as fast as before, at once."""
        self._cubic = _Cubic(self._before)
        self.rate = self._cubic.rate if self._before < float("inf") else self._before
        self.state = State.FREE if self.rate == float("inf") else State.LIMITED
        self._room, self._trial = 1.0, None
        self.chance = self._share = self._found_chance = chance
        self._look()

    def _look(self) -> None:
        if self.state is State.FREE:
            self._watch = Watch(self.chance, FREE_FLOOR, LIMIT_ALARM if self.chance else FREE_ALARM)
        else:
            self._watch = Watch(self.chance, LIMIT_FLOOR, LIMIT_ALARM, LIMIT_WANTED)

    def _judge(self, empty: _Empty, now: float) -> None:
        before = self._last
        count, seconds = empty.admitted - before.admitted, empty.at - before.at
        room = self._cubic.middle * seconds - count > 2 + 0.05 * count
        known = self._cubic.agreed > 0 and self._watch.score < CROWDED
        if count < ADMITTED or (room and known):
            self._dip_until = now + DIP
            return
        first, agreed = self._first, self._cubic.agreed
        whole = (empty.admitted - first.admitted) / (empty.at - first.at)
        if abs(whole - count / seconds) * seconds > 3 + 0.04 * count:
            # The limit has changed: what counts is the longest time over which it was the same.
            self._first, whole, agreed = before, count / seconds, 0
        self._anchor = max(self._anchor, whole)
        if whole < KEPT * self._anchor:
            whole = KEPT * self._anchor
            self._anchor *= YIELDS
        self._last, self._cubic = empty, _Cubic(whole, 0.0, agreed + 1)
        self._pace(self._cubic.rate, now)

    def _pace(self, rate: float, now: float) -> None:
        self.rate, self._cut_at = rate, now
        self._at, self._room = max(self._at, now), min(self._room, 0.0)

    def _current(self, now: float) -> float:
        return self.rate * DIPPED if now < self._dip_until else self.rate

    def _advance(self, now: float) -> None:
        if now > self._at:
            most = max(2.0, self.rate / 10)
            self._room = min(most, self._room + (now - self._at) * self._current(now))
            self._at = now
