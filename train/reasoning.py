"""What a student is shown of its teacher's thoughts: kept, dropped, or shortened by a rule.

Thoughts are in a frozen dataset only where the terms let them be stored: in a column of their own,
or within the answer between <think> and </think>. Where they are changed, the teacher's
probabilities of what follows are of another context, and the row teaches by its text.

    told = tell("<think>\\nIt was lost.\\n</think>\\n\\n{...}", "", "drop", measure)
    told.text, told.changed          # ("{...}", True)
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

OPEN, CLOSE = "<think>", "</think>"
_SENTENCE = re.compile(r".+?(?:[.!?。！？]+(?=\s|$)|\n+|$)\s*", re.DOTALL)
_OPENED = re.compile(re.escape(OPEN) + r"\s*\Z")
_EMPTY = re.compile(re.escape(OPEN) + r"\s*" + re.escape(CLOSE) + r"\s*\Z")


class Told(NamedTuple):
    """An answer as the student is to write it."""

    text: str
    words: str
    """The part of it that the teacher's stored tokens spell."""
    changed: bool
    """Whether thoughts that the teacher had before its words are gone or shorter."""


def tell(content: str, thoughts: str, rule: str, measure: Callable[[str], int]) -> Told:
    """Apply keep, drop or shorten:N to an answer and its thoughts; `measure` counts tokens."""
    inside, answer = split(content)
    had = thoughts or inside
    if not had:
        return Told(content, content, False)
    left = _shortened(had, rule, measure)
    if left == had:
        text = content if inside and not thoughts else join(left, content)
        return Told(text, content, False)
    return Told(join(left, answer) if left else answer, answer, True)


def split(content: str) -> tuple[str, str]:
    """(thoughts, answer) of a text that begins with its thoughts; ("", content) where none do."""
    head, closed, answer = content.partition(CLOSE)
    if not closed or not head.lstrip().startswith(OPEN):
        return "", content
    return head.lstrip().removeprefix(OPEN).strip(), answer.lstrip()


def join(thoughts: str, answer: str) -> str:
    """The form that Qwen3 and DeepSeek-R1 write."""
    return f"{OPEN}\n{thoughts}\n{CLOSE}\n\n{answer}"


def _shortened(thoughts: str, rule: str, measure: Callable[[str], int]) -> str:
    """The whole, nothing, or the first whole sentences of at most N tokens."""
    if rule == "keep":
        return thoughts
    limit = int(rule.removeprefix("shorten:")) if rule != "drop" else 0
    if limit and measure(thoughts) <= limit:
        return thoughts
    kept = ""
    for sentence in _SENTENCE.findall(thoughts):
        if measure(kept + sentence) > limit:
            break
        kept += sentence
    return kept.strip()


def after_opening(prompt: str, text: str) -> str:
    """The text for a template whose prompt ends with <think> already: what it opens is closed."""
    opened = _OPENED.search(prompt)
    if not opened:
        return text
    inside, answer = split(text)
    return f"{opened.group()}{inside}\n{CLOSE}\n\n{answer}"


def placed(rendered: str, mark: str, text: str) -> str:
    """The text where a template put the mark; an empty <think> that it added gives way to ours."""
    before, _, after = rendered.partition(mark)
    if text.startswith(OPEN):
        before = _EMPTY.sub("", before)
    return before + text + after
