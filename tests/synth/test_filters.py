"""Each filter says keep, or drop with the reason; running them twice writes nothing new."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy.errors import BadInput
from synth.config import Filters
from synth.filters import FILTERS, ROWWISE, Candidate, Verdict, resolve
from synth.steps import Filtered, filter_step
from tests.fake_teacher import FakeTeacher, answer
from tests.synth.parts import ask, asked, bench_of, project

SCHEMA = {"type": "object", "required": ["intent"], "properties": {"intent": {"enum": ["a", "b"]}}}


def candidate(text: str = "fine", **fields: Any) -> Candidate:
    given = {
        "attempt": "x.1", "prompt_id": "p1", "sample": 0, "split": "train", "text": text,
        "finish_reason": "stop", "refusal": "", "tool_calls": "", "ignored": (),
        "requested_model": "m", "served_model": "m", "expected": {}, "json_schema": None,
    }  # fmt: skip
    return Candidate(**{**given, **fields})


def verdict(name: str, one: Candidate, **settings: Any) -> Verdict:
    return FILTERS[name]([one], Filters.model_validate(settings))[0]


VERIFY = {"verify": {"intent": "label"}}
ROWS: list[tuple[str, Candidate, dict[str, Any], str]] = [
    ("answered", candidate(" \n", tool_calls="[{}]"), {}, "no text"),
    ("answered", candidate(), {}, ""),
    ("served", candidate(served_model=""), {}, "no served model"),
    ("served", candidate(), {}, ""),
    ("finish", candidate(finish_reason="length"), {}, "length"),
    ("finish", candidate(finish_reason="content_filter"), {}, "content_filter"),
    ("finish", candidate(finish_reason="tool_calls"), {}, "tool_calls"),
    ("finish", candidate(), {}, ""),
    ("refusal", candidate("", refusal="No."), {}, "refusal field"),
    ("refusal", candidate("I’m sorry, but I can’t help."), {}, "says"),
    ("refusal", candidate("Here it is. " * 40 + "I cannot assist"), {}, ""),
    ("refusal", candidate("Das geht nicht"), {"refusal_markers": ["das GEHT"]}, "says"),
    ("refusal", candidate("I can do that"), {}, ""),
    ("format", candidate("no json", json_schema=SCHEMA), {}, "not a JSON object"),
    ("format", candidate("[1]", json_schema=SCHEMA), {}, "not a JSON object"),
    ("format", candidate('{"intent": "c"}', json_schema=SCHEMA), {}, "schema: $.intent enum"),
    ("format", candidate("{}", json_schema=SCHEMA), {}, "schema: $ required"),
    ("format", candidate('{"intent": "a"}', json_schema=SCHEMA), {}, ""),
    ("format", candidate("no json"), {}, ""),
    ("reasoning", candidate("<think>so"), {}, "unclosed <think>"),
    ("reasoning", candidate("<think>so</think>4"), {}, ""),
    ("verify", candidate('{"intent": "a"}', expected={"label": "a"}), VERIFY, ""),
    ("verify", candidate('{"intent": "b"}', expected={"label": "a"}), VERIFY, "intent differs"),
    ("verify", candidate('{"other": "a"}', expected={"label": "a"}), VERIFY, "intent differs"),
    ("verify", candidate("a", expected={"label": "a"}), VERIFY, "not a JSON object"),
    ("verify", candidate('{"intent": null}', expected={}), VERIFY, "intent differs"),
]


@pytest.mark.parametrize(("name", "one", "settings", "reason"), ROWS)
def test_a_row_is_kept_or_dropped_with_the_reason(
    name: str, one: Candidate, settings: dict[str, Any], reason: str
) -> None:
    found = verdict(name, one, **settings)
    assert (found.attempt, found.keep) == (one.attempt, not reason)
    assert found.reason.startswith(reason)


def test_every_rowwise_filter_is_in_the_table() -> None:
    assert {name for name, *_ in ROWS} == set(ROWWISE)


@given(text=st.text(), name=st.sampled_from(sorted(FILTERS)))
def test_no_text_breaks_a_filter(text: str, name: str) -> None:
    one = candidate(text, json_schema=SCHEMA, expected={"label": "a"})
    assert isinstance(verdict(name, one, **VERIFY, agreement_field="intent").keep, bool)


@pytest.mark.parametrize("name", sorted(FILTERS))
@pytest.mark.parametrize("text", ["[" * 100_000, '{"intent": ' + "9" * 5000 + "}", '{"a": NaN}'])
def test_no_json_breaks_a_filter(name: str, text: str) -> None:
    one = candidate(text, json_schema=SCHEMA, expected={"label": "a"})
    assert isinstance(verdict(name, one, **VERIFY, agreement_field="intent").keep, bool)


def samples(*texts: str, prompt: str = "p1") -> list[Candidate]:
    return [candidate(text, attempt=f"{prompt}.{n}", sample=n, prompt_id=prompt)
            for n, text in enumerate(texts)]  # fmt: skip


def kept(name: str, rows: list[Candidate], **settings: Any) -> list[bool]:
    return [one.keep for one in FILTERS[name](rows, Filters.model_validate(settings))]


def test_the_first_of_the_same_samples_stays() -> None:
    assert kept("duplicate", samples("Yes", " yes\n", "No")) == [True, False, True]
    assert kept("duplicate", samples("Yes", "yes", "No")[::-1]) == [True, False, True]


def test_two_prompts_may_share_an_answer() -> None:
    assert kept("duplicate", samples("Yes") + samples("Yes", prompt="p2")) == [True, True]


def said(*intents: str) -> list[Candidate]:
    return samples(*(json.dumps({"intent": one}) if one else "broken" for one in intents))


@pytest.mark.parametrize(
    ("intents", "share", "keep"),
    [
        ("aab", 0.5, [1, 1, 0]),
        ("aab", 0.7, [0, 0, 0]),
        ("ab", 0.5, [0, 0]),
        ("a", 0.5, [0]),
        ("aaa", 1.0, [1, 1, 1]),
        (["a", "", ""], 0.5, [0, 0, 0]),
        (["a", "a", ""], 0.5, [1, 1, 0]),
    ],
)
def test_the_majority_of_a_prompt_s_samples_is_kept(
    intents: list[str], share: float, keep: list[int]
) -> None:
    settings = {"agreement_field": "intent", "agreement_share": share}
    assert kept("agreement", said(*intents), **settings) == [bool(one) for one in keep]


def test_the_score_is_the_winner_s_share() -> None:
    found = FILTERS["agreement"](said(*"aab"), Filters(agreement_field="intent"))
    assert {one.score for one in found} == {"2/3"}


def short_ones(rows: list[Candidate], settings: Filters) -> list[Verdict]:
    """A filter of one's own."""
    return [Verdict(row.attempt, len(row.text) < 9, "long" * (len(row.text) > 8)) for row in rows]


