"""What goes over the wire and what comes back, in this project's words.

A teacher adapter builds a `Call` and parses a reply into a `Completion` or a `Failure`. Neither
does I/O. The class of a failure decides money and retries, and nothing else does:

    NOT_SENT   no byte of the request can have been processed      release, try again
    REJECTED   the provider says that it did no work               release, perhaps try again
    UNKNOWN    the reply was lost: perhaps billed                  keep the reserve, hold
    BILLED_BAD answered, and unusable                              settle, never ask again by itself
    OK         answered                                            settle
"""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from synth.logprobs import NO_LOGPROBS, TokenLogprobs


class OutcomeClass(StrEnum):
    """What is known about one attempt after it ended."""

    OK = "ok"
    BILLED_BAD = "billed_bad"
    REJECTED = "rejected"
    NOT_SENT = "not_sent"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Call:
    """One HTTP call, ready to send: the bytes, and nothing secret."""

    path: str
    body: bytes
    key: str
    """Digest of all that changes the answer."""
    prompt_id: str
    sample: int
    split: str
    prompt_tokens: int
    """Estimate, for the reserve."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens as the provider bills them. `prompt_tokens` holds the cached ones and
    `completion_tokens` the reasoning, whatever the dialect counts apart."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    estimated: bool = False
    """True where the reply had no usable usage and the reserve was taken instead."""
    cache_write_tokens: int = 0
    """Part of the prompt tokens: written to the provider's cache, which some bill dearer."""


@dataclass(frozen=True, slots=True)
class Completion:
    """What the teacher said."""

    text: str
    finish_reason: str
    """`stop`, `length`, `content_filter`, `tool_calls`, `refusal`, `other`, or `unknown` where the
    reply gives none; the provider's own word is in the raw bytes."""
    usage: Usage
    served_model: str
    reasoning: str = ""
    refusal: str = ""
    tool_calls: str = ""
    """JSON list in OpenAI's form, whatever the dialect; empty for none."""
    fingerprint: str = ""
    provider_request_id: str = ""
    service_tier: str = ""
    logprobs: TokenLogprobs = NO_LOGPROBS
    ignored: tuple[str, ...] = ()
    """Things that were asked for and silently not done: `logprobs`, `response_format`,
    `seed`."""
    repaired: bool = False
    """True where lone surrogates in the text became U+FFFD; the raw bytes are kept."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a request got no usable completion. Never a completion with error text in it."""

    outcome: OutcomeClass
    kind: str
    """Short machine word: `rate_limited`, `bad_json`, `read_timeout`, …"""
    message: str
    status: int = 0
    retry: bool = False
    """A retry can help, and cannot pay twice."""
    fatal: bool = False
    """The run must stop: the next request would fail in the same way."""
    retry_after: float | None = None
    """Seconds the server asked us to wait."""
    usage: Usage | None = None
    served_model: str = ""
    provider_request_id: str = ""


@dataclass(frozen=True, slots=True)
class Reply:
    """The bytes as received, and what they mean."""

    result: Completion | Failure
    raw: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


def printable(text: str) -> str:
    """One line that cannot drive a terminal: foreign text for messages that people read."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def text_or_empty(value: Any) -> str:
    """A JSON value that should be text: anything else counts as absent."""
    return value if isinstance(value, str) else ""
