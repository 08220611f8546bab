"""What a collection will ask for, cost and take, before anything is asked.

estimate(bench)      -> prompts, requests, tokens, money
duration(bench, 450, ledger) -> seconds, and whether an answer's time was measured here
"""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from policy.errors import BadInput
from synth.bench import Bench, price_for, prompts_of
from synth.ledger import Ledger
from synth.prompts import Prompt
from synth.turns import pictures_of, words_of

ASSUMED_START = 1.0  # seconds until a first token, where no answer was timed yet
ASSUMED_RATE = 50.0  # tokens a second after that


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a project will ask for, before anything is asked."""

    prompts: int
    requests: int
    held_out: int
    prompt_tokens: int
    """By four bytes a token: a guess for people. The budget reserves by the safe bound instead."""
    completion_tokens: int
    """If every answer runs to max_tokens."""
    cost_nano: int | None
    """None where the price is not known."""


def estimate(bench: Bench) -> Estimate:
    """Requests, tokens and money of a whole collection."""
    sections = bench.project.sections
    prompts = prompts_of(bench)
    asked = [1 if prompt.split == "test" else sections.sampling.samples for prompt in prompts]
    sizes = [
        sum(len(words_of(m).encode()) // 4 + 4 for m in p.teacher)
        + sections.teacher.image_tokens * pictures_of(p.teacher)
        for p in prompts
    ]
    tokens = sum(size * count for size, count in zip(sizes, asked, strict=True))
    answers = sum(asked) * sections.sampling.max_tokens
    cost: int | None = None
    with contextlib.suppress(BadInput):  # an unpriced model is said on the screen, not raised
        price, most = price_for(bench), sections.sampling.max_tokens
        each, batch = zip(sizes, asked, strict=True), sections.limits.batch
        cost = sum(count * price.cost_nano(size, most, batch=batch) for size, count in each)
    return Estimate(len(prompts), sum(asked), _held_out(prompts), tokens, answers, cost)


def _held_out(prompts: Sequence[Prompt]) -> int:
    return sum(prompt.split == "test" for prompt in prompts)


class Duration(NamedTuple):
    """How long a collection takes."""

    seconds: float
    each: float
    """Seconds that one answer takes."""
    measured: bool
    """Whether `each` is the median of this project's own answers, or assumed."""


def duration(bench: Bench, requests: int, ledger: Ledger | None) -> Duration:
    """As the concurrency and the rate allow, whichever is slower."""
    sections = bench.project.sections
    limits = sections.limits
    timed = _median_seconds(ledger)
    assumed = ASSUMED_START + sections.sampling.max_tokens / ASSUMED_RATE
    each = assumed if timed is None else timed
    at_once = max(1, min(limits.concurrency, requests))
    seconds = requests * each / at_once
    if limits.requests_per_minute:
        seconds = max(seconds, requests / limits.requests_per_minute * 60)
    return Duration(seconds, each, timed is not None)


def _median_seconds(ledger: Ledger | None) -> float | None:
    if ledger is None:
        return None
    ((median,),) = ledger.rows(
        "SELECT median(milliseconds) FROM outcome"
        " WHERE class = 'ok' AND milliseconds > 0"  # a line of a batch has no time
    )
    return None if median is None else max(float(median), 1.0) / 1000
