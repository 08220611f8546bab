"""The command `spiritsafe`: one verb a step, `run` for all of them.

    spiritsafe init my-bot && cd my-bot && spiritsafe run project.toml

Results go to standard output (`--json` for machines), talk and progress to standard error. Exit
codes: 0 done, 1 finished with failures, 2 bad input, 3 policy denied, 4 budget reached, 5 ledger
or log broken, 130 interrupted. Everything heavy is imported inside the verb that needs it, so
`--help` answers at once.
"""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from synth.cli_audit import audit
from synth.cli_batch import batch
from synth.cli_exports import export
from synth.cli_imports import import_
from synth.cli_publish import publish
from synth.cli_takedown import erase, keys, takedown
from synth.cli_terms import decide, terms
from synth.cli_verify import verify
from synth.emit import emit, events_option, json_option, one_output, project_options

if TYPE_CHECKING:
    from synth.bench import Bench
    from synth.report.data import ReportData

_F = TypeVar("_F", bound=Callable[..., Any])

STOPPED = "stopped; run it again and it goes on from here"
CODES = """\b
Exit codes:
  0 done             3 policy denied     130 interrupted
  1 with failures    4 budget reached
  2 bad input        5 ledger or log broken"""


class Group(click.Group):
    """Lists the verbs in the order of the walk."""

    def list_commands(self, context: click.Context) -> list[str]:
        """As they are written below."""
        return list(self.commands)


@click.group(cls=Group, epilog=CODES, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="spiritsafe")
def cli() -> None:
    """Distil a hosted teacher into a small specialist: lawful, paid for once, traceable."""


def bench_of(project: Path, overrides: tuple[str, ...], events: str = "") -> "Bench":
    """Open the workbench of a project file."""
    import time

    from synth.bench import Bench
    from synth.display import Display
    from synth.events import EventLog
    from synth.project import load

    display = Display.on(sys.stderr)
    loaded = load(project, overrides)
    log = EventLog.open(events, sys.stdout, time.time) if events else None
    return Bench(loaded, display, os.environ, events=log)


@cli.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--template", default="hosted", show_default=True, help="A file of configs/.")
def init(folder: Path, template: str) -> None:
    """Make a project directory from a template."""
    from synth.templates import create

    created = create(folder, template)
    click.echo(f"{created} is ready. Read it, then: cd {folder} && spiritsafe run project.toml")


@cli.command()
@project_options
@json_option
def check(project: Path, overrides: tuple[str, ...], as_json: bool) -> None:
    """Say what the terms say, and what a run would ask for and cost. Sends nothing."""
    from policy.permit import refusal
    from synth import screens_check as screens
    from synth.walk import lessons_of

    bench = bench_of(project, overrides)
    lessons_of(bench)
    found = screens.check(bench)
    if as_json:
        emit(screens.check_values(found))
    else:
        click.echo(screens.terms_line(bench, found.decision))
        click.echo(refusal(found.decision, found.others))
        click.echo(screens.missing_screen(found))
        click.echo(screens.purposes_screen(found.purposes))
        click.echo(screens.check_screen(found))
    if found.code:
        sys.exit(found.code)


@cli.command()
@project_options
@events_option
@json_option
def collect(project: Path, overrides: tuple[str, ...], events: str, as_json: bool) -> None:
    """Ask the teacher for every answer that the ledger does not have."""
    from synth.screens import collected_screen, collected_values
    from synth.steps import get_ready
    from synth.walk import collect_blocking

    one_output(events, as_json)
    bench = bench_of(project, overrides, events)
    ready = get_ready(bench)  # a refused project leaves no file behind
    with bench.open(create=True) as ledger:
        collected = collect_blocking(bench, ledger, ready)
    if as_json:
        emit(collected_values(collected))
    else:
        click.echo(collected_screen(collected), err=events == "-")
    if collected.incomplete:
        sys.exit(1)


