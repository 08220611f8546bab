"""Bring rows from outside into a project's ledger: the origin's terms decide, all rows or none.

    brought = import_step(bench, Declared(path, "openai-stored", "deepseek-api", by="A. Person"))

The decision is asked for every day of collection in the file, with the terms of that day and
today's. What is not known (offering, day, model behind a channel) is denied, and nothing is kept.
"""

import os
from collections import Counter
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from pathlib import Path

from policy.digest import SALT_BYTES, canonical, digest, file_digest
from policy.errors import BadInput, PolicyDenied
from policy.guardrails import Asked, check_asked, check_prompt, must_scan
from policy.own import is_own_server
from policy.permit import Action, Permit, require
from policy.rows import Judgement, Origin, decide_rows
from policy.sensitive import sensitive
from policy.use import Given, Purpose
from synth.bench import Bench
from synth.checkpoints import checkpoint
from synth.guard import rails_of
from synth.imported import ImportRow
from synth.imports import FORMATS, File, Row
from synth.ledger import Ledger
from synth.plan import request_key
from synth.reasoning import FEATURE, without_reasoning
from synth.rows import DecisionRow
from synth.turns import words_of
from synth.wire import Completion, Reply

_SECRETS = {"api_key", "private_key"}


@dataclass(frozen=True, slots=True)
class Declared:
    """A file, and what a person says of it."""

    path: Path
    format: str
    offering: str
    by: str
    collected_on: date | None = None
    model: str = ""
    purpose: str = ""
    features: tuple[str, ...] = ()
    requests: Path | None = None


@dataclass(frozen=True, slots=True)
class Brought:
    """What an import did."""

    rows: int
    known: int
    """Answers that the ledger had already."""
    skipped: int
    """Entries of the file that are no answers."""
    unfinished: int
    """New rows whose file does not say that the answer came to its own end."""
    unserved: int
    """New rows whose file does not name the model that answered."""
    level: str
    offering: str
    collected: tuple[str, str]


def import_step(bench: Bench, declared: Declared) -> Brought:
    """Read, decide, write. Raises BadInput for a malformed row, PolicyDenied where terms deny."""
    file = File(declared.path, declared.model, declared.requests)
    if declared.format not in FORMATS:
        raise BadInput(f"no format {declared.format!r}", fix=f"one of {', '.join(FORMATS)}")
    _check_words(declared)
    if not declared.path.exists():
        raise BadInput("no such file", where=str(declared.path))
    name = _digest_of(declared.path)
    rows = [_kept(row, declared) for row in FORMATS[declared.format](file)]
    if not rows:
        raise BadInput("holds no answer", where=str(declared.path))
    dated = [(row, _day(row, declared, bench.today)) for row in rows]
    _check_rails(bench, declared, rows)
    judged = _judged(bench, declared, dated)
    permit = require(judged.decision, Action.COLLECT)
    with bench.open(create=True) as ledger:
        checkpoint(ledger, bench.project.home)
        brought = import_rows(ledger, declared, name, dated, judged, file.skipped, permit)
        checkpoint(ledger, bench.project.home)
    return brought


def _check_words(declared: Declared) -> None:
    if not any(letter.isalpha() for letter in declared.by):
        raise BadInput("names no person", where="--by", fix="write the name of who says so")
    if declared.purpose and declared.purpose not in {*Purpose, "train_general", "train_specialist"}:
        known = ", ".join(Purpose)
        raise BadInput(f"no purpose {declared.purpose!r}", where="--purpose", fix=f"one of {known}")


def import_rows(
    ledger: Ledger,
    declared: Declared,
    file: str,
    dated: list[tuple[Row, date]],
    judged: Judgement,
    skipped: int,
    permit: Permit,
) -> Brought:
    """All rows that the ledger does not have, in one transaction."""
    Permit.must_be(permit, Action.COLLECT)
    known = _known(ledger)
    decided = {group.origin: group.decision for group in judged.groups}
    found: dict[tuple[str, str], ImportRow] = {}
    for row, day in dated:
        made = _import_row(ledger, declared, file, row, day)
        same = (made.prompt_id, made.completion.text)
        before = known.get(same, declared.offering)
        if before != declared.offering:
            raise BadInput(
                f"this answer was imported as one of {before}, and now as {declared.offering}",
                where=f"{declared.path.name} {row.place}",
                fix="one of the two declarations is wrong: nothing was imported",
            )
        decision = decided[_origin(declared, row, day)]
        made = replace(made, decision=decision.digest, terms_pin=decision.terms_pin)
        if same not in known:
            found.setdefault(same, made)
    used = {made.decision for made in found.values()}
    stored = {name for (name,) in ledger.rows("SELECT digest FROM decision")}
    decisions = [
        DecisionRow(one.digest, ledger.now(), one.model_dump_json())
        for one in {each.digest: each for each in decided.values()}.values()
        if one.digest in used - stored
    ]
    ledger.append_all([*decisions, *found.values()])
    new = [made.completion for made in found.values()]
    days = sorted(day.isoformat() for _, day in dated)
    return Brought(
        rows=len(found),
        known=len(dated) - len(found),
        skipped=skipped,
        unfinished=sum(one.finish_reason != "stop" for one in new),
        unserved=sum(not one.served_model for one in new),
        level=permit.level.name,
        offering=declared.offering,
        collected=(days[0], days[-1]),
    )


