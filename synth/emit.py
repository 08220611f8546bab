"""What the verbs share: their project, and JSON on standard output, for machines."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

_F = TypeVar("_F", bound=Callable[..., Any])

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for machines.")

events_option = click.option(
    "--events",
    default="",
    metavar="FILE|-",
    help="Write JSON events, one a line, as the collection goes; - for standard output.",
)


def project_options(function: _F) -> _F:
    """PROJECT and --set, shared by every verb that works on a project."""
    function = click.option(
        "--set",
        "overrides",
        multiple=True,
        metavar="SECTION.KEY=VALUE",
        help="Override a value of the project file, as TOML.",
    )(function)
    return click.argument("project", type=click.Path(path_type=Path), default="project.toml")(
        function
    )


def one_output(events: str, as_json: bool) -> None:
    """Refuse two kinds of JSON in one stream."""
    if events == "-" and as_json:
        raise click.UsageError("--json and --events - would mix: write the events to a file")


def emit(value: Any) -> None:
    """One JSON document."""
    click.echo(json.dumps(value, ensure_ascii=False, indent=1, default=str))
