"""What must hold for every question, whoever asks it and however oddly."""

import json
from collections import Counter
from datetime import date, timedelta
from typing import Any

from hypothesis import example, settings
from hypothesis import given as examples
from hypothesis import strategies as st

from policy.cases import FIELDS, evaluate
from policy.decide import Code, Decision, decide_offering, join
from policy.errors import BadInput
from policy.records import Kind, Record
from policy.rows import Origin, decide_rows
from policy.terms import Level, Register, Rule, Terms, load_register
from policy.use import STAGES, Distribution, Given, Purpose, Use

TODAY = date(2026, 11, 24)
REGISTER = load_register()
TELLING = [
    "openai-api", "anthropic-api", "xai-enterprise", "deepseek-api", "mistral-api",
    "aws-bedrock/nova", "llama-2@self-host", "llama-3@self-host", "tongyi-2023@self-host",
    "llama-3.1@self-host", "qwen-2024@self-host", "kimi-k2@self-host", "qwen3@aws-bedrock",
    "claude-sonnet-4@aws-bedrock", "student-of(llama-3.1)", "student-of(openai-api, gemma-3)",
    "nobody",
]  # fmt: skip
"""Each has something that the join must not lose: a level, a family, a cap, a name, a region."""
NAMES = st.sampled_from(TELLING) | st.sampled_from(REGISTER.names())
ODD = st.text(max_size=12) | st.sampled_from(
    ["student-of(", "student-of()", "@", "/", "@aws-bedrock", "aws-bedrock/", "openai-api@", "\0",
     "openai-api@2026-01-01", "aws-bedrock/nova@2025-08", "x" * 300, "!", "*", "[a", "é", "\ud800"]
)  # fmt: skip
DAYS = st.dates(date(2023, 1, 1), date(2028, 1, 1))
USES = st.builds(
    Use,
    purpose=st.sampled_from(Purpose),
    distribution=st.sampled_from(Distribution),
    student_base=st.sampled_from(["", "llama-2-7b", "qwen3-0.6b", "llama-3.1-8b", "any"]),
    region=st.sampled_from(["", "EU", "DE", "US", "CH", "Atlantis"]),
    field=st.sampled_from(["", "sentiment", "chat"]),
    context=st.sampled_from([(), ("unpaid tier",), ("academic",), ("own_system",)]),
    monthly_users=st.sampled_from([None, 10**6, 10**9]),
    monthly_revenue_usd=st.sampled_from([None, 10**8]),
)
ROWS = st.builds(
    Given,
    features=st.sampled_from([(), ("grounding",), ("reasoning",), ("web_search", "tools")]),
    modality=st.sampled_from(["", "text", "image", "multimodal"]),
    requested=st.sampled_from(["", "deepseek/deepseek-chat"]),
    served=st.sampled_from(["", "qwen3-8b", "meta-llama/llama-3.1-8b", "what"]),
    stage=st.sampled_from(["", *STAGES]),
    name=st.sampled_from(["", "Llama-1", "Llama-3-x", "DeepSeek-x"]),
)
DENIALS = st.builds(
    Rule,
    purposes=st.sets(st.sampled_from(Purpose), min_size=1).map(tuple),
    distributions=st.sets(st.sampled_from(Distribution)).map(tuple),
    features=st.sampled_from([(), ("*search*",), ("!*tools*",)]),
    modalities=st.sampled_from([(), ("image",), ("unstated",)]),
    fields=st.sampled_from([(), ("chat",)]),
    contexts=st.sampled_from([(), ("*unpaid*",)]),
    regions=st.sampled_from([(), ("EU", "unstated"), ("!US",)]),
    level=st.just(Level.DENY),
    clauses=st.just(("the first",)),
)


def with_rule(terms: Terms, rule: Rule) -> Terms:
    cited = rule.model_copy(update={"clauses": (terms.clauses[0].ref,)})
    return terms.model_copy(update={"rules": (*terms.rules, cited)})


