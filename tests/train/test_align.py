"""Bytes, not text, decide which stored token is which token of the student."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import pytest

from tests.train.parts import TeacherRow, answer
from train.align import TeacherTokens, Vocabulary, align


@pytest.fixture(scope="module")
def vocabulary(tokenizer: Any) -> Vocabulary:
    return Vocabulary.of(tokenizer)


def aligned(
    tokenizer: Any, n: int = 0, **changes: Any
) -> tuple[list[dict[int, float]], Counter[str], list[int]]:
    """(candidates, counts, the student's tokens) of one made row."""
    row = TeacherRow(n, tokenizer, changes).columns()
    content = row["completion"][0]["content"]
    ids = [*tokenizer(content, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
    vocabulary = Vocabulary.of(tokenizer)
    found = align(TeacherTokens.of(row), ids, vocabulary, tokenizer.eos_token_id)
    return found.candidates, found.counts, ids


def test_every_text_survives_the_way_through_bytes(tokenizer: Any, vocabulary: Vocabulary) -> None:
    for text in ("a card", "naïve café", "日本語 🙂", "\x00\t\n", "  two  "):
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        assert b"".join(vocabulary.bytes_of[i] for i in ids) == text.encode()


def test_half_a_character_is_its_own_bytes(vocabulary: Vocabulary) -> None:
    assert vocabulary.bytes_of[vocabulary.ids[b"\xf0"]] == b"\xf0"
    assert vocabulary.ids[b"\xf0"] != vocabulary.ids[b"\xf1"]  # both print as one � character


def test_equal_tokens_carry_the_teachers_candidates(tokenizer: Any) -> None:
    found, _, ids = aligned(tokenizer)
    for i, candidates in zip(ids, found, strict=True):
        assert candidates[i] == pytest.approx(math.log(0.7), abs=1e-6)


def test_a_candidate_that_is_no_token_of_the_student_goes_to_the_tail(tokenizer: Any) -> None:
    found, counts, ids = aligned(tokenizer)
    assert counts["unmapped_candidates"] == len(ids)
    assert sum(math.exp(p) for p in found[0].values()) < 1


def test_the_end_of_turn_has_evidence_only_if_it_was_stored(tokenizer: Any) -> None:
    row = TeacherRow(0, tokenizer).columns()
    names = ("token_bytes", "token_logprobs", "top_bytes", "top_logprobs")
    found, _, _ = aligned(tokenizer, **{name: row[name][:-1] for name in names})
    assert found[-1] == {}
    assert all(found[:-1])


def test_text_that_differs_by_one_byte_carries_nothing(tokenizer: Any) -> None:
    pieces = TeacherRow(0, tokenizer).columns()["token_bytes"]
    found, _, _ = aligned(tokenizer, token_bytes=[pieces[0] + b" ", *pieces[1:]])
    assert not any(found)


def test_tokens_that_split_elsewhere_carry_nothing_where_they_differ(tokenizer: Any) -> None:
    row = TeacherRow(0, tokenizer).columns()
    joined = {
        name: [row[name][0], *row[name][2:]]
        for name in ("token_logprobs", "top_bytes", "top_logprobs")
    }
    pieces = row["token_bytes"]
    found, _, _ = aligned(tokenizer, token_bytes=[pieces[0] + pieces[1], *pieces[2:]], **joined)
    assert [bool(c) for c in found[:3]] == [False, False, True]


def one_position(
    tokenizer: Any,
    contents: list[bytes | None],
    logprobs: list[float],
    sampled: float = math.log(0.7),
) -> tuple[dict[int, float], Counter[str], int]:
    row = TeacherRow(0, tokenizer).columns()
    found, counts, ids = aligned(
        tokenizer,
        top_bytes=[contents, *row["top_bytes"][1:]],
        top_logprobs=[logprobs, *row["top_logprobs"][1:]],
        token_logprobs=[sampled, *row["token_logprobs"][1:]],
    )
    return found[0], counts, ids[0]


def test_the_sentinel_is_no_probability(tokenizer: Any) -> None:
    found, _, _ = one_position(tokenizer, [b"e", b" card"], [math.log(0.2), -9999.0], -9999.0)
    assert [round(math.exp(p), 3) for p in found.values()] == [0.2]


def test_duplicates_are_added_up(tokenizer: Any, vocabulary: Vocabulary) -> None:
    found, _, _ = one_position(tokenizer, [b"e", b"e"], [math.log(0.2), math.log(0.3)], -9999.0)
    assert math.exp(found[vocabulary.ids[b"e"]]) == pytest.approx(0.5)


def test_the_sampled_token_is_added_where_the_list_misses_it(tokenizer: Any) -> None:
    found, _, first = one_position(tokenizer, [b"e"], [math.log(0.2)], math.log(0.1))
    assert math.exp(found[first]) == pytest.approx(0.1)


def test_a_sum_just_above_one_is_rounding_and_more_is_refused(tokenizer: Any) -> None:
    near, _, _ = one_position(tokenizer, [b"e", b"n"], [math.log(0.6), math.log(0.405)], -9999.0)
    assert math.fsum(math.exp(p) for p in near.values()) == pytest.approx(1.0)
    far, counts, _ = one_position(tokenizer, [b"e", b"n"], [math.log(0.9), math.log(0.9)], -9999.0)
    assert far == {}
    assert counts["impossible_positions"] == 1


def test_an_empty_candidate_is_the_end_of_turn(tokenizer: Any) -> None:
    for content in (b"", None, b"<|im_end|>"):
        found, _, _ = one_position(tokenizer, [content], [math.log(0.4)], -9999.0)
        assert list(found) == [tokenizer.eos_token_id]


def test_the_made_row_is_what_the_contract_says(tokenizer: Any) -> None:
    row = TeacherRow(1, tokenizer).columns()
    assert b"".join(row["token_bytes"]) == answer(1).encode()
