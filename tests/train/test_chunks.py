"""Two tokenizers, one text: nothing is compared that does not spell the same bytes."""

from __future__ import annotations

import math
import random
from functools import cache
from itertools import accumulate
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.train.parts import build_tokenizer, byte_level_bpe
from train.align import ALM, TOP_K, Evidence, TeacherTokens, Vocabulary, align
from train.chunks import chunk_logprob, common_bytes, pieces

TEXTS = st.text(st.characters(exclude_categories=("Cs",)), max_size=60)
HARD = ["", "naïve café", "日本語 🙂👩‍👩‍👧‍👦", "\x00\t\n  two  ", '{"intent": "x"}', "ａ́e\u0301"]


@cache
def other_tokenizer() -> Any:
    """A second byte-level BPE, trained here on other words and to another size."""
    from transformers import PreTrainedTokenizerFast

    words = (Path(__file__).parents[2] / "docs" / "design.md").read_text(encoding="utf-8")
    tokenizer = byte_level_bpe([words, *HARD], 900, ["</s>"])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="</s>")


@cache
def vocabularies() -> tuple[tuple[Any, Vocabulary], ...]:
    return tuple((t, Vocabulary.of(t)) for t in (build_tokenizer(), other_tokenizer()))


def teacher_row(content: str, tokens: list[bytes], seed: int = 0, close: bool = True) -> dict:
    """A row of made-up probabilities: the token itself and one more candidate."""
    chance = random.Random(seed)
    shares = [chance.uniform(0.05, 0.9) for _ in tokens] + [0.6] * close
    tokens = [*tokens, *[b""] * close]
    return {
        "completion": [{"role": "assistant", "content": content}],
        "token_bytes": tokens,
        "token_logprobs": [math.log(p) for p in shares],
        "top_bytes": [[token, b"\xff\xff"] for token in tokens],
        "top_logprobs": [[math.log(p), math.log(0.05)] for p in shares],
    }


def cut(text: bytes, seed: int) -> list[bytes]:
    """The bytes cut anywhere, in the middle of characters too."""
    chance, found = random.Random(seed), []
    while text:
        size = chance.randint(1, 5)
        found.append(text[:size])
        text = text[size:]
    return found


def check(row: dict, spelled: list[bytes], evidence: Evidence) -> None:
    """What must hold of any alignment of two tokenisations of one text."""
    teacher = [t for t in row["token_bytes"] if t]
    starts = [0, *accumulate(len(t) for t in teacher)]
    ends = [0, *accumulate(len(t) for t in spelled)]
    told = 0.0
    for n, found in enumerate(evidence.candidates[:-1]):
        assert bool(found) == (evidence.kinds[n] == TOP_K)
        if found:
            place = starts.index(ends[n])
            assert teacher[place] == spelled[n]
            told += row["token_logprobs"][place]
    for start, end, logprob in evidence.chunks:
        assert set(evidence.kinds[start:end]) == {ALM}
        first, last = starts.index(ends[start]), starts.index(ends[end])
        assert b"".join(teacher[first:last]) == b"".join(spelled[start:end])
        assert not set(ends[start + 1 : end]) & set(starts)  # it cannot be cut further
        told += logprob
    assert told == pytest.approx(sum(row["token_logprobs"][: len(teacher)]), abs=1e-6)
    assert TOP_K not in evidence.kinds or evidence.candidates
    assert len(evidence.kinds) == len(evidence.candidates) == len(spelled) + 1


@settings(max_examples=150, deadline=None)
@given(text=TEXTS | st.sampled_from(HARD), seed=st.integers(0, 99), way=st.integers(0, 3))
def test_every_byte_is_told_of_once(text: str, seed: int, way: int) -> None:
    """Both tokenizers as the student of the other, and of cuts that no tokenizer makes."""
    (one, mine), (other, theirs) = vocabularies()[:: 1 if way % 2 else -1]
    ids = one(text, add_special_tokens=False)["input_ids"]
    spelled = [mine.bytes_of[i] for i in ids]
    foreign = [theirs.bytes_of[i] for i in other(text, add_special_tokens=False)["input_ids"]]
    row = teacher_row(text, foreign if way < 2 else cut(text.encode(), seed), seed)
    evidence = align(TeacherTokens.of(row), [*ids, one.eos_token_id], mine, one.eos_token_id)
    check(row, spelled, evidence)
    assert evidence.kinds[-1] == TOP_K
    assert set(evidence.kinds) <= {TOP_K, ALM}


@settings(max_examples=60, deadline=None)
@given(text=TEXTS, seed=st.integers(0, 99))
def test_a_tokenizer_agrees_with_itself_token_by_token(text: str, seed: int) -> None:
    for tokenizer, vocabulary in vocabularies():
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        row = teacher_row(text, [vocabulary.bytes_of[i] for i in ids], seed)
        end = tokenizer.eos_token_id
        evidence = align(TeacherTokens.of(row), [*ids, end], vocabulary, end)
        assert evidence.kinds == [TOP_K] * (len(ids) + 1)
        assert all(i in found for i, found in zip([*ids, end], evidence.candidates, strict=True))