@examples(USES, NAMES, ROWS, DENIALS)
@settings(max_examples=200, deadline=None)
def test_a_further_denial_never_lowers_a_level(
    use: Use, name: str, row: Given, denial: Rule
) -> None:
    stricter = Register(tuple(with_rule(terms, denial) for terms in REGISTER.all()))
    before = decide_offering(use, REGISTER, name, TODAY, given=row)
    after = decide_offering(use, stricter, name, TODAY, given=row)
    assert after.level >= before.level
    assert set(after.obligations) >= set(before.obligations)


@examples(USES, st.lists(st.tuples(NAMES, DAYS), min_size=1, max_size=4), NAMES, DAYS, ROWS)
@settings(max_examples=150, deadline=None)
def test_a_further_row_never_lowers_a_level(
    use: Use, some: list[tuple[str, date]], further: str, collected: date, row: Given
) -> None:
    rows = Counter(Origin(name, day, row.features, row.modality) for name, day in some)
    more = rows + Counter({Origin(further, collected, row.features, row.modality): 3})
    before = decide_rows(use, REGISTER, rows, TODAY, given=row).decision
    after = decide_rows(use, REGISTER, more, TODAY, given=row).decision
    assert after.level >= before.level
    assert set(after.obligations) >= set(before.obligations)
    if before.student_families is not None:
        assert set(after.student_families or ()) <= set(before.student_families)
    assert all(after.caps[name] <= cap for name, cap in before.caps.items())
    assert set(after.name_prefixes) >= set(before.name_prefixes)
    assert set(after.excluded_regions) >= set(before.excluded_regions)


@examples(USES, st.lists(NAMES, min_size=2, max_size=5), ROWS, st.data())
@settings(max_examples=150, deadline=None)
def test_the_join_forgets_order_grouping_and_repetition_and_keeps_a_denial(
    use: Use, names: list[str], row: Given, data: st.DataObject
) -> None:
    parts = [decide_offering(use, REGISTER, name, TODAY, given=row) for name in names]
    joined = join(parts)
    cut = data.draw(st.integers(1, len(parts) - 1))
    assert join(data.draw(st.permutations(parts))).digest == joined.digest
    assert join([*parts, *parts, joined]).digest == joined.digest
    assert join([join(parts[:cut]), join(parts[cut:])]).digest == joined.digest
    denied = decide_offering(use, REGISTER, "nobody", TODAY)
    assert join([*parts, denied]).level == Level.DENY
    assert joined.level >= max(part.level for part in parts)


@examples(USES, st.text(max_size=20), DAYS, ROWS)
@settings(max_examples=200, deadline=None)
@example(Use(), "openai-api@2020-01-01", TODAY, Given())
@example(Use(), "OpenAI-API", TODAY, Given())
def test_what_nobody_registered_is_denied(use: Use, name: str, on: date, row: Given) -> None:
    if name in {*REGISTER.names(), *(also for each in REGISTER.all() for also in each.also)}:
        return
    decision = decide_offering(use, REGISTER, name, on, given=row)
    assert decision.level == Level.DENY
    codes = {reason.code for reason in decision.reasons}
    assert codes & {Code.NO_REVIEWED_TERMS, Code.SERVED_MODEL}


def records_about(offerings: list[str]) -> st.SearchStrategy[Record]:
    """Records that would lift a level, but for a date, a kind or a scope that may be off."""
    return st.builds(
        lambda kind, offering, begins, lasts, purposes, spread: Record(
            kind=kind,
            offering=offering,
            by="Ada Lovelace",
            on=TODAY + timedelta(begins),
            expires=TODAY + timedelta(begins + lasts),
            purposes=tuple(purposes),
            distributions=tuple(spread),
            reason="Counsel has looked at it.",
            document="note 7",
            document_sha256="sha256:" + "0" * 64,
        ),
        st.sampled_from([Kind.ACKNOWLEDGEMENT, Kind.PERMISSION, Kind.ATTESTATION]),
        st.sampled_from(offerings),
        st.integers(-3, 1),
        st.integers(0, 4),
        st.just(set(Purpose)) | st.sets(st.sampled_from(Purpose), min_size=1),
        st.just(set(Distribution)) | st.sets(st.sampled_from(Distribution), min_size=1),
    )


