from datetime import date, timedelta
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy.decide import Code, Decision, allowing, decide, join
from policy.errors import BadInput
from policy.terms import Confidence, Level, Register, Rule, Terms, load_register
from policy.use import Distribution, Purpose, Use

TODAY = date(2026, 11, 24)
REGISTER = load_register()
OFFERINGS = sorted(terms.id for terms in REGISTER.all())

uses = st.builds(
    Use,
    purpose=st.sampled_from(Purpose),
    distribution=st.sampled_from(Distribution),
    student_base=st.sampled_from(["", "llama-2-7b", "smollm2", "meta-llama/Llama-3.1-8B"]),
)
days = st.dates(date(2020, 1, 1), date(2030, 1, 1))
rules = st.builds(
    Rule,
    purposes=st.lists(st.sampled_from(Purpose), min_size=1, max_size=3).map(tuple),
    distributions=st.lists(st.sampled_from(Distribution), max_size=2).map(tuple),
    level=st.sampled_from([Level.ALLOW, Level.NEEDS_ACK, Level.NEEDS_PERMISSION, Level.DENY]),
    clauses=st.just(("4.2(3)",)),
)


def terms_of(offering: str, **changes: Any) -> Terms:
    found = REGISTER.find(offering, TODAY)
    assert found
    return found.model_copy(update=changes)


def ask(offering: str, purpose: str, dist: str, on: date = TODAY, base: str = "") -> Decision:
    use = Use(purpose=Purpose(purpose), distribution=Distribution(dist), student_base=base)
    return decide(use, REGISTER.find(offering, on), on, offering=offering)


class Case(NamedTuple):
    id: str
    offering: str
    on: date
    purpose: str
    dist: str
    want: Level
    obligations: frozenset[str] = frozenset()
    base: str = ""


