"""`spiritsafe takedown`, `erase` and `keys`: acts of named persons, and the keys that sign the log.

spiritsafe takedown plan --offering openai-api
spiritsafe erase --subject "Jane Doe" --by "A. Jurist" --because "request 17"
spiritsafe keys cosign checkpoints/0000000123.note --key ~/auditor.pem --name auditor.example
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from synth.cli_audit import bench_and_words, give, words_option
from synth.emit import emit, json_option

if TYPE_CHECKING:
    from synth.reach import Target

_F = TypeVar("_F", bound=Callable[..., Any])


def _target_options(function: _F) -> _F:
    for option in (
        click.option("--offering", default="", help="Everything that it taught."),
        click.option("--row", "row", multiple=True, help="A prompt's id; may be given again."),
        click.option("--subject", default="", help="A text; every row that holds it."),
    ):
        function = option(function)
    return function


def _person(function: _F) -> _F:
    for option in (
        click.option("--by", required=True, help="The person who decides it."),
        click.option("--because", required=True, help="Why, in a sentence."),
    ):
        function = option(function)
    return function


def _target(offering: str, row: tuple[str, ...], subject: str) -> "Target":
    from synth.reach import Target

    return Target(offering=offering, rows=row, subject=subject)


@click.group()
def takedown() -> None:
    """Withdraw an offering, a row or a subject, and all that was made of it."""


@takedown.command()
@words_option("")
@_target_options
@json_option
def plan(words: tuple[str, ...], overrides: tuple[str, ...], as_json: bool, **target: Any) -> None:
    """What would be reached: rows, datasets, runs, published, students of students."""
    from synth.audits.takedowns import planned
    from synth.reach import plan_takedown

    bench, _ = bench_and_words(words, overrides)
    with bench.open() as ledger:
        effects = plan_takedown(ledger, bench.project.home, _target(**target))
    give(planned(effects, _target(**target).words), as_json)


@takedown.command()
@words_option("")
@_target_options
@_person
@json_option
def apply(
    words: tuple[str, ...],
    overrides: tuple[str, ...],
    by: str,
    because: str,
    as_json: bool,
    **target: Any,
) -> None:
    """Enter it in the log: from now on nothing of it is used."""
    from synth.audits.takedowns import planned
    from synth.checkpoints import checkpoint
    from synth.reach import plan_takedown
    from synth.takedown import apply_takedown

    bench, _ = bench_and_words(words, overrides)
    home = bench.project.home
    with bench.open() as ledger:
        effects = plan_takedown(ledger, home, _target(**target))
        fresh = apply_takedown(ledger, home, effects, by, because)
        checkpoint(ledger, home)
    give(planned(fresh, _target(**target).words), as_json)


@takedown.command()
@words_option("NAME")
@_person
def clear(words: tuple[str, ...], overrides: tuple[str, ...], by: str, because: str) -> None:
    """Declare clean what a takedown reached: a run that was trained anew, a mistake."""
    from synth.checkpoints import checkpoint
    from synth.takedown import apply_takedown, declare_clean

    bench, rest = bench_and_words(words, overrides, 1, 1)
    home = bench.project.home
    with bench.open() as ledger:
        done = apply_takedown(ledger, home, declare_clean(ledger, rest), by, because)
        checkpoint(ledger, home)
    for one in done:
        click.echo(f"{one.what} {one.name} is clean")


@takedown.command()
@words_option("")
@json_option
def show(words: tuple[str, ...], overrides: tuple[str, ...], as_json: bool) -> None:
    """How everything stands that was ever taken down, by whom and why."""
    from synth.audits.takedowns import standing

    bench, _ = bench_and_words(words, overrides)
    with bench.open() as ledger:
        answer = standing(ledger)
    give(answer, as_json)


@click.command()
@words_option("")
@click.option("--row", multiple=True, help="A prompt's id; may be given again.")
@click.option("--subject", default="", help="A text; every row that holds it.")
@click.option("--due", is_flag=True, help="Every answer past its retention limit.")
@click.option("--finish", "finish_", is_flag=True, help="End an erasure that was interrupted.")
@click.option("--datasets", is_flag=True, help="Also delete frozen datasets that hold it.")
@click.option("--by", default="", help="The person who decides it.")
@click.option("--because", default="", help="Why, in a sentence.")
@json_option
def erase(
    words: tuple[str, ...],
    overrides: tuple[str, ...],
    row: tuple[str, ...],
    subject: str,
    due: bool,
    finish_: bool,
    datasets: bool,
    by: str,
    because: str,
    as_json: bool,
) -> None:
    """Delete the content of rows, with its salt, to the last byte; their log entries stay."""
    from synth.erase import erase as of
    from synth.erase import finish
    from synth.reach import Target
    from synth.retention import due_attempts

    bench, _ = bench_and_words(words, overrides)
    if finish_:
        click.echo("ended" if finish(bench) else "no erasure is unfinished")
        return
    if not (by and because):
        raise click.UsageError("--by NAME and --because TEXT say who decided it, and why")
    late: tuple[str, ...] = ()
    if due:
        with bench.open() as ledger:
            late = due_attempts(bench, ledger)
        if not late:
            click.echo("nothing is due")
            return
    target = Target(rows=row, subject=subject, attempts=late)
    erased = of(bench, target, by, because, datasets=datasets)
    if as_json:
        emit(
            {"attempts": erased.attempts, "effects": [_values(one) for one in erased.effects],
             "left": erased.left}
        )  # fmt: skip
        return
    click.echo(f"erased: the content of {len(erased.attempts)} requests; the log verifies")
    for one in erased.effects:
        if one.what != "row":
            click.echo(f"{one.what} {one.name} is {one.state}: {one.why}")
    for line in erased.left:
        click.echo(f"left: {line}")


def _values(effect: Any) -> dict[str, Any]:
    return {name: getattr(effect, name) for name in effect.__slots__}


@click.group()
def keys() -> None:
    """The keys that sign checkpoints. They lie beside the ledger, never in it."""


@keys.command()
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--name", required=True, help="The signer, for instance auditor.example/log.")
def make(path: Path, name: str) -> None:
    """Make an ed25519 key, for instance an auditor's; prints the line that verifies it."""
    from policy.keys import new_key

    click.echo(new_key(path).public(name))


