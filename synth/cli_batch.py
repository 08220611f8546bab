"""`spiritsafe batch`: what is open at the provider, and stopping it.

spiritsafe batch list project.toml
spiritsafe batch cancel project.toml --by "A. Jurist" --because "The wrong instruction."
"""

import asyncio
import sys
from pathlib import Path

import click

from synth.emit import emit, json_option, project_options


@click.group()
def batch() -> None:
    """Batches at the provider: list the open ones, cancel them."""


@batch.command(name="list")
@project_options
@json_option
def list_(project: Path, overrides: tuple[str, ...], as_json: bool) -> None:
    """Every batch that has not ended, as the ledger knows it. Nothing is sent."""
    from synth.cli import bench_of
    from synth.screens import batches_screen, open_batches

    bench = bench_of(project, overrides)
    with bench.open() as ledger:
        batches = open_batches(ledger)
    emit(batches) if as_json else click.echo(batches_screen(batches) or "no batch is open")


@batch.command()
@project_options
@click.option("--id", "ids", multiple=True, help="This one: our name or the provider's.")
@click.option("--by", required=True, help="The person who cancels.")
@click.option("--because", default="", help="Why.")
@json_option
def cancel(
    project: Path,
    overrides: tuple[str, ...],
    ids: tuple[str, ...],
    by: str,
    because: str,
    as_json: bool,
) -> None:
    """Stop open batches, wait until they have ended, and fetch what they answered until then."""
    from synth.cancelling import cancel_step, chosen
    from synth.cli import bench_of
    from synth.screens import collected_screen, collected_values
    from synth.steps import get_ready
    from synth.walk import collect_blocking

    bench = bench_of(project, overrides)
    with bench.open() as ledger:
        jobs = chosen(ledger, ids)
        if not jobs:
            click.echo("no batch is open", err=True)
            return
        who = " ".join(f"{by}: {because}".rstrip(": ").split())
        stopped = asyncio.run(cancel_step(bench, ledger, jobs, who))
        if not stopped:
            sys.exit(1)
        collected = collect_blocking(bench, ledger, get_ready(bench), frozenset(stopped))
    emit(collected_values(collected)) if as_json else click.echo(collected_screen(collected))
    if len(stopped) < len(jobs):
        sys.exit(1)
