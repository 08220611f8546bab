"""Personal data and secrets in a prompt, found before it is sent where the terms forbid them.

>>> [found.kind for found in sensitive("call +49 30 901820 or mail a@example.com")]
['email', 'phone']

Patterns with a check behind them, so that an order number is no card: Luhn for cards, mod 97 for
IBANs, a known beginning or high entropy after a telling word for keys. It finds what has a form;
names and stories have none, so a clean scan is no proof.
"""

import math
import re
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

EMAIL = re.compile(r"(?<![\w.+-])[\w.+-]{1,64}@(?:[\w-]{1,63}\.){1,8}[A-Za-z]{2,24}\b")
IBAN = re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{2,4}){3,8}\b")
CARD = re.compile(r"(?<![\d.])\d(?:[ -]?\d){12,18}(?![\d])")
PHONE = re.compile(r"(?<![\w.+])(?:\+|00)[1-9]\d{0,2}(?:[ ./()-]{0,2}\d){6,13}(?!\w)")
LOCAL_PHONE = re.compile(
    r"(?<![\w.+/-])(?:\(\d{2,5}\)[ ]?\d{3,4}[ -]\d{3,5}|\d{3}[-.]\d{3}[-.]\d{4}"
    r"|0[1-9]\d{1,3}[ /-]\d{3,9})(?![\w-])"
)
SSN = re.compile(r"(?<![\d-])(?!000|666|9)\d{3}-(?!00)\d{2}-(?!0000)\d{4}(?![\d-])")
KEYS = re.compile(
    r"\b(?:sk-(?:ant-|proj-|or-)?[\w-]{16,}|(?:gsk|xai|hf|ghp|gho|ghs|glpat|pplx|fw|r8|nvapi|pypi)"
    r"[-_][\w-]{16,}|github_pat_\w{20,}|AKIA[0-9A-Z]{16}|ASIA[0-9A-Z]{16}|AIza[\w-]{30,}"
    r"|xox[abpr]-[\w-]{10,}|sk_live_\w{16,}|rk_live_\w{16,}|SG\.[\w-]{16,}\.[\w-]{16,}"
    r"|eyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]{10,})"
)
PRIVATE = re.compile(r"-----BEGIN (?:[A-Z]+ ){0,3}PRIVATE KEY-----")
TOLD = re.compile(
    r"(?i)\b(?:api[_-]?key|secret|token|passw(?:or)?d|authorization|bearer)\b[\"'`]?\s*"
    r"(?:[:=]|\bis\b)?\s*(?:bearer\s+)?[\"'`]?(?P<value>[A-Za-z0-9+/_=.-]{16,200})"
)
ENTROPY = 3.5  # bits a character: words and names lie below, random base64 and hexadecimal above


class Finding(NamedTuple):
    """Something that should not leave: its kind, its place, and a form that may be shown."""

    kind: str
    start: int
    end: int
    shown: str


def sensitive(text: str) -> list[Finding]:
    """Every finding, in order of place; of two that overlap the earlier kind below counts."""
    found: list[Finding] = []
    for kind, start, end in _candidates(text):
        if not any(start < other.end and other.start < end for other in found):
            found.append(Finding(kind, start, end, _masked(text[start:end])))
    return sorted(found, key=lambda each: each.start)


def _candidates(text: str) -> Iterator[tuple[str, int, int]]:
    for match in PRIVATE.finditer(text):
        yield "private_key", *match.span()
    for match in KEYS.finditer(text):
        yield "api_key", *match.span()
    for match in TOLD.finditer(text):
        if _entropy(match["value"]) >= ENTROPY and re.search(r"\d", match["value"]):
            yield "secret", *match.span("value")
    for match in EMAIL.finditer(text):
        yield "email", *match.span()
    for match in IBAN.finditer(text):
        yield from _iban(match[0], match.start())
    for match in CARD.finditer(text):
        if _luhn(match[0]):
            yield "card", *match.span()
    for match in SSN.finditer(text):
        yield "social_security", *match.span()
    for pattern in (PHONE, LOCAL_PHONE):
        for match in pattern.finditer(text):
            yield "phone", *match.span()


def _iban(held: str, start: int) -> Iterator[tuple[str, int, int]]:
    """The longest beginning that is an IBAN, since a word may follow it."""
    for end in range(len(held), 14, -1):
        if _mod97(held[:end].replace(" ", "")):
            yield "iban", start, start + end
            return


def _mod97(iban: str) -> bool:
    if not 15 <= len(iban) <= 34:
        return False
    moved = iban[4:] + iban[:4]
    return int("".join(str(int(letter, 36)) for letter in moved)) % 97 == 1


def _luhn(number: str) -> bool:
    digits = [int(letter) for letter in number if letter.isdigit()]
    if len(set(digits)) == 1:
        return False
    doubled = [sum(divmod(2 * digit, 10)) for digit in digits[-2::-2]]
    return (sum(digits[::-2]) + sum(doubled)) % 10 == 0


def _entropy(text: str) -> float:
    counts = Counter(text)
    return -sum(n / len(text) * math.log2(n / len(text)) for n in counts.values())


def _masked(text: str) -> str:
    """Enough to find it again, too little to use it."""
    return f"{text[:2]}…{text[-2:]}" if len(text) > 6 else "…"
