"""The budget is never passed, the rate is kept, and a server's request for quiet binds all."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policy.errors import BudgetReached
from synth.config import Limits
from synth.limiter import Limiter
from synth.pacing import Budget, Pace, Today
from synth.wire import Failure, OutcomeClass, Reply
from tests.synth.parts import completion


def test_reserves_count_against_the_cap() -> None:
    async def main() -> None:
        budget = Budget(100, 0)
        await budget.reserve(60)
        await budget.reserve(40)
        budget.settle(60, 60)
        budget.settle(40, 40)
        with pytest.raises(BudgetReached, match="budget_usd"):
            await budget.reserve(1)

    asyncio.run(main())


def test_what_earlier_runs_spent_counts() -> None:
    with pytest.raises(BudgetReached):
        asyncio.run(Budget(100, 100).reserve(1))


def test_a_waiter_goes_on_when_a_reserve_settles_for_less() -> None:
    async def main() -> int:
        budget = Budget(100, 0)
        await budget.reserve(80)
        waiter = asyncio.create_task(budget.reserve(80))
        await asyncio.sleep(0)
        assert not waiter.done()
        budget.settle(80, 10)
        await waiter
        return budget.committed_nano

    assert asyncio.run(main()) == 90


def test_no_cap_never_waits() -> None:
    budget = Budget(None, 0)
    asyncio.run(budget.reserve(10**18))
    assert budget.committed_nano == 10**18


@given(seed=st.integers(0, 2**32), cap=st.integers(1, 500))
@settings(max_examples=60, deadline=None)
def test_any_interleaving_stays_within_the_cap(seed: int, cap: int) -> None:
    chance, budget = random.Random(seed), Budget(cap, 0)

    async def request() -> None:
        reserve = chance.randint(0, 60)
        await budget.reserve(reserve)
        assert budget.committed_nano <= cap
        for _ in range(chance.randint(0, 3)):
            await asyncio.sleep(0)
        budget.settle(reserve, chance.randint(0, reserve))

    async def main() -> list[BaseException | None]:
        tasks = [request() for _ in range(20)]
        return await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 5)

    stopped = [one for one in asyncio.run(main()) if one is not None]
    assert all(isinstance(one, BudgetReached) for one in stopped)


def test_a_settlement_wakes_only_those_it_makes_room_for() -> None:
    async def main() -> list[bool]:
        budget = Budget(100, 0)
        await budget.reserve(100)
        waiters = [asyncio.create_task(budget.reserve(50)) for _ in range(2000)]
        await asyncio.sleep(0)
        budget.settle(100, 0)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        done = [one.done() for one in waiters]
        for one in waiters:
            one.cancel()
        await asyncio.gather(*waiters, return_exceptions=True)
        return done

    assert asyncio.run(main()) == [True, True, *[False] * 1998]


def test_a_waiter_that_is_cancelled_leaves_no_reserve() -> None:
    async def main() -> int:
        budget = Budget(100, 0)
        await budget.reserve(100)
        waiter = asyncio.create_task(budget.reserve(50))
        await asyncio.sleep(0)
        waiter.cancel()
        budget.settle(100, 10)
        await asyncio.gather(waiter, return_exceptions=True)
        return budget.committed_nano

    assert asyncio.run(main()) == 10


class Told:
    """A clock with timers, moved by hand: `loop.call_later` of a told time."""

    def __init__(self) -> None:
        self.now = 0.0
        self._timers: list[tuple[float, int, Timer]] = []
        self._order = itertools.count()

    def __call__(self) -> float:
        return self.now

    def later(self, seconds: float, callback: Callable[[], None]) -> Timer:
        timer = Timer(callback)
        heapq.heappush(self._timers, (self.now + seconds, next(self._order), timer))
        return timer

    async def until(self, end: float) -> None:
        """Let time pass, with everybody who is woken having their turn in between."""
        await settled()
        while self._timers and self._timers[0][0] <= end:
            at, _, timer = heapq.heappop(self._timers)
            self.now = max(self.now, at)
            if timer.callback:
                timer.callback()
            await settled()
        self.now = end


@dataclass
class Timer:
    callback: Callable[[], None] | None

    def cancel(self) -> None:
        self.callback = None


async def settled() -> None:
    for _ in range(4):
        await asyncio.sleep(0)


def a_pace(told: Told, **limits: float) -> Pace:
    return Pace(
        Limiter(Limits.model_validate(limits), random.Random(0)),
        told,
        told.later,
    )


OK = Reply(completion())


def refusal(asked: float | None, status: int = 429) -> Reply:
    failure = Failure(
        OutcomeClass.REJECTED, "rate_limited", "", status, retry=True, retry_after=asked
    )
    return Reply(failure)


def turns(told: Told, pace: Pace, requests: int, end: float, seconds: float = 0.0) -> list[float]:
    """When each of `requests` went, each answered after `seconds`."""
    went: list[float] = []

    async def one() -> None:
        ticket = pace.limiter.ticket(10, 10)
        await pace.admit(ticket)
        went.append(told())
        if seconds:
            told.later(seconds, lambda: pace.settle(ticket, OK, 0.0) and None)
        else:
            pace.settle(ticket, OK, 0.0)

    async def main() -> None:
        tasks = [asyncio.create_task(one()) for _ in range(requests)]
        await told.until(end)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run(main())
    return went


def test_requests_per_minute_are_spaced() -> None:
    told = Told()
    went = turns(told, a_pace(told, concurrency=10, requests_per_minute=60), 5, 60)
    assert went == pytest.approx([0, 1, 2, 3, 4], abs=1e-5)


def test_no_rate_means_no_wait() -> None:
    told = Told()
    assert turns(told, a_pace(told, concurrency=10), 5, 60) == [0] * 5


def test_tokens_per_minute_are_spaced_by_what_was_used() -> None:
    """20 tokens are reserved and 5 used: at 60 a minute one goes every 5 seconds, not every 20."""
    told = Told()
    went = turns(told, a_pace(told, concurrency=10, tokens_per_minute=60), 200, 600)
    assert went[1] == pytest.approx(5, abs=0.1)
    assert len(went) == pytest.approx(120, abs=4)


def test_never_more_in_flight_than_slots() -> None:
    told = Told()
    went = turns(told, a_pace(told, concurrency=3), 30, 2.5, seconds=1.0)
    assert went[:3] == [0, 0, 0]
    assert len(went) == 3 * 3


def test_before_the_first_answer_eight_go_and_twice_as_many_each_quarter_of_a_second() -> None:
    told = Told()
    went = turns(told, a_pace(told, concurrency=100), 100, 5.0, seconds=1.0)
    assert [sum(one <= moment for one in went) for moment in (0, 0.2501, 0.5001, 0.99)] == [
        8, 16, 32, 64,
    ]  # fmt: skip
    assert len(went) == 100


def test_before_the_first_answer_a_refusal_is_enough() -> None:
    """It is back faster than an answer: what is out then is all that goes."""
    told = Told()

    async def main() -> int:
        pace = a_pace(told, concurrency=100)
        tickets = [pace.limiter.ticket(10, 10) for _ in range(40)]
        tasks = [asyncio.create_task(pace.admit(one)) for one in tickets]
        await settled()
        pace.settle(tickets[0], refusal(None), 0.0)
        await told.until(5)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return pace.limiter.in_flight

    assert asyncio.run(main()) == 7


@given(asked=st.floats(0.001, 500), flying=st.integers(1, 20), rate=st.sampled_from([0, 60, 6000]))
@settings(max_examples=60, deadline=None)
def test_nobody_goes_before_the_time_asked_and_then_not_all_together(
    asked: float, flying: int, rate: int
) -> None:
    told, went = Told(), []

    async def main() -> None:
        pace = a_pace(told, concurrency=64, requests_per_minute=rate)
        tickets = [pace.limiter.ticket(10, 10) for _ in range(flying)]
        for ticket in tickets:
            pace.limiter.take(ticket, 0.0)

        async def one() -> None:
            ticket = pace.limiter.ticket(10, 10)
            await pace.admit(ticket)
            went.append(told())

        pace.settle(tickets[0], refusal(asked), 0.0)
        tasks = [asyncio.create_task(one()) for _ in range(40)]
        for ticket in tickets[1:]:
            pace.settle(ticket, refusal(asked / 2), 0.0)
        await told.until(asked + 600)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run(main())
    assert went
    assert min(went) >= asked
    assert sum(one == went[0] for one in went) <= 2


def test_a_cancelled_waiter_leaves_its_place_to_the_next() -> None:
    async def main() -> None:
        told = Told()
        pace = a_pace(told, concurrency=1)
        pace.limiter.hold(100.0)
        waiter = asyncio.create_task(pace.admit(pace.limiter.ticket(1, 1)))
        other = asyncio.create_task(pace.admit(pace.limiter.ticket(1, 1)))
        await settled()
        waiter.cancel()
        await told.until(200)
        assert other.done()
        assert pace.limiter.in_flight == 1

    asyncio.run(main())


def test_a_stop_sends_all_waiters_home() -> None:
    async def main() -> list[BaseException | None]:
        told = Told()
        pace = a_pace(told, concurrency=1)
        pace.limiter.hold(100.0)
        tasks = [asyncio.create_task(pace.admit(pace.limiter.ticket(1, 1))) for _ in range(50)]
        await settled()
        pace.stop(KeyError("stopped"))
        return await asyncio.gather(*tasks, return_exceptions=True)

    assert {type(one) for one in asyncio.run(main())} == {KeyError}


def test_who_had_a_turn_goes_first_and_the_others_in_order() -> None:
    order: list[str] = []

    async def main() -> None:
        told = Told()
        pace = a_pace(told, concurrency=1)
        pace.limiter.hold(10.0)

        async def one(name: str, first: bool) -> None:
            ticket = pace.limiter.ticket(1, 1)
            await pace.admit(ticket, first=first)
            order.append(name)
            pace.settle(ticket, OK, 0.0)

        tasks = [asyncio.create_task(one(name, name == "again")) for name in ("a", "b", "again")]
        await told.until(20)
        await asyncio.gather(*tasks)

    asyncio.run(main())
    assert order == ["again", "a", "b"]


def test_a_day_s_ceiling_holds_over_runs_and_ends_at_midnight() -> None:
    wall = [86_400.0 * 20_000]
    today = Today(Limits(requests_per_day=5, tokens_per_day=1000), lambda: wall[0], 3, 700)
    today.admit(200)
    with pytest.raises(BudgetReached, match="tokens_per_day"):
        today.admit(200)
    today.settle(200, 50)
    today.admit(200)
    with pytest.raises(BudgetReached, match="requests_per_day"):
        today.admit(1)
    wall[0] += 86_400
    today.admit(1000)
