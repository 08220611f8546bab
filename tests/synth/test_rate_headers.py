"""Every provider's way of stating its limits reads as the same few numbers, and nothing raises."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synth.rate_headers import DAY, MINUTE, Limit, parse

NOW = 1_795_518_000.0  # 2026-11-24T11:00:00Z


def stated(prefix: str, limit: str, remaining: str, reset: str, kind: str) -> dict[str, str]:
    """Headers in OpenAI's order of words."""
    return {
        f"{prefix}limit-{kind}": limit,
        f"{prefix}remaining-{kind}": remaining,
        f"{prefix}reset-{kind}": reset,
    }


OPENAI = "x-ratelimit-"
ANTHROPIC = {
    "anthropic-ratelimit-input-tokens-limit": "80000",
    "anthropic-ratelimit-input-tokens-remaining": "79000",
    "anthropic-ratelimit-input-tokens-reset": "2026-11-24T11:00:30Z",
}
ONE = [
    ("OpenAI", stated(OPENAI, "3000", "2999", "20ms", "requests"),
     Limit("requests", "requests", MINUTE, 3000, 2999, 0.02)),
    ("Go minutes", stated(OPENAI, "500000", "1", "6m0s", "tokens"),
     Limit("tokens", "tokens", MINUTE, 500_000, 1, 360)),
    ("Go fraction", stated(OPENAI, "100", "9", "1m30.5s", "tokens"),
     Limit("tokens", "tokens", MINUTE, 100, 9, 90.5)),
    ("Groq's day", stated(OPENAI, "14400", "14370", "2m59.56s", "requests"),
     Limit("requests", "requests", DAY, 14400, 14370, 179.56)),
    ("Groq's minute", stated(OPENAI, "18000", "17997", "7.66ms", "tokens"),
     Limit("tokens", "tokens", MINUTE, 18000, 17997, 0.00766)),
    ("Anthropic", ANTHROPIC, Limit("input_tokens", "input_tokens", MINUTE, 80000, 79000, 30)),
    ("Anthropic by its own clock", {**ANTHROPIC, "date": "Tue, 24 Nov 2026 10:55:00 GMT"},
     Limit("input_tokens", "input_tokens", MINUTE, 80000, 79000, 330)),
    ("Mistral", {"x-ratelimit-limit-tokens-minute": "500000",
                 "x-ratelimit-remaining-tokens-minute": "499000"},
     Limit("tokens/minute", "tokens", MINUTE, 500_000, 499_000)),
    ("Mistral's month", {"x-ratelimit-limit-tokens-month": "1000000000"},
     Limit("tokens/month", "tokens", 30 * DAY, 10**9)),
    ("Mistral's requests", {"x-ratelimit-limit-req-minute": "60"},
     Limit("requests/minute", "requests", MINUTE, 60)),
    ("Together", {"x-ratelimit-limit": "10", "x-ratelimit-remaining": "9",
                  "x-ratelimit-reset": "1"},
     Limit("requests/bare", "requests", 1.0, 10, 9, 1)),
    ("Together's tokens", {"x-tokenlimit-limit": "3000", "x-tokenlimit-reset": "0.5"},
     Limit("tokens/bare", "tokens", 1.0, 3000, None, 0.5)),
    ("Cerebras", stated(OPENAI, "14400", "14399", "3600.5", "requests-day"),
     Limit("requests/day", "requests", DAY, 14400, 14399, 3600.5)),
    ("Fireworks", {"x-ratelimit-limit-tokens-prompt": "60000"},
     Limit("input_tokens", "input_tokens", MINUTE, 60000)),
    ("LiteLLM", {"llm_provider-x-ratelimit-limit-requests": "500"},
     Limit("requests", "requests", MINUTE, 500)),
    ("seconds since 1970", stated(OPENAI, "60", "3", str(int(NOW) + 12), "requests"),
     Limit("requests", "requests", MINUTE, 60, 3, 12)),
    ("IETF", {"ratelimit-limit": "100, 100;w=60", "ratelimit-remaining": "50",
              "ratelimit-reset": "42"},
     Limit("requests/bare", "requests", MINUTE, 100, 50, 42)),
    ("any case", {"X-RateLimit-Limit-Requests": "7"}, Limit("requests", "requests", MINUTE, 7)),
]  # fmt: skip


@pytest.mark.parametrize(("headers", "limit"), [case[1:] for case in ONE], ids=[c[0] for c in ONE])
def test_each_provider_is_understood(headers: dict[str, str], limit: Limit) -> None:
    (found,) = parse(headers, NOW)
    assert (found.name, found.kind, found.seconds) == (limit.name, limit.kind, limit.seconds)
    assert (found.limit, found.remaining) == (limit.limit, limit.remaining)
    assert found.reset == (None if limit.reset is None else pytest.approx(limit.reset, abs=1e-6))


@pytest.mark.parametrize(
    "headers",
    [
        {},
        stated(OPENAI, "-1", "-1", "0", "tokens"),  # Azure: unknown
        stated(OPENAI, "0", "0", "0", "tokens"),
        stated(OPENAI, "", "5", "1s", "requests"),
        stated(OPENAI, "many", "5", "1s", "requests"),
        stated(OPENAI, "nan", "5", "1s", "requests"),
        stated(OPENAI, "1e9", "5", "1s", "requests"),
        {"x-ratelimit-limit-images": "5"},
        {"retry-after": "3"},
    ],
)
def test_what_says_nothing_is_no_limit(headers: dict[str, str]) -> None:
    assert parse(headers, NOW) == ()


def test_a_number_that_cannot_be_is_unknown_and_the_rest_counts() -> None:
    (found,) = parse(stated(OPENAI, "60", "-1", "soon", "requests"), NOW)
    assert (found.limit, found.remaining, found.reset) == (60, None, None)


NAMES = st.sampled_from(
    [name for case in ONE for name in case[1]] + ["date", "x-ratelimit-reset", "retry-after"]
)
VALUES = st.text(max_size=40) | st.from_regex(
    r"-?[0-9]{1,20}(\.[0-9]+)?(ms|s|m|h)?", fullmatch=True
)


@given(st.dictionaries(NAMES | st.text(max_size=40), VALUES, max_size=8), st.floats(0, 4e9))
def test_any_headers_give_limits_or_nothing(headers: dict[str, str], now: float) -> None:
    for one in parse(headers, now):
        assert one.limit > 0
        assert one.seconds > 0
        assert one.remaining is None or one.remaining >= 0
        assert one.reset is None or 0 <= one.reset < float("inf")
