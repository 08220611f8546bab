"""What `check` prints: the decision, what is missing, and what a collection would ask for."""

import contextlib
import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from policy.decide import Decision
from policy.errors import ExitCode, LedgerBroken, SpiritSafeError
from policy.guardrails import FILE, UNITS
from policy.own import is_own_server
from policy.permit import WIDTH
from policy.terms import Level, Terms
from synth.bench import Bench, alternatives, decision_of, decisions_by_purpose
from synth.forecast import Duration, Estimate, duration, estimate
from synth.guard import rails_of
from synth.ledger import Ledger
from synth.pricing import dollars
from synth.readiness import missing, remedies
from synth.screens import spell
from synth.secrets import WHERE as KEY_WHERE
from synth.wire import printable

SHOWN_TEACHERS = 8


@dataclass(frozen=True, slots=True)
class Checked:
    """All that `check` found out."""

    bench: Bench
    decision: Decision
    purposes: Sequence[Decision]
    others: Sequence[str]
    expected: Estimate
    missing: Sequence[SpiritSafeError]
    takes: Duration

    @property
    def code(self) -> int:
        """The exit code: what cannot be used, and before that what is denied. A key that is not set
        is said and stops nobody from looking."""
        if self.decision.level > Level.ALLOW_WITH:
            return int(ExitCode.DENIED)
        codes = [int(one.exit_code) for one in self.missing if one.where != KEY_WHERE]
        return max(codes, default=0)


def check(bench: Bench) -> Checked:
    """Everything that `check` says; nothing is sent."""
    decision, expected = decision_of(bench), estimate(bench)
    allowed = decision.level <= Level.ALLOW_WITH
    with contextlib.ExitStack() as stack:
        ledger: Ledger | None = None
        if bench.project.ledger.exists():
            with contextlib.suppress(LedgerBroken):  # a run has it open: it met the breaker itself
                ledger = stack.enter_context(bench.open())
        return Checked(
            bench,
            decision,
            purposes=decisions_by_purpose(bench),
            others=() if allowed else _few(alternatives(bench)),
            expected=expected,
            missing=missing(bench, ledger),
            takes=duration(bench, expected.requests, ledger),
        )


def _few(names: Sequence[str]) -> tuple[str, ...]:
    """Hosted teachers first; the rest by number."""
    ordered = sorted(names, key=lambda name: is_own_server(name))
    more = len(ordered) - SHOWN_TEACHERS
    rest = (f"{more} more (`spiritsafe terms list`)",) if more > 0 else ()
    return (*ordered[:SHOWN_TEACHERS], *rest)


def check_values(checked: Checked) -> dict[str, Any]:
    """`check --json`."""
    bench, decision, expected = checked.bench, checked.decision, checked.expected
    limits = bench.project.sections.limits
    takes = checked.takes
    return {
        "decision": decision.model_dump(mode="json") | {"digest": decision.digest},
        "terms": [
            _terms_values(bench, terms)
            for name in dict.fromkeys(reason.offering for reason in decision.reasons)
            if (terms := bench.register.find(name, bench.today)) is not None
        ],
        "purposes": {
            str(one.purpose): {
                "level": one.level.name,
                "clause": one.reasons[0].clause,
                "obligations": list(one.obligations),
            }
            for one in checked.purposes
        },
        "missing": [
            {"where": one.where, "message": one.message, "fix": one.fix} for one in checked.missing
        ],
        "remedies": remedies(decision, bench),
        "estimate": {
            "prompts": expected.prompts,
            "held_out": expected.held_out,
            "requests": expected.requests,
            "prompt_tokens": expected.prompt_tokens,
            "completion_tokens": expected.completion_tokens,
            "usd": None if expected.cost_nano is None else expected.cost_nano / 10**9,
            "seconds": round(takes.seconds, 1),
            "seconds_an_answer": round(takes.each, 3),
            "seconds_are_measured": takes.measured,
        },
        "caps": {
            "budget_usd": limits.budget_usd,
            "concurrency": limits.concurrency,
            "requests_per_minute": limits.requests_per_minute or None,
            "batch_hours": limits.batch_hours if limits.batch else None,
            "organisation": _rails_caps(bench),
        },
    }


