"""What was sent and spent, and whether the provider counts the same.

usage(bench, ledger, ("offering", "day"))
reconcile(ledger, read_export(Path("usage.csv")))
"""

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from policy.errors import BadInput
from policy.guardrails import Used, over
from synth.audits.answer import Answer
from synth.audits.teachers import DAY, same_model
from synth.bench import Bench
from synth.guard import rails_of
from synth.ledger import Ledger

BY = {
    "offering": "s.offering",
    "day": f"strftime(epoch_ms(s.at_ms // {DAY} * {DAY}), '%Y-%m-%d')",
    "model": "s.model",
    "served": "coalesce(o.served_model, '')",
    "class": "s.class",
}
"""What usage can be told apart by."""
_SUMS = """count(*), count(*) FILTER (s.class = 'ok'), coalesce(sum(o.prompt_tokens), 0)::BIGINT,
coalesce(sum(o.completion_tokens), 0)::BIGINT, coalesce(sum(s.committed_nano), 0)::BIGINT,
count(*) FILTER (s.class = 'unknown')"""


def usage(bench: Bench, ledger: Ledger, by: Sequence[str]) -> Answer:
    """Requests, answers, tokens and money, with the caps that a day's sums passed."""
    if unknown := [name for name in by if name not in BY]:
        raise BadInput(f"{unknown[0]!r} is none of {', '.join(BY)}", where="--by")
    rows = _usage(ledger, by)
    capped = _capped(bench, ledger) if {"offering", "day"} <= set(by) else {}
    for row in rows:
        row["over"] = capped.get((row.get("offering"), row.get("day")), "")
    return Answer(
        f"What was sent and spent, by {', '.join(by)}",
        (*by, "requests", "answers", "tokens_in", "tokens_out", "usd", "over"),
        rows,
        (
            f"{sum(row['requests'] for row in rows):,} requests,"
            f" ${sum(row['nano'] for row in rows) / 1e9:,.6f} spent or reserved; days are UTC",
        ),
        bad=any(row["over"].startswith("hard") for row in rows),
    )


def _usage(ledger: Ledger, by: Sequence[str]) -> list[dict[str, Any]]:
    keys = ", ".join(BY[name] for name in by)
    places = ", ".join(str(place) for place in range(1, len(by) + 1))
    found = ledger.rows(
        f"SELECT {keys}, {_SUMS} FROM state s LEFT JOIN outcome o ON o.attempt = s.id"  # noqa: S608
        f" GROUP BY {places} ORDER BY {places}"
    )
    names = (*by, "requests", "answers", "tokens_in", "tokens_out", "nano", "unknown")
    rows = [dict(zip(names, row, strict=True)) for row in found]
    return [{**row, "usd": f"{row['nano'] / 1e9:.6f}"} for row in rows]


def _capped(bench: Bench, ledger: Ledger) -> dict[tuple[Any, Any], str]:
    """(offering, day) -> the first of today's caps that its sums pass."""
    rails, found = rails_of(bench.project.folder), {}
    for row in _usage(ledger, ("offering", "day")):
        rail = rails.of(row["offering"])
        tokens = row["tokens_in"] + row["tokens_out"]
        used = Used(row["requests"], tokens, row["nano"] / 1e9, row["answers"])
        for kind in ("soft", "hard") if rail else ():
            if passed := over(getattr(rail, kind), used):
                found[row["offering"], row["day"]] = f"{kind} {passed}"
    return found


@dataclass(frozen=True, slots=True)
class Billed:
    """One line of a provider's export."""

    day: str
    model: str
    requests: int | None
    tokens_in: int | None
    tokens_out: int | None
    usd: float | None


