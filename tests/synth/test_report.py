"""The report says what the numbers allow, keeps foreign text harmless, and reads well anywhere."""

import base64
import hashlib
import json
import math
import re
import tomllib
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from rich.console import Console, RenderableType

from synth.report import ReportData, coverage, html, table
from synth.report.chart import axis, curves
from synth.report.data import CurvePoint
from synth.report.finding import finding, sentence
from synth.report.text import decimal, percent, shown
from tests.browser import measured, needs_chromium

HOSTILE = (
    "<script>document.title='owned'</script><img src=x onerror=alert(1)>"
    "<a href='javascript:alert(1)'>x</a>{{ 7*7 }}</pre></style>[red]"
    "\x1b[2J\u202egnorw\u202c\x00\ud800\U000e0041"
)

RUN = """
project = "quickstart"
date = "2026-11-24"
notes = [
  "Verification by the known intent is itself supervision: see the control.",
  "The teacher's weights are stored as Q8_0; its probabilities are the quantised model's.",
]
[teacher]
model = "SmolLM2-135M-Instruct"
offering = "local/smollm2-135m-instruct"
served_models = ["smollm2-135m-instruct-f32.gguf"]
weights = "Q8_0, served as F32"
[use]
purpose = "narrow_specialist"
distribution = "weights_public"
[decision]
level = "ALLOW_WITH"
obligations = ["Keep the licence text and the notice with the weights."]
[[decision.reasons]]
clause = "2"
document = "Apache License 2.0"
document_date = "2004-01-01"
text = "Grants everyone a licence to reproduce the work, to build on it and to pass it on."
[[decision.reasons]]
clause = "4(a)"
document = "Apache License 2.0"
document_date = "2004-01-01"
text = "Whoever passes the work on gives the recipients a copy of the licence."
[money]
requests = 1612
answers = 1600
failed = 9
unknown = 3
paid_usd = 0.0
prompt_tokens = 1195459
completion_tokens = 50611
[[filters]]
filter = "duplicate"
kept = 1431
dropped = 169
reasons = [["same answer to the same message", 169]]
[[filters]]
filter = "truncated"
kept = 1419
dropped = 12
reasons = [["finish_reason is length", 12]]
[[filters]]
filter = "verify"
kept = 582
dropped = 837
reasons = [["intent differs", 829], ["reply is empty", 8]]
[log]
size = 3842
root = "sha256:9f9f9f9f9f9f9f9f9f9f9f9f9f9f9f9f9f9f9f9f9f9f9f9f9f9f9f9f9f9f9f9f"
checkpoint = '''
spiritsafe/quickstart
3842
n5+fn5+fn5+fn5+fn5+fn5+fn5+fn5+fn5+fn5+fn58=

— spiritsafe/quickstart Az3yAz3yAz3yAz3yAz3yAz3yAz3yAz3yAz3yAz3yAz3yAz3yAz3yAz3yAz3yAz3yAz3yAz3y
'''
"""

KEPT = """
card_arrival 31  change_pin 29  activate_my_card 34  terminate_account 21  country_support 15
exchange_rate 15  age_limit 7  lost_or_stolen_card 4  apple_pay_or_google_pay 0  card_swallowed 38
"""

SAMPLES = """
I am still waiting on my card?|card_arrival|card_arrival|card_arrival
Why did the ATM keep my card, I need it tomorrow!|card_swallowed|lost_or_stolen_card|card_swallowed
Can I use my card with Apple Pay?|apple_pay_or_google_pay|activate_my_card|activate_my_card
How old do my kids have to be to get an account|age_limit|age_limit|age_limit
what countries do you support|country_support|country_support|country_support
I think someone has stolen my phone and card.|lost_or_stolen_card|change_pin|lost_or_stolen_card
Is it possible to change my PIN at any cash machine?|change_pin|change_pin|change_pin
please close my account|terminate_account|terminate_account|terminate_account
"""
CHAT = "Sure! I'd be happy to help you. First of all, you should contact your bank's customer "