@keys.command(name="show")
@words_option("")
def show_key(words: tuple[str, ...], overrides: tuple[str, ...]) -> None:
    """The public key line of a project's log, made if there is none yet; after a change of the key
    one line each, the newest last."""
    from synth.checkpoints import checkpoint, public_key

    bench, _ = bench_and_words(words, overrides)
    home = bench.project.home
    if not public_key(home):
        with bench.open() as ledger:
            checkpoint(ledger, home)
    click.echo(public_key(home))


@keys.command(name="rotate")
@words_option("")
@click.option("--by", required=True, help="The person who answers for it.")
@click.option("--because", required=True, help="Why: routine, or the old key may be known.")
def rotate_key(words: tuple[str, ...], overrides: tuple[str, ...], by: str, because: str) -> None:
    """A new key signs the log from here on; the old one signs the hand-over and is deleted."""
    from synth.checkpoints import rotate

    bench, _ = bench_and_words(words, overrides)
    with bench.open() as ledger:
        line = rotate(ledger, bench.project.home, by, because)
        size = ledger.size
    click.echo(line)
    click.echo(f"signs from entry {size} on; give auditors this line and a checkpoint", err=True)


@keys.command()
@click.argument("note", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--key", required=True, type=click.Path(path_type=Path, exists=True))
@click.option("--name", required=True, help="Who countersigns, as in the key's public line.")
@click.option("--log-key", default="", help="The log's public key line; its signature must hold.")
@click.option("--out", type=click.Path(path_type=Path), help="Default: NOTE with .cosigned.")
def cosign(note: Path, key: Path, name: str, log_key: str, out: Path | None) -> None:
    """Add a second person's signature to a checkpoint; keep the file where the log cannot reach."""
    from policy.keys import cosign_note, load_key, verify_note_by

    text = note.read_text(encoding="utf-8")
    if log_key:
        verify_note_by(text, log_key)
    target = out or note.with_suffix(".cosigned")
    target.write_text(cosign_note(text, name, load_key(key)), encoding="utf-8")
    click.echo(f"{target} carries the signature of {name}")