def _known(ledger: Ledger) -> dict[tuple[str, str], str]:
    rows = ledger.each(
        "SELECT i.prompt_id, c.text, i.offering FROM imported i JOIN completion c"
        " ON c.attempt = i.id"
    )
    return {(prompt_id, text): offering for prompt_id, text, offering in rows}


def _import_row(ledger: Ledger, declared: Declared, file: str, row: Row, day: date) -> ImportRow:
    base = f"import:{declared.offering}"
    body = canonical({"model": row.model, "messages": list(row.messages)})
    identity = digest({"file": file, "place": row.place}).removeprefix("sha256:")
    prompt = digest([dict(one) for one in row.messages]).removeprefix("sha256:")
    midnight = int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp() * 1000)
    return ImportRow(
        id=f"import-{identity[:24]}",
        key=request_key(base, declared.format, body, 0),
        at=ledger.now(),
        collected=midnight if row.collected_ms is None else row.collected_ms,
        prompt_id=f"import-{prompt[:16]}",
        offering=declared.offering,
        model=row.model,
        features=",".join(sorted(declared.features)),
        decision="",
        terms_pin="",
        file=file,
        name=declared.path.name,
        format=declared.format,
        place=row.place,
        by=declared.by,
        base=base,
        body=body,
        completion=row.completion,
        raw=row.raw,
        salt=os.urandom(SALT_BYTES),
    )


def _kept(row: Row, declared: Declared) -> Row:
    """The row without thoughts that were not declared, and without anybody's key in it."""
    if FEATURE not in declared.features:
        reply = without_reasoning(Reply(row.completion, row.raw))
        assert isinstance(reply.result, Completion)
        row = replace(row, completion=reply.result, raw=reply.raw)
    text = "\n".join([*map(words_of, row.messages), row.completion.text, row.completion.reasoning])
    for one in sensitive(text):
        if one.kind in _SECRETS:
            raise BadInput(
                f"it holds what looks like a key ({one.kind} {one.shown})",
                where=f"{declared.path.name} {row.place}",
                fix="take it out of the file, and the key out of service",
            )
    return row


def _day(row: Row, declared: Declared, today: date) -> date:
    """The day of collection: the file's own word first."""
    where = f"{declared.path.name} {row.place}"
    if row.collected_ms is None and declared.collected_on is None:
        raise PolicyDenied(
            "nobody says when it was collected, so no terms can be asked",
            where=where,
            fix="--collected-on DAY says it, on your word",
        )
    day = declared.collected_on
    if row.collected_ms is not None:
        day = datetime.fromtimestamp(row.collected_ms / 1000, UTC).date()
    assert day is not None
    if day > today:
        raise BadInput(f"collected on {day}, which is still to come", where=where)
    return day


def _origin(declared: Declared, row: Row, day: date) -> Origin:
    own = is_own_server(declared.offering)  # named as one likes; the declared licence is what binds
    return Origin(
        declared.offering,
        day,
        features=declared.features,
        requested="" if own else row.model,
        served="" if own else row.completion.served_model,
    )


def _judged(bench: Bench, declared: Declared, dated: list[tuple[Row, date]]) -> Judgement:
    """One decision an origin. Raises PolicyDenied with the largest group that stands against it."""
    use = bench.project.sections.use
    if declared.purpose:
        use = use.model_copy(update={"purpose": Purpose(declared.purpose)})
    origins = Counter(_origin(declared, row, day) for row, day in dated)
    judged = decide_rows(
        use,
        bench.register,
        origins,
        bench.today,
        records=bench.records,
        given=Given(stage="collect"),
    )
    if blocking := judged.blocking:
        worst = blocking[0]
        raise PolicyDenied(
            f"{sum(one.rows for one in blocking)} of {judged.rows} rows may not be used for"
            f" {use.purpose}, e.g. those of {worst.origin.collected}; nothing is imported",
            where=f"{declared.path.name} as {declared.offering}",
            fix=worst.decision.fix,
            decision=worst.decision,
        )
    return judged


def _check_rails(bench: Bench, declared: Declared, rows: list[Row]) -> None:
    """The organisation's rails count here as at collection."""
    rails, use = rails_of(bench.project.folder), bench.project.sections.use
    terms = bench.register.find(declared.offering, bench.today)
    purpose = Purpose(declared.purpose) if declared.purpose else use.purpose
    reasons = FEATURE in declared.features
    for model in sorted({row.model for row in rows}):
        check_asked(
            rails, Asked(use.organisation, declared.offering, model, purpose, reasons), terms
        )
    if terms is not None and must_scan(rails, declared.offering, terms):
        for row in rows:
            for message in row.messages:
                check_prompt(words_of(message), declared.offering, terms)


def _digest_of(path: Path) -> str:
    """Of a file its own; of a directory that of its files by name."""
    if path.is_file():
        return file_digest(path)
    files = [one for one in sorted(path.rglob("*")) if one.is_file()]
    return digest({one.relative_to(path).as_posix(): file_digest(one) for one in files})
