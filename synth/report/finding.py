"""What may be said about the numbers: the only place where the report draws a conclusion.

Each sentence follows from an interval and from nothing else. A student is never called better than
its teacher for its higher mean, only when the paired interval of their difference leaves out zero.

    sentence(difference, data) == "top_k against untrained: +0.61 [0.52, 0.70] exact match, better."
"""

from typing import Literal, NamedTuple

from synth.report.data import Candidate, Difference, Interval, Prediction, ReportData, Sample
from synth.report.text import bracket, decimal, percent, signed

Outcome = Literal["better", "worse", "higher", "lower", "no difference shown"]

WORDS = {
    "exact_match": "exact match",
    "valid": "valid form",
    "kl": "nats of held-out KL",
    "top1_agreement": "top-1 agreement",
    "prompt_tokens": "prompt tokens",
    "completion_tokens": "completion tokens",
}
"""The readers' word for each metric."""
MORE_IS_BETTER = {"exact_match", "valid", "top1_agreement"}
LESS_IS_BETTER = {"kl", "prompt_tokens", "completion_tokens"}


class Finding(NamedTuple):
    """The report in three sentences."""

    headline: str
    teacher: str
    control: str = ""


class Saving(NamedTuple):
    """What the student no longer has to be told."""

    student: str
    teacher_tokens: float
    student_tokens: float
    share: float


def finding(data: ReportData) -> Finding:
    """What training changed, by the first comparison that says so, and where the teacher stands."""
    for difference in data.differences:
        pair = _learners(difference, data)
        if pair and difference.metric == "exact_match":
            headline = _headline(difference, *pair)
            teacher = _against_teacher(difference.a, data)
            return Finding(headline, teacher, _against_control(difference.a, data))
    nothing = "No trained student was compared with the untrained one, so no gain is shown."
    return Finding(nothing, "")


def outcome(difference: Difference) -> Outcome:
    """What the interval allows to say of a against b."""
    if difference.includes_zero:
        return "no difference shown"
    if difference.metric in MORE_IS_BETTER:
        return "better" if difference.low > 0 else "worse"
    if difference.metric in LESS_IS_BETTER:
        return "worse" if difference.low > 0 else "better"
    return "higher" if difference.low > 0 else "lower"


def sentence(difference: Difference, data: ReportData) -> str:
    """One difference in words, saying plainly when its interval includes zero."""
    metric = WORDS.get(difference.metric, difference.metric)
    pair = f"{data.named(difference.a)} against {data.named(difference.b)}"
    numbers = f"{signed(difference.value)} {bracket(difference.low, difference.high)} {metric}"
    if difference.includes_zero:
        return f"{pair}: {numbers}; the interval includes zero, so no difference is shown."
    return f"{pair}: {numbers}, {outcome(difference)}."


def estimate(interval: Interval | None) -> str:
    """A mean with its interval, or a dash where it was not measured."""
    if interval is None:
        return "–"
    return f"{decimal(interval.value)} {bracket(interval.low, interval.high)}"


def saving(data: ReportData) -> Saving | None:
    """Prompt tokens of the teacher against the headline student, or else the first trained one."""
    teacher = next((one for one in data.candidates if one.kind == "teacher"), None)
    student = _headline_student(data)
    if teacher is None or student is None:
        return None
    before, after = teacher.metrics.prompt_tokens, student.metrics.prompt_tokens
    if not before or after is None:
        return None
    return Saving(student.name, before, after, 1 - after / before)


def right(sample: Sample, candidate: str, data: ReportData) -> bool | None:
    """Whether the evaluation found the answer right; none where no evaluation speaks of it."""
    found = data.find(candidate)
    answer = sample.answers[candidate]
    told = (
        one.correct for one in (found.predictions if found else ()) if _same(one, sample, answer)
    )
    return next(told, None)


def _same(prediction: Prediction, sample: Sample, answer: str) -> bool:
    return prediction.message == sample.message and prediction.text == answer


def _is_headline(difference: Difference, data: ReportData) -> bool:
    return difference.metric == "exact_match" and _learners(difference, data) is not None


def _learners(difference: Difference, data: ReportData) -> tuple[Candidate, Candidate] | None:
    """The trained and the untrained student, if it is these two that are compared."""
    a, b = data.find(difference.a), data.find(difference.b)
    if a and b and (a.kind, b.kind) == ("trained", "untrained"):
        return a, b
    return None


def _headline_student(data: ReportData) -> Candidate | None:
    names = [one.a for one in data.differences if _is_headline(one, data)]
    names += [one.candidate for one in data.candidates if one.kind == "trained"]
    return data.find(names[0]) if names else None


def _headline(difference: Difference, trained: Candidate, untrained: Candidate) -> str:
    scores = (
        f"{trained.name} answers {_score(trained)} of {trained.rows:,} held-out messages "
        f"exactly right, against {_score(untrained)} for {untrained.name}"
    )
    found = f"difference {signed(difference.value)}, 95\u202f% interval"
    numbers = f"{found} {bracket(difference.low, difference.high)}"
    match outcome(difference):
        case "better":
            return f"{scores} ({numbers})."
        case "worse":
            return f"Training made the student worse: {scores} ({numbers})."
        case _:
            return f"No gain is shown: {scores}, and the interval includes zero ({numbers})."


def _score(candidate: Candidate) -> str:
    exact = candidate.metrics.exact_match
    return percent(exact.value) if exact else "an unmeasured share"


def _against_control(student: str, data: ReportData) -> str:
    """What the known answers alone would have reached, so that no gain is credited to the teacher
    that supervision alone brings."""
    controls = {one.candidate for one in data.candidates if one.control}
    pairs = (one for one in data.differences if one.metric == "exact_match")
    found = next((one for one in pairs if {one.a, one.b} in [{student, c} for c in controls]), None)
    if found is None:
        return ""
    control = next(
        one for one in data.candidates if one.candidate in (controls & {found.a, found.b})
    )
    said = f"The control, taught by the known answers alone, reaches {_score(control)}"
    if found.includes_zero:
        return f"{said}: on exact match no difference to it is shown."
    ahead = found.a if found.low > 0 else found.b
    return f"{said}: on exact match {data.named(ahead)} is ahead of the other."


def _against_teacher(student: str, data: ReportData) -> str:
    """Where the student stands to its teacher, which only their paired difference may say."""
    teachers = {one.candidate for one in data.candidates if one.kind == "teacher"}
    if not teachers:
        return "The teacher was not evaluated on these messages."
    pairs = (one for one in data.differences if one.metric == "exact_match")
    found = next((one for one in pairs if {one.a, one.b} in [{student, t} for t in teachers]), None)
    if found is None:
        return "Student and teacher were not compared row by row: nothing says which is ahead."
    numbers = f"{signed(found.value)} {bracket(found.low, found.high)}"
    pair = f"{data.named(found.a)} against {data.named(found.b)}: {numbers}"
    if found.includes_zero:
        return f"{pair}; on these messages neither is shown to be ahead."
    ahead = found.a if found.low > 0 else found.b
    return f"{pair}; on these messages {data.named(ahead)} is ahead."
