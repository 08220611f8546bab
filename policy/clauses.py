"""The parts of a terms entry: documents, clauses, duties, and what they mean for which use.

A rule speaks about purposes, and may be narrowed to a distribution, a feature, a modality, a field
of work, a region. Narrowing patterns are shell patterns; "!" in front of one excludes, and the word
"unstated" stands for what nobody said. Of several rules that fit, the strictest counts.

>>> fits(("*grounding*",), ("grounding_google_search",)), fits(("EU", "unstated"), ())
(True, True)
"""

import re
from datetime import date, timedelta
from enum import IntEnum, StrEnum
from fnmatch import fnmatchcase
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, PlainSerializer, model_validator

from policy.config import Fault, Section, nearest
from policy.regions import is_region
from policy.use import Distribution, Purpose

REVIEW_LASTS = timedelta(days=90)
ADDRESS = r"^https://[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+(:[0-9]+)?([/?#]\S*)?$"
UNSTATED = "unstated"
Patterns = tuple[Annotated[str, Field(min_length=1)], ...]


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
    guess = nearest(str(value).upper(), list(Level.__members__))
    levels = f"The levels are {', '.join(Level.__members__)}."
    raise Fault("", value, "is no level", f"Did you mean {guess}?" if guess else levels)


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

    address: str = Field(pattern=ADDRESS)
    """Where everybody can read it: an address that begins with https://."""

    archive: str = ""
    """Where the copy that was read is kept: archive, path and commit."""


class Clause(Section):
    """One clause in our own words."""

    ref: str = Field(min_length=1)
    """The number or heading by which the document names it."""

    document: str
    """The `id` of the document it stands in."""

    paraphrase: str = Field(min_length=10)
    """What it says, in our own words, in a sentence."""

    starts: str = ""
    """Its first few words in normal form, by which it is found in a captured text."""

    words: int = Field(default=0, ge=0)
    """How many words it has in normal form."""

    sha256_norm: str = Field(default="", pattern=r"^(sha256:[0-9a-f]{64})?$")
    """Digest of its normalised text, sha256: and 64 hexadecimal digits, by which a change of the
    clause is noticed and a change of the page is not."""

    @model_validator(mode="after")
    def _can_be_found_again(self) -> Self:
        if bool(self.sha256_norm) != bool(self.starts and self.words):
            raise Fault(
                "sha256_norm",
                self.sha256_norm,
                "goes with starts and words: they stand together or not at all",
                "Give all three, or leave all three out.",
            )
        return self


class Obligation(Section):
    """Something that must be done in return."""

    text: str = Field(min_length=10)
    """What to do, as an instruction."""

    clause: str
    """The clause that asks for it."""

    name_prefix: str = ""
    """What the student's name must begin with."""

    name_without: Patterns = ()
    """Words that the student's name must not hold."""

    card_text: Patterns = ()
    """The card must hold one of these texts."""

    notice_files: Patterns = ()
    """Files that must come with what is published."""

    licence: str = ""
    """What the card's licence fields must mention."""

    monthly_users: int = Field(default=0, ge=0)
    """Above so many monthly users a licence must be asked for first; 0 where there is no cap."""

    monthly_revenue_usd: int = Field(default=0, ge=0)
    """Above so much revenue a month the duty bites; 0 where there is no cap."""

    above_cap: LevelName = Level.ALLOW_WITH
    """The level for those who are above the cap."""


class Retention(Section):
    """How long something may be kept."""

    days: int = Field(ge=0)
    """Days after which it must be gone."""

    text: str
    """What must be gone, and on whose side."""

    clause: str
    """The clause that asks for it."""

    features: Patterns = ()
    """Only for answers that were made with such a feature; empty means all."""

    kept_by: Literal["customer", "provider"] = "customer"
    """Whose storing it limits; a provider's own limit asks nothing of us and is told only."""


class Rule(Section):
    """What the clauses mean for some purposes. Of several that fit, the strictest counts."""

    purposes: tuple[Purpose, ...] = Field(min_length=1)
    """The purposes it speaks about."""

    distributions: tuple[Distribution, ...] = ()
    """Only for these distributions; empty means all of them."""

    features: Patterns = ()
    """Only where a feature such as grounding was used."""

    modalities: Patterns = ()
    """Only for answers of this kind: text, image, audio, video, multimodal."""

    fields: Patterns = ()
    """Only for students of this field of work, e.g. sentiment analysis."""

    contexts: Patterns = ()
    """Only in these circumstances, e.g. an unpaid tier."""

    bases: Patterns = ()
    """Only for students that start from these models."""

    regions: Patterns = ()
    """Only for organisations established there: EU, EEA, or a country's two letters."""

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

    @property
    def narrowing(self) -> str:
        """What decides beside purpose and distribution, in words; empty where nothing does."""
        parts = {
            "features": self.features,
            "modalities": self.modalities,
            "fields": self.fields,
            "contexts": self.contexts,
            "bases": self.bases,
            "regions": self.regions,
        }
        return "; ".join(f"{name} {', '.join(held)}" for name, held in parts.items() if held)

    @model_validator(mode="after")
    def _level_fits(self) -> Self:
        bound = bool(self.obligations or self.student_families)
        if self.level == Level.ALLOW and bound:
            raise Fault("level", "ALLOW", "has obligations or families", "Write ALLOW_WITH.")
        if self.level == Level.ALLOW_WITH and not bound:
            raise Fault("level", "ALLOW_WITH", "names no obligation", "Name one, or write ALLOW.")
        for region in self.regions:
            if not is_region(region.removeprefix("!")) and region != UNSTATED:
                fix = "Write EU, EEA, a country's two letters (ISO 3166), or unstated."
                raise Fault("regions", region, "is no region, so the rule would never hold", fix)
        return self


def fits(patterns: Patterns, said: tuple[str, ...]) -> bool:
    """Whether a condition holds: some pattern fits and none that excludes does."""
    if not patterns:
        return True
    words = tuple(word.lower() for word in said) or (UNSTATED,)
    wanted = [pattern.lower() for pattern in patterns if pattern[0] != "!"]
    unwanted = [pattern[1:].lower() for pattern in patterns if pattern[0] == "!"]
    if any(fnmatchcase(word, pattern) for word in words for pattern in unwanted):
        return False
    return not wanted or any(fnmatchcase(word, pattern) for word in words for pattern in wanted)


def plain(word: str) -> str:
    """ "Grounding with Google Search" as a word that patterns can be held against."""
    return re.sub(r"[^a-z0-9.+]+", "_", word.lower()).strip("_")


class Review(Section):
    """The person who read the text, and until when that reading is good."""

    by: str
    """Who read it."""

    on: date
    """When."""

    expires: date
    """The last day on which it counts, at most 90 days later."""

    confidence: Confidence
    """primary, secondary or unreviewed."""

    @model_validator(mode="after")
    def _is_a_review(self) -> Self:
        if not any(letter.isalpha() for letter in self.by):
            raise Fault("by", self.by, "names no person", "Write the name of who read the text.")
        if not self.on < self.expires <= self.on + REVIEW_LASTS:
            raise Fault(
                "expires",
                self.expires,
                f"must be 1 to {REVIEW_LASTS.days} days after on = {self.on}",
                f"Write {self.on + REVIEW_LASTS} at the latest, and read the text again by then.",
            )
        return self
