"""One version of one offering's terms, whole: the model behind a file of `policy/terms/`.

    entry = read_terms(Path("policy/terms/deepseek-api.toml"))
    entry.clause("4.2(3)").paraphrase

The schema refuses an entry without a document, a clause, a rule or a review.
"""

from collections.abc import Collection, Iterable
from datetime import date
from functools import cached_property
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from policy.clauses import Clause, Document, Obligation, Patterns, Retention, Review, Rule, fits
from policy.config import Fault, Section
from policy.digest import digest

HOST = r"^[A-Za-z0-9*?-]+(\.[A-Za-z0-9*?-]+)*$"
ID = r"^[a-z0-9][a-z0-9./-]*(@[a-z][a-z-]*)?$"


def _as_text(version: object) -> object:
    """The day of a version may stand without quotes, as the other days do."""
    return version.isoformat() if isinstance(version, date) else version


class Terms(Section):
    """One version of the terms of one offering."""

    id: str = Field(pattern=ID)
    """The offering, in small letters, e.g. "openai-api" or "llama-3.1@self-host"."""

    version: Annotated[str, BeforeValidator(_as_text), Field(pattern=r"^\d{4}-\d{2}-\d{2}$")]
    """The date by which this version is called, e.g. "2026-11-01"."""

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

    stage: Literal["ga", "preview"] = "ga"
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

    models: Patterns = Field(min_length=1)
    """Patterns of the model names under these terms, e.g. "gpt-*"; "!" in front excludes."""

    hosts: tuple[Annotated[str, Field(pattern=HOST)], ...] = ()
    """The host names on which the offering answers, e.g. "api.acme.example", without https://; none
    for weights run by oneself."""

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
    """The version before this one; `id@version` where the offering had another name."""

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
        return fits(self.models, (model,))

    def is_named(self, offering: str) -> bool:
        """Whether the offering goes by that name, now or before."""
        return offering == self.id or offering in self.also

    @model_validator(mode="after")
    def _names_exist(self) -> Self:
        _once("clauses", "ref", [clause.ref for clause in self.clauses])
        _once("documents", "id", [document.id for document in self.documents])
        documents = {document.id for document in self.documents}
        refs = {clause.ref for clause in self.clauses}
        for at, clause in enumerate(self.clauses, start=1):
            _known(f"clauses[{at}].document", "document", [clause.document], documents)
        for name, duty in self.obligations.items():
            _known(f"obligations.{name}.clause", "clause", [duty.clause], refs)
        for at, limit in enumerate(self.retention, start=1):
            _known(f"retention[{at}].clause", "clause", [limit.clause], refs)
        for at, rule in enumerate(self.rules, start=1):
            _known(f"rules[{at}].clauses", "clause", rule.clauses, refs)
            _known(f"rules[{at}].obligations", "obligation", rule.obligations, self.obligations)
        _known("base_obligations", "obligation", self.base_obligations, self.obligations)
        if self.forbids_sensitive:
            _known("forbids_sensitive", "clause", [self.forbids_sensitive], refs)
        return self

    @model_validator(mode="after")
    def _dates_are_in_order(self) -> Self:
        try:
            date.fromisoformat(self.version)
        except ValueError as error:
            fix = "Write the date by which the text is called, e.g. 2026-11-01."
            raise Fault("version", self.version, "is no day", fix) from error
        if self.until is not None and self.until < self.effective:
            wrong = f"lies before effective = {self.effective}"
            raise Fault("until", self.until, wrong, "Exchange them, or leave until out.")
        if self.supersedes in (self.version, self.label):
            raise Fault(
                "supersedes", self.supersedes, "is this very version", "Name the one before."
            )
        return self


def _once(key: str, kind: str, names: list[str]) -> None:
    for at, name in enumerate(names, start=1):
        if name in names[: at - 1]:
            raise Fault(f"{key}[{at}].{kind}", name, "stands there twice", "Keep one of them.")


def _known(key: str, kind: str, names: Iterable[str], known: Collection[str]) -> None:
    for name in names:
        if name not in known:
            there = ", ".join(sorted(known)) or "none"
            raise Fault(key, name, f"names no {kind} of this entry", f"There are: {there}.")
