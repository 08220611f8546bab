import pytest

from policy.config import parse
from policy.errors import BadInput
from policy.use import Distribution, Purpose, Use


def test_what_is_not_said_is_the_worst_case() -> None:
    assert Use().purpose is Purpose.TRAIN_COMPETING_GENERAL
    assert Use().distribution is Distribution.WEIGHTS_PUBLIC


@pytest.mark.parametrize(
    ("short", "meant"),
    [
        ("train_general", Purpose.TRAIN_COMPETING_GENERAL),
        ("train_specialist", Purpose.TRAIN_SPECIALIST_GENERATIVE),
    ],
)
def test_the_short_words_are_accepted(short: str, meant: Purpose) -> None:
    use = parse(Use, {"purpose": short, "distribution": "internal"}, where="a.toml")
    assert (use.purpose, use.distribution) == (meant, Distribution.INTERNAL_ONLY)


def test_a_misspelt_purpose_suggests_the_nearest() -> None:
    with pytest.raises(BadInput, match='Did you mean "train_classifier"'):
        parse(Use, {"purpose": "train_clasifier"}, where="a.toml")
