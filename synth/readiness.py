"""What a project still lacks before it may and can collect, and how long that would take.

missing(bench)       -> every refusal that `collect` would meet, each with its fix
remedies(decision)   -> the commands that put on record what a decision asks for
duration(bench, 450) -> seconds, and whether an answer's time was measured here
"""

import shlex
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import NamedTuple

from policy.decide import Decision
from policy.errors import BadInput, LedgerBroken, SpiritSafeError
from policy.terms import Level
from synth.breaker import standing
from synth.guard import check_prompts, check_use, rails_of
from synth.proxy import proxy_of
from synth.reasoning import check_reasoning
from synth.secrets import key_for
from synth.steps import Bench, cap_of, check_address, check_batch, price_for, prompts_of

ASSUMED_START = 1.0  # seconds until a first token, where no answer was timed yet
ASSUMED_RATE = 50.0  # tokens a second after that
_VERBS = {Level.NEEDS_ACK: "acknowledge", Level.NEEDS_PERMISSION: "permit"}


def missing(bench: Bench) -> list[SpiritSafeError]:
    """Everything but the terms themselves that would stop a collection, all at once."""
    found: list[SpiritSafeError] = []
    for check in _checks(bench):
        try:
            check()
        except SpiritSafeError as error:
            if str(error) not in map(str, found):
                found.append(error)
    return found


def _checks(bench: Bench) -> Iterator[Callable[[], object]]:
    sections = bench.project.sections
    teacher, use = sections.teacher, sections.use
    terms = bench.register.find(teacher.offering, bench.today)
    rails = rails_of(bench.project.folder)
    yield lambda: check_use(rails, use, teacher, terms)
    yield lambda: check_reasoning(rails, use, teacher, terms)
    yield lambda: check_address(bench)
    yield lambda: check_batch(bench)
    yield lambda: cap_of(bench, price_for(bench))
    yield lambda: check_prompts(rails, teacher.offering, terms, prompts_of(bench))
    yield lambda: proxy_of(teacher, bench.environment)
    yield lambda: key_for(teacher.api_key_env, bench.environment)
    yield lambda: _looked_at(bench)


def _looked_at(bench: Bench) -> None:
    if not bench.project.ledger.exists():
        return
    offering = bench.project.sections.teacher.offering
    try:
        with bench.open() as ledger:
            trip = standing(ledger, bench.project.home, offering)
    except LedgerBroken:
        return  # a run has it open: it met the breaker itself
    if trip:
        raise BadInput(
            f"the provider refused ({trip.message}), and nobody has looked at it yet",
            where=offering,
            fix="ask why; then `spiritsafe resume`",
        )


def remedies(decision: Decision, bench: Bench) -> list[str]:
    """The exact commands for whoever may give what the decision lacks; empty where it lacks none.
    NAME, TEXT and FILE are for a person to fill in."""
    project = bench.project
    until = (bench.today + timedelta(days=180)).isoformat()
    asked = {
        reason.offering: _VERBS[reason.level]
        for reason in decision.reasons
        if reason.level == decision.level and reason.level in _VERBS
    }
    return [
        f"spiritsafe terms {verb} {shlex.quote(offering)} --by NAME --reason TEXT --document FILE"
        f" --purpose {decision.purpose} --distribution {decision.distribution}"
        f" --expires {until} --project {shlex.quote(str(project.folder))}"
        for offering, verb in asked.items()
    ]


class Duration(NamedTuple):
    """How long a collection takes."""

    seconds: float
    each: float
    """Seconds that one answer takes."""
    measured: bool
    """Whether `each` is the median of this project's own answers, or assumed."""


def duration(bench: Bench, requests: int) -> Duration:
    """As the concurrency and the rate allow, whichever is slower."""
    sections = bench.project.sections
    limits = sections.limits
    timed = _median_seconds(bench)
    assumed = ASSUMED_START + sections.sampling.max_tokens / ASSUMED_RATE
    each = assumed if timed is None else timed
    at_once = max(1, min(limits.concurrency, requests))
    seconds = requests * each / at_once
    if limits.requests_per_minute:
        seconds = max(seconds, requests / limits.requests_per_minute * 60)
    return Duration(seconds, each, timed is not None)


def _median_seconds(bench: Bench) -> float | None:
    if not bench.project.ledger.exists():
        return None
    try:
        with bench.open() as ledger:
            ((median,),) = ledger.rows(
                "SELECT median(milliseconds) FROM outcome"
                " WHERE class = 'ok' AND milliseconds > 0"  # a line of a batch has no time
            )
    except SpiritSafeError:
        return None
    return None if median is None else max(float(median), 1.0) / 1000
