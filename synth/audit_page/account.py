"""What the audit page is drawn from: plain values, whatever they were read from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from policy.verify import Finding


@dataclass(frozen=True, slots=True)
class Teacher:
    """One offering under one text of its terms."""

    offering: str
    models: Sequence[str]
    """Models as they were asked for."""
    served: Sequence[str]
    """Models as the provider named them in its replies."""
    entry: str
    """The entry of the register with that pin; empty if it has none today."""
    pin: str
    decisions: Sequence[int]
    """Places in `Account.decisions`."""
    first_ms: int
    last_ms: int
    sent: int
    answers: int
    nano: int
    """Billed or still reserved, billionths of a US dollar."""


@dataclass(frozen=True, slots=True)
class Decided:
    """A decision that requests rest on, with the day it was made."""

    digest: str
    entry: int
    """Its place in the log."""
    at_ms: int
    attempts: int
    body: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Day:
    """What was sent and paid on one day, UTC."""

    day: str
    sent: int
    answers: int
    billed_nano: int
    reserved_nano: int
    """Of attempts whose outcome nobody knows."""
    tokens: int


@dataclass(frozen=True, slots=True)
class Loss:
    """What one filter did, by its newest verdicts."""

    filter: str
    kept: int
    dropped: int
    reasons: Sequence[tuple[str, int]]


@dataclass(frozen=True, slots=True)
class Frozen:
    """A dataset as its manifest has it."""

    name: str
    manifest: Mapping[str, Any]
    rows: Mapping[str, int]
    """By split."""
    state: str
    """clean, or what a takedown made of it."""


@dataclass(frozen=True, slots=True)
class Student:
    """A run, with where it was published if it was."""

    name: str
    manifest: Mapping[str, Any]
    dataset: int | None
    """Place in `Account.datasets`; None if the dataset is not there any more, or another."""
    published: Sequence[str]
    state: str
    """clean, or what a takedown made of it."""


@dataclass(frozen=True, slots=True)
class Account:
    """Everything on the page."""

    title: str
    ledger: str
    size: int
    root: str
    checkpoint: str
    """The newest signed one."""
    checkpoints: int
    findings: Sequence[Finding]
    """What does not verify."""
    teachers: Sequence[Teacher]
    decisions: Sequence[Decided]
    outcomes: Sequence[tuple[str, str, int, int]]
    """(class, kind, attempts, billionths of a US dollar)."""
    days: Sequence[Day]
    losses: Sequence[Loss]
    datasets: Sequence[Frozen]
    students: Sequence[Student]
    receipts: Sequence[tuple[int, str, str, str, int]]
    """(entry, kind, name, digest, milliseconds)."""
    rows: "Rows"


@dataclass(frozen=True, slots=True)
class Rows:
    """Every attempt for the search, in pieces that a browser unpacks when they are needed."""

    count: int
    kept: int
    texts: bool
    """Whether the rows carry what was said; left out where there are very many."""
    size: int
    """Rows a piece."""
    pieces: Sequence[str] = field(default_factory=tuple)
    """JSON, deflated, base64."""
