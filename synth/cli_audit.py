"""`spiritsafe audit`: an auditor's questions, each one command with a table and --json.

    spiritsafe audit rows demo/project.toml --forbids train_specialist --as-of now
    spiritsafe audit project.toml --row b77-0007

Without a question's name it walks from a row or a student back to the request and the terms.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from synth.emit import emit, json_option

if TYPE_CHECKING:
    from synth.audits.answer import Answer
    from synth.bench import Bench
    from synth.ledger import Ledger

_F = TypeVar("_F", bound=Callable[..., Any])
WALK = "walk"


class Questions(click.Group):
    """A first word that names no question is a project: then it is the walk."""

    def parse_args(self, context: click.Context, args: list[str]) -> list[str]:
        """Put the walk's name in front where no question is named."""
        if not (args and (args[0] in self.commands or args[0] in ("-h", "--help"))):
            args = [WALK, *args]
        return super().parse_args(context, args)

    def list_commands(self, context: click.Context) -> list[str]:
        """As they are written below."""
        return list(self.commands)


def words_option(metavar: str) -> Callable[[_F], _F]:
    """[PROJECT] and what is asked about: a first word that ends in .toml, or a folder with
    a project.toml, is the project."""

    def decorate(function: _F) -> _F:
        function = click.option(
            "--set", "overrides", multiple=True, metavar="SECTION.KEY=VALUE",
            help="Override a value of the project file, as TOML.",
        )(function)  # fmt: skip
        return click.argument("words", nargs=-1, metavar=f"[PROJECT] {metavar}".strip())(function)

    return decorate


def bench_and_words(
    words: tuple[str, ...], overrides: tuple[str, ...], least: int = 0, most: int = 0
) -> tuple["Bench", list[str]]:
    """The workbench, and what is asked about. Raises a usage error for a wrong number of words."""
    from synth.cli import bench_of

    rest = list(words)
    named = rest and (rest[0].endswith(".toml") or (Path(rest[0]) / "project.toml").is_file())
    project = Path(rest.pop(0)) if named else Path("project.toml")
    if not least <= len(rest) <= max(least, most):
        wanted = f"{least}" if least >= most else f"{least} to {most}"
        raise click.UsageError(f"{len(rest)} words after the project, wanted {wanted}")
    return bench_of(project, overrides), rest


def give(answer: "Answer", as_json: bool) -> None:
    """Print it; exit 1 where it is not as it should be."""
    from synth.audits.answer import screen

    emit(answer.values) if as_json else click.echo(screen(answer))
    if answer.bad:
        sys.exit(1)


def ask(
    words: tuple[str, ...],
    overrides: tuple[str, ...],
    as_json: bool,
    question: "Callable[[Bench, Ledger, list[str]], Answer]",
    least: int = 0,
    most: int = 0,
) -> None:
    """Open the ledger, ask, print."""
    bench, rest = bench_and_words(words, overrides, least, most)
    with bench.open() as ledger:
        answer = question(bench, ledger, rest)
    give(answer, as_json)


@click.group(cls=Questions)
def audit() -> None:
    """An auditor's questions; without one, the walk from a row or a student to the terms."""


