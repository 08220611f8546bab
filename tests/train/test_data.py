"""A frozen dataset is read whole and unaltered, or not at all."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from policy.errors import BadInput, PolicyDenied, VerificationFailed
from policy.manifest import read_manifest, write_manifest
from policy.permit import Action, Permit
from tests.train.parts import TeacherRow, answer, build_tokenizer, message, permit
from train.data import Reader, encode, open_dataset


@pytest.fixture
def copy(dataset_dir: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(dataset_dir, tmp_path / "support"))


@pytest.fixture(scope="module")
def reader(tokenizer: Any) -> Reader:
    return Reader(tokenizer)


def test_a_whole_dataset_opens(dataset_dir: Path, may_train: Permit) -> None:
    dataset = open_dataset(dataset_dir, may_train)
    assert [len(dataset.rows(s)) for s in ("train", "validation", "test")] == [30, 6, 12]
    assert dataset.digest == read_manifest(dataset_dir)["digest"]


@pytest.mark.parametrize("name", ["train.parquet", "test.parquet", "README.md"])
def test_one_changed_byte_is_refused_by_name(copy: Path, may_train: Permit, name: str) -> None:
    content = bytearray((copy / name).read_bytes())
    content[len(content) // 2] ^= 1
    (copy / name).write_bytes(content)
    with pytest.raises(VerificationFailed, match=name):
        open_dataset(copy, may_train)


def test_a_changed_manifest_is_refused(copy: Path, may_train: Permit) -> None:
    manifest = json.loads((copy / "manifest.json").read_text())
    manifest["obligations"] = []
    (copy / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(VerificationFailed, match=r"manifest\.json"):
        open_dataset(copy, may_train)


def test_an_unfinished_directory_is_refused(copy: Path, may_train: Permit) -> None:
    (copy / "manifest.json").unlink()
    with pytest.raises(BadInput, match="never finished"):
        open_dataset(copy, may_train)


def test_a_missing_directory_and_a_runs_manifest_are_refused(
    copy: Path, tmp_path: Path, may_train: Permit
) -> None:
    with pytest.raises(BadInput, match="no such dataset"):
        open_dataset(tmp_path / "absent", may_train)
    write_manifest(copy, {**read_manifest(copy), "kind": "run"})
    with pytest.raises(BadInput, match="not that of a dataset"):
        open_dataset(copy, may_train)


def test_a_permit_for_something_else_opens_nothing(dataset_dir: Path) -> None:
    with pytest.raises(PolicyDenied):
        open_dataset(dataset_dir, permit(Action.COLLECT))


def test_an_example_is_the_templates_prompt_and_the_answer_with_its_end(
    reader: Reader, tokenizer: Any
) -> None:
    (example,), _ = encode([TeacherRow(0, tokenizer).columns()], reader, max_length=512)
    text = tokenizer.decode(example.input_ids)
    assert text == (
        f"<|im_start|>user\n{message(0)}<|im_end|>\n<|im_start|>assistant\n{answer(0)}<|im_end|>"
    )
    assert tokenizer.decode(example.completion) == f"{answer(0)}<|im_end|>"


def test_what_cannot_teach_is_counted(reader: Reader, tokenizer: Any) -> None:
    long = {"completion": [{"role": "assistant", "content": "word " * 300}], "signal": False}
    rows = [
        TeacherRow(n, tokenizer, c).columns()
        for n, c in enumerate([{}, long, {"answered": False}, {"signal": False}])
    ]
    examples, counts = encode(rows, reader, max_length=100)
    assert [e.id for e in examples] == ["p0", "p3"]
    assert (counts["rows"], counts["too_long"], counts["signal_rows"]) == (3, 1, 1)


def test_rows_whose_tokens_do_not_line_up_are_counted(reader: Reader, tokenizer: Any) -> None:
    row = TeacherRow(0, tokenizer).columns()
    row["token_bytes"] = [b"x", *row["token_bytes"][1:]]
    examples, counts = encode([row], reader, max_length=100)
    assert not any(examples[0].candidates)
    assert counts["unaligned_rows"] == 1
    assert counts["unaligned_positions"] == len(examples[0].completion)


def test_a_template_that_rewrites_the_prompt_is_refused(tokenizer: Any) -> None:
    changed = build_tokenizer()
    changed.chat_template = (
        "{% for m in messages %}<|im_start|>{{ messages | length }}"
        "{{ m['content'] }}<|im_end|>{% endfor %}"
    )
    with pytest.raises(BadInput, match="cannot be masked"):
        encode([TeacherRow(0, tokenizer).columns()], Reader(changed), max_length=100)


def test_a_template_without_an_end_of_turn_or_none_at_all_is_refused() -> None:
    bare = build_tokenizer()
    bare.chat_template = "{% for m in messages %}{{ m['content'] }}\n{% endfor %}"
    with pytest.raises(BadInput, match="special token"):
        Reader(bare)
    bare.chat_template = None
    with pytest.raises(BadInput, match="no chat template"):
        Reader(bare)
