"""What a request costs: the user's own price, or the dated list that genai-prices ships.

    >>> price_of("openai-api", "gpt-4o-mini", None).cost_nano(1000, 500)
    450000

Money is whole billionths of a US dollar, rounded up, so that sums are exact. A model without a
price is refused before anything is sent: a silent zero would make the budget a lie.
"""

from dataclasses import dataclass, replace
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
    share: Decimal = Decimal(1)
    """Of these prices: what is paid of them in a batch, where the list has no batch prices."""
    context: str = ""
    """`batch` asks the list for its batch prices."""
    batched: bool = False
    """Whether it is the price in a batch."""

    def cost_nano(self, prompt_tokens: int, completion_tokens: int, cached_tokens: int = 0) -> int:
        """Billionths of a dollar. Cached tokens are part of the prompt tokens."""
        if self.source == "free":
            return 0
        if self.source.startswith("own"):
            total = (self.input * prompt_tokens + self.output * completion_tokens) / 10**6
        else:
            usage = PricedUsage(
                input_tokens=prompt_tokens,
                output_tokens=completion_tokens,
                cache_read_tokens=min(cached_tokens, prompt_tokens),
            )
            total = calc_price(
                usage,
                self.model,
                provider_id=self.provider,
                price_context={"processing": self.context} if self.context else None,
            ).total_price
        return int((total * self.share * NANO).to_integral_value(ROUND_CEILING))

    def in_batch(self, offering: str, own: OwnPrice | None) -> "Price":
        """The same model's price in a batch: the user's word, the list's batch prices, or the
        share that the provider documents; else the whole price."""
        if self.source == "free" or self.batched:
            return self
        listed = replace(self, context="batch", batched=True, source=f"{self.source}, batch")
        if own is None and listed.cost_nano(10**6, 10**6) < self.cost_nano(10**6, 10**6):
            return listed
        told = None if own is None else own.batch
        share = _documented(offering) if told is None else Decimal(str(told))
        return replace(self, source=f"{self.source}, {share} in a batch", share=share, batched=True)


_HALF = Decimal("0.5")
_BATCH_SHARES = {
    "openai-api": _HALF,  # help.openai.com/en/articles/9197833: "50% cost discount"
    "azure-openai": _HALF,  # learn.microsoft.com, how-to/batch: "50% less cost"
    "anthropic-api": _HALF,  # docs.anthropic.com, "Message batches": 50 %
    "gemini-api": _HALF,  # ai.google.dev, "Batch API": "50% of the standard cost"
    "mistral-api": _HALF,  # docs.mistral.ai, "Batch Inference": 50 %
    "groq": _HALF,  # console.groq.com/docs/batch: 50 %
}


def _documented(offering: str) -> Decimal:
    """What the provider behind an offering says that a batch costs of the usual price."""
    owners = (offering, offering.partition("/")[0], offering.rpartition("@")[2])
    return next((_BATCH_SHARES[owner] for owner in owners if owner in _BATCH_SHARES), Decimal(1))


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
