"""`spiritsafe publish`: a student in order for others."""

from pathlib import Path

import click

from synth.emit import project_options


@click.command()
@project_options
@click.option("--run", "run_name", required=True, help="Whose student.")
@click.option("--name", required=True, help="The name under which others will know it.")
@click.option("--licence", required=True, help="Its licence, for instance apache-2.0.")
@click.option("--card", type=click.Path(path_type=Path, exists=True), help="A card of your own.")
@click.option("--notice", "notices", multiple=True, type=click.Path(path_type=Path, exists=True))
def publish(
    project: Path,
    overrides: tuple[str, ...],
    run_name: str,
    name: str,
    licence: str,
    card: Path | None,
    notices: tuple[Path, ...],
) -> None:
    """Put a student in order for others: name, card, licence, notices. Refuses with the fix."""
    from synth.checkpoints import checkpoint
    from synth.cli import bench_of
    from synth.freeze import log_receipt
    from synth.publish import Parcel
    from synth.publish import publish as put

    bench = bench_of(project, overrides)
    target = put(bench, Parcel(run_name, name, licence, notices, card))
    with bench.open(create=True) as ledger:
        if log_receipt(ledger, target, "publish"):
            checkpoint(ledger, bench.project.home)
    click.echo(f"{target} is ready to be handed on")
