from datetime import date
from pathlib import Path

import pytest

from policy.errors import BadInput, BudgetReached, PolicyDenied
from policy.guardrails import (
    NO_RAILS,
    Asked,
    Guardrails,
    Used,
    check_asked,
    check_caps,
    check_prompt,
    must_scan,
    read_guardrails,
    why_not,
)
from policy.terms import Register, Terms
from policy.use import Purpose

TODAY = date(2026, 11, 24)
TEXT = """
organisation = "Acme"
purposes = ["evaluate", "train_classifier"]

[offerings.deepseek-api]
models = ["deepseek-*"]
purposes = ["evaluate"]
reasoning = true
hard = {usd_per_day = 20, requests_per_day = 100}
soft = {usd_per_day = 10}

[offerings.openai-api]
stopped = true
stopped_because = "contract under review"

[offerings."gemma-3@self-host"]
"""
ASKED = Asked("Acme", "deepseek-api", "deepseek-chat", Purpose.EVALUATE)


@pytest.fixture
def rails(tmp_path: Path) -> Guardrails:
    (tmp_path / "guardrails.toml").write_text(TEXT)
    return read_guardrails(tmp_path / "guardrails.toml")


def terms_of(register: Register, offering: str) -> Terms:
    found = register.find(offering, TODAY)
    assert found
    return found


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (ASKED, ""),
        (ASKED._replace(organisation="Other"), "these guardrails are of Acme"),
        (ASKED._replace(organisation=""), "of nobody named"),
        (ASKED._replace(offering="mistral-api"), "is not on the organisation's list"),
        (ASKED._replace(offering="openai-api"), "is stopped: contract under review"),
        (ASKED._replace(model="gpt-4o"), "model gpt-4o is not among those allowed"),
        (ASKED._replace(purpose=Purpose.PUBLISH_DATASET), "purpose publish_dataset is not among"),
        (ASKED._replace(purpose=Purpose.TRAIN_CLASSIFIER), "purpose train_classifier is not among"),
    ],
)
def test_what_is_not_on_the_list_is_not_allowed(rails: Guardrails, asked: Asked, said: str) -> None:
    reason = why_not(rails, asked)
    assert said in reason
    assert bool(said) == bool(reason)
    if said:
        with pytest.raises(PolicyDenied, match=r"guardrails\.toml, "):
            check_asked(rails, asked)


def test_reasoning_is_asked_for_only_where_the_terms_list_it_as_output(
    rails: Guardrails, register: Register
) -> None:
    asked = ASKED._replace(reasoning=True)
    assert why_not(rails, asked, terms_of(register, "deepseek-api")) == ""
    assert "do not list reasoning" in why_not(rails, asked, terms_of(register, "mistral-api"))
    assert "do not list reasoning" in why_not(rails, asked)
    asked = asked._replace(offering="gemma-3@self-host", model="gemma-3-1b")
    found = why_not(rails, asked, terms_of(register, "gemma-3@self-host"))
    assert found == "reasoning is off; the organisation has not turned it on"


def test_a_soft_cap_is_told_and_a_hard_one_stops(rails: Guardrails) -> None:
    assert check_caps(rails, "deepseek-api", Used(usd=10)) == ""
    assert check_caps(rails, "deepseek-api", Used(usd=10.5)) == (
        "usd_per_day = 10 would be passed: 10.5"
    )
    with pytest.raises(BudgetReached, match="hard cap requests_per_day = 100 would be passed: 101"):
        check_caps(rails, "deepseek-api", Used(requests=101))


def test_everything_can_be_stopped_at_once(rails: Guardrails) -> None:
    stopped = rails.model_copy(update={"stopped": True})
    assert why_not(stopped, ASKED) == "everything is stopped by the organisation"


def test_without_rails_the_terms_are_left(register: Register) -> None:
    assert why_not(NO_RAILS, ASKED) == ""
    asked = ASKED._replace(reasoning=True)
    assert why_not(NO_RAILS, asked, terms_of(register, "deepseek-api")) == ""


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("organization = 'x'", 'unknown key "organization" (value "x"). Did you mean'),
        ("purposes = ['evaluat']", 'purposes[1] = "evaluat" cannot be used. Did you mean'),
        ("[offerings.a]\nhard = {usd_per_day = -1}", "offerings.a.hard.usd_per_day = -1 cannot"),
        (
            "[offerings.a]\nhard = {usd_per_day = 1}\nsoft = {usd_per_day = 2}",
            "offerings.a.soft.usd_per_day = 2.0 lies above hard.usd_per_day = 1.0",
        ),
    ],
)
def test_rails_that_cannot_be_used_are_refused_in_one_line(
    tmp_path: Path, text: str, said: str
) -> None:
    path = tmp_path / "guardrails.toml"
    path.write_text(text)
    with pytest.raises(BadInput) as caught:
        read_guardrails(path)
    assert str(caught.value).startswith(str(path))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_prompts_are_scanned_where_the_terms_forbid_sensitive_data(
    rails: Guardrails, register: Register
) -> None:
    assert must_scan(rails, "together", terms_of(register, "together"))
    assert must_scan(NO_RAILS, "gemini-api", terms_of(register, "gemini-api"))
    assert not must_scan(NO_RAILS, "deepseek-api", terms_of(register, "deepseek-api"))
    assert must_scan(NO_RAILS, "nobody", None)
    off = NO_RAILS.of("together")
    assert off
    off = off.model_copy(update={"scan": False})
    rails = Guardrails(offerings={"together": off, "deepseek-api": off})
    assert must_scan(rails, "together", terms_of(register, "together"))


def test_a_prompt_with_sensitive_data_is_refused_and_not_repeated(register: Register) -> None:
    together = terms_of(register, "together")
    check_prompt("where is my card?", "together", together)
    with pytest.raises(PolicyDenied) as caught:
        check_prompt("write to ada@example.com, twice: bob@example.com", "together", together)
    assert "the prompt holds 2 email, which may not be sent (clause 4.1)" in str(caught.value)
    assert "ada" not in str(caught.value)