@examples(USES, NAMES, ROWS, st.data())
@settings(max_examples=300, deadline=None)
def test_records_lift_only_their_own_level_and_those_that_ended_are_none(
    use: Use, name: str, row: Given, data: st.DataObject
) -> None:
    def ask(some: list[Record]) -> Decision:
        return decide_offering(use, REGISTER, name, TODAY, given=row, records=some)

    bare = ask([])
    about = sorted({reason.offering for reason in bare.reasons})
    records = data.draw(st.lists(records_about(about), min_size=1, max_size=4))
    told = ask(records)
    current = [each for each in records if each.on <= TODAY <= each.expires]
    assert ask(current) == told
    assert ask([each for each in records if each not in current]) == bare
    assert told.level <= bare.level
    assert bare.level != Level.DENY or told.level == Level.DENY
    kinds = {each.kind for each in current}
    if bare.level == Level.NEEDS_PERMISSION and Kind.PERMISSION not in kinds:
        assert told.level == Level.NEEDS_PERMISSION
    if bare.level == Level.NEEDS_ACK and Kind.ACKNOWLEDGEMENT not in kinds:
        assert told.level == Level.NEEDS_ACK
    assert set(told.obligations) == set(bare.obligations)


@examples(
    st.sampled_from(Purpose), st.sampled_from(Distribution), ODD, DAYS, DAYS,
    st.lists(ODD, min_size=8, max_size=8), st.integers(0, 2**53),
)  # fmt: skip
@settings(max_examples=400, deadline=None)
def test_an_odd_question_gets_an_answer(
    purpose: Purpose,
    spread: Distribution,
    name: str,
    today: date,
    on: date,
    words: list[str],
    users: int,
) -> None:
    base, region, field, context, feature, modality, served, called = words
    use = Use(
        purpose=purpose,
        distribution=spread,
        student_base=base,
        region=region,
        field=field,
        context=(context,),
        monthly_users=users,
    )
    row = Given((feature,), modality, served=served, stage="publish", name=called)
    for offering in (name, "openrouter", "gemini-api", f"student-of({name})"):
        decision = decide_offering(
            use, REGISTER, offering, today, in_force=on, collected=on, given=row
        )
        assert decision.level == max(reason.level for reason in decision.reasons)
        assert decision.level == Level.ALLOW or decision.fix


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | ODD | st.dates(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ODD, inner, max_size=3),
    max_leaves=6,
)
SAID = {
    "off": NAMES | st.lists(NAMES.map(lambda name: f"{name} x3"), max_size=3),
    "at": DAYS.map(str),
    "purpose": st.sampled_from(Purpose).map(str),
    "dist": st.sampled_from(Distribution).map(str),
    "ack": st.sampled_from(["present", "expired", True, {"scope": ["evaluate"]}]),
    "permission": st.sampled_from(["present", "absent", {"valid": True}]),
    "context": st.sampled_from(["unpaid", {"mau": 10**9}, ">700M MAU"]),
    "stage": st.sampled_from([*STAGES, "preview"]),
}
CASES = st.fixed_dictionaries(
    {}, optional={field: SAID.get(field, ODD) | ANYTHING for field in sorted(FIELDS)}
)


@examples(CASES)
@settings(max_examples=400, deadline=None)
def test_a_case_is_answered_or_refused_in_one_line(case: dict[str, Any]) -> None:
    try:
        answer = evaluate(case, REGISTER, TODAY, where="cases.yaml, case 1")
    except BadInput as error:
        line = str(error)
        assert "\n" not in line
        assert len(line) < 600
        return
    assert {"id", "level", "obligations", "reasons", "fix"} <= answer.keys()
    json.dumps(answer)
