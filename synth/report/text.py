"""How numbers, and text that others wrote, are put before a reader.

A model's answer may hold escape codes that move a terminal's cursor, or direction marks that make
"wrong" read as something else. Escaping for HTML does not touch those, so each such character is
shown by its number.

    shown("\\x1b[2Jok\\u202e") == "⟨U+001B⟩[2Jok⟨U+202E⟩"
"""

import math
import unicodedata

HIDDEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
"""Unicode categories without a mark of their own: controls, formats, surrogates, unassigned …"""
HARMLESS = {"\n", "\t", "\u200c", "\u200d"}
"""Kept although hidden: line ends, tabs, and the joiners that Persian and many emoji need."""
LONGEST = 600
"""Characters of one text on the page: a model that repeats itself must not bury the others."""


def shown(text: str) -> str:
    """Text with every invisible or steering character made visible; the rest untouched."""
    return "".join(_picture(one) for one in text.replace("\r\n", "\n"))


def shortened(text: str, longest: int = LONGEST) -> str:
    """The start of a long text, saying how much is left out."""
    left_out = len(text) - longest
    return text if left_out <= 0 else f"{text[:longest]}… ({left_out:,} more characters)"


def _picture(one: str) -> str:
    code = ord(one)
    smuggled = (
        0xE0100 <= code <= 0xE01EF
    )  # variation selectors: invisible, and able to carry any byte
    if one in HARMLESS or not (smuggled or unicodedata.category(one) in HIDDEN):
        return one
    return f"⟨U+{code:04X}⟩"


def decimal(value: float) -> str:
    """Two places, more where two would say 0 or 1 of something that is neither: 0.61, 0.998."""
    return _rounded(value, (2, 3, 4), edges=(0, 1, -1))


def percent(value: float) -> str:
    """A share for a sentence: "77 %", and never "100 %" of what is not all."""
    return _rounded(100 * value, (0, 1, 2), edges=(0, 100)) + "\u202f%"


def signed(value: float) -> str:
    """A difference, with its sign: +0.61."""
    return ("+" if value > 0 else "") + decimal(value)


def bracket(low: float, high: float) -> str:
    """An interval: [0.52, 0.70]."""
    return f"[{decimal(low)}, {decimal(high)}]"


def _rounded(value: float, places: tuple[int, ...], edges: tuple[int, ...]) -> str:
    if not math.isfinite(value):
        return "not finite"
    text = ""
    for count in places:
        text = f"{value + 0.0:.{count}f}"
        if float(text) not in edges or float(text) == value:
            break
    return text.replace("-", "−")
