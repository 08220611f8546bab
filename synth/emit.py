"""JSON on standard output, for machines."""

import json
from typing import Any

import click

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for machines.")

events_option = click.option(
    "--events",
    default="",
    metavar="FILE|-",
    help="Write JSON events, one a line, as the collection goes; - for standard output.",
)


def one_output(events: str, as_json: bool) -> None:
    """Refuse two kinds of JSON in one stream."""
    if events == "-" and as_json:
        raise click.UsageError("--json and --events - would mix: write the events to a file")


def emit(value: Any) -> None:
    """One JSON document."""
    click.echo(json.dumps(value, ensure_ascii=False, indent=1, default=str))