@audit.command(name=WALK, hidden=True)
@words_option("")
@click.option("--row", default="", help="Lineage of this prompt's rows.")
@click.option("--run", "run_name", default="", help="Lineage of this run's student.")
@click.option("--terms", "by_terms", is_flag=True, help="Which rows under which pin of the terms.")
@click.option("--html", "as_page", is_flag=True, help="Write all of it as one page, audit.html.")
@json_option
def walk(
    words: tuple[str, ...],
    overrides: tuple[str, ...],
    row: str,
    run_name: str,
    by_terms: bool,
    as_page: bool,
    as_json: bool,
) -> None:
    """Walk from a row or a student back to the request, the terms and the decision."""
    from synth.audits.by_terms import rows_by_terms
    from synth.audits.lineage import descent_of, lineage_of_row, lineage_of_run
    from synth.screens import by_terms_screen, row_screen, run_screen

    bench, _ = bench_and_words(words, overrides)
    if as_page:
        _page(bench)
        return
    if by_terms:
        with bench.open() as ledger:
            groups = rows_by_terms(ledger, bench.register, bench.today)
        emit(groups) if as_json else click.echo(by_terms_screen(groups))
        return
    if row:
        with bench.open() as ledger:
            steps = lineage_of_row(ledger, row)
        descent = descent_of(bench.project.home, row)
        lines = [f"{one['what']:<9} {one['name']}  {one['why']}" for one in descent]
        made = "\n".join(["", "", *lines]) if lines else ""
        for step in steps:
            step["made"] = descent
        emit(steps) if as_json else click.echo(row_screen(steps) + made)
        return
    name = run_name or next(iter(bench.project.sections.arms), "student")
    found = lineage_of_run(bench.project.home, name)
    emit(found) if as_json else click.echo(run_screen(found))


def _page(bench: "Bench") -> None:
    """A page of what does not verify is written too; then the exit code says so."""
    from synth.audit import findings
    from synth.audit_page import gather, html, write

    home = bench.project.home
    with bench.open() as ledger:
        ledger.only_read()
        found = findings(ledger, home)
        account = gather(
            ledger, home, title=bench.project.name, findings=found, register=bench.register
        )
    write(home / "audit.html", html(account, bench.today.isoformat()))
    click.echo(home / "audit.html")
    if found:
        click.echo(f"{len(found)} objects do not verify", err=True)
        sys.exit(5)


@audit.command()
@words_option("")
@click.option("--forbids", metavar="PURPOSE", default="", help="Rows that may not serve it.")
@click.option("--as-of", default="collection", help="collection, now, or a date.")
@click.option("--distribution", default="", help="Default: the project's.")
@click.option("--served-mismatch", is_flag=True, help="Rows another model answered.")
@click.option("--ids", is_flag=True, help="Every row's id, one a line.")
@json_option
def rows(
    words: tuple[str, ...],
    overrides: tuple[str, ...],
    forbids: str,
    as_of: str,
    distribution: str,
    served_mismatch: bool,
    ids: bool,
    as_json: bool,
) -> None:
    """Rows whose terms forbid a purpose, or that another model answered."""
    from synth.audits import teachers

    if bool(forbids) == served_mismatch:
        raise click.UsageError("say --forbids PURPOSE or --served-mismatch")
    bench, _ = bench_and_words(words, overrides)
    with bench.open() as ledger:
        if forbids:
            use = teachers.use_of(bench, forbids, distribution)
            answer = teachers.forbidden_rows(bench, ledger, use, teachers.AsOf(as_of))
        else:
            answer = teachers.served_mismatch(ledger)
        if ids:
            for name in teachers.ids_in(ledger, answer):
                click.echo(name)
            return
    give(answer, as_json)


@audit.command()
@words_option("[DATASET]")
@json_option
def basis(words: tuple[str, ...], overrides: tuple[str, ...], as_json: bool) -> None:
    """Which terms text (hash, date, section) justified each decision of a dataset."""
    from synth.audits.basis import basis as of
    from synth.audits.basis import dataset_folder

    bench, rest = bench_and_words(words, overrides, 0, 1)
    give(of(bench, dataset_folder(bench, "".join(rest))), as_json)


@audit.command()
@words_option("")
@click.option("--expiring", metavar="DAYS", default="", help="What ends within, e.g. 30d.")
@json_option
def acks(words: tuple[str, ...], overrides: tuple[str, ...], expiring: str, as_json: bool) -> None:
    """Who acknowledged which ambiguity, for what scope, until when."""
    from synth.audits.basis import acks as of

    number = expiring.removesuffix("d")
    if expiring and not number.isdigit():
        raise click.UsageError("--expiring takes days, for instance 30d")
    days = int(number) if number else None
    ask(words, overrides, as_json, lambda bench, ledger, _: of(bench, ledger, days))


