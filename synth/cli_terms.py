"""`spiritsafe terms`: look at the register, put people's words on record, see what moved.

    spiritsafe terms show openai-api
    spiritsafe terms acknowledge openai-api --by "A. Jurist" --role "general counsel" \\
        --reason "A support bot does not compete; see the note." --document note.pdf \\
        --purpose train_specialist --distribution internal --expires 2027-05-31
    spiritsafe terms due --within 30

Records are TOML files in the project's `records/`, to be reviewed and kept like code. Nothing here
lifts a denial.
"""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from synth.emit import emit, json_option

if TYPE_CHECKING:
    from policy.terms import Register

_F = TypeVar("_F", bound=Callable[..., Any])


def folder_option(function: _F) -> _F:
    """Where the project lies: its records and its own terms count."""
    return click.option(
        "--project",
        "folder",
        type=click.Path(path_type=Path, file_okay=False),
        default=".",
        help="The project's directory, for its records/ and terms/.",
    )(function)


def _today() -> date:
    return datetime.now(UTC).date()


def _register(folder: Path) -> "Register":
    from synth.terms_state import register_of

    return register_of(folder)


@click.group()
def terms() -> None:
    """The register of terms: look, put on record, see what expires and what moved."""


@terms.command(name="list")
@folder_option
@json_option
def list_(folder: Path, as_json: bool) -> None:
    """Every offering and version, with its review."""
    from synth.screens_terms import list_screen

    register = _register(folder)
    entries = sorted(register.all(), key=lambda one: (one.id, one.version))
    if as_json:
        emit([entry.model_dump(mode="json") | {"pin": entry.pin} for entry in entries])
    else:
        click.echo(list_screen(register, entries))


@terms.command()
@click.argument("offering")
@folder_option
@json_option
def show(offering: str, folder: Path, as_json: bool) -> None:
    """One offering: documents, clauses, and what they mean for each purpose."""
    from synth.screens_terms import entry_of, terms_screen

    register = _register(folder)
    entry = entry_of(register, offering, _today())
    if as_json:
        emit(entry.model_dump(mode="json") | {"pin": entry.pin})
    else:
        click.echo(terms_screen(register, entry))


@terms.command()
@click.argument("first")
@click.argument("second")
@click.option("--impact", type=click.Path(path_type=Path), help="A project: which rows it touches.")
@folder_option
@json_option
def diff(first: str, second: str, impact: Path | None, folder: Path, as_json: bool) -> None:
    """What changed between two versions (OFFERING@DATE), and which rows it touches."""
    from policy.changes import diff as difference
    from synth.screens_terms import diff_screen, entry_of, impact_of

    register = _register(folder)
    one, other = (entry_of(register, name, _today()) for name in (first, second))
    found = difference(one, other)
    touched = impact_of(impact, one, other) if impact else None
    if as_json:
        emit({"changes": [change._asdict() for change in found], "impact": touched})
    else:
        click.echo(diff_screen(one, other, found, touched))


@terms.command()
@click.option("--within", default=30, show_default=True, help="Days from today.")
@folder_option
@json_option
def due(within: int, folder: Path, as_json: bool) -> None:
    """Reviews and records that end soon or have ended. Exit 1 if some have ended."""
    from policy.records import due as due_of
    from policy.records import read_records

    register = _register(folder)
    ends = due_of(read_records(folder, register), register.all(), _today(), timedelta(days=within))
    if as_json:
        emit([one._asdict() for one in ends])
    else:
        for one in ends:
            left = f"in {one.days} days" if one.days >= 0 else f"{-one.days} days ago"
            click.echo(f"{one.kind:<16} {one.name:<34} {one.expires}  {left}  {one.fix}")
        click.echo(f"{len(ends)} end within {within} days", err=True)
    if any(one.days < 0 for one in ends):
        raise SystemExit(1)


@terms.command()
@click.option("--as-of", "day", type=click.DateTime(["%Y-%m-%d"]), help="Default: today.")
@folder_option
@json_option
def check(day: datetime | None, folder: Path, as_json: bool) -> None:
    """Which entries count on a day, and which do not and why."""
    from synth.screens_terms import standing_on, standing_screen

    found = standing_on(_register(folder), day.date() if day else _today())
    emit(found) if as_json else click.echo(standing_screen(found))


@terms.command(name="import-archive")
@click.argument("archive", type=click.Path(path_type=Path, file_okay=False))
@folder_option
@json_option
def import_archive(archive: Path, folder: Path, as_json: bool) -> None:
    """Hold the clauses against an Open Terms Archive checkout; what moved goes stale."""
    from synth.terms_state import import_into

    found = import_into(folder, archive, _today())
    if as_json:
        emit([one._asdict() for one in found])
        return
    for one in found:
        click.echo(f"{one.state:<11} {one.entry:<44} {one.why}")


def _scope(function: _F) -> _F:
    for decorate in (
        click.option("--by", required=True, help="The person who says so."),
        click.option("--role", default="", help="In what capacity."),
        click.option("--organisation", default="", help="For whom; empty means any."),
        click.option("--reason", required=True, help="Why, in a sentence."),
        click.option(
            "--document",
            required=True,
            type=click.Path(path_type=Path, exists=True, dir_okay=False),
            help="The text it rests on; its digest is kept.",
        ),
        click.option("--expires", required=True, type=click.DateTime(["%Y-%m-%d"])),
        click.option("--replace", is_flag=True, help="Renew a record that is there."),
        folder_option,
    ):
        function = decorate(function)
    return function


def _uses(function: _F) -> _F:
    for decorate in (
        click.option("--purpose", "purposes", multiple=True, required=True),
        click.option("--distribution", "distributions", multiple=True, required=True),
    ):
        function = decorate(function)
    return function


@terms.command()
@click.argument("offering")
@_uses
@_scope
def acknowledge(offering: str, **said: Any) -> None:
    """A named person decides what the terms leave open. Lifts NEEDS_ACK within its scope."""
    _write("acknowledgement", offering, **said)


@terms.command()
@click.argument("offering")
@_uses
@_scope
def permit(offering: str, **said: Any) -> None:
    """The provider's written permission. Lifts NEEDS_PERMISSION within its scope."""
    _write("permission", offering, **said)


@terms.command()
@click.argument("offering")
@_uses
@_scope
def attest(offering: str, **said: Any) -> None:
    """A named person states a fact that no clause can know, such as that nothing competes."""
    _write("attestation", offering, **said)


@terms.command()
@click.argument("offering")
@click.option("--how", type=click.Choice(["click", "order_form", "renewal"]), required=True)
@_scope
def accept(offering: str, how: str, **said: Any) -> None:
    """Which version of the terms was accepted, by whom and how."""
    _write("acceptance", offering, how=how, **said)


def _write(kind: str, offering: str, **said: Any) -> None:
    from synth.terms_state import put_on_record

    path = put_on_record(kind, offering, _today(), **said)
    click.echo(f"{path} is written. Review it, and keep it with the project.")


@click.command()
@click.option(
    "--cases",
    required=True,
    type=click.Path(path_type=Path),
    help="A JSON or YAML list of cases.",
)
@folder_option
def decide(cases: Path, folder: Path) -> None:
    """Try situations without a project: one JSON line a case, with level, reasons and fix."""
    import json

    from policy.cases import evaluate_cases, read_cases

    found = evaluate_cases(read_cases(cases), _register(folder), _today(), where=str(cases))
    for answer in found:
        click.echo(json.dumps(answer, ensure_ascii=False, default=str))
