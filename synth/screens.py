"""What the verbs print: short screens for people, and the same values for machines."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from policy.decide import Decision
from synth.audit import Walk
from synth.ledger import Ledger, spent_nano
from synth.pricing import dollars
from synth.steps import Bench, Collected, Estimate


def check_values(bench: Bench, decision: Decision, expected: Estimate) -> dict[str, Any]:
    """`check --json`."""
    limits = bench.project.sections.limits
    return {
        "decision": decision.model_dump(mode="json") | {"digest": decision.digest},
        "estimate": {
            "prompts": expected.prompts,
            "held_out": expected.held_out,
            "requests": expected.requests,
            "prompt_tokens": expected.prompt_tokens,
            "completion_tokens": expected.completion_tokens,
            "usd": None if expected.cost_nano is None else expected.cost_nano / 10**9,
        },
        "caps": {
            "budget_usd": limits.budget_usd,
            "concurrency": limits.concurrency,
            "requests_per_minute": limits.requests_per_minute or None,
        },
    }


def purposes_screen(decisions: Sequence[Decision]) -> str:
    """The same teacher and distribution, for every purpose."""
    lines = [f"For other purposes, distribution {decisions[0].distribution}"]
    for decision in decisions:
        why = decision.reasons[0].clause or decision.reasons[0].code
        lines.append(f"  {decision.level.name:<17} {decision.purpose:<28} {why}")
    return "\n".join([*lines, ""])


def check_screen(bench: Bench, expected: Estimate) -> str:
    """What a whole collection would ask for, and the caps on it."""
    limits = bench.project.sections.limits
    cost = "no known price" if expected.cost_nano is None else dollars(expected.cost_nano)
    budget = "none" if limits.budget_usd is None else dollars(round(limits.budget_usd * 10**9))
    rate = (
        f", {limits.requests_per_minute:g} requests a minute" if limits.requests_per_minute else ""
    )
    return "\n".join(
        [
            "A whole collection",
            f"  prompts   {expected.prompts:,} ({expected.held_out:,} held out, asked once)",
            f"  requests  {expected.requests:,}",
            f"  tokens    about {expected.prompt_tokens:,} in, at most"
            f" {expected.completion_tokens:,} out",
            f"  money     at most about {cost}; budget {budget}",
            f"  pace      {limits.concurrency} at once{rate}",
        ]
    )


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
        "unusable": work.unusable,
        "refused": work.refused,
        "unknown_held": [call.key for call in work.held],
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
    if work.unusable:
        lines.append(f"{work.unusable} were paid for and unusable; they are not asked again")
    if work.refused:
        lines.append(f"{work.refused} were refused for good; they are not asked again")
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
        "receipts": [
            {"kind": kind, "name": name, "digest": digest}
            for kind, name, digest in ledger.rows(
                "SELECT kind, name, digest FROM receipt ORDER BY seq"
            )
        ],
    }


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


def _level(decision: Mapping[str, Any] | None) -> str:
    return str(decision["level"]) if decision else "(no decision)"


def _when(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
