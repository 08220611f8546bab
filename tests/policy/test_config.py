from enum import StrEnum
from pathlib import Path

import pytest

from policy.config import Section, load_toml, parse
from policy.errors import BadInput


class Colour(StrEnum):
    RED = "red"
    GREEN = "green"


class Inner(Section):
    temperature: float = 0.7
    colour: Colour = Colour.RED


class Outer(Section):
    name: str
    sampling: Inner = Inner()
    steps: tuple[Inner, ...] = ()


def line(data: dict[str, object]) -> str:
    with pytest.raises(BadInput) as caught:
        parse(Outer, data, where="a.toml")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_table_that_fits_becomes_a_frozen_model() -> None:
    outer = parse(Outer, {"name": "x", "sampling": {"temperature": 1}}, where="a.toml")
    assert outer.sampling.temperature == 1.0
    with pytest.raises(Exception, match="frozen"):
        outer.name = "y"


def test_an_unknown_key_suggests_the_nearest_name_at_its_depth() -> None:
    text = line({"name": "x", "sampling": {"temprature": 1}})
    assert text == (
        'a.toml: unknown key "sampling.temprature" (value 1). Did you mean "temperature"?'
    )


def test_an_unknown_key_in_a_list_is_counted_as_people_count() -> None:
    assert 'unknown key "steps[2].color"' in line({"name": "x", "steps": [{}, {"color": "red"}]})


def test_a_key_like_no_other_gets_the_list_of_known_ones() -> None:
    assert "Known keys: name, sampling, steps." in line({"name": "x", "zzz": 1})


def test_a_missing_key_is_named() -> None:
    assert line({}) == 'a.toml: the key "name" is missing. Add "name".'


def test_a_wrong_word_is_shown_with_the_nearest_right_one() -> None:
    text = line({"name": "x", "sampling": {"colour": "gren"}})
    assert text == 'a.toml: sampling.colour = "gren" cannot be used. Did you mean "green"?'


def test_a_wrong_type_is_shown_with_its_value() -> None:
    assert 'sampling.temperature = "hot" cannot be used' in line(
        {"name": "x", "sampling": {"temperature": "hot"}}
    )


@pytest.mark.parametrize("value", [True, False, float("inf"), float("-inf"), float("nan")])
def test_a_number_is_a_number(value: object) -> None:
    assert "sampling.temperature" in line({"name": "x", "sampling": {"temperature": value}})


def test_further_faults_are_counted() -> None:
    assert "(and 1 more)" in line({"name": 1, "sampling": {"temperature": "hot"}})


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"nothing\.toml: there is no such file"):
        load_toml(tmp_path / "nothing.toml")


def test_broken_toml_is_named_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text("a = 1\nb = = 2\n")
    with pytest.raises(BadInput, match=r"not valid TOML: .*line 2"):
        load_toml(tmp_path / "a.toml")


def test_a_file_that_is_not_utf8_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_bytes(b'a = "\xff"\n')
    with pytest.raises(BadInput, match="is not UTF-8"):
        load_toml(tmp_path / "a.toml")


@pytest.mark.parametrize("data", [{"api_key": "canary"}, {"name": ["sk-canary"]}])
def test_a_secret_in_the_wrong_place_is_not_repeated(data: dict[str, object]) -> None:
    assert "canary" not in line({"name": "x", **data})
