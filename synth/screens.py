"""What the verbs print: short screens for people, and the same values for machines."""

import re
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from policy.decide import Decision
from policy.errors import ExitCode, SpiritSafeError
from policy.guardrails import FILE, UNITS
from policy.own import is_own_server
from policy.permit import WIDTH
from policy.terms import Level, Terms
from synth.audits.lineage import Walk
from synth.guard import rails_of
from synth.ledger import Ledger, spent_nano
from synth.pricing import dollars
from synth.readiness import duration, missing, remedies
from synth.secrets import WHERE as KEY_WHERE
from synth.steps import (
    Bench,
    Collected,
    Estimate,
    alternatives,
    decision_of,
    decisions_by_purpose,
    estimate,
)
from synth.wire import printable

SHOWN_TEACHERS = 8
SHOWN_ROWS = 6  # names of rows on a screen; --json has all


@dataclass(frozen=True, slots=True)
class Checked:
    """All that `check` found out."""

    bench: Bench
    decision: Decision
    purposes: Sequence[Decision]
    others: Sequence[str]
    expected: Estimate
    missing: Sequence[SpiritSafeError]

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
    decision = decision_of(bench)
    allowed = decision.level <= Level.ALLOW_WITH
    others = () if allowed else _few(alternatives(bench))
    purposes = decisions_by_purpose(bench)
    return Checked(bench, decision, purposes, others, estimate(bench), missing(bench))


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
    takes = duration(bench, expected.requests)
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
    takes = duration(bench, expected.requests)
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


def spell(seconds: float) -> str:
    """A time for people: `40 s`, `12 min`, `3 h 20 min`."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def collected_values(collected: Collected) -> dict[str, Any]:
    """`collect --json`."""
    work, summary = collected.plan, collected.summary
    return {
        "requests": len(work.calls),
        "already_there": work.done,
        "sent": summary.sent,
        "answers": summary.answers,
        "failures": dict(summary.failures),
        "ignored_by_server": dict(summary.ignored),
        "reasoning_withheld": summary.withheld,
        "unusable": work.unusable,
        "refused": work.refused,
        "unknown_held": [call.key for call in work.held],
        "in_batches": len(work.pending),
        "usd": summary.cost_nano / 10**9,
        "prompt_tokens": summary.prompt_tokens,
        "completion_tokens": summary.completion_tokens,
    }


def collected_screen(collected: Collected) -> str:
    """One paragraph: sent, kept from before, failed, held, and what the server silently ignored."""
    work, summary = collected.plan, collected.summary
    lines = [
        f"{len(work.calls):,} requests: {work.done:,} in the ledger already, {summary.sent:,} sent,"
        f" {summary.answers:,} answered, {dollars(summary.cost_nano)}"
    ]
    lines += collected.report
    for name, count in summary.ignored.items():
        lines.append(
            f"the server said yes to {name} and did not do it in {count} of {summary.answers}"
            f" answers: {_CONSEQUENCE.get(name, '')}"
        )
    if summary.withheld:
        lines.append(
            f"reasoning came with {summary.withheld} replies and was not kept: it is kept where the"
            ' terms list it as output and [teacher] features has "reasoning"'
        )
    if work.unusable:
        lines.append(f"{work.unusable} were paid for and unusable; they are not asked again")
    if work.refused:
        lines.append(f"{work.refused} were refused for good; they are not asked again")
    if work.pending:
        lines.append(
            f"{len(work.pending):,} are in batches at the provider; the next collect asks for them"
        )
    if work.held:
        lines.append(
            f"{len(work.held)} have a lost outcome and were perhaps billed: held, with their"
            " reserve kept (`spiritsafe show` lists them; on_unknown = 'resend' pays again)"
        )
    return "\n".join(lines)


_CONSEQUENCE = {
    "logprobs": "those rows cannot feed top_k",
    "response_format": "those rows are not JSON of the schema and the filter format drops them",
}


def filter_screen(
    counts: Sequence[Mapping[str, Any]], coverage: Sequence[Mapping[str, Any]]
) -> str:
    """What each filter dropped, and what is left of each class."""
    lines = [f"{'filter':<12} {'kept':>7} {'dropped':>8}  most frequent reasons"]
    for one in counts:
        reasons = ", ".join(f"{reason} ({count})" for reason, count in one["reasons"][:3])
        lines.append(f"{one['filter']:<12} {one['kept']:>7} {one['dropped']:>8}  {reasons}")
    if coverage:
        lines += ["", f"{'class':<34} {'asked':>6} {'answers':>8} {'kept':>6} {'prompts':>8}"]
    for row in coverage:
        gone = "" if row["kept"] else "  <- none left"
        lines.append(
            f"{row['label']:<34} {row['asked']:>6} {row['answered']:>8} {row['kept']:>6}"
            f" {row['messages_kept']:>8}{gone}"
        )
    return "\n".join(lines)


def show_values(ledger: Ledger) -> dict[str, Any]:
    """`show --json`."""
    outcomes = ledger.rows(
        "SELECT class, kind, count(*), COALESCE(sum(committed_nano), 0)::BIGINT FROM state"
        " GROUP BY ALL ORDER BY ALL"
    )
    unknown = ledger.rows(
        "SELECT id, key, prompt_id, sample, at_ms, reserve_nano, message FROM state"
        " WHERE class = 'unknown' ORDER BY seq"
    )
    names = ("attempt", "key", "prompt", "sample", "at", "reserve_nano", "message")
    return {
        "ledger": ledger.id,
        "log": {"size": ledger.size, "root": ledger.root.hex()},
        "outcomes": [
            {"class": one[0], "kind": one[1], "attempts": one[2], "nano_usd": one[3]}
            for one in outcomes
        ],
        "committed_nano": spent_nano(ledger),
        "unknown": [dict(zip(names, row, strict=True)) for row in unknown],
        "batches": _batches(ledger),
        "receipts": [
            {"kind": kind, "name": name, "digest": digest}
            for kind, name, digest in ledger.rows(
                "SELECT kind, name, digest FROM receipt ORDER BY seq"
            )
        ],
    }


def _batches(ledger: Ledger) -> list[dict[str, Any]]:
    """Every batch that has not ended, and those that were lost."""
    names = ("batch", "provider_id", "state", "word", "requests", "api", "model", "at", "seconds")
    rows = ledger.rows(
        "SELECT n.id, n.provider_id, n.state, n.word, n.requests, n.api, n.model, i.at_ms,"
        " (? - i.at_ms) // 1000 FROM newest_job n JOIN job i ON i.id = n.id"
        " AND i.state = 'intended' WHERE n.state NOT IN ('settled', 'dropped') ORDER BY i.seq",
        [ledger.now()],
    )
    return [dict(zip(names, row, strict=True)) for row in rows]


def show_screen(values: Mapping[str, Any]) -> str:
    """The ledger at a glance."""
    lines = [f"ledger {values['ledger']}, {values['log']['size']:,} log entries", ""]
    for one in values["outcomes"]:
        kind = f" ({one['kind']})" if one["kind"] else ""
        lines.append(f"{one['attempts']:>8,}  {one['class']}{kind}  {dollars(one['nano_usd'])}")
    lines += ["", f"spent or reserved: {dollars(values['committed_nano'])}"]
    if values["unknown"]:
        lines += ["", "Lost outcomes, perhaps billed, held:"]
    for row in values["unknown"]:
        lines.append(
            f"  {row['attempt']}  prompt {row['prompt']} sample {row['sample']}  {_when(row['at'])}"
            f"  {row['message']}"
        )
    if values["batches"]:
        lines += ["", "Batches at the provider:"]
    for one in values["batches"]:
        lines.append(
            f"  {one['batch']}  {one['provider_id'] or '(no id yet)'}  {one['state']}"
            f" {one['word']}  {one['requests']:,} requests, {spell(one['seconds'])} old"
        )
    for one in values["receipts"]:
        lines.append(f"{one['kind']:<9} {one['name']:<24} {one['digest']}")
    return "\n".join(lines)


def row_screen(walk: Walk) -> str:
    """The lineage of one prompt's rows."""
    lines: list[str] = []
    for step in walk:
        lines += [
            f"attempt {step['attempt']} (log entry {step['entry']}), {_when(step['at'])},"
            f" sample {step['sample']}, split {step['split']}",
            f"  asked     {step['model']} of {step['offering']}, request {step['key'][:23]}",
            f"  terms     {step['terms_pin'][:23]}, decision {step['decision'][:23]}"
            f" {_level(step['decided'])}",
            f"  outcome   {step['outcome']} {step['kind']} {dollars(step['cost_nano'])}".rstrip(),
        ]
        if "text" in step:
            lines.append(f"  answer    {step['text']!r} ({step['finish_reason']})")
        for verdict in step["verdicts"]:
            word = "keep" if verdict["keep"] else f"drop: {verdict['reason']}"
            lines.append(f"  {verdict['filter']:<9} {word} (log entry {verdict['entry']})")
        lines.append("")
    return "\n".join(lines).rstrip()


