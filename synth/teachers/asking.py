"""What every dialect's request needs: which settings it lacks, and where the path starts.

A setting that a dialect lacks is refused before a cent is spent. On a server of one's own it is
left out instead, and `Completion.ignored` names it: one project file runs there in every dialect.
"""

import re
from typing import NamedTuple
from urllib.parse import urlsplit

from policy.terms import HOME
from synth.config import Sampling, Teacher

_VERSION = re.compile(r"/v\d+[a-z0-9]*(/|$)")


class Lack(NamedTuple):
    """A setting that a dialect or a provider does not have."""

    key: str
    why: str
    fix: str


def versioned(teacher: Teacher, path: str, version: str = "/v1") -> str:
    """`path` below the version, which the base URL may or may not name already."""
    named = _VERSION.search(urlsplit(teacher.base_url).path)
    return path if named else version + path


def at_home(teacher: Teacher) -> bool:
    """Whether the server is the user's own."""
    return teacher.offering.endswith(HOME)


def no_logprobs(teacher: Teacher, sampling: Sampling, who: str) -> Lack | None:
    """The refusal where token probabilities are asked of somebody who has none."""
    if not sampling.logprobs or at_home(teacher):
        return None
    return Lack(
        f"[sampling] logprobs = {sampling.logprobs}",
        f"{who} has no token probabilities",
        "remove the line and train with objective sft",
    )


def no_seed(teacher: Teacher, sampling: Sampling, who: str) -> Lack | None:
    """The refusal where a seed is asked of a dialect without one."""
    if not sampling.seed or at_home(teacher):
        return None
    return Lack(f"[sampling] seed = {sampling.seed}", f"{who} has no seed", "remove the line")


def no_json_object(sampling: Sampling, who: str) -> Lack | None:
    """The refusal where JSON of any shape is asked of a dialect that only knows schemas."""
    if sampling.response_format != "json_object":
        return None
    return Lack(
        '[sampling] response_format = "json_object"',
        f"{who} knows json_schema or none",
        'use response_format = "json_schema"',
    )
