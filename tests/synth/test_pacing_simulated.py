"""Hours of traffic in virtual time: at the limit, and hardly ever over it.

Each provider here limits, counts and speaks in its own way; none of that is told to the client.
"""

import random
from collections.abc import Callable
from typing import Any

import pytest

from synth.config import Limits
from synth.finder import State
from tests.synth.virtual import Provider, Run, Workers

WANTED = [64, 512]
Draw = Callable[[random.Random], float]


def long_answer(chance: random.Random) -> int:
    return chance.randint(500, 3000)


def minute_long(chance: random.Random) -> float:
    return chance.uniform(10, 60)


def quick(chance: random.Random) -> float:
    return chance.uniform(0.1, 0.2)


def about(seconds: float) -> Draw:
    return lambda chance: chance.uniform(0.9, 1.1) * seconds


@pytest.mark.parametrize("wanted", WANTED)
@pytest.mark.parametrize("charge", ["used", "refunded", "kept", "at_end"])
@pytest.mark.parametrize("by_reply", [False, True])
def test_a_token_limit_is_kept_however_it_is_counted(
    wanted: int, charge: str, by_reply: bool
) -> None:
    provider = Provider(requests=30_000, tokens=500_000, charge=charge, by_reply=by_reply)
    run = Run(provider, wanted).until(180)
    assert run.share() >= 0.97
    assert run.per_thousand(since=60) <= 1.1
    assert run.refused <= 25


@pytest.mark.parametrize("wanted", WANTED)
@pytest.mark.parametrize(
    ("per_minute", "burst", "seconds", "latency"),
    [(3000, 10, 60, None), (3000, 60, 60, None), (3000, 1, 60, None), (60, 10, 600, None),
     (10_000, 10, 60, quick)],
)  # fmt: skip
def test_a_request_limit_is_kept_from_the_first_reply(
    wanted: int, per_minute: int, burst: int, seconds: int, latency: Draw | None
) -> None:
    more: dict[str, Any] = {"latency": latency} if latency else {}
    run = Run(Provider(requests=per_minute, burst=burst, **more), wanted).until(seconds)
    # At 64 in flight a minute's burst cannot be used up within the minute.
    least = 0.97 if burst < 60 or wanted > 64 else 0.8
    assert run.share() >= least
    assert run.refused == (per_minute == 60)  # of a burst of ten, before the first answer


@pytest.mark.parametrize("wanted", WANTED)
@pytest.mark.parametrize("retry_after", [True, False])
@pytest.mark.parametrize(
    ("limits", "seconds"),
    [({"requests": 3000}, 60), ({"requests": 3000, "burst": 60}, 120),
     ({"requests": 10_000, "latency": quick}, 60), ({"tokens": 500_000}, 60)],
)  # fmt: skip
def test_a_rate_that_nobody_states_is_found_within_a_minute(
    wanted: int, retry_after: bool, limits: dict[str, Any], seconds: int
) -> None:
    provider = Provider(headers="none", retry_after=retry_after, **limits)
    run = Run(provider, wanted).until(seconds + 300)
    after = sum(seconds <= one for one in run.admissions)
    bucket = next(iter(run.buckets.values()))
    each = run.charged / len(run.admissions) if provider.tokens else 1.0
    assert after >= 0.9 * bucket.per_minute / 60 / each * 300
    assert run.per_thousand(since=seconds) <= 1


@pytest.mark.parametrize("wanted", WANTED)
def test_long_answers_under_a_small_token_limit(wanted: int) -> None:
    provider = Provider(
        tokens=30_000, burst=60, most=4000, completion=long_answer, latency=minute_long
    )
    run = Run(provider, wanted).until(3600)
    assert run.share() >= 0.85
    assert run.refused <= 10


