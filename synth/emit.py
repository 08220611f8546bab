"""JSON on standard output, for machines."""

import json
from typing import Any

import click


def emit(value: Any) -> None:
    """One JSON document."""
    click.echo(json.dumps(value, ensure_ascii=False, indent=1, default=str))
