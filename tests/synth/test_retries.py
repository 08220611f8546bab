"""Retries are paid for by answers, and an outage is met with a handful of requests."""

import random

from synth.retries import CAPACITY, GIVE_UP, PRICE, Breaker, RetryQuota


def test_a_quota_that_is_used_up_slows_retries_and_answers_pay_for_more() -> None:
    quota = RetryQuota(0.0)
    assert [quota.wait(0.0) for _ in range(int(CAPACITY / PRICE))] == [0.0] * 100
    assert quota.wait(0.0) == PRICE
    for _ in range(20):
        quota.answered()
    assert quota.wait(0.0) == 0.0


def opened(breaker: Breaker, now: float = 0.0) -> Breaker:
    for number in range(5):
        breaker.refused(number, now, now, 0.0)
    return breaker


def test_an_answer_between_refusals_keeps_it_closed() -> None:
    breaker = Breaker(random.Random(0))
    for number in range(100):
        breaker.refused(number, 0.0, 0.0, 0.0)
        if number % 4 == 3:
            breaker.answered(number)
    assert not breaker.open


def test_one_request_tries_and_its_answer_closes() -> None:
    breaker = opened(Breaker(random.Random(0)))
    assert 0.75 <= breaker.wait(0.0) <= 1.25
    assert breaker.wait(2.0) == 0.0
    breaker.take(9)
    assert breaker.wait(2.0) == float("inf")
    assert not breaker.answered(3), "an old answer is no news"
    assert breaker.answered(9)
    assert not breaker.open


def test_each_failed_try_waits_longer_up_to_half_a_minute() -> None:
    breaker, now, waits = opened(Breaker(random.Random(0))), 0.0, []
    for number in range(10, 20):
        waits.append(breaker.wait(now))
        now += waits[-1]
        breaker.take(number)
        breaker.refused(number, now, now, 0.0)
    assert waits[0] < 1.3
    assert 22 < max(waits[-3:]) < 38


def test_the_server_s_own_time_is_not_cut_short() -> None:
    breaker = Breaker(random.Random(0))
    for number in range(5):
        breaker.refused(number, 0.0, 0.0, 20.0)
    assert breaker.wait(0.0) >= 20.0


def test_a_try_that_is_lost_does_not_block_for_ever() -> None:
    breaker = opened(Breaker(random.Random(0)))
    breaker.take(9)
    breaker.lost(9, 5.0)
    assert 0 < breaker.wait(5.0) < 3


def test_an_outage_without_end_is_given_up() -> None:
    breaker = opened(Breaker(random.Random(0)))
    assert not breaker.given_up(GIVE_UP)
    assert breaker.given_up(GIVE_UP + 1)
