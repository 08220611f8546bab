"""Our picture of one token bucket of the provider, corrected by what its headers say is left.

A provider tells how much is left, but not what it counts. Some charge the prompt and max_tokens
when they let a request in, some give the difference back at the end, some charge what was really
used, at the beginning or at the end; and the number in the header may be as of the request or as
of the reply. So one bucket is kept for each of these readings, all of them are told the same
events, and the one that predicts `remaining` best is believed.

Requests sent together arrive in any order, and a header may lie once. So single numbers change
nothing: of eight replies the second lowest is the correction, and the more they scatter, the more
room is kept. A refusal is believed at once.
"""

from dataclasses import dataclass, field

from synth.rate_headers import Limit

WINDOW, LOW = 8, 1  # replies that make one correction, and the place of it in their order
SURE = 32  # replies before one reading is believed and not the strictest of all
PATIENCE = 2.0  # seconds, after which three replies make one too
ANSWERED, REFUSED, LOST = "answered", "refused", "lost"
_READINGS = ("refunded", "used", "kept", "at_end")
_PRUNE_AFTER = 300  # replies; by then the best reading is clear, and the others cost CPU


@dataclass(slots=True)
class Cost:
    """What one request may cost and did cost, in the unit of one bucket."""

    reserve: float
    expected: float
    used: float = 0.0
    marks: list[float] = field(default_factory=list)
    """Level that each reading predicted, less the corrections made until then."""


