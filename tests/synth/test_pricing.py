"""Money is whole nano-dollars, rounded up, and never silently zero."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy.errors import BadInput
from synth.config import Price as OwnPrice
from synth.pricing import dollars, price_of

TOKENS = st.integers(0, 10**7)


def test_the_shipped_list_prices_a_known_model() -> None:
    assert price_of("openai-api", "gpt-4o-mini", None).cost_nano(1000, 500) == 450_000


def test_cached_tokens_are_cheaper_and_part_of_the_prompt() -> None:
    price = price_of("openai-api", "gpt-4o-mini", None)
    assert 0 < price.cost_nano(1000, 0, 1000) < price.cost_nano(1000, 0)
    assert price.cost_nano(1000, 0, 5000) == price.cost_nano(1000, 0, 1000)


def test_an_own_price_goes_before_the_list() -> None:
    price = price_of("openai-api", "gpt-4o-mini", OwnPrice(input=0.3, output=1.2))
    assert (price.source, price.cost_nano(10**6, 10**6)) == ("own", 1_500_000_000)
    assert price.named == "own 0.3/1.2"


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