def candidate(name: str, kind: str, exact: float, kl: float | None, **more: str) -> dict[str, Any]:
    def around(value: float, half: float, top: float = 1) -> dict[str, float]:
        return {"value": value, "low": max(0, value - half), "high": min(top, value + half)}

    spread = 1.96 * math.sqrt(exact * (1 - exact) / 200)
    valid = around(0.01 if kind == "untrained" else 0.985, 0.015)
    metrics = {"exact_match": around(exact, spread), "valid": valid, "completion_tokens": 31.4}
    metrics["prompt_tokens"] = 741.6 if kind == "teacher" else 38.2
    if kl:
        metrics["kl"] = {**around(kl, kl / 20, 99), "tokens": 6120}
        metrics["top1_agreement"] = around(0.71, 0.02)
    return {"candidate": name, "kind": kind, "rows": 200, "metrics": metrics, **more}


def candidates() -> list[dict[str, Any]]:
    control = "the same student, taught without any answer of the teacher"
    agreement = "kept by agreement among samples, no known intent used"
    return [
        candidate("teacher", "teacher", 0.315, None, label="SmolLM2-135M (teacher)"),
        candidate("untrained", "untrained", 0.0, 3.91),
        candidate("control", "trained", 0.74, 2.61, label="control: intents alone", note=control),
        candidate("agreement", "trained", 0.42, 1.58, label="gold-free", note=agreement),
        candidate("sft", "trained", 0.70, 2.23),
        candidate("top_k+sft", "trained", 0.72, 1.42),
    ]


def difference(a: str, b: str, value: float, half: float, metric: str = "exact_match") -> Any:
    around = {"value": value, "low": value - half, "high": value + half}
    return {"a": a, "b": b, "metric": metric, **around}


def differences() -> list[dict[str, Any]]:
    return [
        difference("top_k+sft", "untrained", 0.72, 0.06),
        difference("top_k+sft", "teacher", 0.405, 0.08),
        difference("top_k+sft", "control", -0.02, 0.05),
        difference("top_k+sft", "sft", -0.81, 0.1, metric="kl"),
    ]


def reply(intent: str) -> str:
    help_with = intent.replace("_", " ")
    return json.dumps({"intent": intent, "reply": f"I can help you. Let us look at {help_with}."})


def samples() -> list[dict[str, Any]]:
    rows = []
    for line in SAMPLES.strip().splitlines():
        message, known, taught, learnt = line.split("|")
        answers = {"teacher": reply(taught), "untrained": CHAT * 2, "sft": reply(learnt)}
        answers["top_k+sft"] = reply(learnt)
        expected = f'{{"intent":"{known}"}}'
        rows.append({"message": message, "expected": expected, "answers": answers})
    return rows


def judged(one: dict[str, Any]) -> dict[str, Any]:
    rows = []
    for n, sample in enumerate(samples()):
        text = sample["answers"].get(one["candidate"], "")
        correct = json.loads(sample["expected"])["intent"] in text
        asked = {"message": sample["message"], "expected": sample["expected"]}
        rows.append({"id": f"p{n}", **asked, "text": text, "correct": correct})
    return {**one, "predictions": rows}


def losses(start: float, end: float, tail: float) -> list[dict[str, float]]:
    def falling(step: int, speed: int) -> float:
        return end + (start - end) * math.exp(-step / speed)

    train = [{"step": s, "loss": falling(s, 30) + 0.06 * math.sin(s)} for s in range(2, 161, 2)]
    checked = range(20, 161, 20)
    held = [{"step": s, "validation_loss": falling(s, 25) + 0.2 + tail * s} for s in checked]
    return [*train, *held]


def counts() -> list[dict[str, Any]]:
    words = KEPT.split()
    kept = dict(zip(words[::2], map(int, words[1::2]), strict=True))
    asked = {"asked": 40, "answered": 160}
    return [{"label": k, **asked, "kept": 3 * n, "messages_kept": n} for k, n in kept.items()]


def report(**changes: Any) -> ReportData:
    """A realistic run: ten bank intents, a small teacher, four trained students."""
    measured = {
        "coverage": counts(),
        "candidates": [judged(one) for one in candidates()],
        "differences": differences(),
        "curves": {"sft": losses(3.1, 0.35, 0.0035), "top_k+sft": losses(3.4, 0.62, 0.0008)},
        "samples": samples(),
    }
    return ReportData.model_validate(tomllib.loads(RUN) | measured | changes)


