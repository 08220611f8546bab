"""Put a teacher's stored tokens on the student's tokens, by bytes and never by text.

Two tokens can print the same replacement character, so text names no token; bytes do. A student
token gets the teacher's candidates only where a teacher token starts and ends at the same bytes.
Candidates that are no single token of the student go to the tail, as their mass is not lost.

    vocabulary = Vocabulary.of(tokenizer)
    vocabulary.ids[b" card"]      # the student's id of those bytes
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Candidates = dict[int, float]
"""Student id to the teacher's logprob."""

SENTINEL = -9000.0  # OpenAI answers -9999.0 for "not among the top": it is no probability
ROUNDING = 1.01  # sums above this are no rounding error: API rows may sum to just over 1


@dataclass(frozen=True)
class Vocabulary:
    """The bytes of every token of a byte-level tokenizer, both ways."""

    bytes_of: Mapping[int, bytes]
    ids: Mapping[bytes, int]

    @classmethod
    def of(cls, tokenizer: Any) -> Vocabulary:
        """Read the vocabulary itself: decode() would turn partial UTF-8 into one character."""
        added = {i: token.content.encode() for i, token in tokenizer.added_tokens_decoder.items()}
        alphabet = _alphabet() if _is_byte_level(tokenizer) else None
        plain: dict[int, bytes] = {}
        for token, i in tokenizer.get_vocab().items():
            if alphabet and i not in added and all(c in alphabet for c in token):
                plain[i] = bytes(alphabet[c] for c in token)
        ids = {content: i for i, content in added.items()}
        ids.update({content: i for i, content in plain.items()})
        return cls(plain | added, ids if alphabet else {})


def _is_byte_level(tokenizer: Any) -> bool:
    return '"ByteLevel"' in json.dumps(json.loads(tokenizer.backend_tokenizer.to_str())["decoder"])


def _alphabet() -> dict[str, int]:
    """GPT-2's printable stand-ins for the 256 bytes (Radford et al., 2019, encoder.py)."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = [b for b in range(256) if b not in printable]
    return {chr(b): b for b in printable} | {chr(256 + n): b for n, b in enumerate(hidden)}


def align(
    row: Mapping[str, Any],
    answer: Sequence[int],
    vocabulary: Vocabulary,
    end_of_turn: int,
    counts: Counter[str],
) -> list[Candidates]:
    """The candidates of each student token of `answer`, whose last is the end of turn."""
    nothing: list[Candidates] = [{} for _ in answer]
    if any(i not in vocabulary.bytes_of for i in answer):
        return nothing
    closing = {b"", vocabulary.bytes_of[end_of_turn]}  # servers write a special token either way
    teacher = [bytes(b or b"") for b in row["token_bytes"]]
    spoken = len(teacher)
    while spoken and teacher[spoken - 1] in closing:
        spoken -= 1
    student = [vocabulary.bytes_of[i] for i in answer[:-1]]
    if b"".join(teacher[:spoken]) != b"".join(student):
        return nothing
    places: dict[tuple[int, int], int] = {
        span: n for n, span in enumerate(_spans(teacher[:spoken])) if span[0] < span[1]
    }
    wanted: list[int | None] = [places.get(span) for span in _spans(student)]
    wanted.append(spoken if spoken < len(teacher) else None)
    ids = {**vocabulary.ids, b"": end_of_turn}
    return [_candidates(row, n, ids, counts) if n is not None else {} for n in wanted]


def _spans(tokens: Iterable[bytes]) -> list[tuple[int, int]]:
    spans, start = [], 0
    for token in tokens:
        spans.append((start, start + len(token)))
        start += len(token)
    return spans


def _candidates(
    row: Mapping[str, Any], place: int, ids: Mapping[bytes, int], counts: Counter[str]
) -> Candidates:
    """One position: sentinels dropped, the sampled token added, duplicates merged."""
    offered = {}
    pairs = zip(row["top_bytes"][place], row["top_logprobs"][place], strict=True)
    found: Candidates = {}
    for content, logprob in pairs:
        if logprob is None or logprob <= SENTINEL or math.isnan(logprob):
            continue
        key = bytes(content or b"")
        offered[key] = logprob
        _add(found, ids.get(key), float(logprob), counts)
    sampled, logprob = bytes(row["token_bytes"][place] or b""), row["token_logprobs"][place]
    if sampled not in offered and logprob is not None and logprob > SENTINEL and offered:
        _add(found, ids.get(sampled), float(logprob), counts)
    return _normalised(found, counts)


def _add(found: Candidates, token: int | None, logprob: float, counts: Counter[str]) -> None:
    if token is None:
        counts["unmapped_candidates"] += 1
    elif token in found:
        found[token] = max(found[token], logprob) + math.log1p(
            math.exp(-abs(found[token] - logprob))
        )
    else:
        found[token] = logprob


def _normalised(found: Candidates, counts: Counter[str]) -> Candidates:
    """Rounding above one is taken out; more than rounding is no distribution and is dropped."""
    mass = math.fsum(math.exp(logprob) for logprob in found.values())
    if mass > ROUNDING:
        counts["impossible_positions"] += 1
        return {}
    over = math.log(mass) if mass > 1 else 0.0
    return {token: min(logprob - over, 0.0) for token, logprob in found.items()}
