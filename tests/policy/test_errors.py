from policy.errors import (
    BadInput,
    BudgetReached,
    ExitCode,
    LedgerBroken,
    PolicyDenied,
    SpiritSafeError,
    VerificationFailed,
)


def test_an_error_is_one_line_of_where_what_and_fix() -> None:
    error = BadInput("the key is\nunknown.", where="a.toml", fix="Leave it out.")
    assert str(error) == "a.toml: the key is unknown. Leave it out."


def test_parts_that_are_empty_are_left_out() -> None:
    assert str(SpiritSafeError("it stopped")) == "it stopped"


def test_each_error_has_its_documented_exit_code() -> None:
    classes = (BadInput, PolicyDenied, BudgetReached, LedgerBroken, VerificationFailed)
    assert [int(each.exit_code) for each in classes] == [2, 3, 4, 5, 5]
    assert sorted(ExitCode) == [0, 1, 2, 3, 4, 5, 130]


def test_a_denial_carries_its_decision() -> None:
    assert PolicyDenied("no", decision="the decision").decision == "the decision"
