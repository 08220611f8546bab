"""Everything the report shows, in one frozen mapping.

The report is the last thing a run leaves, and often the only thing others read. A closed model at
this door makes a misspelt or missing figure an error, not an empty place on a trusted page.

    ReportData.model_validate_json(path.read_bytes()).money.paid_usd
"""

from typing import Literal

from pydantic import ConfigDict, Field

from policy.config import Section


class Shown(Section):
    """A figure may be infinite here: a training that blew up is shown as it is."""

    model_config = ConfigDict(allow_inf_nan=True)


class Record(Shown):
    """What another step wrote for its own ends: the rest of what it holds is not for the page."""

    model_config = ConfigDict(extra="ignore")


class Teacher(Shown):
    """Who answered."""

    model: str
    """The model that was asked for."""
    offering: str
    """The id of the offering, under whose terms the answers were given."""
    served_models: tuple[str, ...] = ()
    """The names the server itself gave for the model; several: it changed on the way."""
    weights: str = ""
    """Which weights, how quantised, and their digest; empty if the provider does not say."""


class StatedUse(Shown):
    """What the project says that it means to do: the ground of the decision."""

    purpose: str
    """The purpose, in the words of the terms register."""
    distribution: str
    """Who gets the student."""


class Reason(Record):
    """One clause that led to the decision."""

    text: str
    """The clause in our own words, or what is missing."""
    clause: str = ""
    """Where in the document: its number or heading."""
    document: str = ""
    """The document's name."""
    document_date: str = ""
    """The version of the document, by its date."""
    applies: str = ""
    """How it applies to this use, where that is not plain."""
    level: str = ""
    """The level that this clause alone asks for; empty if it is not told apart."""


class DecisionShown(Record):
    """What the terms say for this use."""

    level: str
    """ALLOW, ALLOW_WITH, NEEDS_ACK, NEEDS_PERMISSION or DENY."""
    reasons: tuple[Reason, ...] = ()
    """The clauses, the weightiest first."""
    obligations: tuple[str, ...] = ()
    """What must be done in return."""


class Money(Shown):
    """What the answers cost."""

    requests: int
    """Requests sent, retries among them."""
    answers: int
    """Requests that brought a completion."""
    failed: int
    """Requests that brought a failure."""
    unknown: int
    """Requests whose outcome was never recorded: possibly billed."""
    paid_usd: float
    """US dollars, by the price list at the time of sending."""
    prompt_tokens: int
    """Prompt tokens, as the provider counted them."""
    completion_tokens: int
    """Completion tokens, as the provider counted them."""


class CoverageRow(Shown):
    """What the filters left of one class; whole classes vanish without a sound otherwise."""

    label: str
    """The class, for example a known intent."""
    asked: int
    """Messages of this class that the teacher was asked about."""
    answered: int
    """Answers that came back, several a message."""
    kept: int
    """Answers that may teach."""
    messages_kept: int
    """Messages with at least one answer that may teach."""

    @property
    def share(self) -> float:
        """The share of the messages that still teach; 0 where none was asked."""
        return self.messages_kept / self.asked if self.asked else 0.0


class FilterCount(Shown):
    """What one filter did."""

    filter: str
    """The filter's name."""
    kept: int
    """Answers it let through."""
    dropped: int
    """Answers it dropped."""
    reasons: tuple[tuple[str, int], ...] = ()
    """Why, with the number of answers, the most frequent first."""


class Interval(Shown):
    """A mean with its 95 % bootstrap interval."""

    value: float
    """The mean over the rows."""
    low: float
    """The 2.5 % point of the resampled means."""
    high: float
    """The 97.5 % point of the resampled means."""
    tokens: int | None = None
    """How many tokens it was taken over, where it is a measure of tokens."""


class Metrics(Shown):
    """What was measured on the held-out rows; absent where it has no meaning for the candidate."""

    exact_match: Interval | None = None
    """Share of answers whose known fields are all right."""
    valid: Interval | None = None
    """Share of answers in the demanded form, right or wrong."""
    kl: Interval | None = None
    """KL(teacher‖student) in nats a token, from the teacher's stored probabilities."""
    top1_agreement: Interval | None = None
    """Share of tokens for which student and teacher hold the same one likeliest."""
    prompt_tokens: float | None = None
    """Mean prompt tokens a message."""
    completion_tokens: float | None = None
    """Mean completion tokens a message."""


