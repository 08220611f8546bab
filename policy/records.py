"""People's words as evidence: who said what, about which offering, until when, citing which text.

A record is a TOML file in the user's project, reviewed, signed off and kept like code:

    records/acknowledgement-openai-api.toml      lifts NEEDS_ACK, within its scope and until it ends
    records/permission-xai-enterprise.toml       lifts NEEDS_PERMISSION, likewise
    records/attestation-openai-api.toml          a person says that the student does not compete
    records/acceptance-openai-api.toml           which version of the terms was accepted, and how

An expired record is none, and nothing lifts a denial.
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import date, timedelta
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Self

from pydantic import Field, model_validator

from policy.clauses import Level
from policy.config import Fault, Section, load_toml, nearest, parse, toml_value
from policy.digest import digest, file_digest
from policy.entry import Terms
from policy.errors import BadInput
from policy.fixes import record_file
from policy.terms import Register, file_name, split_version
from policy.use import Distribution, Purpose, Use

if TYPE_CHECKING:
    from policy.decision import Reason

FOLDER = "records"
LONGEST = timedelta(days=366)
SHA256 = r"^sha256:[0-9a-f]{64}$"


class Kind(StrEnum):
    """What somebody put their name to."""

    ACCEPTANCE = "acceptance"
    ATTESTATION = "attestation"
    ACKNOWLEDGEMENT = "acknowledgement"
    PERMISSION = "permission"


_SHORT = (Kind.ACKNOWLEDGEMENT, Kind.ATTESTATION)
"""What rests on somebody's judgement, which ages; a permission lasts as long as it says."""


class Record(Section):
    """One statement by one named person."""

    kind: Kind
    """acceptance, attestation, acknowledgement or permission."""

    offering: str = Field(min_length=1)
    """The offering it is about, with a version where it is about one version only."""

    by: str
    """The person who says so."""

    role: str = ""
    """In what capacity, e.g. "general counsel"."""

    organisation: str = ""
    """For whom: the organisation of the project; empty means any."""

    on: date
    """The day it was said."""

    expires: date
    """The last day on which it counts."""

    purposes: tuple[Purpose, ...] = ()
    """The purposes it covers."""

    distributions: tuple[Distribution, ...] = ()
    """The distributions it covers."""

    reason: str = Field(min_length=10)
    """Why, in a sentence of ten letters or more."""

    document: str = Field(min_length=1)
    """The text it cites: counsel's note, an order form, a letter, the terms themselves."""

    document_sha256: str = Field(pattern=SHA256)
    """The digest of that text: sha256: and 64 hexadecimal digits, as `sha256sum` prints them."""

    document_file: str = ""
    """Where that text lies, relative to the record; its digest is then held against it."""

    terms_pin: str = Field(default="", pattern=r"^(sha256:[0-9a-f]{64})?$")
    """The entry it was written for, sha256: and 64 hexadecimal digits; where it is given the record
    ends when the entry changes."""

    how: str = Field(default="", pattern=r"^(click|order_form|renewal)?$")
    """How terms were accepted: click, order_form or renewal."""

    @cached_property
    def digest(self) -> str:
        """The name under which decisions refer to it."""
        return digest(self.model_dump(mode="json"))

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if not any(letter.isalpha() for letter in self.by):
            raise Fault("by", self.by, "names no person", "Write the name of who says so.")
        if self.expires < self.on:
            wrong = f"lies before on = {self.on}"
            raise Fault("expires", self.expires, wrong, "Give the last day on which it counts.")
        if self.kind in _SHORT and self.expires > self.on + LONGEST:
            wrong = f"is too late: an {self.kind} lasts {LONGEST.days} days at most"
            raise Fault("expires", self.expires, wrong, f"Write {self.on + LONGEST} or sooner.")
        if self.kind == Kind.ACCEPTANCE and not (self.how and self.terms_pin):
            key = "terms_pin" if self.how else "how"
            fix = "Add both; `spiritsafe terms accept` does."
            raise Fault(key, "", "is empty: an acceptance says how, and of which terms_pin", fix)
        if self.kind != Kind.ACCEPTANCE and not (self.purposes and self.distributions):
            key = "distributions" if self.purposes else "purposes"
            fix = "Name the purposes and the distributions that it covers."
            raise Fault(key, (), f"is no scope, and a record of kind {self.kind} has one", fix)
        return self

    def covers(self, use: Use, terms: Terms, today: date) -> bool:
        """Whether it speaks about this use of this offering on this day."""
        name, version = split_version(self.offering)
        return (
            self.on <= today <= self.expires
            and terms.is_named(name)
            and terms.version.startswith(version)
            and self.terms_pin in ("", terms.pin)
            and self.organisation in ("", use.organisation)
            and _needed(use) <= set(self.purposes)
            and use.distribution in self.distributions
        )


def _needed(use: Use) -> set[Purpose]:
    public = use.distribution == Distribution.DATASET_PUBLIC
    return {use.purpose, Purpose.PUBLISH_DATASET} if public else {use.purpose}


LIFTS = {Level.NEEDS_ACK: Kind.ACKNOWLEDGEMENT, Level.NEEDS_PERMISSION: Kind.PERMISSION}