@cli.command()
@project_options
@click.option("--by", required=True, help="The person who looked at it.")
@click.option("--because", required=True, help="What they found, and why it may go on.")
def resume(project: Path, overrides: tuple[str, ...], by: str, because: str) -> None:
    """Say that a person has looked at a refusal (401, 403, policy), so that it may go on."""
    from synth.breaker import clear
    from synth.checkpoints import checkpoint

    bench = bench_of(project, overrides)
    offering, home = bench.project.sections.teacher.offering, bench.project.home
    with bench.open() as ledger:
        path = clear(ledger, home, offering, by, because, bench.today)
        checkpoint(ledger, home)
    click.echo(f"{path} is written; `spiritsafe collect` goes on")


@cli.command(name="filter")
@project_options
@json_option
def filter_(project: Path, overrides: tuple[str, ...], as_json: bool) -> None:
    """Judge what was collected; say what was dropped, why, and what is left of each class."""
    from synth.gather import filter_counts
    from synth.screens import filter_screen
    from synth.steps import coverage_now, filter_step

    bench = bench_of(project, overrides)
    with bench.open() as ledger:
        filtered = filter_step(bench, ledger)
        counts, coverage = filter_counts(filtered), coverage_now(bench, ledger, filtered)
    if as_json:
        emit({"filters": counts, "coverage": coverage})
    else:
        click.echo(filter_screen(counts, coverage))


@cli.command()
@project_options
@json_option
def freeze(project: Path, overrides: tuple[str, ...], as_json: bool) -> None:
    """Write the kept rows as datasets that never change."""
    from synth.steps import filter_step, freeze_step

    bench = bench_of(project, overrides)
    with bench.open() as ledger:
        frozen = freeze_step(bench, ledger, filter_step(bench, ledger))
    if as_json:
        emit({name: {"digest": one.digest, "rows": one.rows} for name, one in frozen.items()})
        return
    for name, one in frozen.items():
        rows = ", ".join(f"{count} {split}" for split, count in one.rows.items())
        state = "frozen" if one.fresh else "unchanged"
        click.echo(f"{name}: {rows} ({state}) {one.digest}")


@cli.command()
@project_options
@click.option("--arm", default="", help="Only this arm.")
@click.option("--drop-blocking", is_flag=True, help="Leave out the rows that today's terms block.")
@click.option("--dry-run", is_flag=True, help="Say what it would do and need; write nothing.")
def train(
    project: Path, overrides: tuple[str, ...], arm: str, drop_blocking: bool, dry_run: bool
) -> None:
    """Teach the student, every arm of the project; goes on from its newest checkpoint."""
    from synth.walk import rehearse_step, train_step

    bench = bench_of(project, overrides)
    if dry_run:
        rehearse_step(bench, arm)
        return
    if train_step(bench, arm, drop=drop_blocking):
        sys.exit(1)


@cli.command()
@project_options
@json_option
def evaluate(project: Path, overrides: tuple[str, ...], as_json: bool) -> None:
    """Judge student and teacher on the held-out prompts; write report.html and report.json."""
    from synth.gather import report_step
    from synth.steps import filter_step
    from synth.walk import evaluate_step

    bench = bench_of(project, overrides)
    judged = evaluate_step(bench)
    with bench.open() as ledger:
        data = report_step(bench, ledger, judged, filter_step(bench, ledger), {})
    _finish(bench, data, as_json)


@cli.command()
@project_options
@click.option("--run", "run_name", default="", help="The card of this run, not of the dataset.")
def card(project: Path, overrides: tuple[str, ...], run_name: str) -> None:
    """Print the card of the dataset, or of a run."""
    from policy.manifest import read_manifest

    bench = bench_of(project, overrides)
    where = bench.project
    folder = where.runs / run_name if run_name else where.datasets / where.name
    read_manifest(folder)
    click.echo((folder / "README.md").read_text(encoding="utf-8"), nl=False)


for command in (
    *(audit, verify, takedown, erase, keys, terms, decide, batch),
    *(export, import_),
):
    cli.add_command(command)