NAMES: dict[str, tuple[str, ...]] = {
    "day": ("start_time", "start_time_iso", "usage_date_utc", "date", "day", "starting_at",
            "startTime", "timestamp", "time"),
    "model": ("model", "snapshot_id", "model_version", "model_group", "line_item"),
    "requests": ("num_model_requests", "n_requests", "requests", "request_count", "api_requests"),
    "tokens_in": ("input_tokens", "n_context_tokens_total", "prompt_tokens",
                  "usage_input_tokens_no_cache", "uncached_input_tokens"),
    "tokens_out": ("output_tokens", "n_generated_tokens_total", "completion_tokens",
                   "usage_output_tokens"),
    "usd": ("amount_value", "amount.value", "cost_usd", "cost", "spend", "amount", "usd"),
}  # fmt: skip
"""Columns by the names that providers give them: the OpenAI usage and costs APIs and CSV exports,
Anthropic's usage CSV and report, LiteLLM's spend logs. `--column ours=theirs` adds one."""
ADDED = (
    *("usage_input_tokens_cache_write_5m", "usage_input_tokens_cache_write_1h"),
    *("usage_input_tokens_cache_read", "cache_read_input_tokens", "cache_creation_input_tokens"),
)
"""Anthropic counts cached input beside the rest of it; we count it with it."""


def read_export(path: Path, columns: Mapping[str, str]) -> list[Billed]:
    """The lines of an export, CSV or JSON. Raises BadInput naming file, line and column."""
    lines = list(_lines(path))
    if not lines:
        raise BadInput("holds no line", where=str(path))
    names = {
        ours: (columns[ours],) if ours in columns else theirs for ours, theirs in NAMES.items()
    }
    known = set().union(*lines)
    if not known.intersection(names["day"]):
        raise BadInput(
            f"no column says the day: there are {', '.join(sorted(known))}",
            where=str(path),
            fix="name it: --column day=THEIRS",
        )
    return [_billed(path, number, line, names) for number, line in enumerate(lines, start=1)]


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
        if text.lstrip()[:1] not in ("{", "["):
            yield from csv.DictReader(text.splitlines())
            return
        try:
            found = json.loads(text)
        except ValueError:
            found = [json.loads(line) for line in text.splitlines() if line.strip()]
    except (OSError, ValueError, csv.Error) as error:
        raise BadInput(f"cannot be read: {error}", where=str(path)) from error
    yield from _flattened(found, {})


