"""`spiritsafe import`: rows that others' programs collected, on somebody's word.

spiritsafe import logs.db project.toml --format llm --offering deepseek-api --by "A. Person"
"""

from datetime import datetime
from pathlib import Path

import click

from synth.cli_exports import bench_of, of_project
from synth.emit import emit, json_option

NAMES = ("openai-stored", "openai-finetune", "openai-batch", "huggingface", "litellm", "llm")
"""As in synth/imports, which is not loaded for a help text."""


@click.command(name="import")
@click.argument("file", type=click.Path(path_type=Path))
@of_project
@click.option("--format", "kind", required=True, type=click.Choice(NAMES), help="What wrote it.")
@click.option("--offering", required=True, help="Under which contract the answers were made.")
@click.option("--by", required=True, help="The person who says so.")
@click.option(
    "--collected-on", type=click.DateTime(["%Y-%m-%d"]), help="Where the file has no day."
)
@click.option("--model", default="", help="The model that was asked, where the file says none.")
@click.option("--purpose", default="", help="Decide for this purpose, not the project's.")
@click.option("--feature", "features", multiple=True, help="reasoning, web_search, grounding …")
@click.option("--requests", type=click.Path(path_type=Path), help="A batch's file of requests.")
@json_option
def import_(
    file: Path,
    project: Path,
    overrides: tuple[str, ...],
    kind: str,
    offering: str,
    by: str,
    collected_on: datetime | None,
    model: str,
    purpose: str,
    features: tuple[str, ...],
    requests: Path | None,
    as_json: bool,
) -> None:
    """Bring in rows that others collected. Their origin's terms decide; the unknown is denied."""
    from dataclasses import asdict

    from synth.imports.step import Declared, import_step

    day = collected_on.date() if collected_on else None
    declared = Declared(file, kind, offering, by, day, model, purpose, features, requests)
    brought = import_step(bench_of(project, overrides), declared)
    if as_json:
        emit(asdict(brought))
        return
    first, last = brought.collected
    click.echo(
        f"{brought.rows} rows imported as {offering} ({brought.level}), collected {first} to"
        f" {last}, on the word of {by}; {brought.known} were there already"
    )
    if brought.skipped:
        click.echo(f"{brought.skipped} entries are no answers and were left out", err=True)
    if brought.unfinished:
        click.echo(
            f"{brought.unfinished} rows do not say that the answer came to its end: the filter"
            " `finish` drops them",
            err=True,
        )
    if brought.unserved:
        click.echo(
            f"{brought.unserved} rows do not name the model that answered: the filter `served`"
            " drops them",
            err=True,
        )
