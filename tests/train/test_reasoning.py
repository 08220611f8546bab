"""Thoughts are kept, dropped or shortened as the project says, whatever a template does to them."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy.errors import BadInput
from tests.train.parts import TEMPLATE, TeacherRow, build_tokenizer
from train.align import TOP_K, Rules
from train.config import Arm, Training
from train.data import Example, Reader, encode
from train.reasoning import join, split, tell

THOUGHTS = "They wait for a card. It was sent on Monday! So it is late?"
ANSWER = '{"intent": "card_arrival"}'

QWEN3 = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n"
    "{% if m['role'] == 'assistant' %}{% set parts = m['content'].split('</think>') %}"
    "<think>\n{{ parts[0].split('<think>')[-1].strip() if parts | length > 1 else '' }}\n"
    "</think>\n\n{{ parts[-1].lstrip() }}"
    "{% else %}{{ m['content'] }}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""As Qwen3's: takes thoughts apart, and gives every last answer a block of them."""
STRIPS = TEMPLATE.replace("{{ m['content'] }}", "{{ m['content'].split('</think>')[-1] }}")
"""As most do: no thoughts in what was said."""
OPENS = STRIPS.replace("assistant\n{% endif %}", "assistant\n<think>\n{% endif %}")
"""As DeepSeek-R1's distilled ones: the prompt already opens the block, and the history has none."""


def reader_of(template: str) -> Reader:
    tokenizer = build_tokenizer()
    tokenizer.chat_template = template
    return Reader(tokenizer)


def row(reader: Reader, content: str, thoughts: str = "", spelled: str = "") -> dict[str, Any]:
    """A row whose stored tokens spell the answer, or what `spelled` says."""
    ids = reader.ids([spelled or content])[0]
    pieces = [*(reader.vocabulary.bytes_of[i] for i in ids), b""]
    logprobs = [math.log(0.7)] * len(pieces)
    changes = {
        "completion": [{"role": "assistant", "content": content}],
        "reasoning": thoughts,
        "token_bytes": pieces,
        "token_logprobs": logprobs,
        "top_bytes": [[piece] for piece in pieces],
        "top_logprobs": [[p] for p in logprobs],
    }
    return TeacherRow(0, reader.tokenizer, changes).columns()


def one(reader: Reader, made: dict[str, Any], rule: str) -> tuple[Example, str]:
    examples, _ = encode([made], reader, max_length=512, rules=Rules(reasoning=rule))
    return examples[0], reader.tokenizer.decode(examples[0].completion)


@pytest.mark.parametrize("template", [TEMPLATE, QWEN3, STRIPS, OPENS])
@pytest.mark.parametrize("inline", [True, False])
def test_every_template_learns_the_thoughts_that_are_kept(template: str, inline: bool) -> None:
    reader = reader_of(template)
    whole = join(THOUGHTS, ANSWER)
    made = row(reader, whole) if inline else row(reader, ANSWER, THOUGHTS)
    example, text = one(reader, made, "keep")
    opened = "" if template != OPENS else "<think>\n"
    assert opened + text == whole + "<|im_end|>"
    assert reader.tokenizer.decode(example.input_ids).count("<think>") == 1


@pytest.mark.parametrize("template", [TEMPLATE, QWEN3, STRIPS, OPENS])
@pytest.mark.parametrize("inline", [True, False])
def test_dropped_thoughts_are_nowhere_and_carry_no_probabilities(
    template: str, inline: bool
) -> None:
    reader = reader_of(template)
    made = row(reader, join(THOUGHTS, ANSWER)) if inline else row(reader, ANSWER, THOUGHTS)
    example, text = one(reader, made, "drop")
    assert text.endswith(ANSWER + "<|im_end|>")
    assert "Monday" not in reader.tokenizer.decode(example.input_ids)
    assert set(example.kinds) == {"reasoning_changed"}
    assert not any(example.candidates)


def test_thoughts_apart_leave_the_probabilities_of_the_answer() -> None:
    reader = reader_of(TEMPLATE)
    example, _ = one(reader, row(reader, ANSWER, THOUGHTS), "keep")
    answer = len(reader.ids([ANSWER])[0]) + 1
    assert example.kinds[-answer:] == [TOP_K] * answer
    assert set(example.kinds[:-answer]) == {"no_logprob"}


def test_an_empty_block_of_the_templates_own_costs_no_evidence() -> None:
    reader = reader_of(QWEN3)
    example, text = one(reader, row(reader, ANSWER), "keep")
    assert text == f"<think>\n\n</think>\n\n{ANSWER}<|im_end|>"
    answer = len(reader.ids([ANSWER])[0]) + 1
    assert example.kinds[-answer:] == [TOP_K] * answer


def test_shortened_to_whole_sentences() -> None:
    reader = reader_of(TEMPLATE)
    first = "They wait for a card."
    rule = f"shorten:{reader.measure(first + ' It')}"
    _, text = one(reader, row(reader, ANSWER, THOUGHTS), rule)
    assert text == join(first, ANSWER) + "<|im_end|>"
    example, text = one(reader, row(reader, ANSWER, THOUGHTS), "shorten:500")
    assert THOUGHTS in text
    assert TOP_K in example.kinds  # nothing was changed
    assert one(reader, row(reader, ANSWER, THOUGHTS), "shorten:1")[1] == ANSWER + "<|im_end|>"


@given(thoughts=st.text(max_size=80), answer=st.text(max_size=20), limit=st.integers(1, 40))
def test_what_is_left_begins_the_thoughts_and_fits(thoughts: str, answer: str, limit: int) -> None:
    told = tell(answer, thoughts, f"shorten:{limit}", len)
    assert told.text.endswith(answer)
    if told.changed and told.text != answer:
        left, _ = split(told.text)
        assert thoughts.strip().startswith(left)
        assert len(left) <= limit


def test_an_answer_without_thoughts_is_what_it_was() -> None:
    for text in ("", "a card", "about </think> tags", "it said <think> once"):
        for rule in ("keep", "drop", "shorten:3"):
            assert tell(text, "", rule, len) == (text, text, False)


def test_a_rule_that_is_none_is_refused() -> None:
    for rule in ("", "shorten", "shorten:0", "shorten:x", "cut"):
        with pytest.raises(ValueError, match="reasoning"):
            Training(reasoning=rule)


def test_an_arms_objective_is_held_to_the_same_rules() -> None:
    with pytest.raises(BadInput, match="dpo is trained alone"):
        Arm(dataset="bot", objective={"dpo": 1.0, "sft": 1.0}).training(Training())
