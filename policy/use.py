"""What somebody means to do with a teacher's words. What is not said is taken at its worst.

>>> Use(purpose="train_specialist", distribution="internal").purpose
<Purpose.TRAIN_SPECIALIST_GENERATIVE: 'train_specialist_generative'>
"""

from enum import StrEnum
from typing import NamedTuple

from pydantic import Field

from policy.config import Section


class Purpose(StrEnum):
    """What the answers are for. The words are those that the terms entries use."""

    TRAIN_COMPETING_GENERAL = "train_competing_general"
    TRAIN_SPECIALIST_GENERATIVE = "train_specialist_generative"
    TRAIN_CLASSIFIER = "train_classifier"
    EVALUATE = "evaluate"
    PUBLISH_DATASET = "publish_dataset"
    PUBLISH_BENCHMARK = "publish_benchmark"
    RESEARCH_NONCOMMERCIAL = "research_noncommercial"
    TRAIN_COMPETING_IMAGE_MODEL = "train_competing_image_model"

    @classmethod
    def _missing_(cls, value: object) -> "Purpose | None":
        return {
            "train_general": cls.TRAIN_COMPETING_GENERAL,
            "train_specialist": cls.TRAIN_SPECIALIST_GENERATIVE,
        }.get(str(value))


class Distribution(StrEnum):
    """Who may get at the student, or at the dataset. Several clauses bite only here."""

    INTERNAL_ONLY = "internal_only"
    SAAS_TO_THIRD_PARTIES = "saas_to_third_parties"
    WEIGHTS_PRIVATE = "weights_private"
    WEIGHTS_PUBLIC = "weights_public"
    DATASET_PUBLIC = "dataset_public"

    @classmethod
    def _missing_(cls, value: object) -> "Distribution | None":
        return cls.INTERNAL_ONLY if value == "internal" else None


class Use(Section):
    """The `[use]` table of a project."""

    purpose: Purpose = Purpose.TRAIN_COMPETING_GENERAL
    """What the teacher's answers are for; unstated means the worst case."""

    distribution: Distribution = Distribution.WEIGHTS_PUBLIC
    """Who will get at the student or the dataset; unstated means everybody."""

    student_base: str = ""
    """The model that will be trained, e.g. "smollm2"; some terms allow only their own family."""

    organisation: str = ""
    """Whose project this is."""

    region: str = ""
    """Where the organisation is established (ISO 3166); some terms grant nothing there."""

    field: str = ""
    """What a specialised student is for, e.g. "sentiment"; some texts list what they accept."""

    context: tuple[str, ...] = ()
    """Circumstances that a clause may ask about, e.g. "unpaid tier", "commercial"."""

    monthly_users: int | None = Field(default=None, ge=0)
    """How many people a month use the organisation's products, where some licence sets a cap."""

    monthly_revenue_usd: int | None = Field(default=None, ge=0)
    """What they bring in a month, where some licence sets a cap."""


class Given(NamedTuple):
    """What is known of the rows, and of the moment of asking; the rest of a question is `Use`."""

    features: tuple[str, ...] = ()
    """Features of the offering that were used: grounding, web_search, reasoning."""

    modality: str = ""
    """What the answers are: text where nothing else is said."""

    requested: str = ""
    """The model that was asked for, where a channel serves many."""

    served: str = ""
    """The model that really answered."""

    stage: str = ""
    """The step that asks: plan, collect, freeze, train, evaluate or publish."""

    name: str = ""
    """The name under which the student will be published."""


NOTHING_GIVEN = Given()
STAGES = ("plan", "collect", "freeze", "filter", "train", "evaluate", "publish")
BEFORE_SENDING = ("plan", "collect")