@settings(max_examples=60, deadline=None)
@given(text=TEXTS.filter(bool), seed=st.integers(0, 99), at=st.integers(0, 1000))
def test_after_the_first_other_byte_nothing_is_compared(text: str, seed: int, at: int) -> None:
    tokenizer, vocabulary = vocabularies()[0]
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    changed = bytearray(text.encode())
    changed[at % len(changed)] ^= 1
    row = teacher_row(text, cut(bytes(changed), seed), seed)
    end = tokenizer.eos_token_id
    evidence = align(TeacherTokens.of(row), [*ids, end], vocabulary, end)
    ends = list(accumulate(len(vocabulary.bytes_of[i]) for i in ids))
    after = [n for n, stop in enumerate(ends) if stop > at % len(changed)]
    assert {evidence.kinds[n] for n in [*after, len(ids)]} == {"text_differs"}


def test_what_a_piece_is() -> None:
    assert pieces([b"ca", b"rd"], [b"card"], 4) == [(0, 2, 0, 1)]
    assert pieces([b"a", b"bc"], [b"a", b"b", b"c"], 3) == [(0, 1, 0, 1), (1, 2, 1, 3)]
    assert pieces([b"ab", b"c"], [b"a", b"bc"], 2) == []
    assert common_bytes([b"ab", b"c"], [b"a", b"bd"]) == 2
    assert chunk_logprob([-1.0, -2.0]) == -3.0
    for broken in (None, math.nan, -9999.0):
        assert chunk_logprob([-1.0, broken]) is None


def one(content: str, **changes: Any) -> tuple[Evidence, list[int]]:
    tokenizer, vocabulary = vocabularies()[0]
    ids = [*tokenizer(content, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
    row = teacher_row(content, [vocabulary.bytes_of[i] for i in ids[:-1]]) | changes
    return align(TeacherTokens.of(row), ids, vocabulary, ids[-1]), ids


def test_columns_that_do_not_fit_together_are_counted_and_teach_by_text() -> None:
    for changes in ({"token_logprobs": [0.0]}, {"top_bytes": [[b"a"], []]}, {"top_logprobs": [[]]}):
        assert set(one("a card", **changes)[0].kinds) == {"malformed"}


def test_logprobs_without_a_list_are_pieces_of_their_own() -> None:
    evidence, ids = one("a card", top_bytes=None, top_logprobs=[])
    assert evidence.kinds == [ALM] * (len(ids) - 1) + ["no_end_stored"]


def test_without_any_logprob_there_is_only_the_text() -> None:
    nothing = [-9999.0] * len(one("a card")[1])
    evidence, ids = one("a card", top_bytes=[], top_logprobs=[], token_logprobs=nothing)
    assert evidence.kinds == ["no_logprob"] * (len(ids) - 1) + ["no_end_stored"]


def test_a_closing_token_by_another_name_is_the_students_end_of_turn() -> None:
    row = teacher_row("a card", [b"a", b" card"], close=False)
    row["token_bytes"].append(b"<|eot_id|>")
    row["token_logprobs"].append(-0.1)
    row["top_bytes"].append([b"<|eot_id|>", b" please"])
    row["top_logprobs"].append([-0.1, -3.0])
    tokenizer, vocabulary = vocabularies()[0]
    ids = [*tokenizer("a card", add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
    evidence = align(TeacherTokens.of(row), ids, vocabulary, ids[-1])
    assert evidence.candidates[-1][ids[-1]] == pytest.approx(-0.1)


def test_an_answer_that_ends_like_a_closing_token_is_an_answer() -> None:
    found = TeacherTokens.of(teacher_row("x</s>", [b"x", b"</s>"]))
    assert found is not None
    assert [p.content for p in found.spoken] == [b"x", b"</s>"]


def test_a_sentencepiece_vocabulary_is_read_by_its_bytes() -> None:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    text = "der Käse 🧀 auf dem Brot"
    names = ["<unk>", *(f"<0x{b:02X}>" for b in range(256)), *"▁derKsaufmBot", "de", "▁de"]
    vocabulary = {name: i for i, name in enumerate(names)}
    merges = [("d", "e"), ("▁", "de")]
    raw = Tokenizer(models.BPE(vocabulary, merges, byte_fallback=True, unk_token="<unk>"))
    raw.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never")
    raw.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, unk_token="<unk>")
    found = Vocabulary.of(tokenizer)
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert b"".join(found.bytes_of[i] for i in ids) == text.encode()
    assert found.bytes_of[found.ids[b" de"]] == b" de"
    assert found.ids[b" "] == vocabulary["▁"]  # the token that is written, not the single byte
