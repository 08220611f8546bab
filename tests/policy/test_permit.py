import copy
import dataclasses
import pickle
from collections.abc import Callable
from datetime import date
from typing import Any

import pytest

import policy.permit as permit_module
from policy.decide import Decision, decide
from policy.errors import PolicyDenied
from policy.permit import WIDTH, Action, Permit, refusal, require
from policy.terms import Level, load_register
from policy.use import Distribution, Purpose, Use

TODAY = date(2026, 11, 24)
REGISTER = load_register()


def decision_of(offering: str, purpose: str = "train_specialist") -> Decision:
    use = Use(purpose=Purpose(purpose), distribution=Distribution.INTERNAL_ONLY)
    return decide(use, REGISTER.find(offering, TODAY), TODAY, offering=offering)


@pytest.mark.parametrize("action", Action)
@pytest.mark.parametrize("offering", ["deepseek-api", "mistral-api", "smollm2@self-host"])
def test_an_allowed_use_gets_a_permit_bound_to_its_decision(offering: str, action: Action) -> None:
    decision = decision_of(offering)
    permit = require(decision, action)
    permit.must_be(action)
    assert permit.decision == decision
    assert permit.decision_digest == decision.digest
    assert (permit.level, permit.obligations) == (decision.level, decision.obligations)


@pytest.mark.parametrize("action", Action)
@pytest.mark.parametrize(
    ("offering", "purpose"),
    [
        ("openai-api", "train_specialist"),  # NEEDS_ACK
        ("anthropic-api", "train_specialist"),  # NEEDS_PERMISSION
        ("openai-api", "train_general"),  # DENY
        ("nobody", "evaluate"),  # unknown
    ],
)
def test_what_needs_more_is_refused_with_its_decision(
    offering: str, purpose: str, action: Action
) -> None:
    decision = decision_of(offering, purpose)
    with pytest.raises(PolicyDenied) as caught:
        require(decision, action, alternatives=["deepseek-api"])
    assert caught.value.decision is decision
    assert caught.value.exit_code == 3
    assert "Allowed here: deepseek-api." in str(caught.value)


def test_a_permit_for_one_action_does_not_serve_for_another() -> None:
    permit = require(decision_of("deepseek-api"), Action.COLLECT)
    with pytest.raises(PolicyDenied, match="for collect, not for train"):
        permit.must_be(Action.TRAIN)


@pytest.mark.parametrize(
    "forge",
    [
        lambda: Permit(),
        lambda: Permit(decision_of("openai-api"), Action.TRAIN),
        lambda: Permit.__new__(Permit),
        lambda: type("Mine", (Permit,), {}),
        lambda: pickle.dumps(require(decision_of("deepseek-api"), Action.TRAIN)),
    ],
)
def test_a_permit_cannot_be_made_inherited_or_stored(forge: Callable[[], object]) -> None:
    with pytest.raises(TypeError):
        forge()


@pytest.mark.parametrize("name", ["_decision", "_action", "_seal", "level", "extra"])
def test_a_permit_does_not_change(name: str) -> None:
    permit = require(decision_of("deepseek-api"), Action.TRAIN)
    with pytest.raises(AttributeError):
        setattr(permit, name, Action.PUBLISH)
    with pytest.raises(AttributeError):
        delattr(permit, name)


def test_a_copy_is_the_permit_itself() -> None:
    permit = require(decision_of("deepseek-api"), Action.TRAIN)
    assert copy.copy(permit) is permit
    assert copy.deepcopy([permit])[0] is permit


def test_a_blank_permit_is_worth_nothing() -> None:
    with pytest.raises(PolicyDenied, match="not made by require"):
        object.__new__(Permit).must_be(Action.TRAIN)


class Lookalike:
    """Has the method and the fields, and proves nothing."""

    __slots__ = ("_action", "_decision", "_seal")

    def must_be(self, action: Action) -> None:
        """Says yes to everything."""


def _forged(**fields: object) -> Permit:
    blank = object.__new__(Permit)
    for name, value in fields.items():
        object.__setattr__(blank, name, value)
    return blank


def _disguised() -> Permit:
    lookalike: Any = Lookalike()
    lookalike.__class__ = Permit
    return _filled(lookalike)


def _filled(blank: Any) -> Any:
    object.__setattr__(blank, "_decision", decision_of("openai-api"))
    object.__setattr__(blank, "_action", Action.TRAIN)
    object.__setattr__(blank, "_seal", require(decision_of("deepseek-api"), Action.TRAIN)._seal)
    return blank


