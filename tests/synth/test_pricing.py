"""Money is whole nano-dollars, rounded up, and never silently zero."""

from datetime import UTC, datetime
from typing import Any

import pytest
from genai_prices import Usage as PricedUsage
from genai_prices import calc_price
from hypothesis import given, settings
from hypothesis import strategies as st

from policy.errors import BadInput
from synth.config import Price as OwnPrice
from synth.pricing import dollars, price_of

TOKENS = st.integers(0, 10**7)
NOVEMBER = 1_795_518_000.0  # 2026-11-24, 11:00 UTC
MODELS = [
    ("openai-api", "gpt-4o-mini", "openai"),
    ("openai-api", "gpt-5.1", "openai"),
    ("anthropic-api", "claude-sonnet-4-5", "anthropic"),
    ("deepseek-api", "deepseek-chat", "deepseek"),
    ("mistral-api", "mistral-small-latest", "mistral"),
    ("gemini-api", "gemini-2.5-pro", "google"),
    ("groq", "llama-3.3-70b-versatile", "groq"),
]


def test_the_shipped_list_prices_a_known_model() -> None:
    assert price_of("openai-api", "gpt-4o-mini", None).cost_nano(1000, 500) == 450_000


def test_cached_tokens_are_cheaper_and_part_of_the_prompt() -> None:
    price = price_of("openai-api", "gpt-4o-mini", None)
    assert 0 < price.cost_nano(1000, 0, 1000) < price.cost_nano(1000, 0)
    assert price.cost_nano(1000, 0, 5000) == price.cost_nano(1000, 0, 1000)


def test_an_own_price_goes_before_the_list() -> None:
    price = price_of("openai-api", "gpt-4o-mini", OwnPrice(input=0.3, output=1.2))
    assert (price.source, price.cost_nano(10**6, 10**6)) == ("own", 1_500_000_000)
    assert price.named == "own 0.3/1.2/0.3/0.3/0.5"


def test_a_teacher_of_ones_own_is_free() -> None:
    assert price_of("smollm2@self-host", "smollm2-135m", None).cost_nano(10**6, 10**6) == 0


@pytest.mark.parametrize(
    ("offering", "model"),
    [("openai-api", "gpt-unheard-of"), ("nobody-api", "gpt-4o-mini"), ("nobody-api", "x")],
)
def test_a_hosted_model_without_a_price_is_refused(offering: str, model: str) -> None:
    with pytest.raises(BadInput, match=r"\[limits\] price"):
        price_of(offering, model, None)


def test_the_source_names_the_version_of_the_list() -> None:
    assert price_of("openai-api", "gpt-4o-mini", None).source.startswith("genai-prices 0.")


@given(prompt=TOKENS, completion=TOKENS, more=TOKENS)
def test_more_tokens_never_cost_less(prompt: int, completion: int, more: int) -> None:
    price = price_of("x", "m", OwnPrice(input=0.07, output=0.31))
    cost = price.cost_nano(prompt, completion)
    assert cost >= 0
    assert (
        cost
        <= price.cost_nano(prompt + more, completion)
        <= (price.cost_nano(prompt + more, completion + more))
    )


@given(prompt=TOKENS, completion=TOKENS)
def test_a_reserve_covers_the_sum_of_its_parts(prompt: int, completion: int) -> None:
    price = price_of("x", "m", OwnPrice(input=0.0333, output=0.1))
    parts = price.cost_nano(prompt, 0) + price.cost_nano(0, completion)
    assert parts - 1 <= price.cost_nano(prompt, completion) <= parts


@pytest.mark.parametrize(
    ("nano", "text"),
    [(0, "$0.00"), (450_000, "$0.00045"), (1_500_000_000, "$1.50"), (2 * 10**12, "$2,000.00"),
     (500_000_000, "$0.50"), (1, "$0.000000001")],
)  # fmt: skip
def test_money_is_written_for_people(nano: int, text: str) -> None:
    assert dollars(nano) == text


def test_the_source_names_the_digest_of_the_list_and_own_prices_their_figures() -> None:
    listed = price_of("openai-api", "gpt-4o-mini", None)
    assert listed.named == listed.source
    assert len(listed.source.split("sha256:")[1]) == 64
    own = price_of("x", "m", OwnPrice(input=0.3, output=1.2, cached_input=0.03))
    assert own.named == "own 0.3/1.2/0.03/0.3/1"


@pytest.mark.parametrize(
    ("how", "nano"),
    [({}, 6_250_000), ({"tier": "flex"}, 3_125_000), ({"tier": "priority"}, 12_500_000),
     ({"tier": "default"}, 6_250_000), ({"batch": True}, 3_125_000),
     ({"tier": "unheard"}, 6_250_000)],
)  # fmt: skip
def test_the_served_tier_and_the_batch_have_their_price(how: dict[str, Any], nano: int) -> None:
    price = price_of("openai-api", "gpt-5.1", None)
    assert price.cost_nano(1000, 500, at=NOVEMBER, **how) == nano


def test_another_model_that_answers_bills_at_its_own_price() -> None:
    mini = price_of("openai-api", "gpt-4o-mini", None)
    full = price_of("openai-api", "gpt-4o", None)
    assert mini.cost_nano(1000, 500, served="gpt-4o") == full.cost_nano(1000, 500)
    assert mini.cost_nano(1000, 500, served="nobody-knows") == mini.cost_nano(1000, 500)


def test_own_prices_for_cache_and_batch() -> None:
    own = OwnPrice(input=1, output=2, cached_input=0.1, cache_write=1.25, batch=0.5)
    price = price_of("x", "m", own)
    assert price.cost_nano(10**6, 0, 400_000, written_tokens=200_000) == 690_000_000
    assert price.cost_nano(10**6, 10**6, batch=True) == 1_500_000_000
    assert price.reserve_nano(10**6, 0) == 1_250_000_000


def test_a_long_prompt_is_priced_by_its_step() -> None:
    """Claude Sonnet 4.5: above 200,000 tokens the whole prompt costs more."""
    price = price_of("anthropic-api", "claude-sonnet-4-5", None)
    assert price.cost_nano(200_000, 0, at=NOVEMBER) == 600_000_000
    assert price.cost_nano(200_001, 0, at=NOVEMBER) > 2 * 600_000_000 - 10**7


@given(prompt=TOKENS, completion=TOKENS, cached=TOKENS, model=st.sampled_from(MODELS))
@settings(max_examples=50, deadline=None)
def test_the_quick_way_prices_as_the_list_does(
    prompt: int, completion: int, cached: int, model: tuple[str, str, str]
) -> None:
    offering, name, provider = model
    cached = min(cached, prompt)
    usage = PricedUsage(
        input_tokens=prompt, cache_read_tokens=cached, cache_write_tokens=0,
        output_tokens=completion,
    )  # fmt: skip
    moment = datetime.fromtimestamp(NOVEMBER, UTC)
    listed = calc_price(usage, name, provider_id=provider, genai_request_timestamp=moment)
    ours = price_of(offering, name, None).cost_nano(prompt, completion, cached, at=NOVEMBER)
    assert 0 <= ours - listed.total_price * 10**9 < 1


@pytest.mark.parametrize("model", MODELS)
def test_a_reserve_covers_every_answer(model: tuple[str, str, str]) -> None:
    price = price_of(model[0], model[1], None)
    reserve = price.reserve_nano(1000, 500, at=NOVEMBER)
    for cached, written in ((0, 0), (1000, 0), (0, 1000), (500, 500)):
        assert price.cost_nano(1000, 500, cached, written_tokens=written, at=NOVEMBER) <= reserve
