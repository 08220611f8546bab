"""The account as one HTML file that needs nothing else and sends nothing.

It holds what models wrote. Each text is shown by the template engine's own escaping, or by the
script as text, never as markup; and the page's security policy allows its one style and its one
script, named by hash, and no connection, picture or frame at all.

    html(account, "2026-11-24").startswith("<!doctype html>")
"""

import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from typing import Any

from policy.errors import BadInput
from policy.files import write_whole
from synth.audit_page.account import Account, Day, Decided
from synth.audit_page.pieces import FIELDS, seen
from synth.pricing import dollars
from synth.report.safe import csp_hash, environment
from synth.report.text import percent


def html(account: Account, today: str) -> str:
    """The whole page. The same account and day give the same bytes."""
    style = _file("synth.report", "page.css") + _file("synth.audit_page", "page.css")
    script = _file("synth.audit_page", "page.js")
    engine = environment("synth.audit_page")
    engine.globals.update(
        dollars=dollars,
        moment=moment,
        number=lambda value: f"{value:,}",
        percent=percent,
        short=short,
        span=span,
    )
    answers = sum(one.answers for one in account.teachers)
    return (
        engine.get_template("page.html.j2")
        .render(
            account=account,
            today=today,
            style=style,
            style_hash=csp_hash(style),
            script=script,
            script_hash=csp_hash(script),
            names=_names(account),
            sent=sum(one.sent for one in account.teachers),
            answers=answers,
            nano=sum(one.nano for one in account.teachers),
            bars=_bars(account.days),
            duties=_duties(account.decisions),
            most=max((one.kept + one.dropped for one in account.losses), default=0),
        )
        .lstrip()
    )


def write(path: Path, page: str) -> None:
    """Whole or not at all, for its owner alone: it holds answers. Raises BadInput."""
    try:
        write_whole(path, page.encode("utf-8", "replace"))
    except OSError as error:
        raise BadInput(f"cannot be written ({error.strerror})", where=str(path)) from error


def moment(milliseconds: int) -> str:
    """2026-11-24 13:48:56, UTC."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")


def span(first_ms: int, last_ms: int) -> str:
    """One day, or from one to another."""
    first, last = moment(first_ms)[:10], moment(last_ms)[:10]
    return first if first == last else f"{first} to {last}"


def short(digest: str) -> str:
    """As much of a digest as tells it from all others here."""
    name, _, number = digest.rpartition(":")
    return f"{name}:{number[:12]}" if name else number[:12]


def _file(package: str, name: str) -> str:
    return files(package).joinpath(name).read_text(encoding="utf-8")


def _names(account: Account) -> str:
    """What the script needs beside the rows, as JSON that cannot end its element."""
    names = {
        "fields": FIELDS,
        "size": account.rows.size,
        "texts": account.rows.texts,
        "decisions": [
            {
                "level": str(one.body.get("level", "")),
                "offering": str(one.body.get("offering", "")),
                "date": str(one.body.get("date", "")),
                "digest": short(one.digest),
                "entry": one.entry,
                "clauses": _clauses(one),
            }
            for one in account.decisions
        ],
        "datasets": [
            {"name": one.name, "digest": short(str(one.manifest.get("digest", "")))}
            for one in account.datasets
        ],
        "students": [
            {
                "name": one.name,
                "digest": short(str(one.manifest.get("digest", ""))),
                "dataset": one.dataset,
                "published": list(one.published),
            }
            for one in account.students
        ],
    }
    text = json.dumps(seen(names), ensure_ascii=False, separators=(",", ":"))
    return text.replace("<", "\\u003c")


def _clauses(one: Decided) -> list[str]:
    found = [
        f"{reason.get('clause') or reason.get('code', '')} {reason.get('document', '')}".strip()
        for reason in one.body.get("reasons", ())
    ]
    return list(dict.fromkeys(found))


def _duties(decisions: Sequence[Decided]) -> list[tuple[str, list[int]]]:
    """Each duty once, with the decisions that ask for it."""
    found: dict[str, list[int]] = {}
    for place, one in enumerate(decisions):
        for duty in one.body.get("obligations", ()):
            found.setdefault(str(duty), []).append(place)
    return sorted(found.items())


HEIGHT, STEP, WIDTH = 120.0, 18.0, 12.0


def _bars(days: Sequence[Day]) -> dict[str, Any]:
    """One bar a day: money where any was spent, else answers. At most the last 60 days."""
    shown_days = days[-60:]
    paid = any(one.billed_nano or one.reserved_nano for one in days)
    values = [one.billed_nano + one.reserved_nano if paid else one.answers for one in shown_days]
    top = max(values, default=0) or 1
    return {
        "paid": paid,
        "left_out": len(days) - len(shown_days),
        "width": STEP * max(len(values), 12),
        "height": HEIGHT,
        "most": dollars(top) if paid else f"{top:,} answers",
        "bars": [
            {
                "x": place * STEP + (STEP - WIDTH) / 2,
                "y": round(HEIGHT - HEIGHT * value / top, 2),
                "height": round(HEIGHT * value / top, 2),
                "held": round(HEIGHT * one.reserved_nano / top, 2) if paid else 0.0,
                "words": f"{one.day}: " + (dollars(value) if paid else f"{value:,} answers"),
            }
            for place, (one, value) in enumerate(zip(shown_days, values, strict=True))
        ],
        "ends": _ends(shown_days),
    }


def _ends(days: Sequence[Day]) -> Iterable[str]:
    return [days[0].day, days[-1].day] if len(days) > 1 else [one.day for one in days]
