import time
from collections import Counter
from datetime import date, timedelta

import pytest
from hypothesis import given as examples
from hypothesis import settings
from hypothesis import strategies as st

from policy.decide import decide_offering, join
from policy.errors import BadInput
from policy.rows import Origin, decide_rows, decide_then_and_now
from policy.terms import Level, Register, load_register
from policy.use import Distribution, Given, Purpose, Use

TODAY = date(2026, 11, 24)
REGISTER = load_register()
INTERNAL = Use(purpose=Purpose.TRAIN_SPECIALIST_GENERATIVE, distribution=Distribution.INTERNAL_ONLY)
names = st.sampled_from([*REGISTER.names(), "nobody", "student-of(llama-3.1)", "qwen3@aws-bedrock"])
uses = st.builds(
    Use,
    purpose=st.sampled_from(Purpose),
    distribution=st.sampled_from(Distribution),
    student_base=st.sampled_from(["", "llama-2-7b", "qwen3", "llama-3.1-8b"]),
    region=st.sampled_from(["", "EU", "DE", "US", "Atlantis"]),
    field=st.sampled_from(["", "sentiment", "chat"]),
    context=st.sampled_from([(), ("unpaid",), ("academic",)]),
    monthly_users=st.sampled_from([None, 10**9]),
)
given_rows = st.builds(
    Given,
    features=st.sampled_from([(), ("grounding",), ("reasoning",), ("anything",), ("preview",)]),
    modality=st.sampled_from(["", "text", "image", "multimodal"]),
    requested=st.sampled_from(["", "deepseek/deepseek-chat"]),
    served=st.sampled_from(["", "qwen3-8b", "anthropic/claude-1", "what"]),
    stage=st.sampled_from(["", "plan", "collect", "train", "publish"]),
    name=st.sampled_from(["", "Llama-1", "ClinicBot"]),
)
days = st.dates(date(2022, 1, 1), date(2030, 1, 1))


@examples(uses, names, days, days, given_rows)
@settings(max_examples=300, deadline=None)
def test_an_answer_comes_for_every_question(
    use: Use, name: str, today: date, in_force: date, row: Given
) -> None:
    decision = decide_offering(
        use, REGISTER, name, today, in_force=in_force, collected=in_force, given=row
    )
    assert decision.level == max(reason.level for reason in decision.reasons)
    assert decision.digest.startswith("sha256:")
    assert name != "nobody" or decision.level == Level.DENY
    assert decision.level == Level.ALLOW or decision.fix


@examples(uses, st.lists(names, min_size=1, max_size=4), names)
@settings(max_examples=100, deadline=None)
def test_a_further_row_never_lowers_the_level(use: Use, some: list[str], further: str) -> None:
    fewer = decide_rows(use, REGISTER, [Origin(each, TODAY) for each in some], TODAY)
    more = decide_rows(use, REGISTER, [Origin(each, TODAY) for each in [*some, further]], TODAY)
    assert more.decision.level >= fewer.decision.level
    assert set(fewer.decision.obligations) <= set(more.decision.obligations)


@examples(uses, st.lists(names, min_size=1, max_size=4), st.data())
@settings(max_examples=100, deadline=None)
def test_the_join_of_chains_forgets_order_and_repetition(
    use: Use, some: list[str], data: st.DataObject
) -> None:
    parts = [decide_offering(use, REGISTER, each, TODAY) for each in some]
    joined = join(parts)
    assert join(data.draw(st.permutations(parts))) == joined
    assert join([*parts, joined]) == joined


def test_the_stricter_of_then_and_now_counts(register: Register) -> None:
    old = Origin("aws-bedrock/nova", date(2025, 12, 15))
    then = decide_offering(
        INTERNAL, register, old.offering, TODAY, in_force=old.collected, collected=old.collected
    )
    assert then.level == Level.NEEDS_ACK
    both = decide_then_and_now(INTERNAL, register, old, TODAY)
    assert both.level == Level.NEEDS_PERMISSION
    assert len(both.terms_pin.split(", ")) == 2


def test_the_blocking_rows_are_named_and_can_be_dropped(register: Register) -> None:
    rows = Counter({Origin("deepseek-api", TODAY): 990, Origin("anthropic-api", TODAY): 10})
    judged = decide_rows(INTERNAL, register, rows, TODAY)
    assert judged.decision.level == Level.NEEDS_PERMISSION
    assert [(group.origin.offering, group.rows) for group in judged.blocking] == [
        ("anthropic-api", 10)
    ]
    left = judged.without_blocking()
    assert (left.rows, left.decision.level) == (990, Level.ALLOW)


