"""What the verbs print: short screens for people, and the same values for machines."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from synth.audits.lineage import Walk
from synth.ledger import Ledger, spent_nano
from synth.pricing import dollars
from synth.steps import Collected
from synth.wire import printable

SHOWN_ROWS = 6  # names of rows on a screen; --json has all


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
        "batches": open_batches(ledger),
        "receipts": [
            {"kind": kind, "name": name, "digest": digest}
            for kind, name, digest in ledger.rows(
                "SELECT kind, name, digest FROM receipt ORDER BY seq"
            )
        ],
    }


def open_batches(ledger: Ledger) -> list[dict[str, Any]]:
    """Every batch that has not ended, and those that were lost."""
    names = (
        *("batch", "provider_id", "state", "word", "requests", "api", "model", "at", "seconds"),
        *("cancelled", "cancelled_at"),
    )
    rows = ledger.rows(
        "SELECT n.id, n.provider_id, n.state, n.word, n.requests, n.api, n.model, i.at_ms,"
        " (? - i.at_ms) // 1000, coalesce(c.note, ''), coalesce(c.at_ms, 0)"
        " FROM newest_job n JOIN job i ON i.id = n.id AND i.state = 'intended'"
        " LEFT JOIN (SELECT id, max_by(note, seq) AS note, max(at_ms) AS at_ms FROM job"
        " WHERE note LIKE 'cancelled by %' GROUP BY id) c ON c.id = n.id"
        " WHERE n.state NOT IN ('settled', 'dropped') ORDER BY i.seq",
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
        lines += ["", "Batches at the provider:", batches_screen(values["batches"])]
    for one in values["receipts"]:
        lines.append(f"{one['kind']:<9} {one['name']:<24} {one['digest']}")
    return "\n".join(lines)


def batches_screen(batches: Sequence[Mapping[str, Any]]) -> str:
    """A line a batch, and who cancelled it."""
    lines = []
    for one in batches:
        lines.append(
            f"  {one['batch']}  {one['provider_id'] or '(no id yet)'}  {one['state']}"
            f" {one['word']}  {one['requests']:,} requests, {spell(one['seconds'])} old"
        )
        if one["cancelled"]:
            lines.append(f"    {printable(one['cancelled'])}, {_when(one['cancelled_at'])}")
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
