"""The budget is never passed, the rate is kept, and a server's request for quiet binds all."""

import asyncio
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policy.errors import BudgetReached
from synth.pacing import Budget, Pace
from tests.synth.parts import Time


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


def admitted(pace: Pace, time_: Time, requests: int, *, hold: float = 0) -> list[float]:
    """When each of `requests` was let go, by the told clock."""

    async def one() -> float:
        await pace.admit()
        moment = time_()
        pace.release()
        return moment

    async def main() -> list[float]:
        if hold:
            pace.hold(hold)
        return await asyncio.gather(*(one() for _ in range(requests)))

    return asyncio.run(main())


def test_requests_per_minute_are_spaced(time_: Time) -> None:
    pace = Pace(10, 60, clock=time_, sleep=time_.sleep)
    assert sorted(admitted(pace, time_, 5)) == [0, 1, 2, 3, 4]


def test_no_rate_means_no_wait(time_: Time) -> None:
    assert admitted(Pace(10, 0, clock=time_, sleep=time_.sleep), time_, 5) == [0] * 5


def test_a_hold_binds_everyone(time_: Time) -> None:
    pace = Pace(10, 0, clock=time_, sleep=time_.sleep)
    assert min(admitted(pace, time_, 5, hold=30)) >= 30


def test_a_shorter_hold_does_not_cut_a_longer_one(time_: Time) -> None:
    pace = Pace(10, 0, clock=time_, sleep=time_.sleep)
    pace.hold(30)
    assert min(admitted(pace, time_, 2, hold=1)) >= 30


def test_never_more_in_flight_than_slots(time_: Time) -> None:
    pace, inside, most = Pace(3, 0, clock=time_, sleep=time_.sleep), 0, 0

    async def one() -> None:
        nonlocal inside, most
        await pace.admit()
        inside, most = inside + 1, max(most, inside + 1)
        await asyncio.sleep(0)
        inside -= 1
        pace.release()

    async def main() -> None:
        await asyncio.gather(*(one() for _ in range(20)))

    asyncio.run(main())
    assert most == 3


def test_a_cancelled_waiter_gives_its_slot_back(time_: Time) -> None:
    async def main() -> None:
        pace = Pace(1, 0, clock=time_, sleep=asyncio.sleep)
        pace.hold(100)
        waiter = asyncio.create_task(pace.admit())
        await asyncio.sleep(0)
        waiter.cancel()
        await asyncio.gather(waiter, return_exceptions=True)
        time_.now = 200
        await asyncio.wait_for(pace.admit(), 1)

    asyncio.run(main())