def _terms_values(bench: Bench, terms: Terms) -> dict[str, Any]:
    return {
        "entry": terms.label,
        "pin": terms.pin,
        "effective": terms.effective.isoformat(),
        "reviewed": terms.review.on.isoformat(),
        "review_expires": terms.review.expires.isoformat(),
        "own": bench.register.is_own(terms),
    }


def terms_line(bench: Bench, decision: Decision) -> str:
    """Which entries are in force: one, or every one that a decision joins."""
    lines = []
    for name in dict.fromkeys(reason.offering for reason in decision.reasons):
        terms = bench.register.find(name, bench.today)
        if terms is None:
            lines.append(f"Not registered: {name}. Silence is a denial")
            continue
        whose = "your own agreement" if bench.register.is_own(terms) else f"with {terms.entity}"
        review = terms.review
        lines.append(
            f"In force  {terms.label}, {whose}, since {terms.effective};"
            f" reviewed {review.on}, counts until {review.expires}"
        )
    return "\n".join([*lines, ""])


def missing_screen(checked: Checked) -> str:
    """What is to be supplied, and by which command or file; empty where nothing is."""
    lines = [
        _wrapped(
            f"  {printable(one.where)}: {printable(one.message)}. {printable(one.fix)}", "    "
        )
        for one in checked.missing
    ]
    for command in remedies(checked.decision, checked.bench):
        whole = re.sub(r"(--[a-z-]+) ", "\\1\N{NO-BREAK SPACE}", command)  # an option, its value
        asked = _wrapped(f"    {whole}", "        ").replace("\n", " \\\n")
        asked = asked.replace("\N{NO-BREAK SPACE}", " ")
        lines += ["  what a named person then puts on record:", asked]
    return "\n".join(["Missing", *lines, ""]) if lines else "Nothing is missing\n"


def purposes_screen(decisions: Sequence[Decision]) -> str:
    """The same teacher and distribution, for every purpose."""
    lines = [f"For other purposes, distribution {decisions[0].distribution}"]
    for decision in decisions:
        why = decision.reasons[0].clause or decision.reasons[0].code
        duties = f"; duties: {', '.join(decision.obligations)}" if decision.obligations else ""
        line = f"  {decision.level.name:<17} {decision.purpose:<28} {why}{duties}"
        lines.append(_wrapped(line, " " * 49))
    return "\n".join([*lines, ""])


def check_screen(checked: Checked) -> str:
    """What a whole collection would ask for, and the caps on it."""
    bench, expected = checked.bench, checked.expected
    limits = bench.project.sections.limits
    cost = "no known price" if expected.cost_nano is None else dollars(expected.cost_nano)
    budget = "none" if limits.budget_usd is None else dollars(round(limits.budget_usd * 10**9))
    rate = (
        f", {limits.requests_per_minute:g} requests a minute" if limits.requests_per_minute else ""
    )
    share = " (in batches)" if limits.batch else ""
    takes = checked.takes
    how = "measured here" if takes.measured else "assumed: nothing was timed yet"
    caps = [f"  cap       {line}" for line in _rails_caps(bench)]
    return "\n".join(
        [
            "A whole collection",
            f"  prompts   {expected.prompts:,} ({expected.held_out:,} held out, asked once)",
            f"  requests  {expected.requests:,}",
            f"  tokens    about {expected.prompt_tokens:,} in, at most"
            f" {expected.completion_tokens:,} out",
            f"  money     at most about {cost}{share}; budget {budget}",
            *(
                [f"  time      within {limits.batch_hours} h of a batch's making"]
                if limits.batch
                else [
                    f"  time      about {spell(takes.seconds)}, at {takes.each:.1f} s an answer"
                    f" ({how})",
                    f"  pace      {limits.concurrency} at once{rate}",
                ]
            ),
            *caps,
        ]
    )


def _rails_caps(bench: Bench) -> list[str]:
    """The organisation's caps on this offering."""
    rails = rails_of(bench.project.folder).of(bench.project.sections.teacher.offering)
    if rails is None:
        return []
    return [
        f"{kind} {unit} = {cap:g} ({FILE})"
        for kind, caps in (("hard", rails.hard), ("soft", rails.soft))
        for unit in UNITS
        if (cap := getattr(caps, unit)) is not None
    ]


def _wrapped(line: str, after: str) -> str:
    return textwrap.fill(
        line, WIDTH, subsequent_indent=after, break_long_words=False, break_on_hyphens=False
    )