def run_screen(found: Mapping[str, Any]) -> str:
    """The lineage of one student."""
    run, dataset = found["run"], found["dataset"]
    same = "the dataset that lies there" if dataset["same"] else "ANOTHER dataset than lies there"
    lines = [
        f"student  {run['name']}  {run['digest']}",
        f"base     {run['student']['base']}  {run['student'].get('base_digest', '')}",
        f"dataset  {dataset['name']}  {dataset['digest']} ({same})",
        f"filters  {', '.join(dataset['filters'])}",
        f"ledger   {found['ledger']}",
    ]
    for teacher in found["teachers"]:
        lines.append(
            f"teacher  {teacher['model']} of {teacher['offering']}, {teacher['rows']} rows, terms"
            f" {teacher['terms_pin'][:23]}, collected {' to '.join(teacher['collected'])}"
        )
    for decision in found["decisions"]:
        lines.append(f"decided  {_level(decision)} {decision['digest'][:23]} at collection")
    lines.append(f"decided  {_level(found['decided_at_training'])} at training")
    lines.append(f"duties   {', '.join(found['obligations']) or 'none'}")
    return "\n".join(lines)


def by_terms_screen(found: Sequence[Mapping[str, Any]]) -> str:
    """Which rows were collected under which pin."""
    lines = []
    for one in found:
        entry = f" ({one['entry']})" if one["entry"] else ""
        rows = one["rows"]
        shown = ", ".join(rows[:SHOWN_ROWS]) + (", …" if len(rows) > SHOWN_ROWS else "")
        lines += [
            f"{one['offering']}{entry}, {one['state']}",
            f"  pin        {one['terms_pin']}",
            f"  collected  {_when(one['collected'][0])} to {_when(one['collected'][1])}",
            f"  requests   {one['sent']:,} sent, {one['answers']:,} answered,"
            f" {dollars(one['cost_nano'])}",
            f"  decisions  {', '.join(digest[:23] for digest in one['decisions'])}",
            f"  rows       {shown or 'none'}",
        ]
        if one["pin_now"] != one["terms_pin"]:
            lines.append(f"  today      {one['pin_now'] or 'no terms are in force'}")
        lines.append("")
    return "\n".join(lines).rstrip()


def _level(decision: Mapping[str, Any] | None) -> str:
    return str(decision["level"]) if decision else "(no decision)"


def _when(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
