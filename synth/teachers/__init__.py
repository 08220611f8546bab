"""Teacher adapters: plain functions that build a call and parse a reply, with no I/O in them."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from synth.config import Sampling, Teacher
from synth.prompts import Message
from synth.teachers import anthropic, azure, gemini, local, openai, responses
from synth.teachers.asking import Lack
from synth.wire import Completion, Failure

Path = Callable[[Teacher], str]
Credentials = Callable[[str], tuple[tuple[str, str], ...]]
Build = Callable[[Teacher, Sampling, tuple[Message, ...], int], dict[str, Any]]
Parse = Callable[[bytes, Sampling, Mapping[str, str]], Completion | Failure]
Lacks = Callable[[Teacher, Sampling], Lack | None]


class Adapter(NamedTuple):
    """One wire dialect."""

    path: Path
    """Appended to the base URL."""
    credentials: Credentials
    """The text of the key -> the headers that carry it, to the base URL and nowhere else."""
    lacks: Lacks
    """A setting that this dialect cannot ask for, said when the project file is read."""
    build: Build
    """(teacher, sampling, messages, sample index) -> body."""
    parse: Parse
    """(body of a 200, sampling, headers) -> what it means."""


ADAPTERS: dict[str, Adapter] = {
    "openai": Adapter(openai.path, openai.credentials, openai.lacks, openai.build, openai.parse),
    "azure": Adapter(azure.path, azure.credentials, azure.lacks, openai.build, openai.parse),
    "responses": Adapter(
        responses.path, openai.credentials, responses.lacks, responses.build, responses.parse
    ),
    "anthropic": Adapter(
        anthropic.path, anthropic.credentials, anthropic.lacks, anthropic.build, anthropic.parse
    ),
    "gemini": Adapter(gemini.path, gemini.credentials, gemini.lacks, gemini.build, gemini.parse),
    "local": Adapter(openai.path, openai.credentials, openai.lacks, local.build, openai.parse),
}