class Prediction(Record):
    """One answer to one held-out message."""

    id: str
    """The prompt's id."""
    message: str
    """What the customer wrote."""
    expected: str | None = None
    """Canonical JSON of the known answer fields; none if unknown."""
    text: str
    """What the candidate answered, as it came."""
    correct: bool | None = None
    """The evaluation's own finding."""


class Candidate(Record):
    """One evaluation.json: the untrained student, a trained one, or the teacher."""

    candidate: str
    """The short name that differences, curves and samples use."""
    kind: Literal["untrained", "trained", "teacher"]
    """What it is."""
    rows: int
    """Held-out messages it was measured on."""
    metrics: Metrics
    """What was measured."""
    predictions: tuple[Prediction, ...] = ()
    """Its answers."""
    label: str = ""
    """A name for readers; the short name if empty."""
    control: bool = False
    """Taught without the teacher: what any gain must be read against."""
    note: str = ""
    """What a reader must know to read its numbers fairly: "the control", "kept by agreement"."""

    @property
    def name(self) -> str:
        """How it is called on the page and in the table."""
        return self.label or self.candidate


class Difference(Shown):
    """The mean difference a - b over the same rows, paired by row."""

    a: str
    """The candidate in front."""
    b: str
    """The candidate it is compared with."""
    metric: str
    """The name of the metric, as in `Metrics`."""
    value: float
    """The mean difference."""
    low: float
    """Lower end of the 95 % interval."""
    high: float
    """Upper end of the 95 % interval."""

    @property
    def includes_zero(self) -> bool:
        """True unless the whole interval is on one side; one that is not a number shows nothing."""
        return not (self.low > 0 or self.high < 0)


class CurvePoint(Record):
    """One logged step of a training run."""

    step: int
    """Optimiser steps so far."""
    loss: float | None = None
    """Training loss, in the units of the run's objective."""
    validation_loss: float | None = None
    """Loss on the validation split."""


class Sample(Shown):
    """One held-out message and what each candidate made of it."""

    message: str
    """What the customer wrote."""
    expected: str | None = None
    """Canonical JSON of the known answer fields; none if unknown."""
    answers: dict[str, str]
    """Candidate to answer, in the order to show."""


class LogState(Shown):
    """The tamper-evident log when the report was made."""

    size: int
    """Number of leaves."""
    root: str
    """The tree's root hash."""
    checkpoint: str
    """The signed note over both, word for word."""


class ReportData(Shown):
    """All that the page and the table show."""

    project: str
    """The project's name."""
    date: str
    """The day of the report, ISO."""
    teacher: Teacher
    """Who answered."""
    use: StatedUse
    """What the student is for."""
    decision: DecisionShown
    """What the terms say for this use."""
    money: Money
    """What the answers cost."""
    coverage: tuple[CoverageRow, ...] = ()
    """What is left of each class after filtering."""
    filters: tuple[FilterCount, ...] = ()
    """What each filter dropped, in the order they ran."""
    candidates: tuple[Candidate, ...] = ()
    """The evaluations, in the order to show."""
    differences: tuple[Difference, ...] = ()
    """Paired by row; the first exact match of a trained against an untrained student leads."""
    curves: dict[str, tuple[CurvePoint, ...]] = Field(default_factory=dict)
    """Candidate to its logged steps."""
    samples: tuple[Sample, ...] = ()
    """Answers side by side."""
    notes: tuple[str, ...] = ()
    """What else a reader must know: quantisation, the control, where supervision came from."""
    log: LogState
    """The log's checkpoint."""

    def find(self, name: str) -> Candidate | None:
        """The candidate of this short name."""
        return next((one for one in self.candidates if one.candidate == name), None)

    def named(self, name: str) -> str:
        """The readers' name of a candidate; the short name itself if it was not evaluated."""
        found = self.find(name)
        return found.name if found else name
