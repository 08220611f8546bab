"""The fast reader of a large reply and the plain one never disagree, whatever form it has."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synth.logprobs import NO_LOGPROBS, TokenLogprobs, packed, unpacked
from synth.teachers.evidence import token_logprobs
from synth.teachers.signal import LARGE, decoded

Entry = dict[str, Any]
LOGPROB = st.floats(-30, 0).map(lambda value: round(value, 6)) | st.sampled_from([-9999.0, 0])
LETTERS = 'ab é☃\U0001f600"\\\n[],'
ODD: list[Any] = ["x", 7, [256], ["5"], [[1]], {"a": 1}, [-1], [1.5], [1.0], "],["]
"""What no list of bytes is."""


def entry(text: str, logprob: float, **more: Any) -> Entry:
    return {"token": text, "logprob": logprob, "bytes": list(text.encode())} | more


@st.composite
def entries(draw: st.DrawFn) -> Entry:
    made = entry(draw(st.text(LETTERS, max_size=6)), draw(LOGPROB))
    match draw(st.integers(0, 9)):
        case 0:
            del made["bytes"]
        case 1:
            made["bytes"] = None
        case 2:
            made["id"] = draw(st.integers(-2, 2**31))
    return made


def large(tokens: list[Entry], around: Entry | None = None, **how: Any) -> bytes:
    """A reply of these tokens, and of enough others that it is read fast."""
    filler = entry(" word", -0.5, top_logprobs=[entry(" x" * 9, -1.0) for _ in range(20)])
    content = [*tokens, *[filler] * 12]
    choice = {"index": 0, "message": {"content": "a"}, "logprobs": {"content": content}}
    raw = json.dumps({"id": "r", "choices": [choice | (around or {})], "usage": {}}, **how).encode()
    assert len(raw) >= LARGE
    return raw


def slowly(raw: bytes) -> TokenLogprobs:
    return token_logprobs(json.loads(raw)["choices"][0]["logprobs"]["content"])


def quickly(raw: bytes) -> TokenLogprobs:
    found = decoded(raw)["choices"][0]["logprobs"]
    return found if isinstance(found, TokenLogprobs) else token_logprobs(found["content"])


@given(
    st.lists(st.tuples(entries(), st.lists(entries(), max_size=4)), max_size=6),
    st.sampled_from([(",", ":"), (", ", ": ")]),
    st.booleans(),
    st.booleans(),
)
def test_both_read_the_same(
    rows: list[tuple[Entry, list[Entry]]], between: tuple[str, str], escaped: bool, ordered: bool
) -> None:
    tokens = [token | {"top_logprobs": tops} for token, tops in rows]
    raw = large(tokens, separators=between, ensure_ascii=escaped, sort_keys=ordered)
    assert packed(quickly(raw)) == packed(slowly(raw))


@pytest.mark.parametrize(
    "how",
    [{"separators": (",", ":")}, {}, {"sort_keys": True}, {"indent": 1}, {"ensure_ascii": False}],
)
def test_usual_forms_are_read_fast(how: Any) -> None:
    raw = large([entry(" é", -1.0, top_logprobs=[entry("e", -2.0)])], **how)
    assert isinstance(decoded(raw)["choices"][0]["logprobs"], TokenLogprobs)


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("top", [False, True])
def test_bytes_that_are_none_leave_no_signal(odd: Any, top: bool) -> None:
    bad = entry("a", -1.0) | {"bytes": odd}
    good = entry("b", -2.0, top_logprobs=[bad if top else entry("a", -1.0)])
    tokens = [good] if top else [bad | {"top_logprobs": []}, good]
    raw = large(tokens)
    assert quickly(raw) == slowly(raw) == NO_LOGPROBS


@pytest.mark.parametrize(
    "around",
    [
        {"message": {"content": 'he said "logprobs": {"content":[{"top_logprobs":[]}]}'}},
        {"message": {"content": "a", "logprobs": None}},
        {"top_logprobs": [1], "finish_reason": "stop"},
        {'a\\"logprobs': {"content": []}},
        {'a"logprobs': {"content": []}},
        {"next": {"logprobs": {"content": []}, "top_logprobs": []}},
    ],
)
def test_words_like_it_elsewhere_change_nothing(around: Entry) -> None:
    raw = large([entry("a", -1.0, top_logprobs=[])], around)
    assert quickly(raw) == slowly(raw)
    rest, plain = decoded(raw), json.loads(raw)
    rest["choices"][0].pop("logprobs"), plain["choices"][0].pop("logprobs")
    assert rest == plain


@pytest.mark.parametrize("value", [None, [], "", 0, {}, {"content": None}, {"content": []}])
def test_a_large_reply_without_them_is_plain_json(value: Any) -> None:
    data = {"x": {"a": [{"top_logprobs": []}]}, "choices": [{"logprobs": value, "y": "z" * LARGE}]}
    assert decoded(json.dumps(data).encode()) == data


@pytest.mark.parametrize("data", [None, [], {"choices": 3}, {"choices": [None, 3, []]}])
def test_what_is_no_reply_is_plain_json_too(data: Any) -> None:
    inner = {"logprobs": {"content": [entry("a", -1.0, top_logprobs=[])]}, "pad": "z" * LARGE}
    for whole in (data, [data, inner], {"choices": [], "a": inner}, inner):
        assert decoded(json.dumps(whole).encode()) == whole


@given(st.binary(max_size=60), st.integers(0, 10_000))
def test_damage_is_found_by_both_or_by_none(junk: bytes, at: int) -> None:
    raw = large([entry("a", -1.0, top_logprobs=[])])
    raw = raw[:at] + junk + raw[at + len(junk) :]
    try:
        plain = json.loads(raw.decode())
    except ValueError:
        with pytest.raises(ValueError):  # noqa: PT011 - of either reader
            decoded(raw)
        return
    found = decoded(raw)
    if isinstance(plain, dict) and found != plain:
        assert quickly(raw) == slowly(raw)


@pytest.mark.parametrize("longest", [0, 1, 255, 256, 70_000])
def test_pieces_of_any_length_come_back(longest: int) -> None:
    top = entry("é" * (longest // 2) + "e" * (longest % 2), -2.5)
    signal = quickly(large([entry("a", -1.25, top_logprobs=[top, entry("", -3)])]))
    assert unpacked(packed(signal)) == signal
    assert list(map(len, signal.top_bytes[0])) == [longest, 0]


def test_they_come_back_as_they_were_packed() -> None:
    signal = quickly(large([entry("é", -1.25, id=5, top_logprobs=[entry("e", -2.5, id=7)])]))
    assert unpacked(packed(signal)) == signal
    assert (signal.token_bytes[0], signal.top_bytes[0]) == ("é".encode(), (b"e",))
    assert (signal.token_logprobs[0], signal.top_logprobs[0]) == (-1.25, (-2.5,))
