"""How fast and for how much: a turn within all limits, and money, reserved before sending and
settled after.

    await budget.reserve(nano)          never lets N requests in flight overshoot the cap
    await pace.admit(ticket)            returns when this request may go; first come, first served
    pace.settle(ticket, reply, wall)    its answer, refusal or loss moves the limits

One timer serves all who wait: it is set for the head of the queue, and an answer wakes as many as
now have room. When they may go is decided in limiter.py.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Protocol

from policy.errors import BudgetReached
from synth.config import Limits
from synth.limiter import FOREVER, Limiter, Ticket, Used
from synth.pricing import dollars
from synth.rate_headers import DAY, parse
from synth.wire import Completion, Failure, OutcomeClass, Reply, Usage


class Handle(Protocol):
    """A timer that may be cancelled."""

    def cancel(self) -> None:
        """Forget it."""


Later = Callable[[float, Callable[[], None]], Handle]
"""(seconds, callback) -> handle; `loop.call_later`, or a told clock."""


class Budget:
    """A hard cap on money, over all runs of a ledger: billed and reserved never pass it."""

    def __init__(self, cap_nano: int | None, committed_nano: int) -> None:
        self.cap_nano = cap_nano
        self.committed_nano = committed_nano
        self._in_flight = 0
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    async def reserve(self, nano: int) -> None:
        """Set money aside. If it would pass the cap, wait for what is in flight to settle for less
        than its reserve; raise BudgetReached when nothing is in flight any more."""
        if not self._waiting and self._fits(nano):
            self._set_aside(nano)
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((nano, waiter))
        self._wake()
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled() and not waiter.exception():
                self.settle(nano, 0)
            raise

    def settle(self, reserved_nano: int, billed_nano: int) -> None:
        """Replace a reserve by what was billed, or by itself where that is not known."""
        self.committed_nano += billed_nano - reserved_nano
        self._in_flight -= 1
        self._wake()

    def _fits(self, nano: int) -> bool:
        return self.cap_nano is None or self.committed_nano + nano <= self.cap_nano

    def _set_aside(self, nano: int) -> None:
        self.committed_nano += nano
        self._in_flight += 1

    def _wake(self) -> None:
        """Let those at the head of the queue go for whom there is room now, and no others."""
        while self._waiting:
            nano, waiter = self._waiting[0]
            if waiter.done():
                self._waiting.popleft()
            elif self._fits(nano):
                self._waiting.popleft()
                self._set_aside(nano)
                waiter.set_result(None)
            elif self._in_flight:
                return
            else:
                self._waiting.popleft()
                waiter.set_exception(self._reached(nano))

    def _reached(self, nano: int) -> BudgetReached:
        cap = self.cap_nano or 0
        return BudgetReached(
            f"the next request may cost {dollars(nano)}, and {dollars(self.committed_nano)} of"
            f" {dollars(cap)} are spent or reserved",
            where="[limits] budget_usd",
            fix="raise it to go on; what was collected is kept",
        )


class Today:
    """What [limits] allows a day, UTC, less what the ledger says of today."""

    def __init__(
        self, limits: Limits, wall: Callable[[], float], requests: int, tokens: int
    ) -> None:
        self._limits = limits
        self._wall = wall
        self._day = self._number()
        self.requests, self.tokens = requests, tokens

    def admit(self, tokens: int) -> None:
        """Count one request at its reserve. Raises BudgetReached."""
        if (day := self._number()) != self._day:
            self._day, self.requests, self.tokens = day, 0, 0
        self._check("requests_per_day", self.requests + 1, self._limits.requests_per_day)
        self._check("tokens_per_day", self.tokens + tokens, self._limits.tokens_per_day)
        self.requests += 1
        self.tokens += tokens

    def settle(self, reserved: int, used: int) -> None:
        """Replace a reserve by what was used."""
        self.tokens = max(0, self.tokens + used - reserved)

    def withdraw(self, tokens: int) -> None:
        """It was counted and will not be sent."""
        self.requests -= 1
        self.settle(tokens, 0)

    def _number(self) -> int:
        return int(self._wall() // DAY)

    def _check(self, name: str, wanted: int, most: int) -> None:
        if most and wanted > most:
            raise BudgetReached(
                f"the next request would pass {most:,} today (UTC)",
                where=f"[limits] {name}",
                fix="run again tomorrow, or raise it: it goes on from here",
            )


class Pace:
    """The queue before the limits."""

    def __init__(
        self, limiter: Limiter, clock: Callable[[], float], later: Later | None = None
    ) -> None:
        self.limiter = limiter
        self._clock = clock
        self._later = later
        self._waiting: deque[tuple[Ticket, asyncio.Future[None]]] = deque()
        self._timer: Handle | None = None
        self._timer_at = FOREVER
        self._stopped: BaseException | None = None

    async def admit(self, ticket: Ticket, *, first: bool = False) -> None:
        """Wait for a turn. `first` goes before the others: it had a turn already."""
        if self._stopped:
            raise self._stopped
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        (self._waiting.appendleft if first else self._waiting.append)((ticket, waiter))
        self._pump()
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled() and not waiter.exception():
                self.withdraw(ticket)
            raise

    def settle(self, ticket: Ticket, reply: Reply, wall: float) -> bool:
        """What came of a request. Returns whether that uses up one of its tries."""
        result, now, counts = reply.result, self._clock(), True
        limits = parse(reply.headers, wall)
        if isinstance(result, Completion):
            self.limiter.answered(ticket, now, limits, _used(result.usage))
        elif result.outcome is OutcomeClass.UNKNOWN:
            self.limiter.lost(ticket, now)
        elif result.outcome is OutcomeClass.NOT_SENT:
            self.limiter.withdrawn(ticket, now)
        elif result.retry:
            counts = self.limiter.refused(
                ticket, now, limits, busy=_busy(result), asked=result.retry_after
            )
        else:
            rejected = result.outcome is OutcomeClass.REJECTED
            used = Used(0, 0) if rejected else _used(result.usage)
            self.limiter.answered(ticket, now, limits, used, learn=not rejected)
        self._pump()
        return counts

    def withdraw(self, ticket: Ticket) -> None:
        """It had its turn and was not sent."""
        self.limiter.withdrawn(ticket, self._clock())
        self._pump()

    def lose(self, ticket: Ticket) -> None:
        """It was sent, and whoever waited for it is gone."""
        self.limiter.lost(ticket, self._clock())
        self._pump()

    def stop(self, error: BaseException) -> None:
        """Nobody goes any more."""
        self._stopped = error
        while self._waiting:
            _, waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_exception(error)
        self._set_timer(FOREVER)

    def _pump(self) -> None:
        """Let those at the head go who may, and set the timer for the next."""
        while self._waiting:
            ticket, waiter = self._waiting[0]
            if waiter.done():
                self._waiting.popleft()
                continue
            now = self._clock()
            wait = self.limiter.wait(ticket, now)
            if wait > 0:
                self._set_timer(now + wait)
                return
            self._waiting.popleft()
            self.limiter.take(ticket, now)
            waiter.set_result(None)
        self._set_timer(FOREVER)

    def _set_timer(self, at: float) -> None:
        if self._timer and self._timer_at == at:
            return
        if self._timer:
            self._timer.cancel()
            self._timer = None
        self._timer_at = at
        if at < FOREVER:
            later: Later = self._later or asyncio.get_running_loop().call_later
            self._timer = later(max(0.0, at - self._clock()), self._ring)

    def _ring(self) -> None:
        self._timer, self._timer_at = None, FOREVER
        self._pump()


def _used(usage: Usage | None) -> Used | None:
    if usage is None or usage.estimated:
        return None
    return Used(usage.prompt_tokens, usage.completion_tokens)


def _busy(failure: Failure) -> bool:
    """503, 529 and their like say that the provider lacks capacity; 429, that we ask too much."""
    return failure.status != 429