@pytest.mark.parametrize(
    "forge",
    [
        Lookalike,
        _disguised,
        lambda: None,
        lambda: "permit",
        lambda: _forged(_decision=decision_of("deepseek-api"), _action=Action.TRAIN),
        lambda: _forged(_decision=decision_of("deepseek-api"), _action="train", _seal=None),
        lambda: _forged(_decision=decision_of("deepseek-api"), _action="train", _seal="0" * 64),
        lambda: _filled(object.__new__(Permit)),
    ],
)
def test_what_only_looks_like_a_permit_is_worth_nothing(forge: Callable[[], Any]) -> None:
    with pytest.raises(PolicyDenied, match="not made by require"):
        Permit.must_be(forge(), Action.TRAIN)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("_decision", lambda: decision_of("openai-api")),
        ("_decision", lambda: decision_of("mistral-api")),
        ("_decision", lambda: None),
        ("_action", lambda: Action.PUBLISH),
        ("_action", lambda: "sell"),
        ("_seal", lambda: require(decision_of("mistral-api"), Action.TRAIN)._seal),
    ],
)
def test_a_permit_that_was_tampered_with_is_worth_nothing(
    name: str, value: Callable[[], object]
) -> None:
    permit = require(decision_of("deepseek-api"), Action.TRAIN)
    object.__setattr__(permit, name, value())
    for action in Action:
        with pytest.raises(PolicyDenied, match="altered"):
            permit.must_be(action)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("offering", "another"),
        ("purpose", Purpose.TRAIN_COMPETING_GENERAL),
        ("distribution", Distribution.WEIGHTS_PUBLIC),
        ("level", Level.ALLOW_WITH),
        ("obligations", ()),
        ("date", "2020-01-01"),
        ("reasons", ()),
        ("fix", object()),
    ],
)
def test_a_permit_dies_with_the_decision_that_was_altered_under_it(
    field: str, value: object
) -> None:
    decision = decision_of("mistral-api" if field == "obligations" else "deepseek-api")
    permit = require(decision, Action.TRAIN)
    permit.must_be(Action.TRAIN)
    decision.__dict__[field] = value
    with pytest.raises(PolicyDenied, match="altered"):
        permit.must_be(Action.TRAIN)


def test_nothing_of_the_module_seals_a_denial() -> None:
    makers = [each for name, each in vars(permit_module).items() if name.startswith("_seal")]
    for maker in makers:
        made = maker()[0] if maker is permit_module._sealer else maker
        with pytest.raises(PolicyDenied):
            made(decision_of("openai-api"), Action.TRAIN)


@pytest.mark.parametrize(
    "route",
    [
        lambda permit: pickle.dumps(permit),
        lambda permit: permit.__reduce_ex__(2),
        lambda permit: dataclasses.replace(permit),
        lambda permit: dataclasses.replace(permit, level=Level.ALLOW),
        lambda permit: type(permit)(permit.decision, permit.action),
        lambda permit: permit.__init__(permit.decision) or type(permit)(),
    ],
)
def test_no_route_of_python_makes_a_second_permit(route: Callable[[Permit], object]) -> None:
    with pytest.raises(TypeError):
        route(require(decision_of("deepseek-api"), Action.TRAIN))


def test_a_decision_whose_level_was_lowered_is_judged_by_its_reasons() -> None:
    lowered = decision_of("openai-api").model_copy(update={"level": Level.ALLOW})
    with pytest.raises(PolicyDenied):
        require(lowered, Action.TRAIN)


def test_a_permit_shows_what_it_is_for() -> None:
    assert repr(require(decision_of("deepseek-api"), Action.TRAIN)).startswith(
        "<Permit train ALLOW sha256:"
    )


def test_the_refusal_tells_a_lawyer_all_there_is() -> None:
    screen = refusal(decision_of("anthropic-api"), alternatives=["deepseek-api"])
    for part in (
        "NEEDS_PERMISSION  anthropic-api",
        "train_specialist_generative, distribution internal_only",
        "Do Not Abuse our Platform, Anthropic Usage Policy (2025-09-15)",
        "D.4, Anthropic Commercial Terms of Service (2025-06-17)",
        "https://www.anthropic.com/legal/aup",
        "records/permission-anthropic-api.toml",
        "ask a teacher whose terms allow this use: deepseek-api",
        "not legal advice",
    ):
        assert part in screen


@pytest.mark.parametrize("offering", [*sorted(t.id for t in REGISTER.all()), "nobody"])
@pytest.mark.parametrize("purpose", Purpose)
def test_every_screen_fits_its_width(offering: str, purpose: Purpose) -> None:
    screen = refusal(decision_of(offering, purpose))
    assert max(map(len, screen.splitlines())) <= WIDTH
    assert screen.endswith("advice.\n")


def test_a_decision_altered_after_it_passed_is_noticed_the_next_time() -> None:
    permit = require(decision_of("deepseek-api"), Action.TRAIN)
    Permit.must_be(permit, Action.TRAIN)
    Permit.must_be(permit, Action.TRAIN)
    decision = permit.decision
    for owner, name, value in (
        (decision, "offering", "another"),
        (decision.reasons[0], "text", "Any use."),
        (decision, "caps", {"monthly_users": 1}),
    ):
        before = getattr(owner, name)
        object.__setattr__(owner, name, value)
        with pytest.raises(PolicyDenied):
            Permit.must_be(permit, Action.TRAIN)
        object.__setattr__(owner, name, before)
        Permit.must_be(permit, Action.TRAIN)
    assert isinstance(decision.caps, dict)
    decision.caps["monthly_users"] = 1
    with pytest.raises(PolicyDenied):
        Permit.must_be(permit, Action.TRAIN)
