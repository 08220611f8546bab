from datetime import date
from typing import Any

import pytest

from policy.decide import Decision, decide_offering
from policy.names import begins_with, named_after
from policy.publishing import Leaving, publishing_problems
from policy.terms import Register
from policy.use import Distribution, Purpose, Use

TODAY = date(2026, 11, 24)
USE = Use(purpose=Purpose.TRAIN_SPECIALIST_GENERATIVE, distribution=Distribution.WEIGHTS_PUBLIC)


def decided(register: Register, offering: str, **changes: Any) -> Decision:
    return decide_offering(USE.model_copy(update=changes), register, offering, TODAY)


def duties(register: Register, decision: Decision, leaving: Leaving) -> list[str]:
    return [each.duty for each in publishing_problems(decision, register.obligation, leaving)]


BARE = Leaving("ClinicBot-1B", "A student.", {}, ())


def test_a_student_of_llama_is_refused_with_each_fix(register: Register) -> None:
    problems = publishing_problems(
        decided(register, "llama-3.1@self-host"), register.obligation, BARE
    )
    fixes = [f"{each.duty}: {each.fix}" for each in problems]
    assert "llama_name_prefix: Publish it as Llama-ClinicBot-1B." in fixes
    assert 'llama_built_with: Add "Built with Llama" to the card.' in fixes
    assert any('Put the file "Notice" beside it.' in fix for fix in fixes)
    assert any(fix.startswith("llama_acceptable_use: Write on the card: ") for fix in fixes)


def test_once_every_duty_is_met_nothing_stands_against_it(register: Register) -> None:
    decision = decided(register, "llama-3.1@self-host")
    texts = [register.obligation(name) for name in decision.obligations]
    card = "Built with Llama.\n" + "\n".join(duty.text for duty in texts if duty)
    licence = {"license": "other", "license_name": "llama3.1"}
    whole = Leaving("acme/Llama-ClinicBot-1B", card, licence, ("LICENSE", "NOTICE.txt"))
    assert publishing_problems(decision, register.obligation, whole) == []
    assert duties(register, decision, whole._replace(notices=())) == ["llama_licence_copy"]
    assert duties(register, decision, whole._replace(licence={})) == ["llama_licence_copy"]
    assert duties(register, decision, whole._replace(name="Clinic")) == ["llama_name_prefix"]


def test_what_no_program_can_see_must_be_on_the_card(register: Register) -> None:
    decision = decided(register, "gemma-3@self-host")
    found = duties(register, decision, BARE)
    assert "gemma_use_restrictions_flowdown" in found
    named = BARE._replace(card="Duties: gemma_use_restrictions_flowdown")
    assert "gemma_use_restrictions_flowdown" not in duties(register, decision, named)


def test_a_brand_stays_out_of_the_name(register: Register) -> None:
    use = {"purpose": Purpose.TRAIN_COMPETING_GENERAL}
    decision = decided(register, "deepseek-api", **use)
    assert duties(register, decision, BARE._replace(name="DeepSeek-Mini")) == [
        "no_deepseek_branding"
    ]
    assert duties(register, decision, BARE) == []


def test_a_denied_use_is_not_published_whatever_its_card_says(register: Register) -> None:
    assert duties(register, decided(register, "openai-api"), BARE) == ["decision"]


def test_a_duty_that_nobody_explains_is_no_duty_met(register: Register) -> None:
    decision = decided(register, "smollm2@self-host").model_copy(update={"obligations": ("x",)})
    assert duties(register, decision, BARE) == ["x"]


@pytest.mark.parametrize(
    ("name", "prefix", "becomes"),
    [
        ("ClinicBot-1B", "Llama", "Llama-ClinicBot-1B"),
        ("acme/ClinicBot", "Llama", "acme/Llama-ClinicBot"),
        ("llama-clinic", "Llama", "Llama-clinic"),
        ("Llama-Clinic", "Llama 3", "Llama-3-Llama-Clinic"),
        ("Llama-3-Clinic", "Llama 3", "Llama-3-Clinic"),
    ],
)
def test_a_name_is_put_right_once(name: str, prefix: str, becomes: str) -> None:
    assert named_after(name, prefix) == becomes
    assert begins_with(becomes, prefix)
    assert named_after(becomes, prefix) == becomes
