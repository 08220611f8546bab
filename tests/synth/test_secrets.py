"""A key is read from the environment, checked, and never printed."""

import pickle
import traceback

import pytest

from policy.errors import BadInput
from synth.secrets import Key, key_for

CANARY = "sk-canary-0123456789"


def test_a_key_is_read_without_the_space_around_it() -> None:
    assert key_for("K", {"K": f" {CANARY}\n"}).reveal() == CANARY


def test_a_server_without_a_key_gets_a_word_that_is_none() -> None:
    assert key_for("", {}).reveal() == "none"


@pytest.mark.parametrize("shown", [repr, str, "{}".format, "{!r}".format, "%s".__mod__])
def test_a_key_does_not_print(shown: object) -> None:
    assert callable(shown)
    assert "canary" not in shown(Key(CANARY))


@pytest.mark.parametrize(
    "value", ["", "   ", "ab", "sk-a b", "sk-a\nb", "sk-a\0b", "sk-é", "k" * 513]
)
def test_what_cannot_be_a_key_is_refused_unrepeated(value: str) -> None:
    with pytest.raises(BadInput) as raised:
        key_for("MY_KEY", {"MY_KEY": value})
    assert "MY_KEY" in str(raised.value)
    assert value.strip() not in str(raised.value) or len(value.strip()) < 3


def test_a_traceback_does_not_hold_the_key() -> None:
    with pytest.raises(BadInput) as raised:
        key_for("MY_KEY", {"MY_KEY": CANARY + " and more"})
    assert "canary" not in "".join(traceback.format_exception(raised.value))


def test_an_unset_variable_is_said_with_what_to_do() -> None:
    with pytest.raises(BadInput, match="export MY_KEY="):
        key_for("MY_KEY", {})


def test_a_key_is_not_pickled() -> None:
    with pytest.raises(TypeError):
        pickle.dumps(Key(CANARY))