def test_a_filter_of_ones_own_is_named_in_the_file(tmp_path: Path) -> None:
    with FakeTeacher(lambda index, _: answer("short" if index % 2 else "rather long")) as server:
        path = project(
            tmp_path,
            server.base_url,
            filters={"custom": {"short": f"{__name__}:short_ones"}},
            dataset={"require": ["finish", "short"]},
        )
        ask(path)
    verdicts = filtered(path).found["short"].values()
    assert sorted(one.reason for one in verdicts) == [""] * 6 + ["long"] * 6


@pytest.mark.parametrize("target", ["", "nowhere:f", "synth.filters:nothing", "no-colon"])
def test_a_filter_that_is_not_there_is_said(target: str) -> None:
    with pytest.raises(BadInput, match=r"\[dataset\] require|\[filters.custom\]"):
        resolve("mine", Filters(custom={"mine": target}))


def filtered(path: Path, *overrides: str) -> Filtered:
    bench = bench_of(path, *overrides)
    with bench.open() as ledger:
        return filter_step(bench, ledger)


def grew(path: Path, *overrides: str) -> int:
    """Log entries that one more pass of the filters adds."""
    (before,) = asked(path, "SELECT count(*) FROM leaf")
    filtered(path, *overrides)
    (after,) = asked(path, "SELECT count(*) FROM leaf")
    return int(after[0] - before[0])


def test_filtering_twice_writes_nothing_and_a_change_writes_what_changed(tmp_path: Path) -> None:
    with FakeTeacher() as server:
        path = project(tmp_path, server.base_url)
        ask(path)
    assert grew(path) == 12
    assert grew(path) == 0
    assert grew(path, "filters.agreement_share=0.9") == 12
    assert grew(path) == 0