def lifted(
    reasons: Sequence["Reason"],
    records: Sequence[Record],
    use: Use,
    terms: Terms,
    today: date,
    *,
    bound: bool,
) -> tuple[list["Reason"], tuple[str, ...]]:
    """The reasons with each level lowered that a record lifts, and the digests of those records."""
    ground = Level.ALLOW_WITH if bound else Level.ALLOW
    valid = [record for record in records if record.covers(use, terms, today)]
    by_kind = {record.kind: record for record in sorted(valid, key=lambda each: each.digest)}
    found, used = [], set()
    for reason in reasons:
        kind = LIFTS.get(reason.level)
        record = by_kind.get(kind) if kind else None
        if record is None:
            found.append(reason)
            continue
        found.append(reason.model_copy(update={"level": ground, "lifted_by": record.digest}))
        used.add(record.digest)
    return found, tuple(sorted(used))


def read_records(project: Path, register: Register | None = None) -> tuple[Record, ...]:
    """Every record of a project; a project without any has none.

    With a register, a record about an offering that is not in it is refused: it would lift nothing,
    and whoever wrote it believes otherwise.
    """
    folder = project / FOLDER
    found = {path: read_record(path) for path in sorted(folder.glob("*.toml"))}
    if register is not None:
        for path, record in found.items():
            _refuse_unknown(path, record, register)
    return tuple(found.values())


def _refuse_unknown(path: Path, record: Record, register: Register) -> None:
    name, version = split_version(record.offering)
    versions = [each.version for each in register.history(name)]
    if not versions:
        guess = nearest(name, list(register.names()))
        fix = f'Did you mean "{guess}"?' if guess else "See `spiritsafe terms list`."
        wrong = f'offering = "{record.offering}" is not in the register'
        raise BadInput(wrong, where=str(path), fix=fix)
    if not any(each.startswith(version) for each in versions):
        raise BadInput(
            f'offering = "{record.offering}" names a version that is not in the register',
            where=str(path),
            fix=f"There are: {', '.join(versions)}.",
        )


def read_record(path: Path) -> Record:
    """One record, held against its file name and against the document that it cites."""
    record = parse(Record, load_toml(path), where=str(path))
    begin = f"{record.kind}-{file_name(record.offering)}"
    if not path.stem.startswith(begin):
        raise BadInput(
            f'kind = "{record.kind}", offering = "{record.offering}" do not fit the file name',
            where=str(path),
            fix=f"Call it {begin}.toml.",
        )
    if record.document_file:
        _hold_against(path, record)
    return record


def _hold_against(path: Path, record: Record) -> None:
    """Refuse a record whose document is not there, or is another than the one that was read."""
    document = path.parent / record.document_file
    if not document.is_file():
        raise BadInput(
            f'document_file = "{record.document_file}" is not there',
            where=str(path),
            fix="Put it beside the record, or leave document_file out.",
        )
    found = file_digest(document)
    if found != record.document_sha256:
        raise BadInput(
            f'document_sha256 = "{record.document_sha256}" is not that of '
            f"{record.document_file}, which is {found}",
            where=str(path),
            fix="Cite the document that was read, or read this one and record it anew.",
        )


def record_text(record: Record) -> str:
    """The record as TOML, always in the same form: fields in order, empty ones left out."""
    values = record.model_dump(mode="python")
    lines = [
        f"{key} = {toml_value(value)}" for key, value in values.items() if value not in ("", ())
    ]
    return "\n".join(lines) + "\n"


def write_record(project: Path, record: Record, *, replace: bool = False) -> Path:
    """Put a record where refusals say that it belongs. One that is there is replaced on demand."""
    path = project / record_file(record.kind, record.offering)
    if path.exists() and not replace:
        raise BadInput(
            "there is such a record already",
            where=str(path),
            fix="Renew it on purpose, or keep it.",
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(record_text(record), encoding="utf-8")
    return path


class Due(NamedTuple):
    """Something that ends soon, or has ended."""

    kind: str
    name: str
    expires: date
    days: int
    """Days that are left; negative where it has ended."""
    fix: str


def due(
    records: Iterable[Record], terms: Iterable[Terms], today: date, within: timedelta
) -> list[Due]:
    """What expires within that time or has expired, the most urgent first."""
    found = [*_due_records(records), *_due_reviews(terms)]
    dated = [
        Due(kind, name, expires, (expires - today).days, fix) for kind, name, expires, fix in found
    ]
    return sorted(
        (each for each in dated if each.expires <= today + within),
        key=lambda each: (each.expires, each.kind, each.name),
    )


def _due_records(records: Iterable[Record]) -> Iterator[tuple[str, str, date, str]]:
    for record in records:
        fix = f"{record.by} renews {record_file(record.kind, record.offering)}, or lets it end."
        yield record.kind.value, record.offering, record.expires, fix


def _due_reviews(terms: Iterable[Terms]) -> Iterator[tuple[str, str, date, str]]:
    for entry in terms:
        address = entry.documents[0].address
        yield "review", entry.label, entry.review.expires, f"Read {address} again."
