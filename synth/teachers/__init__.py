"""Teacher adapters: plain functions that build a call and parse a reply, with no I/O in them."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from synth.config import Sampling, Teacher
from synth.prompts import Message
from synth.teachers import local, openai
from synth.wire import Completion, Failure

Build = Callable[[Teacher, Sampling, tuple[Message, ...], int], dict[str, Any]]
Parse = Callable[[bytes, Sampling, Mapping[str, str]], Completion | Failure]


class Adapter(NamedTuple):
    """One wire dialect."""

    path: str
    """Appended to the base URL."""
    build: Build
    """(teacher, sampling, messages, sample index) -> body."""
    parse: Parse
    """(body of a 200, sampling, headers) -> what it means."""


ADAPTERS: dict[str, Adapter] = {
    "openai": Adapter("/chat/completions", openai.build, openai.parse),
    "local": Adapter("/chat/completions", local.build, openai.parse),
}
