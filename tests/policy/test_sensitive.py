import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy.sensitive import sensitive

FAKE = "a1B2c3D4e5F6g7H8i9J0"


@pytest.mark.parametrize(
    ("text", "kinds"),
    [
        ("write to ada.lovelace+x@mail.example.co.uk please", ["email"]),
        ("call +49 30 90182 0123", ["phone"]),
        ("call 0049-30-901820", ["phone"]),
        ("call (030) 9018 2012 or 555-867-5309", ["phone", "phone"]),
        ("IBAN DE89 3704 0044 0532 0130 00 today", ["iban"]),
        ("IBAN GB82WEST12345698765432.", ["iban"]),
        ("card 4111 1111 1111 1111 exp 12/27", ["card"]),
        ("card 378282246310005", ["card"]),
        ("my SSN is 219-09-9999", ["social_security"]),
        (f"key sk-proj-{FAKE}", ["api_key"]),
        (f"key sk-ant-api03-{FAKE}", ["api_key"]),
        (f"token hf_{FAKE}", ["api_key"]),
        (f"token ghp_{FAKE}", ["api_key"]),
        ("AKIAIOSFODNN7EXAMPLE", ["api_key"]),
        (f"api_key = '{FAKE}'", ["secret"]),
        (f"Authorization: Bearer {FAKE}", ["secret"]),
        ("-----BEGIN RSA PRIVATE KEY-----\nMII", ["private_key"]),
        ("a@example.com and 4111111111111111", ["email", "card"]),
    ],
)
def test_what_has_a_form_is_found(text: str, kinds: list[str]) -> None:
    assert [found.kind for found in sensitive(text)] == kinds


@pytest.mark.parametrize(
    "text",
    [
        "",
        "where is my card? it was sent on 2026-11-24 at 10:15",
        "order 4111 1111 1111 1112 and parcel 1234567890123456",
        "version 1.2.3.4, 10.0.0.1, 3.14159265358979",
        "DE00 0000 0000 0000 0000 00 is no IBAN",
        "the token of my appreciation is a cake",
        "password: correcthorsebatterystaple",
        "sha256:e3b0c44298fc1c149afbf4c8996fb924",
        "0000000000000000",
        "the price is 1,234,567.89 for 2024-2025",
        "meet @ada at the corner of 5th and 42nd",
    ],
)
def test_what_only_looks_like_it_is_left_alone(text: str) -> None:
    assert sensitive(text) == []


def test_a_finding_says_where_and_does_not_repeat_the_value() -> None:
    (found,) = sensitive("card 4111 1111 1111 1111")
    assert (found.start, found.end, found.shown) == (5, 24, "41…11")


@given(st.text(max_size=300))
def test_any_text_can_be_scanned(text: str) -> None:
    for found in sensitive(text):
        assert 0 <= found.start < found.end <= len(text)


@pytest.mark.parametrize(
    "piece", ["a", "1", "1 ", "a.", "AB12", "@a.", "+1", "sk-", "token ", "0-"]
)
def test_a_hostile_text_takes_no_long_time(piece: str) -> None:
    started = time.process_time()
    sensitive(piece * (100_000 // len(piece)))
    assert time.process_time() - started < 2
