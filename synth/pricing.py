"""What a request costs: the user's own price, or the dated list that genai-prices ships.

    >>> price_of("openai-api", "gpt-4o-mini", None).cost_nano(1000, 500)
    450000

Money is whole billionths of a US dollar, rounded up, so that sums are exact. A model without a
price is refused before anything is sent: a silent zero would make the budget a lie.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import ROUND_CEILING, Decimal
from functools import cache, lru_cache
from hashlib import sha256
from importlib.metadata import version
from importlib.resources import files
from typing import NamedTuple

from genai_prices import Usage as PricedUsage
from genai_prices import calc_price
from genai_prices.types import TieredPrices

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
    "azure-openai": "azure",
    "aws-bedrock": "aws",
    "cerebras": "cerebras",
    "cohere-api": "cohere",
    "moonshot-api": "moonshotai",
    "perplexity-api": "perplexity",
}


_HALF = Decimal("0.5")
_BATCH_SHARES = {
    "openai-api": _HALF,  # help.openai.com/en/articles/9197833: "50% cost discount"
    "azure-openai": _HALF,  # learn.microsoft.com, how-to/batch: "50% less cost"
    "anthropic-api": _HALF,  # docs.anthropic.com, "Message batches": 50 %
    "gemini-api": _HALF,  # ai.google.dev, "Batch API": "50% of the standard cost"
    "mistral-api": _HALF,  # docs.mistral.ai, "Batch Inference": 50 %
    "groq": _HALF,  # console.groq.com/docs/batch: 50 %
}
"""What a request in a batch costs of the usual price, by offerings that say so."""
MILLION = 10**6


class _PerToken(NamedTuple):
    """USD a token; `base` is what a request costs by itself."""

    base: Decimal
    input: Decimal
    cached: Decimal
    written: Decimal
    output: Decimal


@dataclass(frozen=True, slots=True)
class Price:
    """The price of one model, bound to the list that it comes from."""

    model: str
    source: str
    """`own`, `free`, or version and digest of the list."""
    provider: str = ""
    input: Decimal = Decimal(0)
    """USD per million prompt tokens (own prices only, as the next three)."""
    output: Decimal = Decimal(0)
    cached: Decimal = Decimal(0)
    written: Decimal = Decimal(0)
    share: Decimal = Decimal(1)
    """Of these prices: what a request in a batch costs, where the list has no batch prices."""

    @property
    def named(self) -> str:
        """What an attempt's row says of it: own prices by their figures, since they change."""
        if self.source != "own":
            return self.source
        figures = (self.input, self.output, self.cached, self.written, self.share)
        return "own " + "/".join(map(str, figures))

    @property
    def named_in_batch(self) -> str:
        """The same of an attempt in a batch."""
        if self.source == "free":
            return self.source
        share = self._share("", datetime.now(UTC).timestamp())
        return f"{self.named}, batch" if share is None else f"{self.named}, {share} in a batch"

    def cost_nano(
        self,
        prompt_tokens: int,
        completion_tokens: int,
        cached_tokens: int = 0,
        *,
        written_tokens: int = 0,
        tier: str = "",
        served: str = "",
        batch: bool = False,
        at: float | None = None,
    ) -> int:
        """Billionths of a dollar. Cached and written tokens are part of the prompt tokens, and
        reasoning of the completion. `tier` and `served` are what the reply says of the service
        tier and the model: another model that the list knows bills at its own price. `at` is the
        moment of the request, seconds since 1970; unset, now."""
        if self.source == "free":
            return 0
        cached = min(cached_tokens, prompt_tokens)
        written = min(written_tokens, prompt_tokens - cached)
        plain = prompt_tokens - cached - written
        each = self._per_token(served, tier, batch, at)
        if each is None:
            usage = (prompt_tokens, cached, written, completion_tokens)
            total = _listed(self._billed(served), self.provider, tier, batch, at, usage)
        else:
            total = each.base + each.input * plain + each.output * completion_tokens
            total += each.cached * cached + each.written * written
        if batch and (share := self._share(served, at)) is not None:
            total *= share
        return int((total * NANO).to_integral_value(ROUND_CEILING))

    def reserve_nano(
        self,
        prompt_tokens: int,
        max_tokens: int,
        *,
        tier: str = "",
        batch: bool = False,
        at: float | None = None,
    ) -> int:
        """The most that a request may cost: some providers bill what they write to their cache
        dearer than a prompt."""
        plain = self.cost_nano(prompt_tokens, max_tokens, tier=tier, batch=batch, at=at)
        written = self.cost_nano(
            prompt_tokens,
            max_tokens,
            written_tokens=prompt_tokens,
            tier=tier,
            batch=batch,
            at=at,
        )
        return max(plain, written)

    def _share(self, served: str, at: float | None) -> Decimal | None:
        """Of the usual price; None where the list has batch prices of its own."""
        if self.source == "own":
            return self.share
        moment = datetime.now(UTC).timestamp() if at is None else at
        listed = _batch_listed(self._billed(served), self.provider, int(moment // 60))
        return None if listed else self.share

    def _per_token(self, served: str, tier: str, batch: bool, at: float | None) -> _PerToken | None:
        """None where a price depends on how long the prompt is."""
        if self.source == "own":
            figures = (self.input, self.cached, self.written, self.output)
            return _PerToken(Decimal(0), *(one / MILLION for one in figures))
        moment = datetime.now(UTC).timestamp() if at is None else at
        return _flat(self._billed(served), self.provider, tier, batch, int(moment // 60))

    def _billed(self, served: str) -> str:
        return served if served and _is_listed(served, self.provider) else self.model


Counts = tuple[int, int, int, int]
"""(prompt, cached, written, completion)."""


def _listed(
    model: str, provider: str, tier: str, batch: bool, at: float | None, counts: Counts
) -> Decimal:
    prompt, cached, written, completion = counts
    usage = PricedUsage(
        input_tokens=prompt,
        cache_read_tokens=cached,
        cache_write_tokens=written,
        output_tokens=completion,
    )
    context = {"service_tier": tier} if tier else {}
    if batch:
        context["processing"] = "batch"
    moment = None if at is None else datetime.fromtimestamp(at, UTC)
    found = calc_price(
        usage,
        model,
        provider_id=provider,
        genai_request_timestamp=moment,
        price_context=context or None,
    )
    return found.total_price


@lru_cache(maxsize=256)
def _flat(model: str, provider: str, tier: str, batch: bool, minute: int) -> _PerToken | None:
    """The list's prices for one minute: asking it for each request costs 50 us of CPU."""

    def cost(*counts: int) -> Decimal:
        prompt, cached, written, completion = counts
        asked = (prompt, cached, written, completion)
        return _listed(model, provider, tier, batch, minute * 60.0, asked)

    if _is_tiered(model, provider, minute * 60.0):
        return None
    base = cost(0, 0, 0, 0)
    parts = (cost(1, 0, 0, 0), cost(1, 1, 0, 0), cost(1, 0, 1, 0), cost(0, 0, 0, 1))
    return _PerToken(base, *(one - base for one in parts))


def _is_tiered(model: str, provider: str, at: float) -> bool:
    moment = datetime.fromtimestamp(at, UTC)
    found = calc_price(
        PricedUsage(), model, provider_id=provider, genai_request_timestamp=moment
    ).model
    prices = [found.get_prices(moment), *(one.prices for one in found.price_variants or ())]
    return any(isinstance(one, TieredPrices) for each in prices for one in vars(each).values())


@lru_cache(maxsize=256)
def _batch_listed(model: str, provider: str, minute: int) -> bool:
    """Whether the list knows what the model costs in a batch."""
    usage = (MILLION, 0, 0, MILLION)
    plain, batch = (
        _listed(model, provider, "", each, minute * 60.0, usage) for each in (False, True)
    )
    return batch < plain


@lru_cache(maxsize=256)
def _is_listed(model: str, provider: str) -> bool:
    try:
        calc_price(PricedUsage(), model, provider_id=provider)
    except LookupError:
        return False
    return True


@cache
def list_name() -> str:
    """The list by its version and the digest of its data, which no update changes here."""
    data = files("genai_prices")
    digest = sha256()
    for name in ("data.py", "data_units.py"):
        digest.update(data.joinpath(name).read_bytes())
    return f"genai-prices {version('genai-prices')} sha256:{digest.hexdigest()}"


def price_of(offering: str, model: str, own: OwnPrice | None) -> Price:
    """The price that a project's requests are reserved and settled at.

    Raises BadInput for a hosted model that neither the user nor the list prices.
    """
    share = _share_in_batch(offering) if own is None or own.batch is None else own.batch
    share = Decimal(str(share))
    if own is not None:
        read = own.input if own.cached_input is None else own.cached_input
        written = own.input if own.cache_write is None else own.cache_write
        figures = (own.input, own.output, read, written, share)
        return Price(model, "own", "", *(Decimal(str(one)) for one in figures))
    if is_own_server(offering):
        return Price(model, "free")
    listed = Price(model, list_name(), provider=_PROVIDERS.get(offering, ""), share=share)
    try:
        listed.cost_nano(1, 1)
    except LookupError:
        raise BadInput(
            f"no price is known for model {model!r} of {offering}",
            where="[limits] price",
            fix="say what you pay: price = {input = 0.30, output = 1.20}  # USD per million tokens",
        ) from None
    return listed


def _share_in_batch(offering: str) -> Decimal:
    """By the provider behind an offering; one that says nothing takes the whole price."""
    owners = (offering, offering.partition("/")[0], offering.rpartition("@")[2])
    return next((_BATCH_SHARES[owner] for owner in owners if owner in _BATCH_SHARES), Decimal(1))


def dollars(nano: int) -> str:
    """Money for people: cents where there are some, more digits where there are none."""
    value = Decimal(nano) / NANO
    if value >= 1 or not value:
        return f"${value:,.2f}"
    digits = f"{value:.6f}" if nano >= 1000 else f"{value:.9f}"
    return f"$0.{digits[2:].rstrip('0'):0<2}"