@pytest.mark.parametrize("headers", ["openai", "none"])
@pytest.mark.parametrize("wanted", WANTED)
def test_a_limit_that_is_halved_is_followed_without_a_storm(wanted: int, headers: str) -> None:
    run = Run(Provider(requests=3000, headers=headers), wanted)
    run.at(60, lambda: run.buckets["requests"].change(1500, run.now)).until(60)
    before = run.refused
    run.until(180)
    assert run.refused - before <= (8 if headers == "openai" else 40)
    assert run.rate(90, 180) >= 0.95 * 1500
    assert run.per_thousand(since=120) <= 3


@pytest.mark.parametrize("headers", ["openai", "none"])
def test_a_limit_that_is_doubled_is_used(headers: str) -> None:
    run = Run(Provider(requests=1500, headers=headers), 512)
    run.at(60, lambda: run.buckets["requests"].change(3000, run.now)).until(600)
    assert run.rate(480, 600) >= 0.9 * 3000


@pytest.mark.parametrize("wanted", [64, 512, 2000])
def test_a_crowd_that_is_slow_on_its_way_is_not_refused(wanted: int) -> None:
    """A busy client sends for a while; a full bucket does not fill meanwhile."""
    provider = Provider(requests=3000, network=lambda chance: chance.uniform(0.001, 0.3))
    run = Run(provider, wanted).until(60)
    assert run.share() >= 0.97
    assert run.refused == 0


def test_a_first_reply_that_says_nothing_is_left_is_not_the_last() -> None:
    lie = {1: {"x-ratelimit-remaining-requests": "0"}}
    run = Run(Provider(requests=60, lie=lie), 1).until(120)
    assert run.answers >= 100


@pytest.mark.parametrize("skew", [-300, 300])
def test_a_wrong_clock_changes_nothing(skew: float) -> None:
    provider = Provider(requests=3000, tokens=500_000, headers="anthropic", skew=skew)
    run = Run(provider, 64).until(60)
    assert run.share() >= 0.97
    assert run.per_thousand() <= 1


@pytest.mark.parametrize("wanted", WANTED)
def test_headers_that_lie_once_change_nothing(wanted: int) -> None:
    low = {"x-ratelimit-remaining-requests": "0", "x-ratelimit-limit-requests": "1"}
    high = dict.fromkeys(low, "9999999")
    lies = {1: low, 50: low, 51: {}, 300: low, 100: high, 700: high, 1500: low}
    run = Run(Provider(requests=3000, lie=lies), wanted).until(60)
    assert run.share() >= 0.96
    assert run.refused <= 3


@pytest.mark.parametrize("wanted", WANTED)
def test_an_outage_of_a_minute_costs_a_handful_of_requests_and_no_try(wanted: int) -> None:
    run = Run(Provider(requests=600_000, headers="none", down=(20, 80)), wanted).until(140)
    tried = [one for one in run.arrivals if 22 <= one < 80]
    assert 1 <= len(tried) <= 10
    assert run.used_tries <= 64  # while answers from before the outage still came
    assert run.rate(125, 140) >= 0.9 * run.rate(5, 20)


@pytest.mark.parametrize("wanted", WANTED)
def test_a_server_that_limits_concurrency_is_filled_and_not_pushed(wanted: int) -> None:
    """As DeepSeek does: 429 beyond 50 at once, and no header."""
    provider = Provider(
        requests=600_000, headers="none", concurrency=50, retry_after=False,
        latency=lambda chance: chance.uniform(2, 6),
    )  # fmt: skip
    run = Run(provider, wanted).until(400)
    assert run.rate(200, 400) >= 0.85 * 50 / 4 * 60
    assert run.per_thousand(since=100) <= 2


def test_a_server_that_queues_is_kept_busy_with_few_in_flight() -> None:
    run = Run(Provider(requests=600_000, headers="none", slots=16), 512)
    seen: list[int] = []
    for moment in range(40, 120, 5):
        run.at(moment, lambda: seen.append(run.limiter.in_flight))
    run.until(120)
    assert run.rate(40, 120) >= 0.97 * 16 / 0.75 * 60
    assert max(seen) < 512


