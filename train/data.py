"""From a frozen dataset directory to examples that a student can learn from.

Nothing is read before every file has been checked against the manifest, and nothing is opened
without a permit. What cannot teach is left out and counted, never repaired.

    dataset = open_dataset(Path("datasets/support"), permit)
    examples, counts = encode(dataset.rows("train"), Reader(tokenizer), max_length=512)
    coverage(examples)["positions"]    # {"top_k": 0.93, "alm": 0.04, "no_end_stored": 0.03}
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path
from typing import Any

import pyarrow.parquet as parquet  # type: ignore[import-untyped]

from policy.errors import BadInput, VerificationFailed
from policy.manifest import check_files, manifest_digest, read_manifest
from policy.permit import Action, Permit
from train.align import (
    ALM,
    EVERYTHING,
    TOP_K,
    Candidates,
    Chunk,
    Evidence,
    Rules,
    TeacherTokens,
    Vocabulary,
    align,
)
from train.masks import answer_start, marks_answers
from train.reasoning import Told, after_opening, placed, tell

Row = dict[str, Any]
MARK = "\ue000answer\ue001"  # private characters: no template rewrites them
COLUMNS = (
    "id",
    "sample",
    "prompt",
    "completion",
    "answered",
    "expected",
    "prompt_tokens",
    "completion_tokens",
    "token_bytes",
    "token_logprobs",
    "top_bytes",
    "top_logprobs",
    "signal",
)
OPTIONAL = ("reasoning",)
"""The teacher's thoughts, where its terms let them be stored."""
SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Dataset:
    """A frozen dataset whose every byte was found as its manifest says."""

    path: Path
    manifest: dict[str, Any]

    @property
    def name(self) -> str:
        return str(self.manifest.get("name", self.path.name))

    @property
    def digest(self) -> str:
        return str(self.manifest["digest"])

    @property
    def unbiased(self) -> bool:
        """Whether its text is a sample of the stored distribution, as the manifest says."""
        return bool(self.manifest.get("signal", {}).get("unbiased"))

    def rows(self, split: str) -> list[Row]:
        """The rows of one split, in the order they were frozen."""
        file = self.path / f"{split}.parquet"
        table = parquet.ParquetFile(file)
        missing = [name for name in COLUMNS if name not in table.schema_arrow.names]
        if missing:
            raise BadInput(
                f"lacks the column {missing[0]}", where=str(file), fix="Freeze the dataset again."
            )
        there = [name for name in OPTIONAL if name in table.schema_arrow.names]
        rows: list[Row] = table.read(columns=[*COLUMNS, *there]).to_pylist()
        return rows


def open_dataset(path: Path, permit: Permit, action: Action = Action.TRAIN) -> Dataset:
    """Check the permit, then every file against the manifest; an altered one is refused by name."""
    Permit.must_be(permit, action)
    if not path.is_dir():
        raise BadInput(
            "there is no such dataset", where=str(path), fix="Run `spiritsafe freeze` first."
        )
    if not (path / "manifest.json").is_file():
        raise BadInput(
            "has no manifest.json, so it was never finished",
            where=str(path),
            fix="Freeze it again.",
        )
    manifest = read_manifest(path)
    if manifest.get("kind") != "dataset":
        raise BadInput("manifest.json is not that of a dataset", where=str(path))
    if manifest.get("digest") != manifest_digest(manifest):
        raise VerificationFailed(
            "manifest.json is altered: its digest does not hold",
            where=str(path),
            fix="Freeze the dataset again.",
        )
    for split in SPLITS:
        if f"{split}.parquet" not in manifest.get("files", {}):
            raise BadInput(f"the manifest does not name {split}.parquet", where=str(path))
    if altered := check_files(path, manifest):
        raise VerificationFailed(
            f"{', '.join(altered)} is not as the manifest says",
            where=str(path),
            fix="Freeze the dataset again; do not edit it.",
        )
    return Dataset(path, manifest)


@dataclass(frozen=True)
class Example:
    """One row as numbers: the prompt, the completion up to its end of turn, the evidence."""

    id: str
    input_ids: list[int]
    prompt_length: int
    candidates: list[Candidates]
    """One a completion token; empty where the teacher left no usable probabilities."""
    chunks: list[Chunk] = field(default_factory=list)
    """Pieces of text that the teacher cut in other tokens, each with its logprob as a whole."""
    kinds: list[str] = field(default_factory=list)
    """One a completion token: `top_k`, `alm`, or why there is only the text."""
    rejected: list[int] = field(default_factory=list)
    """A dropped answer to the same prompt, for `dpo`."""

    @property
    def completion(self) -> list[int]:
        return self.input_ids[self.prompt_length :]