@audit.command()
@words_option("")
@json_option
def permissions(words: tuple[str, ...], overrides: tuple[str, ...], as_json: bool) -> None:
    """Which permissions and order forms back which rows."""
    from synth.audits.basis import permissions as of

    ask(words, overrides, as_json, lambda bench, ledger, _: of(bench, ledger))


@audit.command()
@words_option("[RUN]")
@json_option
def obligations(words: tuple[str, ...], overrides: tuple[str, ...], as_json: bool) -> None:
    """What a student carries: name, notices, caps, regions, retention."""
    from synth.audits.basis import obligations as of

    bench, rest = bench_and_words(words, overrides, 0, 1)
    name = "".join(rest) or next(iter(bench.project.sections.arms), "student")
    give(of(bench, name), as_json)


@audit.command()
@words_option("")
@click.option("--by", default="offering,day", show_default=True, help="Also model, served, class.")
@json_option
def usage(words: tuple[str, ...], overrides: tuple[str, ...], by: str, as_json: bool) -> None:
    """What was sent and spent, and whether a cap was passed."""
    from synth.audits.money import usage as of

    names = tuple(part.strip() for part in by.split(",") if part.strip())
    ask(words, overrides, as_json, lambda bench, ledger, _: of(bench, ledger, names))


@audit.command()
@words_option("FILE")
@click.option("--offering", default="", help="Only what was sent to it.")
@click.option("--column", "columns", multiple=True, metavar="OURS=THEIRS", help="Name a column.")
@json_option
def reconcile(
    words: tuple[str, ...],
    overrides: tuple[str, ...],
    offering: str,
    columns: tuple[str, ...],
    as_json: bool,
) -> None:
    """Hold the log against a provider's usage export (OpenAI, Anthropic, LiteLLM, any CSV)."""
    from synth.audits.money import NAMES, read_export
    from synth.audits.money import reconcile as of

    named = dict(one.partition("=")[::2] for one in columns)
    if not set(named) <= set(NAMES):
        raise click.UsageError(f"--column takes {', '.join(NAMES)}")

    def question(bench: "Bench", ledger: "Ledger", rest: list[str]) -> "Answer":
        return of(ledger, read_export(Path(rest[0]), named), offering)

    ask(words, overrides, as_json, question, 1, 1)


@audit.command()
@words_option("[DATASET]")
@json_option
def findings(words: tuple[str, ...], overrides: tuple[str, ...], as_json: bool) -> None:
    """What the filters found in the answers for a dataset, and what became of them."""
    from synth.audits.basis import dataset_folder
    from synth.audits.content import found_in

    def question(bench: "Bench", ledger: "Ledger", rest: list[str]) -> "Answer":
        return found_in(bench, ledger, dataset_folder(bench, "".join(rest)))

    ask(words, overrides, as_json, question, 0, 1)


@audit.command()
@words_option("")
@json_option
def retention(words: tuple[str, ...], overrides: tuple[str, ...], as_json: bool) -> None:
    """Which rows exceed a retention limit. Exit 1 if any does."""
    from synth.retention import retention as of

    ask(words, overrides, as_json, lambda bench, ledger, _: of(bench, ledger))


@audit.command(name="policy-changes")
@words_option("")
@json_option
def policy_changes(words: tuple[str, ...], overrides: tuple[str, ...], as_json: bool) -> None:
    """Who changed the policy or the caps, and when."""
    from synth.audits.basis import policy_changes as of

    ask(words, overrides, as_json, lambda _, ledger, __: of(ledger))


@audit.command()
@words_option("SUBJECT")
@json_option
def erasure(words: tuple[str, ...], overrides: tuple[str, ...], as_json: bool) -> None:
    """Whether content about a subject, or a row, was erased, and who learned from it."""
    from synth.audits.content import erasure as of

    def asked(bench: "Bench", ledger: "Ledger", rest: list[str]) -> "Answer":
        ledger.only_read()  # then all cores search
        return of(bench, ledger, rest[0])

    ask(words, overrides, as_json, asked, 1, 1)