def test_no_row_is_no_permission(register: Register) -> None:
    with pytest.raises(BadInput, match="there is no row to decide"):
        decide_rows(INTERNAL, register, [], TODAY)


def test_a_channel_alone_is_no_answer(register: Register) -> None:
    from policy.decide import decide

    for name in (
        "openrouter",
        "together",
        "aws-bedrock",
        "deepseek-r1-distill-llama-70b@self-host",
    ):
        decision = decide(INTERNAL, register.find(name, TODAY), TODAY, offering=name)
        assert decision.level == Level.DENY


def test_an_entry_that_moved_stops_collection_and_asks_about_old_rows(register: Register) -> None:
    terms = register.find("deepseek-api", TODAY)
    assert terms
    moved = register.with_stale({terms.pin: "clause 4.2(3) is not found"})
    fresh = decide_offering(INTERNAL, moved, "deepseek-api", TODAY, given=Given(stage="collect"))
    assert fresh.level == Level.DENY
    assert "clause 4.2(3) is not found" in fresh.reasons[0].text
    old = Origin("deepseek-api", date(2026, 11, 1))
    assert decide_then_and_now(INTERNAL, moved, old, TODAY).level == Level.NEEDS_ACK
    same_day = Origin("deepseek-api", TODAY)
    train = Given(stage="train")
    assert decide_rows(INTERNAL, moved, [same_day], TODAY, given=train).decision.level == (
        Level.NEEDS_ACK
    )


def test_a_million_rows_take_less_than_three_seconds(register: Register) -> None:
    offerings = ("deepseek-api", "mistral-api", "qwen3@aws-bedrock")
    dates = [TODAY - timedelta(number) for number in range(60)]
    rows = [Origin(offerings[n % 3], dates[n // 7 % 60]) for n in range(1_000_000)]
    started = time.process_time()
    judged = decide_rows(INTERNAL, register, rows, TODAY)
    assert judged.decision.level == Level.NEEDS_PERMISSION
    assert judged.rows == 1_000_000
    assert time.process_time() - started < 3


def test_of_several_caps_the_lowest_counts_and_regions_add_up(register: Register) -> None:
    names = ("llama-3.1@self-host", "qwen-2024@self-host", "llama-4-multimodal@self-host")
    use = INTERNAL.model_copy(update={"region": "US"})
    decision = decide_rows(use, register, [Origin(name, TODAY) for name in names], TODAY).decision
    assert decision.caps == {"monthly_users": 100_000_000}
    assert decision.excluded_regions == ("EU",)


def test_a_cap_is_told_even_where_nothing_is_asked_yet(register: Register) -> None:
    decision = decide_offering(INTERNAL, register, "kimi-k2@self-host", TODAY)
    assert (decision.level, decision.obligations) == (Level.ALLOW, ())
    assert decision.caps == {"monthly_revenue_usd": 20_000_000, "monthly_users": 100_000_000}


@pytest.mark.parametrize(
    ("offering", "features", "days"),
    [
        ("gemini-api", ("Grounding with Google Search",), 30),
        ("gemini-api", (), None),
        ("openai-api", (), None),  # what the provider keeps is the provider's own duty
        ("aws-bedrock/nova", (), None),
    ],
)
def test_only_what_we_must_delete_counts_as_our_retention(
    register: Register, offering: str, features: tuple[str, ...], days: int | None
) -> None:
    row = Given(features=features)
    decision = decide_offering(INTERNAL, register, offering, TODAY, given=row)
    assert decision.retention_days == days


def test_two_names_that_cannot_both_begin_are_denied_together(register: Register) -> None:
    llama = register.find("llama-3.1@self-host", TODAY)
    assert llama
    duty = llama.obligations["llama_name_prefix"].model_copy(update={"name_prefix": "Acme"})
    other = llama.model_copy(
        update={
            "id": "acme@self-host",
            "obligations": {**llama.obligations, "llama_name_prefix": duty},
        }
    )
    both = Register((llama, other))
    rows = [Origin("llama-3.1@self-host", TODAY), Origin("acme@self-host", TODAY)]
    public = INTERNAL.model_copy(update={"distribution": Distribution.WEIGHTS_PUBLIC})
    decision = decide_rows(public, both, rows, TODAY).decision
    assert decision.level == Level.DENY
    assert decision.reasons[0].code == "no_name_satisfies_all"
    assert decision.name_prefixes == ("Acme", "Llama")
    assert decision.fix == "Leave out one of these offerings."
