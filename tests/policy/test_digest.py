import hashlib
from pathlib import Path

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from policy.digest import canonical, commit, digest, file_digest, sha256
from policy.errors import BadInput

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text('aé\n"€\U0001f600'),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abé"), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text("abc"), JSON, max_size=4))
def test_the_order_of_keys_does_not_matter(value: dict[str, object]) -> None:
    assert digest(dict(reversed(value.items()))) == digest(value)


@given(st.dictionaries(st.text(max_size=3), JSON | st.text() | st.floats(-1e30, 1e30), max_size=4))
def test_the_fast_way_writes_the_same_bytes(value: dict[str, object]) -> None:
    assert canonical(value) == rfc8785.dumps(value)  # type: ignore[arg-type]


def test_the_form_is_that_of_rfc_8785() -> None:
    assert canonical({"b": 1.0, "a": "é\n", "c": 1e21}) == '{"a":"é\\n","b":1,"c":1e+21}'.encode()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 2**60, "\ud800", b"x", {1: 2}])
def test_a_value_without_a_stable_form_is_refused(value: object) -> None:
    with pytest.raises(BadInput, match="no stable form"):
        digest({"value": value} if not isinstance(value, dict) else value)


def test_a_file_has_the_digest_of_its_bytes(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x" * 3_000_000)
    assert file_digest(tmp_path / "a") == sha256(b"x" * 3_000_000)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="gone: cannot be read"):
        file_digest(tmp_path / "gone")


def test_a_commitment_binds_salt_and_content() -> None:
    salt = bytes(16)
    assert commit(salt, b"hello") == "sha256:" + hashlib.sha256(salt + b"hello").hexdigest()
    assert commit(bytes(15) + b"\1", b"hello") != commit(salt, b"hello")


def test_a_salt_of_another_length_is_refused() -> None:
    with pytest.raises(BadInput, match="16 bytes"):
        commit(b"short", b"hello")


def test_every_character_is_escaped_as_the_reference_escapes_it() -> None:
    everything = "".join(map(chr, [*range(0xD800), *range(0xE000, 0x110000)]))
    assert canonical([everything]) == rfc8785.dumps([everything])
    for character in map(chr, range(0x300)):
        assert canonical({"a": character}) == rfc8785.dumps({"a": character})


def test_what_only_the_reference_can_write_is_left_to_it() -> None:
    value = {"z": 1.5, "a": [{"é": 1}], "n": 1e30, "nested": {"b": (True, None), "a": -0.0}}
    assert canonical(value) == rfc8785.dumps(value)
    for beyond in (2**53, -(2**53), 2**64, 2**70):
        with pytest.raises(BadInput):
            canonical({"n": [beyond]})
