"""When to stop asking: a quota of retries, and a breaker for outages.

    quota.wait(now)          seconds until a retry is paid for
    breaker.refused(...)     after five refusals for lack of capacity with no answer between: open

Where the server refuses at random, five in a row are nothing: it takes as many as chance brings
once in a million.

While the breaker is open nothing is sent; then one request tries, and only its answer lets the
others go. A quota that is used up slows retries down, each by half a minute at most, and drops
none: what is not retried now is not lost.

Sources: AWS SDKs and Tools Reference Guide, retry behaviour (500 tokens, 5 a retry); Nygard,
Release It!, "Circuit Breaker".
"""

import random
from math import log

CAPACITY, PRICE, REFILL = 500.0, 5.0, 1.0  # tokens, tokens a retry, tokens a second
OPENS_AT = 5  # refusals
UNLIKELY = 1e-6
COOLDOWN, LONGEST = 1.0, 30.0  # seconds
GIVE_UP = 900.0  # seconds of outage after which the run stops


class RetryQuota:
    """Retries that the answers so far have paid for."""

    def __init__(self, now: float) -> None:
        self._tokens = CAPACITY
        self._at = now

    def answered(self) -> None:
        """An answer pays for a fifth of a retry."""
        self._tokens = min(CAPACITY, self._tokens + 1.0)

    def wait(self, now: float) -> float:
        """Take one retry; the seconds until it is paid for."""
        self._tokens = min(CAPACITY, self._tokens + (now - self._at) * REFILL)
        self._at = now
        self._tokens = max(self._tokens - PRICE, -LONGEST * REFILL)
        return max(0.0, -self._tokens / REFILL)


class Breaker:
    """Closed, open, or half open with one request on its way."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._row = 0
        self._cooldown = COOLDOWN
        self._until = 0.0
        self._since = 0.0
        self._opened_at = float("-inf")
        self._probe = -1
        self.open = False

    def wait(self, now: float) -> float:
        """Seconds until a request may try; infinite while another one does."""
        if not self.open:
            return 0.0
        if self._probe >= 0:
            return float("inf")
        return max(0.0, self._until - now)

    def take(self, number: int) -> None:
        """A request goes out; while open it is the one that tries."""
        if self.open:
            self._probe = number

    def answered(self, number: int) -> bool:
        """The server works, or worked when it answered this. Returns whether an outage ended."""
        self._row = 0
        if not self.open or number != self._probe:
            return False
        self.open, self._probe, self._cooldown = False, -1, COOLDOWN
        return True

    def refused(
        self, number: int, sent: float, now: float, asked: float, chance: float = 0.0
    ) -> None:
        """No capacity. `asked` is what the server asks to wait; `chance`, the share that it
        refuses at random."""
        if self.open and number != self._probe:
            return
        if not self.open:
            self._row += 1
            enough = max(OPENS_AT, log(UNLIKELY) / log(chance)) if chance else OPENS_AT
            if self._row < enough or sent < self._opened_at:
                return
            self.open, self._since, self._row = True, now, 0
        self._probe, self._opened_at = -1, now
        self._until = now + max(asked, self._cooldown * self._chance.uniform(0.75, 1.25))
        self._cooldown = min(LONGEST, self._cooldown * 2)

    def lost(self, number: int, now: float) -> None:
        """The request that tried brought no word: another may try after the same time."""
        if self.open and number == self._probe:
            self._probe = -1
            self._until = now + self._cooldown * self._chance.uniform(0.75, 1.25)

    def given_up(self, now: float) -> bool:
        """Whether the outage has lasted longer than a run waits."""
        return self.open and now - self._since > GIVE_UP