def test_after_a_hold_requests_come_back_at_the_rate() -> None:
    run = Run(Provider(requests=3000), 512).until(30)
    run.limiter.hold(45.0)
    run.until(60)
    held = [one for one in run.arrivals if 30.03 < one < 45]
    first_second = [one for one in run.arrivals if 45 <= one < 46]
    assert held == []
    assert 40 <= len(first_second) <= 110


@pytest.mark.parametrize("busy", [False, True], ids=["429", "503"])
@pytest.mark.parametrize("chance", [0.01, 0.05, 0.1, 0.2, 0.3])
@pytest.mark.parametrize(
    ("wanted", "seconds", "until"), [(64, 0.05, 20), (64, 0.5, 40), (512, 0.5, 25), (64, 5, 200)]
)
def test_refusals_by_chance_do_not_slow_a_run(
    chance: float, busy: bool, wanted: int, seconds: float, until: int
) -> None:
    provider = Provider(chance=chance, busy=busy, headers="none", latency=about(seconds))
    run = Workers(provider, wanted)
    run.until(until)
    able = (1 - chance) * wanted / (seconds + 0.0105) * 60
    assert run.rate(until // 4, until) >= 0.8 * able
    assert run.lost == 0


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("chance", [0.05, 0.1, 0.2, 0.3])
def test_chance_is_hardly_ever_taken_for_a_limit(chance: float, seed: int) -> None:
    provider = Provider(chance=chance, headers="none", latency=about(0.5))
    run = Workers(provider, 64, seed)
    run.until(60)
    assert run.rate(30, 60) >= 0.8 * (1 - chance) * 64 / 0.5105 * 60
    assert run.limiter.finder.state is not State.LIMITED


@pytest.mark.parametrize("wanted", WANTED)
@pytest.mark.parametrize("chance", [0.01, 0.02, 0.04, 0.2])
def test_chance_and_a_limit_together_starve_nobody(chance: float, wanted: int) -> None:
    provider = Provider(requests=3000, chance=chance, headers="none", retry_after=False)
    run = Workers(provider, wanted)
    run.until(300)
    assert run.rate(60, 300) >= (0.5 if chance > 0.1 else 0.8) * 3000
    assert run.lost == 0


@pytest.mark.parametrize("chance", [0.02, 0.2])
def test_chance_takes_nothing_from_a_limit_that_is_stated(chance: float) -> None:
    run = Run(Provider(requests=3000, chance=chance), 64).until(120)
    assert run.rate(20, 120) >= 0.9 * min(3000, (1 - chance) * 64 / 0.77 * 60)
    assert run.per_thousand(since=20) <= 1


@pytest.mark.parametrize("wanted", WANTED)
@pytest.mark.parametrize("burst", [1, 10, 60])
@pytest.mark.parametrize(("per_minute", "until"), [(60, 400), (600, 240), (3000, 240)])
def test_a_rate_is_found_whatever_it_is(
    per_minute: int, burst: int, until: int, wanted: int
) -> None:
    provider = Provider(
        requests=per_minute, burst=burst, headers="none", retry_after=False, latency=about(0.75)
    )
    run = Workers(provider, wanted)
    run.until(until)
    # A bucket that holds one request refuses each that is a moment early.
    least = 0.6 if per_minute * burst == 60 else 0.93
    assert run.rate(60, until) >= least * min(per_minute, wanted / 0.7605 * 60)
    assert run.per_thousand(since=120) <= (15 if per_minute == 60 else 3)
    assert run.lost == 0


@pytest.mark.parametrize("wanted", WANTED)
@pytest.mark.parametrize("seed", range(4))
def test_a_token_limit_that_nobody_states_is_kept(wanted: int, seed: int) -> None:
    provider = Provider(tokens=500_000, headers="none", retry_after=False, refusal=0.04)
    run = Workers(provider, wanted, seed)
    run.until(240)
    after = sum(one >= 60 for one in run.admissions)
    each = run.charged / len(run.admissions)
    assert after >= 0.95 * 500_000 / 60 / each * 180
    assert run.per_thousand(since=60) <= 1


@pytest.mark.parametrize("wanted", WANTED)
@pytest.mark.parametrize(("per_minute", "refused"), [(60, 250), (3000, 60)])
def test_a_fixed_window_is_used_up_and_its_end_waited_for(
    wanted: int, per_minute: int, refused: int
) -> None:
    provider = Provider(requests=per_minute, window=60, headers="none", retry_after=False)
    run = Workers(provider, wanted)
    run.until(600)
    assert run.rate(120, 600) >= 0.75 * per_minute
    assert run.per_thousand(since=120) <= refused
    assert run.lost == 0


@pytest.mark.parametrize("wanted", WANTED)
@pytest.mark.parametrize("cap", [8, 50])
@pytest.mark.parametrize(("seconds", "until"), [(0.5, 150), (4, 400)])
def test_concurrency_that_is_limited_is_found(
    cap: int, seconds: float, until: int, wanted: int
) -> None:
    provider = Provider(concurrency=cap, headers="none", retry_after=False, latency=about(seconds))
    run = Workers(provider, wanted)
    run.until(until)
    assert run.rate(until // 2, until) >= 0.75 * cap / seconds * 60
    assert run.per_thousand(since=until // 2) <= 5
    assert run.lost == 0


@pytest.mark.parametrize("seconds", [0.05, 0.5, 2])
@pytest.mark.parametrize("limit", [{"requests": 3000}, {"tokens": 500_000}])
def test_the_first_crowd_meets_no_refusal_where_limits_are_stated(
    limit: dict[str, Any], seconds: float
) -> None:
    def spread(chance: random.Random) -> float:
        return chance.uniform(0.67, 1.33) * seconds

    run = Run(Provider(latency=spread, charge="refunded", **limit), 512).until(60)
    assert run.refused <= 1


def test_a_ceiling_of_ours_is_never_passed() -> None:
    limits = Limits(concurrency=64, requests_per_minute=600, tokens_per_minute=400_000)
    run = Run(Provider(requests=3000), 64, limits=limits).until(120)
    for start in range(0, 60, 7):
        assert sum(start <= one < start + 60 for one in run.admissions) <= 602
    assert run.rate(20, 120) >= 0.97 * 600


def draw(seed: int) -> tuple[Provider, int]:
    """A provider nobody thought of."""
    chance = random.Random(seed)
    slow = 10 ** chance.uniform(-1, 0.7)
    provider = Provider(
        requests=10 ** chance.uniform(2.3, 4),
        tokens=10 ** chance.uniform(5.3, 6.5) if chance.random() < 0.5 else 0,
        burst=chance.choice([5, 10, 30, 60]),
        charge=chance.choice(["used", "refunded", "kept"]),
        headers=chance.choice(["openai", "anthropic"]),
        by_reply=chance.random() < 0.5,
        retry_after=chance.random() < 0.7,
        latency=lambda draw: draw.uniform(slow / 2, slow),
        skew=chance.uniform(-600, 600),
    )
    return provider, chance.choice([64, 256, 512, 2000])


@pytest.mark.parametrize("seed", range(40))
def test_any_provider_with_headers(seed: int) -> None:
    provider, wanted = draw(seed)
    run = Run(provider, wanted, seed).until(240)
    able = wanted / (sum(provider.latency(run.chance) for _ in range(200)) / 200 + 0.02)
    allowed = min(run.allowed(), 0.9 * able * 240)
    assert len(run.admissions) >= 0.95 * allowed
    assert run.refused <= 5 + 0.003 * len(run.admissions)
