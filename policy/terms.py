"""The register: what each offering's terms say, as facts with a clause, a document and a reviewer.

The unit is the offering, not the model: the same weights reach people under different contracts.
One TOML file holds one version of one offering's terms; history is kept, never edited in place.
Texts are not copied: an entry holds our own paraphrase, the place to read it, and who read it when.

    >>> load_register().find("deepseek-api", date(2026, 11, 24)).entity
    'DeepSeek'
"""

import re
from collections.abc import Collection, Iterable, Mapping
from datetime import date, timedelta
from enum import IntEnum, StrEnum
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path
from typing import Annotated, Self

from pydantic import BeforeValidator, Field, PlainSerializer, model_validator

from policy.config import Section, load_toml, parse
from policy.digest import digest
from policy.errors import BadInput
from policy.use import Distribution, Purpose

SHIPPED = Path(__file__).parent / "terms"
REVIEW_LASTS = timedelta(days=90)
VERSION_SUFFIX = re.compile(r"@(\d{4}-\d{2}-\d{2})$")


class Level(IntEnum):
    """How far a use is from being allowed; the larger number always wins."""

    ALLOW = 0
    ALLOW_WITH = 1
    NEEDS_ACK = 2
    NEEDS_PERMISSION = 3
    DENY = 4


def _read_level(value: object) -> Level:
    if isinstance(value, Level):
        return value
    if isinstance(value, str) and value.upper() in Level.__members__:
        return Level[value.upper()]
    raise ValueError(f"is no level; the levels are {', '.join(Level.__members__)}")


LevelName = Annotated[
    Level,
    BeforeValidator(_read_level),
    PlainSerializer(lambda level: level.name, return_type=str),
]


class Confidence(StrEnum):
    """How the governing text was read. Unreviewed means that it was not, and fails closed."""

    PRIMARY = "primary"
    SECONDARY = "secondary"
    UNREVIEWED = "unreviewed"


class Document(Section):
    """A text of the provider's."""

    id: str = Field(min_length=1)
    """Short name that the clauses of this entry use."""

    title: str = Field(min_length=1)
    """The title the document gives itself."""

    version: str = ""
    """The version the document gives itself, or the way it was seen."""

    date: date
    """The day it took effect or, where it gives none, the day it was published or seen."""

    address: str = Field(pattern=r"^https://")
    """Where everybody can read it."""

    archive: str = ""
    """Where the copy that was read is kept: archive, path and commit."""


class Clause(Section):
    """One clause in our own words."""

    ref: str = Field(min_length=1)
    """The number or heading by which the document names it."""

    document: str
    """The `id` of the document it stands in."""

    paraphrase: str = Field(min_length=10)
    """What it says, in our own words."""

    sha256_norm: str = Field(default="", pattern=r"^(sha256:[0-9a-f]{64})?$")
    """Digest of its normalised text, so that a change is noticed and a changed page is not."""


class Obligation(Section):
    """Something that must be done in return."""

    text: str = Field(min_length=10)
    """What to do, as an instruction."""

    clause: str
    """The clause that asks for it."""


class Retention(Section):
    """How long something may be kept."""

    days: int = Field(ge=0)
    """Days after which it must be gone."""

    text: str
    """What must be gone, and on whose side."""

    clause: str
    """The clause that asks for it."""


class Rule(Section):
    """What the clauses mean for some purposes. Of several that fit, the strictest counts."""

    purposes: tuple[Purpose, ...] = Field(min_length=1)
    """The purposes it speaks about."""

    distributions: tuple[Distribution, ...] = ()
    """Only for these distributions; empty means all of them."""

    level: LevelName
    """The level that follows."""

    clauses: tuple[str, ...] = Field(min_length=1)
    """The clauses it follows from."""

    why: str = ""
    """How the clauses apply here, where that is not plain."""

    obligations: tuple[str, ...] = ()
    """Names from `[obligations]` that come with it."""

    student_families: tuple[str, ...] = ()
    """The answers may teach only students of these families; empty means any."""

    @model_validator(mode="after")
    def _level_fits(self) -> Self:
        bound = bool(self.obligations or self.student_families)
        if self.level == Level.ALLOW and bound:
            raise ValueError("level ALLOW has obligations or families; write ALLOW_WITH")
        if self.level == Level.ALLOW_WITH and not bound:
            raise ValueError("level ALLOW_WITH names no obligation; name one or write ALLOW")
        return self


class Review(Section):
    """The person who read the text, and until when that reading is good."""

    by: str = Field(min_length=1)
    """Who read it."""

    on: date
    """When."""

    expires: date
    """The last day on which it counts, at most 90 days later."""

    confidence: Confidence
    """primary, secondary or unreviewed."""

    @model_validator(mode="after")
    def _expires_in_time(self) -> Self:
        if not self.on < self.expires <= self.on + REVIEW_LASTS:
            raise ValueError(f"expires must be 1 to {REVIEW_LASTS.days} days after on")
        return self