def _flattened(value: Any, above: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Pages hold buckets, buckets hold results (OpenAI, Anthropic): a result inherits its day."""
    if isinstance(value, list):
        for inner in value:
            yield from _flattened(inner, above)
    elif isinstance(value, dict):
        flat = {name: one for name, one in value.items() if not isinstance(one, dict | list)}
        for name, one in value.items():
            if isinstance(one, dict):
                flat |= {f"{name}.{key}": inner for key, inner in one.items()}
        lists = [value[key] for key in ("data", "results") if isinstance(value.get(key), list)]
        inside = lists[0] if lists else None
        if inside is None:
            yield {**above, **flat}
        else:
            yield from _flattened(inside, {**above, **flat})


def _billed(
    path: Path, number: int, line: dict[str, Any], names: dict[str, tuple[str, ...]]
) -> Billed:
    def value(ours: str) -> Any:
        return next((line[one] for one in names[ours] if line.get(one) not in (None, "")), None)

    def amount(ours: str) -> float | None:
        said = value(ours)
        return None if said is None else float(str(said).replace(",", "").lstrip("$"))

    try:
        cached = sum(float(line[one]) for one in ADDED if line.get(one) not in (None, ""))
        tokens_in, tokens_out, requests = (
            amount(n) for n in ("tokens_in", "tokens_out", "requests")
        )
        return Billed(
            day=_day(value("day")),
            model=str(value("model") or ""),
            requests=None if requests is None else int(requests),
            tokens_in=None if tokens_in is None else int(tokens_in + cached),
            tokens_out=None if tokens_out is None else int(tokens_out),
            usd=amount("usd"),
        )
    except ValueError as error:
        raise BadInput(f"line {number}: {error}", where=str(path)) from error


def _day(said: Any) -> str:
    """The UTC day of a date, a time with zone, or seconds since 1970."""
    text = str(said).strip()
    if text.replace(".", "", 1).isdigit() and len(text) > 8:
        return datetime.fromtimestamp(float(text), UTC).date().isoformat()
    moment = datetime.fromisoformat(text)
    return (moment.astimezone(UTC) if moment.tzinfo else moment).date().isoformat()


def reconcile(ledger: Ledger, lines: Sequence[Billed], offering: str) -> Answer:
    """Day by day, and model by model where the export names one: ours against theirs."""
    ours = _ours(ledger, offering)
    named = any(line.model for line in lines)
    theirs = _theirs(lines, [model for _, model in ours])
    if not named:
        ours = _without_models(ours)
    rows = []
    for day, model in sorted({*ours, *theirs}):
        mine, billed = ours.get((day, model), {}), theirs.get((day, model), {})
        rows.append(_compared(day, model, mine, billed, {n for b in theirs.values() for n in b}))
    wrong = [row for row in rows if row["differs"]]
    return Answer(
        f"Our log against the provider's export ({offering or 'every offering'})",
        ("day", "model", "requests", "billed", "tokens", "billed_tokens", "usd", "billed_usd",
         "differs"),
        rows,
        (f"{len(rows) - len(wrong)} of {len(rows)} lines agree. Requests whose outcome is unknown"
         " may stand in theirs and not in ours; money may differ by 1 %",),
        bad=bool(wrong),
    )  # fmt: skip


Sums = dict[tuple[str, str], dict[str, float]]


def _ours(ledger: Ledger, offering: str) -> Sums:
    found: Sums = {}
    for day, model, *sums in ledger.rows(
        f"SELECT {BY['day']}, s.model, count(*) FILTER (s.class IN ('ok', 'billed_bad')),"  # noqa: S608
        " coalesce(sum(o.prompt_tokens), 0)::BIGINT, coalesce(sum(o.completion_tokens), 0)::BIGINT,"
        " coalesce(sum(o.cost_nano), 0)::BIGINT, count(*) FILTER (s.class = 'unknown')"
        " FROM state s LEFT JOIN outcome o ON o.attempt = s.id"
        " WHERE (? = '' OR s.offering = ?) GROUP BY 1, 2 ORDER BY 1, 2",
        [offering, offering],
    ):
        names = ("requests", "tokens_in", "tokens_out", "nano", "unknown")
        sums_by = dict(zip(names, map(float, sums), strict=True))
        if any(sums_by.values()):
            found[day, model] = {**sums_by, "usd": sums_by["nano"] / 1e9}
    return found


def _theirs(lines: Sequence[Billed], models: Sequence[str]) -> Sums:
    """Summed under our name of the model, where theirs is its snapshot."""
    found: Sums = {}
    for line in lines:
        ours = next(
            (one for one in models if line.model and same_model(one, line.model)), line.model
        )
        sums = found.setdefault((line.day, ours), {})
        for name in ("requests", "tokens_in", "tokens_out", "usd"):
            if (value := getattr(line, name)) is not None:
                sums[name] = sums.get(name, 0) + value
    return found


def _without_models(sums: Sums) -> Sums:
    found: Sums = {}
    for (day, _), values in sums.items():
        into = found.setdefault((day, ""), {})
        for name, value in values.items():
            into[name] = into.get(name, 0) + value
    return found


def _compared(
    day: str, model: str, mine: Mapping[str, float], billed: Mapping[str, float], said: set[str]
) -> dict[str, Any]:
    """A column that the export does not have is not compared."""
    differs = []
    lost = mine.get("unknown", 0)
    for name in ("requests", "tokens_in", "tokens_out", "usd"):
        if name not in said:
            continue
        one, other = mine.get(name, 0), billed.get(name, 0)
        within = 0.01 * max(one, other) + 1e-6 if name == "usd" else 0.0
        excused = 0 <= other - one <= lost if name == "requests" else bool(lost) and other > one
        if abs(one - other) > within and not excused:
            differs.append(name)
    return {
        "day": day, "model": model, "requests": int(mine.get("requests", 0)),
        "billed": _whole(billed.get("requests")),
        "tokens": int(mine.get("tokens_in", 0) + mine.get("tokens_out", 0)),
        "billed_tokens": _whole(_added(billed)), "usd": f"{mine.get('usd', 0):.6f}",
        "billed_usd": f"{billed['usd']:.6f}" if "usd" in billed else "",
        "unknown": int(lost), "differs": ", ".join(differs),
    }  # fmt: skip


def _added(billed: Mapping[str, float]) -> float | None:
    parts = [billed[name] for name in ("tokens_in", "tokens_out") if name in billed]
    return sum(parts) if parts else None


def _whole(value: float | None) -> int | None:
    return None if value is None else int(value)