class Reader:
    """Renders and tokenises chats for one student, and finds where its turns end."""

    def __init__(self, tokenizer: Any) -> None:
        if not tokenizer.chat_template:
            raise BadInput(
                "the student's tokenizer has no chat template",
                fix="Use an instruct model, or put chat_template.jinja beside it.",
            )
        self.tokenizer = tokenizer
        self.vocabulary = Vocabulary.of(tokenizer)
        self.specials = frozenset(tokenizer.all_special_ids)
        self.end_of_turn = self._end_of_turn()

    def prompt_text(self, messages: Sequence[Any]) -> str:
        """The prompt as the student sees it, up to where its answer starts."""
        return str(
            self.tokenizer.apply_chat_template(
                list(messages), tokenize=False, add_generation_prompt=True
            )
        )

    def marked_prompt(self, messages: Sequence[Any], whole: list[int]) -> list[int]:
        """What comes before the answer in a rendered chat, by the template's own mark; empty where
        it has none. For templates that write an answered prompt otherwise than an open one."""
        if not marks_answers(self.tokenizer):
            return []
        start = answer_start(self.tokenizer, messages, whole)
        return whole[:start] if start else []

    def chat_text(self, messages: Sequence[Any]) -> str:
        return str(self.tokenizer.apply_chat_template(list(messages), tokenize=False))

    def answered_text(self, messages: Sequence[Any], prompt: str, text: str) -> str:
        """The chat with this answer to its rendered `prompt`, whole: many templates strip or move
        what is in <think>."""
        text = after_opening(prompt, text)
        whole = self.chat_text([*messages, {"role": "assistant", "content": text}])
        if text.strip() in whole:
            return whole
        marked = self.chat_text([*messages, {"role": "assistant", "content": MARK}])
        return placed(marked, MARK, text)

    def measure(self, text: str) -> int:
        """How many tokens of the student a text is."""
        return len(self.ids([text])[0])

    def ids(self, texts: list[str]) -> list[list[int]]:
        found: list[list[int]] = self.tokenizer(texts, add_special_tokens=False)["input_ids"]
        return found

    def _end_of_turn(self) -> int:
        """The token that closes an answer: without it a student would never learn to stop."""
        asked = [{"role": "user", "content": "a"}]
        prompt = self.prompt_text(asked)
        before, whole = self.ids([prompt, self.answered_text(asked, prompt, "b")])
        shared = sum(
            1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(before, whole, strict=False))
        )
        closing = [i for i in whole[shared:] if i in self.specials]
        if not closing:
            raise BadInput(
                "the chat template does not end the assistant's turn with a special token",
                fix="Choose a base whose template does, such as ChatML.",
            )
        return closing[-1]


def encode(
    rows: Iterable[Row], reader: Reader, *, max_length: int, rules: Rules = EVERYTHING
) -> tuple[list[Example], Counter[str]]:
    """Tokenise answered rows and align the teacher's probabilities; the rest is counted."""
    counts: Counter[str] = Counter()
    kept = [row for row in rows if row["answered"]]
    prompts = [reader.prompt_text(row["prompt"]) for row in kept]
    told = [_told(row, reader, rules) for row in kept]
    chats = [
        reader.answered_text([*row["prompt"], *row["completion"][:-1]], prompt, said.text)
        for row, prompt, said in zip(kept, prompts, told, strict=True)
    ]
    examples = []
    prompt_ids, chat_ids = (reader.ids(t) if t else [] for t in (prompts, chats))
    for row, said, before, whole in zip(kept, told, prompt_ids, chat_ids, strict=True):
        counts["rows"] += 1
        counts["reasoning_changed"] += said.changed
        example = _example(row, said, (before, whole), reader, rules, counts)
        if example and len(example.input_ids) > max_length:
            counts["too_long"] += 1
        elif example:
            examples.append(example)
            _count(row, example, counts)
    if kept and counts["prompt_not_a_prefix"] == len(kept):
        raise BadInput(
            "the chat template rewrites the prompt once it is answered, and does not mark where"
            " the answer starts, so completions cannot be masked",
            where=f"{reader.tokenizer.name_or_path}: chat_template.jinja",
            fix="Put {% generation %} before the assistant's content and {% endgeneration %} after"
            " its end of turn, or choose a base whose template leaves the prompt as it was.",
        )
    return examples, counts


def _told(row: Row, reader: Reader, rules: Rules) -> Told:
    """The answer, a row's last message, as this student is to write it."""
    thoughts = str(row.get("reasoning") or "")
    return tell(row["completion"][-1]["content"], thoughts, rules.reasoning, reader.measure)


def _example(
    row: Row,
    said: Told,
    ids: tuple[list[int], list[int]],
    reader: Reader,
    rules: Rules,
    counts: Counter[str],
) -> Example | None:
    before, whole = ids
    if whole[: len(before)] != before:
        last = {"role": "assistant", "content": said.text}
        messages = [*row["prompt"], *row["completion"][:-1], last]
        before = reader.marked_prompt(messages, whole)
    if not before:
        counts["prompt_not_a_prefix"] += 1
        return None
    answer = whole[len(before) :]
    if reader.end_of_turn not in answer:
        counts["no_end_of_turn"] += 1
        return None
    end = len(answer) - answer[::-1].index(reader.end_of_turn)
    answer = answer[:end]
    evidence = _evidence(row, said, answer, reader, rules)
    counts.update(evidence.counts)
    return Example(
        str(row["id"]),
        before + answer,
        len(before),
        evidence.candidates,
        evidence.chunks,
        evidence.kinds,
    )


def _evidence(row: Row, said: Told, answer: list[int], reader: Reader, rules: Rules) -> Evidence:
    """The teacher's words are a part of the answer: its thoughts, or a template, may precede."""
    if not row["signal"]:
        return Evidence.nothing(len(answer), "not_stored")
    if said.changed:
        return Evidence.nothing(len(answer), "reasoning_changed")
    spelled = b"".join(reader.vocabulary.bytes_of.get(i, b"") for i in answer[:-1])
    skip = max(spelled.find(said.words.encode()), 0)
    teacher = TeacherTokens.of(row)
    return align(teacher, answer, reader.vocabulary, reader.end_of_turn, rules, skip)


def _count(row: Row, example: Example, counts: Counter[str]) -> None:
    found = Counter(example.kinds)
    counts["examples"] += 1
    counts["positions"] += len(example.kinds)
    counts["signal_positions"] += found[TOP_K]
    counts["chunk_positions"] += found[ALM]
    counts["signal_rows"] += bool(found[TOP_K])
    counts["unaligned_rows"] += bool(row["signal"]) and not found[TOP_K] + found[ALM]
    counts["unaligned_positions"] += (
        len(example.kinds) - found[TOP_K] - found[ALM] if row["signal"] else 0
    )
