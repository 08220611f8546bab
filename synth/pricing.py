"""What a request costs: the user's own price, or the dated list that genai-prices ships.

    >>> price_of("openai-api", "gpt-4o-mini", None).cost_nano(1000, 500)
    450000

Money is whole billionths of a US dollar, rounded up, so that sums are exact. A model without a
price is refused before anything is sent: a silent zero would make the budget a lie.
"""

from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal
from importlib.metadata import version

from genai_prices import Usage as PricedUsage
from genai_prices import calc_price

from policy.errors import BadInput
from policy.own import is_own_server
from synth.config import Price as OwnPrice

NANO = Decimal(10**9)
_PROVIDERS = {
    "openai-api": "openai",
    "anthropic-api": "anthropic",
    "deepseek-api": "deepseek",
    "mistral-api": "mistral",
    "gemini-api": "google",
    "together": "together",
    "fireworks": "fireworks",
    "groq": "groq",
    "openrouter": "openrouter",
    "xai-enterprise": "x-ai",
}


@dataclass(frozen=True, slots=True)
class Price:
    """The price of one model, bound to the list that it comes from."""

    model: str
    source: str
    """`own`, `free`, or the version of the list."""
    provider: str = ""
    input: Decimal = Decimal(0)
    """USD per million prompt tokens (own prices only)."""
    output: Decimal = Decimal(0)

    def cost_nano(self, prompt_tokens: int, completion_tokens: int, cached_tokens: int = 0) -> int:
        """Billionths of a dollar. Cached tokens are part of the prompt tokens."""
        if self.source == "free":
            return 0
        if self.source == "own":
            total = (self.input * prompt_tokens + self.output * completion_tokens) / 10**6
        else:
            usage = PricedUsage(
                input_tokens=prompt_tokens,
                output_tokens=completion_tokens,
                cache_read_tokens=min(cached_tokens, prompt_tokens),
            )
            total = calc_price(usage, self.model, provider_id=self.provider).total_price
        return int((total * NANO).to_integral_value(ROUND_CEILING))


def price_of(offering: str, model: str, own: OwnPrice | None) -> Price:
    """The price that a project's requests are reserved and settled at.

    Raises BadInput for a hosted model that neither the user nor the list prices.
    """
    if own is not None:
        return Price(model, "own", input=Decimal(str(own.input)), output=Decimal(str(own.output)))
    if is_own_server(offering):
        return Price(model, "free")
    listed = Price(
        model, f"genai-prices {version('genai-prices')}", provider=_PROVIDERS.get(offering, "")
    )
    try:
        listed.cost_nano(1, 1)
    except LookupError:
        raise BadInput(
            f"no price is known for model {model!r} of {offering}",
            where="[limits] price",
            fix="say what you pay: price = {input = 0.30, output = 1.20}  # USD per million tokens",
        ) from None
    return listed


def dollars(nano: int) -> str:
    """Money for people: cents where there are some, more digits where there are none."""
    value = Decimal(nano) / NANO
    if value >= 1 or not value:
        return f"${value:,.2f}"
    digits = f"{value:.6f}" if nano >= 1000 else f"{value:.9f}"
    return f"$0.{digits[2:].rstrip('0'):0<2}"
