"""Filters on how the answer came back."""

from collections.abc import Sequence

from synth.config import Filters
from synth.filters.record import Candidate, Verdict, each


def answered(candidates: Sequence[Candidate], settings: Filters) -> list[Verdict]:
    """Drops tool calls and other answers without text."""
    return each(candidates, lambda c: "" if c.text.strip() else "no text")


def served(candidates: Sequence[Candidate], settings: Filters) -> list[Verdict]:
    """Drops answers whose server does not say which model wrote them."""
    return each(candidates, lambda c: "" if c.served_model else "no served model")


def finish(candidates: Sequence[Candidate], settings: Filters) -> list[Verdict]:
    """Drops what was cut off (`length`), filtered or ended for any reason but its own end: a
    student that learns from cut answers never learns to stop."""
    return each(candidates, lambda c: "" if c.finish_reason == "stop" else c.finish_reason)
