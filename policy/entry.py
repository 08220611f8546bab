"""One version of one offering's terms, whole: the model behind a file of `policy/terms/`.

    entry = read_terms(Path("policy/terms/deepseek-api.toml"))
    entry.clause("4.2(3)").paraphrase

The schema refuses an entry without a document, a clause, a rule or a review.
"""

from collections.abc import Collection, Iterable
from datetime import date
from fnmatch import fnmatchcase
from functools import cached_property
from typing import Any, Self

from pydantic import Field, model_validator

from policy.clauses import Clause, Document, Obligation, Retention, Review, Rule
from policy.config import Section
from policy.digest import digest

ID = r"^[a-z0-9][a-z0-9./-]*(@[a-z][a-z-]*)?$"


class Terms(Section):
    """One version of the terms of one offering."""

    id: str = Field(pattern=ID)
    """The offering, e.g. "openai-api" or "llama-3.1@self-host"."""

    version: str = Field(pattern=r"^\d{4}-\d{2}-\d{2}$")
    """The date by which this version is called."""

    effective: date
    """The first day on which these terms hold."""

    until: date | None = None
    """The last day on which they held, where that is known."""

    also: tuple[str, ...] = ()
    """Other names under which this offering is asked for, e.g. one that it had before."""

    entity: str = Field(min_length=1)
    """The other party of the contract, or who grants the licence."""

    product: str = Field(min_length=1)
    """The product or channel."""

    tier: str = "any"
    """The plan that these terms are for."""

    stage: str = "ga"
    """ga, or preview."""

    features: tuple[str, ...] = ()
    """Features that these terms are for, such as grounding."""

    channel: bool = False
    """Whether it only passes on other people's models, whose own terms bind as well."""

    inherits: tuple[str, ...] = ()
    """Offerings whose terms bind here too, e.g. the licence of the weights it was made from."""

    outputs: tuple[str, ...] = ("text",)
    """What the terms count as output; reasoning is kept only where it stands here."""

    forbids_sensitive: str = ""
    """The clause that forbids sending personal or secret data; empty where none was read."""

    base_obligations: tuple[str, ...] = ()
    """Duties that come with a student that starts from these weights and leaves the house."""

    models: tuple[str, ...] = Field(min_length=1)
    """Patterns of the model names under these terms, e.g. "gpt-*"."""

    hosts: tuple[str, ...] = ()
    """The host names on which the offering answers; none for weights run by oneself."""

    documents: tuple[Document, ...] = Field(min_length=1)
    """The texts that were read."""

    clauses: tuple[Clause, ...] = Field(min_length=1)
    """The clauses that matter, in our own words."""

    obligations: dict[str, Obligation] = Field(default_factory=dict)
    """What must be done in return, by name."""

    rules: tuple[Rule, ...] = Field(min_length=1)
    """What the clauses mean for each purpose; a purpose without a rule is denied."""

    retention: tuple[Retention, ...] = ()
    """How long content may be or is kept."""

    supersedes: str = ""
    """The version before this one."""

    notes: tuple[str, ...] = ()
    """What a reader should know and no rule can say."""

    review: Review
    """Who read the texts, when, and until when that counts."""

    @cached_property
    def pin(self) -> str:
        """The digest of the whole entry: one letter changes it."""
        return digest(self.model_dump(mode="json"))

    @cached_property
    def compiled(self) -> dict[Any, Any]:
        """What decide has worked out of these rules, kept by the question; empty at first."""
        return {}

    @property
    def label(self) -> str:
        """The offering with its version."""
        return f"{self.id}@{self.version}"

    def clause(self, ref: str) -> Clause:
        """The clause of that reference."""
        return next(clause for clause in self.clauses if clause.ref == ref)

    def document(self, clause: Clause) -> Document:
        """The document a clause stands in."""
        return next(document for document in self.documents if document.id == clause.document)

    def covers(self, model: str) -> bool:
        """Whether a model name falls under these terms."""
        return any(fnmatchcase(model.lower(), pattern.lower()) for pattern in self.models)

    def is_named(self, offering: str) -> bool:
        """Whether the offering goes by that name, now or before."""
        return offering == self.id or offering in self.also

    @model_validator(mode="after")
    def _names_exist(self) -> Self:
        refs, documents = _once("clause", self.clauses), _once("document", self.documents)
        _known("document", (clause.document for clause in self.clauses), documents)
        _known("clause", (duty.clause for duty in self.obligations.values()), refs)
        _known("clause", (limit.clause for limit in self.retention), refs)
        for rule in self.rules:
            _known("clause", rule.clauses, refs)
            _known("obligation", rule.obligations, self.obligations)
        _known("obligation", self.base_obligations, self.obligations)
        if self.forbids_sensitive:
            _known("clause", (self.forbids_sensitive,), refs)
        if self.until is not None and self.until < self.effective:
            raise ValueError(f"until = {self.until} lies before effective = {self.effective}")
        return self


def _once(kind: str, items: tuple[Clause, ...] | tuple[Document, ...]) -> set[str]:
    names = [item.ref if isinstance(item, Clause) else item.id for item in items]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f'the {kind} "{name}" stands there twice; keep one')
    return set(names)


def _known(kind: str, names: Iterable[str], known: Collection[str]) -> None:
    for name in names:
        if name not in known:
            there = ", ".join(sorted(known)) or "none"
            raise ValueError(f'there is no {kind} "{name}"; there are: {there}')