@dataclass(slots=True)
class _Reading:
    charge: str
    by_reply: bool
    """The header is as of the reply, not as of the request."""
    error: float
    level: float = 0.0
    corrected: float = 0.0
    window: list[float] = field(default_factory=list)
    since: float = 0.0
    scatter: float = 0.0

    def at_admission(self, cost: Cost) -> float:
        """What the provider takes when it lets a request in."""
        if self.charge == "at_end":
            return 0.0
        return cost.expected if self.charge == "used" else cost.reserve

    def at_end(self, cost: Cost, end: str) -> float:
        """What it takes more, or gives back, when the request ends."""
        taken = self.at_admission(cost)
        if end == REFUSED:
            return -taken
        if end == LOST:  # perhaps still running there: what it may use counts
            return cost.expected - taken if self.charge != "kept" else 0.0
        return cost.used - taken if self.charge != "kept" else 0.0

    def correct(self, off: float, now: float, most: float, step: float) -> None:
        """One reply's number was `off` from what we predicted. Upwards it goes by `step` at most:
        what came back in a quiet time is used at twice the rate, not at once."""
        window = self.window
        if not window:
            self.since = now
        window.append(off)
        count = len(window)
        if count < WINDOW and (count < 3 or now - self.since < PATIENCE):
            return
        window.sort()
        middle = window[1:-1]
        self.error += 0.25 * (min(abs(sum(middle) / len(middle)), most) - self.error)
        by = min(window[LOW if count == WINDOW else 0], step)
        scatter = min(window[count // 2] - window[0], most / 8)
        self.scatter += 0.25 * (scatter - self.scatter)
        self.level += by
        self.corrected += by
        window.clear()


class Mirror:
    """One limit of the provider as we know it."""

    def __init__(self, limit: Limit, now: float, unseen: list[Cost]) -> None:
        """`unseen` are the costs of what went out after the request that this limit answers."""
        self.kind = limit.kind
        self.seconds = limit.seconds
        self.limit = limit.limit
        self.capacity = min(limit.limit, limit.remaining or 0.0)
        self._at = now
        self._boost = 1.0
        self._seen = 0
        self._taken = self._arrived = False
        self._out = len(unseen)
        self._spread = -1.0
        self._rested_until = 0.0
        self._proposed = 0.0
        charges = ("used",) if self.kind == "requests" else _READINGS
        self._readings = [
            _Reading(charge, by_reply, error=0.001 * place)
            for place, (by_reply, charge) in enumerate(
                (b, c) for b in (False, True) for c in charges
            )
        ]
        for one in self._readings:
            one.level = self.capacity - sum(map(one.at_admission, unseen))
        self._best = self._readings[0]
        self._unit = 1.0

    @property
    def rate(self) -> float:
        """Units that come back a second."""
        return self.limit / self.seconds

    @property
    def reading(self) -> str:
        """What the provider seems to count."""
        return self._best.charge

    @property
    def level(self) -> float:
        """What is believed to be left, as of the last event."""
        return self._best.level

    def wait(self, cost: Cost, now: float, latency: float) -> float:
        """Seconds until a request has room in every reading that may still be the true one. One
        that is larger than the bucket needs a full one."""
        self._advance(now)
        margin, full = self._margin(), max(self.capacity - 0.5, 0.0)
        doubt = 2 * self._best.error + self._unit if self._seen >= SURE else float("inf")
        short = 0.0
        for one in self._readings:
            if one.error > doubt:
                continue
            missing = min(one.at_admission(cost) + margin, full) - one.level
            if one.charge == "at_end":
                # It looks only whether something is left: what is out is ours to look after.
                missing = max(missing, cost.expected - self._used_level(one) - self.rate * latency)
            short = max(short, missing)
        return short / self.rate

    def take(self, cost: Cost, now: float) -> None:
        """A request goes out."""
        self._advance(now)
        self._unit += (max(1.0, cost.expected) - self._unit) / 16
        self._out += 1
        self._taken = True
        if self._spread < 0:  # until answers tell how much they differ
            self._spread = cost.reserve / 4 if self.kind != "requests" else 0.0
        for one in self._readings:
            one.level -= one.at_admission(cost)
            cost.marks.append(one.level - one.corrected)

    def end(self, cost: Cost, end: str, now: float) -> None:
        """A request ended."""
        self._advance(now)
        self._out -= 1
        self._arrived = self._arrived or bool(cost.marks)
        if end == ANSWERED and self._spread >= 0:
            self._spread += (abs(cost.used - cost.expected) - self._spread) / 32
        for one in self._readings:
            one.level -= one.at_end(cost, end)

    def observe(self, cost: Cost, limit: Limit, now: float, crowd: int) -> None:
        """What an answer's headers say. Call it after `end`. Of a request that went out in a crowd
        nobody knows which others were counted before it: our own count is better then."""
        self._propose(limit)
        if limit.remaining is None:
            return
        left = min(limit.remaining, self.limit)
        self.capacity = max(self.capacity, left)
        self._boost = max(1.0, self._boost * 0.999)
        if crowd * self._unit > max(4 * self._unit, self.capacity / 32, 0.2 * self.rate):
            return
        step = WINDOW * self._unit if self._seen >= 8 * WINDOW else self.capacity
        if len(cost.marks) == len(self._readings):
            for one, mark in zip(self._readings, cost.marks, strict=True):
                predicted = one.level if one.by_reply else mark + one.corrected
                off = left - predicted
                if left <= 0 and predicted < 0:
                    off = 0.0  # headers end at nothing left, debts do not
                if now < self._rested_until:
                    off = min(off, WINDOW * self._unit)
                one.correct(off, now, self.capacity, step)
        self._choose()

    def refuse(self, cost: Cost, limit: Limit | None, now: float) -> bool:
        """A refusal: whether this limit explains it. Call it after `end`."""
        self._advance(now)
        asks = max(cost.reserve, 1.0)
        if limit is None:
            left = self._best.level
            short = left < 3 * asks + self._margin()
        else:
            self._propose(limit)
            left = self._best.level if limit.remaining is None else limit.remaining
            short = left < 1.2 * asks
        if short:
            self._boost = min(8.0, self._boost + 1.0)
            self._empty(0.0 if limit is None else left)
        return short

    def hold(self, until: float) -> None:
        """Nobody goes before that, and what comes back meanwhile is not believed before it is seen:
        after a quiet time requests return at the rate, not together."""
        self._empty(self._unit + self._margin())
        # That more is there after a quiet time is no error of ours.
        self._rested_until = until + self.capacity / self.rate
        self._at = max(self._at, until)

    def _empty(self, at_most: float) -> None:
        for one in self._readings:
            if one.level > at_most:
                one.corrected += at_most - one.level
                one.level = at_most

    def _margin(self) -> float:
        """Room kept free: for what we do not know of the bucket, and of the requests that are out,
        and more after a refusal."""
        best = self._best
        unknown = (
            2 * best.error
            + 2 * best.scatter
            + 2 * max(0.0, self._spread) * max(0, self._out) ** 0.5
        )
        return min(float(unknown + self._boost * self._unit), self.capacity / 4)

    def _used_level(self, reading: _Reading) -> float:
        return next(
            (
                o.level
                for o in self._readings
                if o.charge == "used" and o.by_reply == reading.by_reply
            ),
            reading.level,
        )

    def _advance(self, now: float) -> None:
        if now <= self._at:
            return
        if self._taken and not self._arrived:
            # Until the first of ours is known to have arrived, the bucket may be full there, and
            # a full one does not fill.
            self._at = now
            return
        more = (now - self._at) * self.limit / self.seconds
        self._at = now
        for one in self._readings:
            one.level = min(max(self.capacity, one.level), one.level + more)

    def _choose(self) -> None:
        self._seen += 1
        if self._seen < SURE or self._seen % 16 or len(self._readings) == 1:
            return
        # That it charges at the end lets most through: it takes longest to believe.
        able = [o for o in self._readings if o.charge != "at_end" or self._seen >= 3 * SURE]
        order = sorted(able, key=lambda one: one.error)
        doubt = 0.25 if order[0].charge == "at_end" else 0.8
        if order[0].error < doubt * self._best.error:
            self._best = order[0]
        if self._seen >= _PRUNE_AFTER:
            best, kept = self._best, "used" if self._best.charge == "at_end" else ""
            clear = 4 * best.error + self._unit
            self._readings = [
                one
                for one in self._readings
                if one.error < clear or (one.charge == kept and one.by_reply == best.by_reply)
            ]

    def _propose(self, limit: Limit) -> None:
        """Another limit than ours counts when two replies in a row agree on its direction; of the
        two, the one nearer to ours."""
        rate, ours = limit.limit / limit.seconds, self.rate
        before, self._proposed = self._proposed, 0.0 if rate == ours else rate
        if rate == ours or not before or (before > ours) != (rate > ours):
            return
        nearer = min(before, rate) if rate > ours else max(before, rate)
        self.seconds = limit.seconds
        self.limit = nearer * limit.seconds
        self.capacity = min(self.capacity, self.limit)
        self._proposed = 0.0
        self._empty(self.capacity)