@cli.command()
@project_options
@json_option
def show(project: Path, overrides: tuple[str, ...], as_json: bool) -> None:
    """What the ledger holds: requests by outcome, money, and every attempt with a lost outcome."""
    from synth.screens import show_screen, show_values

    bench = bench_of(project, overrides)
    with bench.open() as ledger:
        values = show_values(ledger)
    emit(values) if as_json else click.echo(show_screen(values))


@cli.command()
@project_options
@click.option("--run", "run_name", default="", help="Which run's student; default the first arm.")
def chat(project: Path, overrides: tuple[str, ...], run_name: str) -> None:
    """Talk to a student, one line at a time."""
    from synth.walk import demand_training

    demand_training()
    from train.chat import chat as talk

    bench = bench_of(project, overrides)
    prompts = bench.project.sections.prompts
    name = run_name or next(iter(bench.project.sections.arms), "student")
    folder = bench.project.runs / name
    talk(folder, prompts.student_system, prompts.student_user, sys.stdin, sys.stdout)


cli.add_command(publish)


@cli.command()
@project_options
@events_option
@json_option
def run(project: Path, overrides: tuple[str, ...], events: str, as_json: bool) -> None:
    """Everything: collect, filter, freeze, train, evaluate. Stop it and run it again at will."""
    from synth.screens import collected_screen
    from synth.walk import run as walk

    one_output(events, as_json)
    bench = bench_of(project, overrides, events)
    walked = walk(bench)
    click.echo(collected_screen(walked.collected), err=True)
    _finish(bench, walked.report, as_json, err=events == "-")
    if not walked.complete:
        sys.exit(1)


def _finish(bench: "Bench", data: "ReportData", as_json: bool, *, err: bool = False) -> None:
    """The table on standard output (`err`: standard error), and where the page lies."""
    if as_json:
        click.echo(data.model_dump_json(indent=1))
        return
    from rich.console import Console

    from synth.report import coverage, table

    console = Console(stderr=err)
    if data.coverage:
        console.print(coverage(data))
    console.print(table(data))
    console.print(f"page: {bench.project.home / 'report.html'}", soft_wrap=True, highlight=False)


def main() -> None:
    """Run the command line; every deliberate error is one line and its exit code."""
    os.umask(0o077)  # whatever is written is for its owner alone
    # libgomp reads this when torch loads it. Its default spin-wait makes training two to four times
    # slower as soon as anything else runs on the machine (measured on 2 cores).
    os.environ.setdefault("GOMP_SPINCOUNT", "0")
    try:
        code = cli(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except (KeyboardInterrupt, click.Abort):
        click.echo(STOPPED, err=True)
        code = 130
    except Exception as error:
        code = _explained(error)
    sys.exit(code if isinstance(code, int) else 0)


def _explained(error: Exception) -> int:
    """Say a deliberate error in its own words; anything else is a fault of ours and is raised."""
    import errno

    from policy.errors import PolicyDenied, SpiritSafeError

    if getattr(error, "errno", 0) == errno.ENOSPC or "No space left on device" in str(error):
        click.echo("error: the disk is full. Free some space and run again", err=True)
        return 2
    if isinstance(error, BrokenPipeError):
        return 0
    if "Query interrupted" in str(error):  # DuckDB's word for Ctrl-C in the middle of a query
        click.echo(STOPPED, err=True)
        return 130
    if not isinstance(error, SpiritSafeError):
        raise error
    if isinstance(error, PolicyDenied) and error.decision is not None:
        from policy.decide import Decision
        from policy.permit import refusal

        assert isinstance(error.decision, Decision)
        click.echo(refusal(error.decision, error.alternatives), err=True)
        click.echo(f"error: {error.where}: {error.message}; nothing was done", err=True)
        return int(error.exit_code)
    from synth.wire import printable

    click.echo(f"error: {printable(str(error))}", err=True)
    return int(error.exit_code)
