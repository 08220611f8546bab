"""Completions are masked where the template lets them be, and refused with the fix where not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from policy.errors import BadInput
from policy.permit import Permit
from tests.train.parts import TEMPLATE, TeacherRow, answer, build_tokenizer
from train.config import Student, Training
from train.data import Reader, encode
from train.run import train

REWRITES = TEMPLATE.replace(
    "<|im_start|>assistant\n{% endif %}", "<|im_start|>assistant\n<think>\n\n</think>\n{% endif %}"
)
"""The open prompt ends with an empty thought that the answered one lacks."""
MARKED = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n"
    "{% if m['role'] == 'assistant' %}{% generation %}{{ m['content'] }}<|im_end|>"
    "{% endgeneration %}\n{% else %}{{ m['content'] }}<|im_end|>\n{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n\n</think>\n{% endif %}"
)


def reader_of(template: str) -> Reader:
    tokenizer = build_tokenizer()
    tokenizer.chat_template = template
    return Reader(tokenizer)


def rows(count: int = 4) -> list[dict[str, Any]]:
    return [TeacherRow(n, build_tokenizer()).columns() for n in range(count)]


def test_a_template_that_rewrites_the_prompt_is_refused_with_the_fix() -> None:
    with pytest.raises(BadInput, match=r"rewrites the prompt.*Put \{% generation %\}"):
        encode(rows(), reader_of(REWRITES), max_length=512)


def test_its_own_mark_says_where_the_answer_starts() -> None:
    reader = reader_of(MARKED)
    examples, counts = encode(rows(), reader, max_length=512)
    assert counts["examples"] == 4
    assert counts["prompt_not_a_prefix"] == 0
    trained = [reader.tokenizer.decode(example.completion) for example in examples]
    assert trained == [f"{answer(n)}<|im_end|>" for n in range(4)]


def test_only_the_last_of_several_answers_is_trained() -> None:
    row = rows(1)[0]
    earlier = [
        {"role": "user", "content": "hello"},
        {"role": "assistant", "content": "hello, what can I do"},
    ]
    row["prompt"] = [*earlier, *row["prompt"]]
    reader = reader_of(MARKED)
    (example,), _ = encode([row], reader, max_length=512)
    assert reader.tokenizer.decode(example.completion) == f"{answer(0)}<|im_end|>"
    assert "what can I do" in reader.tokenizer.decode(example.input_ids)


def test_a_run_with_such_a_template_leaves_nothing_behind(
    dataset_dir: Path, base_dir: Path, training: Training, may_train: Permit, tmp_path: Path
) -> None:
    base = tmp_path / "base"
    base.mkdir()
    for file in base_dir.iterdir():
        (base / file.name).write_bytes(file.read_bytes())
    (base / "chat_template.jinja").write_text(REWRITES)
    with pytest.raises(BadInput, match=r"base: chat_template\.jinja: the chat template rewrites"):
        train(
            dataset_dir, Student(base=str(base)), training, may_train, tmp_path / "run",
            cache_dir=tmp_path,
        )  # fmt: skip
    assert not (tmp_path / "run").exists()
