"""What was sent and received comes back byte for byte, however it lies in the ledger."""

import json
import sys

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from synth.bodies import (
    CUT,
    ESCAPED,
    LONG,
    PLAIN,
    ZSTD,
    as_received,
    as_sent,
    stored_reply,
    stored_request,
)

PACK = zstandard.ZstdCompressor(level=1).compress
TEXTS = st.text(st.characters(max_codepoint=sys.maxunicode), max_size=300)


def reply(text: str, **how: bool) -> bytes:
    said = {"choices": [{"message": {"content": text}, "finish_reason": "stop"}]}
    return json.dumps(said, **how).encode("utf-8", "surrogatepass")


@given(TEXTS, st.booleans(), st.binary(max_size=40))
def test_a_reply_comes_back(text: str, escaped: bool, more: bytes) -> None:
    raw = reply(text, ensure_ascii=escaped) + more
    assert as_received(*stored_reply(raw, text, PACK), text) == raw


@given(st.binary(max_size=3000), TEXTS)
def test_bytes_that_are_no_json_come_back(raw: bytes, text: str) -> None:
    assert as_received(*stored_reply(raw, text, PACK), text) == raw


@given(st.binary(min_size=1, max_size=300), st.integers(1, 200))
def test_a_request_comes_back(piece: bytes, times: int) -> None:
    body = piece * times
    form, data = stored_request(body, PACK)
    assert as_sent(form, data) == body
    assert (form == ZSTD) == (len(body) >= LONG)


ENGLISH, FRENCH = "Your card was blocked by us. " * 8, "Votre carte a été bloquée. " * 8


@pytest.mark.parametrize(
    ("text", "escaped", "form"),
    [(ENGLISH, True, CUT), (ENGLISH, False, CUT), (FRENCH, False, CUT), (FRENCH, True, ESCAPED)],
)
def test_the_text_is_not_stored_twice(text: str, escaped: bool, form: str) -> None:
    raw = reply(text, ensure_ascii=escaped)
    found, gap, data = stored_reply(raw, text, PACK)
    assert (found, len(data)) == (form, len(reply("")))
    assert data[:gap] == raw[:gap]


def test_text_beside_its_reasoning_is_cut_too() -> None:
    raw = reply(f"<think>Hm.</think>{ENGLISH}")
    form, _, data = stored_reply(raw, ENGLISH, PACK)
    assert form == CUT
    assert b"<think>Hm.</think>" in data
    assert b"blocked" not in data


@pytest.mark.parametrize("text", ["", "Yes.", ENGLISH])
def test_what_is_short_or_elsewhere_stays(text: str) -> None:
    raw = reply("something else", ensure_ascii=True) if text == ENGLISH else reply(text)
    assert stored_reply(raw, text, PACK) == (PLAIN, 0, raw)


def test_a_long_reply_is_packed_with_its_text() -> None:
    raw = reply(ENGLISH * 100)
    form, gap, data = stored_reply(raw, ENGLISH * 100, PACK)
    assert (form, gap) == (ZSTD, 0)
    assert len(data) < len(raw) / 10


@pytest.mark.parametrize(
    "row",
    [
        ("cut", 99, b"abc", ENGLISH),
        ("cut", -1, b"abc", ENGLISH),
        ("escaped", 1, b"abc", ENGLISH),  # there is one way only to write ASCII
        ("plain", 3, b"abc", ENGLISH),
        ("zstd", 3, PACK(b"abc"), ENGLISH),
        ("zstd", 0, b"abc", ENGLISH),
        ("zstd", 0, PACK(b"abc") + b"x", ENGLISH),
        ("zstd", 0, PACK(b"abc")[:-1], ENGLISH),
        ("PLAIN", 0, b"abc", ENGLISH),
    ],
)
def test_what_was_never_stored_so_is_refused(row: tuple[str, int, bytes, str]) -> None:
    with pytest.raises(ValueError, match=r"cut out|zstd frame|no form"):
        as_received(*row)
