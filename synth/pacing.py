"""How fast and for how much: requests in flight, requests a minute, and money, reserved before
sending and settled after.

    await budget.reserve(nano)   never lets N requests in flight overshoot the cap
    await pace.admit()           returns when one more request may go

A server's Retry-After holds every request, not only the one that was refused: waiters that each
obey their own come back together and are refused together.
"""

import asyncio
from collections.abc import Awaitable, Callable

from policy.errors import BudgetReached
from synth.pricing import dollars

Sleep = Callable[[float], Awaitable[None]]


class Budget:
    """A hard cap on money, over all runs of a ledger: billed and reserved never pass it."""

    def __init__(self, cap_nano: int | None, committed_nano: int) -> None:
        self.cap_nano = cap_nano
        self.committed_nano = committed_nano
        self._in_flight = 0
        self._settled = asyncio.Event()

    async def reserve(self, nano: int) -> None:
        """Set money aside. If it would pass the cap, wait for what is in flight to settle for less
        than its reserve; raise BudgetReached when nothing is in flight any more."""
        while self.cap_nano is not None and self.committed_nano + nano > self.cap_nano:
            if not self._in_flight:
                raise self._reached(nano, self.cap_nano)
            self._settled.clear()
            await self._settled.wait()
        self.committed_nano += nano
        self._in_flight += 1

    def settle(self, reserved_nano: int, billed_nano: int) -> None:
        """Replace a reserve by what was billed, or by itself where that is not known."""
        self.committed_nano += billed_nano - reserved_nano
        self._in_flight -= 1
        self._settled.set()

    def _reached(self, nano: int, cap: int) -> BudgetReached:
        return BudgetReached(
            f"the next request may cost {dollars(nano)}, and {dollars(self.committed_nano)} of"
            f" {dollars(cap)} are spent or reserved",
            where="[limits] budget_usd",
            fix="raise it to go on; what was collected is kept",
        )


class Pace:
    """Concurrency and requests per minute, with one hold that all share."""

    def __init__(
        self, concurrency: int, per_minute: float, *, clock: Callable[[], float], sleep: Sleep
    ) -> None:
        self._slots = asyncio.Semaphore(concurrency)
        self._interval = 60 / per_minute if per_minute else 0.0
        self._clock = clock
        self._sleep = sleep
        self._next = 0.0
        self._hold_until = 0.0

    async def admit(self) -> None:
        """Wait for a slot, for the minute's rate and for the server's hold."""
        await self._slots.acquire()
        try:
            while (wait := self._wait()) > 0:
                await self._sleep(wait)
        except BaseException:
            self._slots.release()
            raise
        self._next = max(self._next, self._clock()) + self._interval

    def release(self) -> None:
        """One request ended."""
        self._slots.release()

    def hold(self, seconds: float) -> None:
        """The server asked for quiet: nobody goes before that."""
        self._hold_until = max(self._hold_until, self._clock() + seconds)

    def _wait(self) -> float:
        return max(self._next, self._hold_until) - self._clock()