# Rows of the truth table in the compiled facts, section 7, for the entries that are registered.
# Where a row leaves out the distribution the unstated, worst case is asked.
CASES = [
    Case("T01", "openai-api", date(2026, 6, 1), "train_specialist_generative", "internal_only",
         Level.NEEDS_ACK),
    Case("T02", "openai-api", date(2026, 6, 1), "train_classifier", "internal_only", Level.ALLOW),
    Case("T04", "openai-chatgpt-consumer", date(2026, 6, 1), "evaluate", "internal_only",
         Level.DENY),
    Case("T06", "anthropic-api", date(2026, 6, 1), "train_competing_general", "weights_public",
         Level.DENY),
    Case("T07b", "deepseek-r1@self-host", date(2026, 3, 1), "train_specialist_generative",
         "internal_only", Level.ALLOW),
    Case("T07c", "deepseek-api", date(2026, 5, 1), "train_competing_general", "weights_public",
         Level.ALLOW_WITH, frozenset({"no_deepseek_branding"})),
    Case("T12b", "llama-3.1@self-host", TODAY, "train_specialist_generative", "internal_only",
         Level.ALLOW, base="qwen3"),
    Case("T15b", "gemma-3@self-host", TODAY, "train_specialist_generative", "weights_public",
         Level.ALLOW_WITH,
         frozenset({"gemma_tou_copy", "gemma_notice_file", "gemma_use_restrictions_flowdown"}),
         base="qwen3"),
    Case("T24", "unknown-provider", TODAY, "evaluate", "weights_public", Level.DENY),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_the_truth_table_holds(case: Case) -> None:
    decision = ask(case.offering, case.purpose, case.dist, case.on, case.base)
    assert decision.level == case.want
    assert case.obligations <= set(decision.obligations)


def test_t22_one_teacher_that_needs_permission_holds_up_all() -> None:
    parts = [
        ask(offering, "train_specialist_generative", "weights_public")
        for offering in ("deepseek-api", "anthropic-api")
    ]
    assert join(parts).level == Level.NEEDS_PERMISSION
    assert parts[0].level == Level.ALLOW


@pytest.mark.parametrize(
    ("offering", "purpose", "dist", "want"),
    [
        ("openai-api", "train_classifier", "weights_public", Level.NEEDS_ACK),
        ("openai-api", "train_general", "internal", Level.DENY),
        ("openai-api", "evaluate", "internal", Level.ALLOW),
        ("openai-api", "research_noncommercial", "weights_public", Level.DENY),
        ("anthropic-api", "train_specialist", "internal", Level.NEEDS_PERMISSION),
        ("anthropic-api", "train_classifier", "internal", Level.NEEDS_ACK),
        ("deepseek-api", "train_specialist", "weights_public", Level.ALLOW),
        ("deepseek-api", "publish_dataset", "dataset_public", Level.ALLOW_WITH),
        ("mistral-api", "train_general", "weights_public", Level.ALLOW_WITH),
        ("mistral-api", "train_competing_image_model", "internal", Level.DENY),
        ("llama-3.1@self-host", "train_specialist", "saas_to_third_parties", Level.ALLOW_WITH),
        ("gemma-3@self-host", "publish_dataset", "dataset_public", Level.ALLOW),
        ("smollm2@self-host", "train_general", "weights_public", Level.ALLOW),
        ("qwen3@self-host", "train_specialist", "weights_public", Level.ALLOW),
        ("gpt-oss@self-host", "train_specialist", "weights_public", Level.ALLOW),
    ],
)
def test_the_facts_tables_hold(offering: str, purpose: str, dist: str, want: Level) -> None:
    assert ask(offering, purpose, dist).level == want


def test_naming_begins_where_the_student_is_made_available() -> None:
    inside = ask("llama-3.1@self-host", "train_general", "internal")
    outside = ask("llama-3.1@self-host", "train_general", "weights_public")
    assert "llama_name_prefix" not in inside.obligations
    assert "llama_name_prefix" in outside.obligations


def test_flowdown_begins_where_the_student_is_made_available() -> None:
    decision = ask("gemma-3@self-host", "train_specialist", "internal")
    assert set(decision.obligations) == {"gemma_use_restrictions", "gemma_delete_on_termination"}


def test_a_dataset_for_everybody_is_also_a_published_dataset() -> None:
    assert ask("anthropic-api", "evaluate", "internal").level == Level.ALLOW
    assert ask("anthropic-api", "evaluate", "dataset_public").level == Level.NEEDS_PERMISSION


def test_a_reason_from_a_clause_can_be_looked_up() -> None:
    reason = ask("openai-api", "train_specialist", "internal").reasons[0]
    assert reason.clause == "3.3(e)"
    assert reason.document == "OpenAI Services Agreement"
    assert reason.document_date == "2026-01-01"
    assert reason.address.startswith("https://openai.com/")


def test_what_is_unknown_is_denied_for_want_of_terms() -> None:
    decision = ask("unknown-provider", "evaluate", "internal")
    assert [reason.code for reason in decision.reasons] == [Code.NO_REVIEWED_TERMS]
    assert "terms/unknown-provider.toml" in decision.fix


def test_the_terms_of_another_offering_do_not_serve() -> None:
    decision = decide(Use(), terms_of("smollm2@self-host"), TODAY, offering="openai-api")
    assert decision.level == Level.DENY
    assert decision.terms_pin == ""


def test_unreviewed_terms_are_denied() -> None:
    terms = terms_of("smollm2@self-host")
    review = terms.review.model_copy(update={"confidence": Confidence.UNREVIEWED})
    terms = terms.model_copy(update={"review": review})
    decision = decide(Use(), terms, TODAY, offering=terms.id)
    assert decision.level == Level.DENY
    assert decision.reasons[0].code == Code.NO_REVIEWED_TERMS


def test_a_review_counts_to_its_last_day_and_no_further() -> None:
    terms = terms_of("smollm2@self-host")
    last = terms.review.expires
    assert decide(Use(), terms, last, offering=terms.id).level == Level.ALLOW
    late = decide(Use(), terms, last + timedelta(days=1), offering=terms.id)
    assert late.level == Level.DENY
    assert late.reasons[0].code == Code.STALE


def test_rows_collected_before_the_review_expired_need_an_acknowledgement() -> None:
    terms = terms_of("smollm2@self-host")
    late = terms.review.expires + timedelta(days=30)
    decision = decide(Use(), terms, late, offering=terms.id, collected=TODAY)
    assert decision.level == Level.NEEDS_ACK


def test_terms_of_the_future_are_denied() -> None:
    terms = terms_of("deepseek-api")
    decision = decide(Use(), terms, date(2026, 4, 1), offering=terms.id)
    assert decision.level == Level.DENY
    assert decision.reasons[0].code == Code.NOT_IN_FORCE


def test_silence_is_a_denial() -> None:
    terms = terms_of("deepseek-api")
    silent = terms.model_copy(update={"rules": terms.rules[:1]})
    decision = decide(Use(purpose=Purpose.EVALUATE), silent, TODAY, offering=terms.id)
    assert decision.level == Level.DENY
    assert decision.reasons[0].code == Code.SILENT


def family_terms(offering: str, *families: str) -> Terms:
    rule = Rule(
        purposes=tuple(Purpose),
        level=Level.ALLOW_WITH,
        clauses=("4.2(3)",),
        student_families=families,
    )
    return terms_of("deepseek-api", id=offering, rules=(rule,))


@pytest.mark.parametrize(
    ("base", "want"),
    [
        ("llama-2", Level.ALLOW_WITH),
        ("meta-llama/Llama-2-7b-hf", Level.ALLOW_WITH),
        ("llama-2.5", Level.DENY),
        ("qwen3", Level.DENY),
        ("", Level.DENY),
    ],
)
def test_some_terms_teach_only_their_own_family(base: str, want: Level) -> None:
    terms = family_terms("family", "llama-2")
    decision = decide(Use(student_base=base), terms, TODAY, offering="family")
    assert decision.level == want
    assert decision.student_families == ("llama-2",)
    assert want != Level.DENY or "student_base to one of: llama-2" in decision.fix


def test_families_that_do_not_meet_are_denied() -> None:
    use = Use(student_base="llama-2")
    one = decide(use, family_terms("one", "llama-2"), TODAY, offering="one")
    two = decide(use, family_terms("two", "tongyi"), TODAY, offering="two")
    joined = join([one, two])
    assert joined.student_families == ()
    assert Code.NO_COMMON_STUDENT in {reason.code for reason in joined.reasons}


@pytest.mark.parametrize(
    ("offering", "purpose", "said"),
    [
        ("openai-api", "train_specialist", "records/acknowledgement-openai-api.toml"),
        ("anthropic-api", "train_specialist", "records/permission-anthropic-api.toml"),
        ("openai-api", "train_general", "Nothing lifts a denial"),
        ("mistral-api", "train_general", "Meet the obligations"),
    ],
)
def test_the_fix_names_what_would_change_it(offering: str, purpose: str, said: str) -> None:
    assert said in ask(offering, purpose, "internal").fix


def test_where_all_is_allowed_there_is_nothing_to_fix() -> None:
    assert ask("smollm2@self-host", "train_specialist", "internal").fix == ""


def test_the_offerings_that_allow_a_use_can_be_listed(register: Register) -> None:
    use = Use(purpose=Purpose.TRAIN_SPECIALIST_GENERATIVE)
    names = allowing(register, use, TODAY)
    assert {"deepseek-api", "mistral-api", "smollm2@self-host"} <= set(names)
    assert not {"openai-api", "anthropic-api"} & set(names)


@given(uses, st.sampled_from([*OFFERINGS, "nobody", ""]), days, st.none() | days, st.booleans())
def test_decide_never_raises(
    use: Use, offering: str, on: date, collected: date | None, with_terms: bool
) -> None:
    terms = REGISTER.find(offering, on) if with_terms else None
    decision = decide(use, terms, on, offering=offering, collected=collected)
    assert decision.level == max(reason.level for reason in decision.reasons)
    assert terms or decision.level == Level.DENY


@given(uses, st.lists(rules, min_size=1, max_size=4), rules)
def test_a_further_rule_never_lowers_a_level_that_is_spoken_of(
    use: Use, some: list[Rule], further: Rule
) -> None:
    fewer = terms_of("deepseek-api", rules=tuple(some))
    more = terms_of("deepseek-api", rules=(*some, further))
    before = decide(use, fewer, TODAY, offering=fewer.id)
    after = decide(use, more, TODAY, offering=more.id)
    assert after.level >= before.level or before.reasons[0].code == Code.SILENT


@given(uses, st.lists(st.sampled_from([*OFFERINGS, "nobody"]), min_size=1, max_size=5), st.data())
def test_the_join_forgets_order_and_repetition(
    use: Use, offerings: list[str], data: st.DataObject
) -> None:
    parts = [decide(use, REGISTER.find(o, TODAY), TODAY, offering=o) for o in offerings]
    joined = join(parts)
    assert join(data.draw(st.permutations(parts))) == joined
    assert join(parts + parts) == joined
    assert join([joined]) == joined
    assert join([joined, data.draw(st.sampled_from(parts))]) == joined
    assert joined.level == max(part.level for part in parts)
    assert set(joined.obligations) == {name for part in parts for name in part.obligations}


@given(uses, st.lists(st.sets(st.sampled_from("abc")), min_size=3, max_size=3))
def test_the_join_is_associative_in_families(use: Use, families: list[set[str]]) -> None:
    a, b, c = (
        decide(use, family_terms(name, *sorted(group)), TODAY, offering=name)
        if group
        else decide(use, terms_of("deepseek-api"), TODAY, offering="deepseek-api")
        for name, group in zip("xyz", families, strict=True)
    )
    assert join([join([a, b]), c]) == join([a, join([b, c])]) == join([a, b, c])


def test_a_join_of_nothing_is_a_misuse_and_no_permission() -> None:
    with pytest.raises(BadInput, match="no decision to join"):
        join([])


def test_decisions_about_different_uses_do_not_join() -> None:
    with pytest.raises(BadInput, match="different uses"):
        join(
            [
                ask("deepseek-api", "evaluate", "internal"),
                ask("deepseek-api", "train_specialist", "internal"),
            ]
        )


def test_a_decision_survives_the_manifest() -> None:
    decision = ask("gemma-3@self-host", "train_specialist", "weights_public")
    written = decision.model_dump(mode="json")
    assert written["level"] == "ALLOW_WITH"
    assert Decision.model_validate(written).digest == decision.digest