class Terms(Section):
    """One version of the terms of one offering."""

    id: str = Field(pattern=r"^[a-z0-9][a-z0-9./-]*(@[a-z][a-z-]*)?$")
    """The offering, e.g. "openai-api" or "llama-3.1@self-host"."""

    version: str = Field(pattern=r"^\d{4}-\d{2}-\d{2}$")
    """The date by which this version is called."""

    effective: date
    """The first day on which these terms hold."""

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

    def clause(self, ref: str) -> Clause:
        """The clause of that reference."""
        return next(clause for clause in self.clauses if clause.ref == ref)

    def document(self, clause: Clause) -> Document:
        """The document a clause stands in."""
        return next(document for document in self.documents if document.id == clause.document)

    def covers(self, model: str) -> bool:
        """Whether a model name falls under these terms."""
        return any(fnmatchcase(model.lower(), pattern.lower()) for pattern in self.models)

    @model_validator(mode="after")
    def _names_exist(self) -> Self:
        refs, documents = _once("clause", self.clauses), _once("document", self.documents)
        _known("document", (clause.document for clause in self.clauses), documents)
        _known("clause", (duty.clause for duty in self.obligations.values()), refs)
        _known("clause", (limit.clause for limit in self.retention), refs)
        for rule in self.rules:
            _known("clause", rule.clauses, refs)
            _known("obligation", rule.obligations, self.obligations)
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


class Register:
    """All entries: those that are shipped and, before them, those of the user's own agreements."""

    def __init__(self, shipped: tuple[Terms, ...], own: tuple[Terms, ...] = ()) -> None:
        self._shipped = shipped
        self._own = own

    def all(self) -> tuple[Terms, ...]:
        """Every entry, the user's own first."""
        return self._own + self._shipped

    def is_own(self, terms: Terms) -> bool:
        """Whether the entry is the user's and not ours."""
        return terms in self._own

    def find(self, offering: str, on: date) -> Terms | None:
        """The terms of an offering in force on a day; None where there are none."""
        name, version = split_version(offering)
        for entries in (self._own, self._shipped):
            fitting = [
                entry
                for entry in entries
                if entry.id == name and entry.effective <= on and version in ("", entry.version)
            ]
            if fitting:
                return max(fitting, key=lambda entry: (entry.effective, entry.version))
        return None

    def offering_of_host(self, host: str) -> str | None:
        """The offering that answers on a host, so that a base URL cannot hide whose it is."""
        bare = host.lower().rsplit("@", 1)[-1].split(":", 1)[0].rstrip(".")
        for entry in self.all():
            if any(fnmatchcase(bare, pattern.lower()) for pattern in entry.hosts):
                return entry.id
        return None

    def obligation(self, name: str) -> Obligation | None:
        """The sentence behind the name of an obligation, for cards and screens."""
        found = (entry.obligations.get(name) for entry in self.all())
        return next((obligation for obligation in found if obligation), None)


def split_version(offering: str) -> tuple[str, str]:
    """("aws-bedrock/nova", "2026-08-20") of "aws-bedrock/nova@2026-08-20"."""
    match = VERSION_SUFFIX.search(offering)
    return (offering[: match.start()], match[1]) if match else (offering, "")


def load_register(extra: Path | None = None) -> Register:
    """Read the shipped entries and, from `extra`, those of the user's own agreements."""
    own = _read_folder(extra) if extra is not None else ()
    return Register(_read_folder(SHIPPED), own)


def read_terms(path: Path) -> Terms:
    """Read one entry."""
    return parse(Terms, load_toml(path), where=str(path))


def _read_folder(folder: Path) -> tuple[Terms, ...]:
    if not folder.is_dir():
        raise BadInput("there is no such folder", where=str(folder))
    entries = {path: read_terms(path) for path in sorted(folder.glob("*.toml"))}
    _refuse_contradictions(entries)
    return tuple(entries.values())


def _refuse_contradictions(entries: Mapping[Path, Terms]) -> None:
    """Two files must not give the same version twice, nor two offerings the same host."""
    versions: dict[tuple[str, str], Path] = {}
    hosts: dict[str, str] = {}
    for path, entry in entries.items():
        earlier = versions.setdefault((entry.id, entry.version), path)
        if earlier != path:
            raise BadInput(
                f'id = "{entry.id}" with version = "{entry.version}" is also in {earlier.name}',
                where=str(path),
                fix="Give the newer one its own version and effective date.",
            )
        for host in entry.hosts:
            if hosts.setdefault(host, entry.id) != entry.id:
                raise BadInput(
                    f'hosts = "{host}" is already the host of "{hosts[host]}"',
                    where=str(path),
                    fix="Leave the host with one of them.",
                )