def hostile() -> ReportData:
    """Every place that a model, a server or a provider's document can write to is hostile."""
    answers = {"sft": HOSTILE, HOSTILE: HOSTILE * 50}
    served = {"served_models": [HOSTILE, "b"], "weights": HOSTILE}
    nothing = {"asked": 1, "answered": 1, "kept": 0, "messages_kept": 0}
    return report(
        project=HOSTILE,
        candidates=[candidate("sft", "trained", 0.7, None, label=HOSTILE, note=HOSTILE)],
        notes=[HOSTILE],
        curves={HOSTILE: losses(3, 1, 0)},
        teacher={"model": HOSTILE, "offering": HOSTILE, **served},
        coverage=[{"label": HOSTILE, **nothing}],
        filters=[{"filter": HOSTILE, "kept": 1, "dropped": 1, "reasons": [[HOSTILE, 1]]}],
        samples=[{"message": HOSTILE, "expected": HOSTILE, "answers": answers}],
        log={"size": 1, "root": HOSTILE, "checkpoint": HOSTILE},
    )


class Elements(HTMLParser):
    """Collects what a browser would act on."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[tuple[str, str]] = set()
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {(name, value or "") for name, value in attrs}


def printed(shown_thing: RenderableType, width: int) -> str:
    console = Console(width=width, color_system=None, force_terminal=False, legacy_windows=False)
    with console.capture() as captured:
        console.print(shown_thing)
    return captured.get()


def test_headline_states_the_gain_with_its_interval() -> None:
    said = finding(report()).headline.replace("\u202f", " ")
    assert said == (
        "top_k+sft answers 72 % of 200 held-out messages exactly right, against 0 % for untrained "
        "(difference +0.72, 95 % interval [0.66, 0.78])."
    )


@pytest.mark.parametrize(
    ("value", "said"),
    [(0.2, "sft answers"), (-0.2, "Training made the student worse"), (0.02, "No gain is shown")],
)
def test_headline_admits_harm_and_doubt(value: float, said: str) -> None:
    data = report(differences=[difference("sft", "untrained", value, 0.1)])
    assert finding(data).headline.startswith(said)


def test_headline_without_a_comparison_claims_nothing() -> None:
    assert "no gain is shown" in finding(report(differences=[])).headline


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (0.2, "sft is ahead"),
        (-0.2, "SmolLM2-135M (teacher) is ahead"),
        (0.05, "neither is shown to be ahead"),
        (0.1, "neither is shown to be ahead"),
    ],
)
def test_student_is_ahead_of_its_teacher_only_if_the_interval_says_so(
    value: float, said: str
) -> None:
    both = [difference("sft", "untrained", 0.7, 0.1), difference("sft", "teacher", value, 0.1)]
    assert said in finding(report(differences=both)).teacher


def test_without_a_paired_difference_nothing_is_said_of_student_and_teacher() -> None:
    data = report(differences=[difference("sft", "untrained", 0.7, 0.1)])
    assert "nothing says which is ahead" in finding(data).teacher


def test_differences_are_sentences() -> None:
    said = [sentence(one, report()) for one in report().differences]
    assert said[0] == "top_k+sft against untrained: +0.72 [0.66, 0.78] exact match, better."
    assert said[2].endswith("the interval includes zero, so no difference is shown.")
    assert said[3].endswith("nats of held-out KL, better.")


@pytest.mark.parametrize("width", [80, 100])
def test_table_fits_the_terminal(width: int) -> None:
    lines = printed(table(report()), width).splitlines()
    assert max(map(len, lines)) <= width
    row = next(line for line in lines if line.startswith("top_k+sft "))
    assert row.split() == ["top_k+sft", "0.72", "[0.66,", "0.78]", "0.98", "1.42", "38"]


def test_vanished_classes_come_first_and_are_named() -> None:
    said = printed(coverage(report()), 80)
    assert "Nothing of apple_pay_or_google_pay passed" in said
    assert "✗ none" in said.splitlines()[2]


def test_terminal_obeys_no_foreign_text() -> None:
    said = printed(table(hostile()), 80) + printed(coverage(hostile()), 80)
    assert "\x1b" not in said
    assert "\u202e" not in said
    assert "[red]" in said


def test_page_holds_nothing_a_browser_would_run_or_fetch() -> None:
    for data in (report(), hostile()):
        page = Elements(html(data))
        assert not page.tags & {"script", "img", "a", "link", "iframe", "object", "form", "base"}
        names = {name for name, _ in page.attributes}
        assert not names & {"src", "href", "style", "action", "srcset"}
        assert not any(name.startswith("on") for name in names)


def test_page_shows_hostile_text_as_text() -> None:
    page = html(hostile())
    assert "&lt;script&gt;document.title" in page
    assert "⟨U+001B⟩[2J⟨U+202E⟩gnorw⟨U+202C⟩⟨U+0000⟩⟨U+D800⟩⟨U+E0041⟩" in page
    assert not set(page) & {"\x1b", "\u202e", "\u202c", "\x00", "\ud800"}
    assert "{{ 7*7 }}" in page
    page.encode("utf-8")


def test_policy_allows_only_the_one_style() -> None:
    page = html(report())
    style = page.split("<style>")[1].split("</style>")[0]
    hashed = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"default-src 'none'; style-src 'sha256-{hashed}'; img-src data:" in page
    assert page.count("<style>") == 1


def test_page_is_the_same_bytes_for_the_same_data() -> None:
    assert html(report()) == html(report())


def test_charts_have_titles_and_tables_have_captions() -> None:
    page = html(report())
    drawn = re.findall(
        r'<svg[^>]*role="img" aria-labelledby="([^"]+)">\s*<title id="([^"]+)">', page
    )
    assert len(drawn) == 5
    assert all(label == title for label, title in drawn)
    assert page.count("<table") == page.count("<caption>")
    assert not re.search(r"<th(?![^>]*scope=)[ >]", page)


def test_right_and_wrong_are_marked_in_words() -> None:
    page = html(report())
    assert page.count("✓ right") == 8 - 3 + 2 * 7
    assert page.count("✗ wrong") == 3 + 8 + 2 * 1


def test_a_report_of_a_run_that_did_nothing_is_still_a_page() -> None:
    lists = ("coverage", "filters", "candidates", "differences", "samples", "notes")
    data = report(curves={}, **{name: [] for name in lists})
    assert "no gain is shown" in html(data)
    assert printed(table(data), 80)


def test_losses_that_are_not_finite_are_counted_and_not_drawn() -> None:
    drawn = curves("sft", [CurvePoint(step=1, loss=2.0), CurvePoint(step=2, loss=math.nan)])
    assert drawn is not None
    assert drawn.not_finite == 1
    assert "nan" not in drawn.lines[0].path


def test_axis_ends_just_above_the_highest() -> None:
    assert axis(1.0)[-1] == pytest.approx(1.0)
    assert axis(4.12)[-1] == pytest.approx(5.0)
    assert len(axis(0.83)) <= 6


def test_rounding_never_turns_almost_into_all_or_nothing() -> None:
    said = [decimal(v) for v in (0.998, 0.003, 1.0, -0.004, 0.5)]
    assert said == ["0.998", "0.003", "1.00", "−0.004", "0.50"]
    assert percent(0.998) == "99.8\u202f%"


def test_joiners_and_line_ends_stay() -> None:
    family = "👩\u200d👩\u200d👧\nnext\tcell"
    assert shown(family) == family


def test_a_misspelt_key_is_refused() -> None:
    with pytest.raises(ValidationError, match="noets"):
        report(noets=[])


def test_records_of_other_steps_are_taken_as_they_are() -> None:
    found = {**judged(candidates()[0]), "schema": 1, "inputs": {"dataset": "sha256:00"}}
    logged = {"step": 1, "loss": 2.0, "epoch": 0.1, "learning_rate": 0.0005}
    assert html(report(candidates=[found], curves={"teacher": [logged]}))


@needs_chromium
def test_phone_needs_no_sideways_scroll_and_the_style_is_accepted(tmp_path: Path) -> None:
    for data in (report(), hostile()):
        found, talk = measured(html(data), tmp_path)
        assert found["width"] == 375
        assert found["title"] != "owned"
        assert "Content Security Policy" not in talk


@needs_chromium
@pytest.mark.parametrize(
    ("scheme", "ground"), [("1", "rgb(252, 252, 250)"), ("0", "rgb(20, 23, 26)")]
)
def test_contrast_is_enough_in_light_and_in_dark(scheme: str, ground: str, tmp_path: Path) -> None:
    found, _ = measured(
        html(report()), tmp_path, f"--blink-settings=preferredColorScheme={scheme}", width=1200
    )
    assert found["ground"] == ground
    assert found["contrast"][0] >= 4.5, found["contrast"]
