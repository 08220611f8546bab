"""Put a teacher's stored tokens on the student's tokens, by bytes and never by text.

Two tokens can print the same replacement character, so text names no token; bytes do. Where teacher
and student cut the text alike, a token gets the teacher's candidates (`top_k`). Where they do not,
the tokens between two common cuts get the teacher's logprob of that text as a whole (`alm`). What
is left is taught by the text alone, and counted by reason.

    evidence = align(TeacherTokens.of(row), answer_ids, vocabulary, end_of_turn)
    evidence.candidates[0]     # {1503: -0.36, 282: -2.3}: student id to the teacher's logprob
    evidence.chunks            # [(4, 7, -1.9)]: completion tokens 4 to 6 as one
    evidence.kinds             # ["top_k", "top_k", ..., "alm", "no_logprob"]
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from train.chunks import Piece, chunk_logprob, common_bytes, is_real, pieces

Candidates = dict[int, float]
"""Student id to the teacher's logprob."""
Chunk = tuple[int, int, float]
"""Start and end in completion tokens, and the teacher's logprob of what is between them."""

ROUNDING = 1.01  # sums above this are no rounding error: API rows may sum to just over 1
TOP_K, ALM = "top_k", "alm"
CLOSINGS = frozenset(
    {
        b"",
        *(b"<|im_end|>", b"<|endoftext|>", b"<|eot_id|>", b"<|end_of_text|>", b"<|end|>"),
        *(b"<|return|>", b"<end_of_turn>", b"<eos>", b"</s>", b"<|EOT|>"),
        "<｜end▁of▁sentence｜>".encode(),
    }
)
"""How servers write the token that ends a turn: most as no bytes, some as its name."""
_BYTE = re.compile(r"<0x([0-9A-F]{2})>")


@dataclass(frozen=True)
class Vocabulary:
    """The bytes of every token of a tokenizer, both ways."""

    bytes_of: Mapping[int, bytes]
    ids: Mapping[bytes, int]

    @classmethod
    def of(cls, tokenizer: Any) -> Vocabulary:
        """Read the vocabulary itself: decode() would turn partial UTF-8 into one character."""
        added = {i: token.content.encode() for i, token in tokenizer.added_tokens_decoder.items()}
        spell = _speller(tokenizer)
        plain: dict[int, bytes] = {}
        single: dict[int, bytes] = {}
        for token, i in tokenizer.get_vocab().items():
            content = spell(token) if i not in added else None
            if content:
                (single if _BYTE.fullmatch(token) else plain)[i] = content
        ids = {content: i for i, content in [*added.items(), *single.items(), *plain.items()]}
        return cls(single | plain | added, ids if plain else {})


def _speller(tokenizer: Any) -> Any:
    """How a token of this vocabulary is written; a kind we do not know spells nothing."""
    decoder = json.dumps(json.loads(tokenizer.backend_tokenizer.to_str())["decoder"])
    if '"ByteLevel"' in decoder:
        alphabet = byte_alphabet()
        return lambda token: (
            bytes(alphabet[c] for c in token) if all(c in alphabet for c in token) else None
        )
    if '"ByteFallback"' in decoder:
        return _sentencepiece
    return lambda token: None


def _sentencepiece(token: str) -> bytes:
    """Kudo and Richardson, 2018, arXiv:1808.06226: ▁ is a space, and <0x0A> is the byte 10."""
    byte = _BYTE.fullmatch(token)
    return bytes([int(byte.group(1), 16)]) if byte else token.replace("▁", " ").encode()


def byte_alphabet() -> dict[str, int]:
    """GPT-2's printable stand-ins for the 256 bytes (Radford et al., 2019, encoder.py)."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = [b for b in range(256) if b not in printable]
    return {chr(b): b for b in printable} | {chr(256 + n): b for n, b in enumerate(hidden)}


@dataclass(frozen=True)
class Position:
    """One token that the teacher wrote, and what it might have written instead."""

    content: bytes
    logprob: float | None
    top: Sequence[tuple[bytes, float | None]]


@dataclass(frozen=True)
class TeacherTokens:
    """The teacher's answer as its own tokens; what closed it is apart."""

    spoken: list[Position]
    closing: Position | None

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> TeacherTokens | None:
        """The stored tokens of a row; None where its columns do not fit together."""
        columns = [row[name] or [] for name in ("token_bytes", "token_logprobs")]
        lists = [row[name] or [] for name in ("top_bytes", "top_logprobs")]
        lists = [one or [[] for _ in columns[0]] for one in lists]
        if len({len(one) for one in [*columns, *lists]}) != 1:
            return None
        if any(len(a or []) != len(b or []) for a, b in zip(*lists, strict=True)):
            return None
        found = [
            Position(
                bytes(content or b""),
                logprob,
                [(bytes(c or b""), p) for c, p in zip(names or [], values or [], strict=True)],
            )
            for content, logprob, names, values in zip(*columns, *lists, strict=True)
        ]
        end = _spoken(found, len(str(row["completion"][-1]["content"]).encode()))
        closing = found[end] if end < len(found) else None
        return cls([one for one in found[:end] if one.content], closing)


def _spoken(found: Sequence[Position], size: int) -> int:
    """How many tokens come before what closed the turn. A closing by name is one only where it is
    no part of the answer's `size` bytes: an answer about HTML may end in </s>."""
    end, written = len(found), sum(len(one.content) for one in found)
    while end and found[end - 1].content in CLOSINGS:
        if found[end - 1].content and written <= size:
            break
        end -= 1
        written -= len(found[end].content)
    return end


@dataclass(frozen=True)
class Rules:
    """What of the stored evidence is used."""

    k: int = 0
    """The likeliest candidates only; 0 takes all that are stored."""
    sampled: bool = True
    """Add the token that was written where the list misses it. Not where the text is a sample of
    the stored distribution: the list must then not depend on the sample (docs/objectives.md)."""
    reasoning: str = "keep"
    """What becomes of the teacher's thoughts: train.reasoning has the rules."""


EVERYTHING = Rules()


@dataclass
class Evidence:
    """What the teacher left for each completion token."""

    candidates: list[Candidates]
    chunks: list[Chunk]
    kinds: list[str]
    """For each token `top_k`, `alm`, or the reason why it has only its text."""
    counts: Counter[str] = field(default_factory=Counter)

    @classmethod
    def nothing(cls, tokens: int, reason: str) -> Evidence:
        return cls([{} for _ in range(tokens)], [], [reason] * tokens)


def align(
    teacher: TeacherTokens | None,
    answer: Sequence[int],
    vocabulary: Vocabulary,
    end_of_turn: int,
    rules: Rules = EVERYTHING,
    skip: int = 0,
) -> Evidence:
    """The evidence of each student token of `answer`, whose last is the end of turn; the teacher's
    words begin after `skip` bytes of it."""
    if teacher is None:
        return Evidence.nothing(len(answer), "malformed")
    if any(i not in vocabulary.bytes_of for i in answer):
        return Evidence.nothing(len(answer), "unknown_vocabulary")
    student = [vocabulary.bytes_of[i] for i in answer[:-1]]
    spoken = [one.content for one in teacher.spoken]
    before = _tokens_of(student, skip)
    if before is None:
        return Evidence.nothing(len(answer), "cut_inside_a_token")
    student = student[before:]
    shared = common_bytes(spoken, student)
    evidence = Evidence.nothing(len(answer), "text_differs")
    evidence.kinds[:before] = ["no_logprob"] * before
    ids = {**dict.fromkeys(CLOSINGS, end_of_turn), **vocabulary.ids, b"": end_of_turn}
    if teacher.closing:
        ids[teacher.closing.content] = end_of_turn
    for piece in pieces(spoken, student, shared):
        place = Piece(
            piece.teacher, piece.teacher_end, piece.student + before, piece.student_end + before
        )
        _fill(evidence, place, teacher.spoken, ids, rules)
    if shared == len(b"".join(spoken)) == len(b"".join(student)):
        _close(evidence, teacher.closing, ids, rules)
    return evidence


def _tokens_of(student: Sequence[bytes], size: int) -> int | None:
    """How many tokens spell the first `size` bytes; None where a token straddles the end."""
    total = 0
    for place, token in enumerate([*student, b""]):
        if total == size:
            return place
        total += len(token)
    return None


def _fill(
    evidence: Evidence,
    piece: Piece,
    spoken: Sequence[Position],
    ids: Mapping[bytes, int],
    rules: Rules,
) -> None:
    """Candidates for a token that both made; else the piece as a whole; else a reason."""
    span = slice(piece.student, piece.student_end)
    size = piece.student_end - piece.student
    if piece.one_to_one:
        found = _candidates(spoken[piece.teacher], ids, rules, evidence.counts)
        if found or found is None:
            evidence.candidates[piece.student] = found or {}
            evidence.kinds[piece.student] = TOP_K if found else "impossible"
            return
    whole = chunk_logprob([one.logprob for one in spoken[piece.teacher : piece.teacher_end]])
    if whole is None:
        evidence.kinds[span] = ["no_logprob"] * size
        return
    evidence.chunks.append((piece.student, piece.student_end, whole))
    evidence.kinds[span] = [ALM] * size


def _close(
    evidence: Evidence, closing: Position | None, ids: Mapping[bytes, int], rules: Rules
) -> None:
    """The end of turn: evidence only if the server stored it."""
    last = len(evidence.kinds) - 1
    found = _candidates(closing, ids, rules, evidence.counts) if closing else {}
    evidence.candidates[last] = found or {}
    evidence.kinds[last] = TOP_K if found else "no_end_stored"


def _candidates(
    position: Position, ids: Mapping[bytes, int], rules: Rules, counts: Counter[str]
) -> Candidates | None:
    """One position: sentinels dropped, the sampled token added, duplicates merged. None if it is
    no distribution."""
    offered = [(content, float(p)) for content, p in position.top if p is not None and is_real(p)]
    if rules.k:
        offered = sorted(offered, key=lambda one: -one[1])[: rules.k]
    names = {content for content, _ in offered}
    wanted = position.logprob
    if offered and rules.sampled and wanted is not None and is_real(wanted):
        offered += [] if position.content in names else [(position.content, float(wanted))]
    found: Candidates = {}
    for content, logprob in offered:
        _add(found, ids.get(content), logprob, counts)
    return _normalised(found, offered, counts)


def _add(found: Candidates, token: int | None, logprob: float, counts: Counter[str]) -> None:
    if token is None:
        counts["unmapped_candidates"] += 1
    elif token in found:
        found[token] = max(found[token], logprob) + math.log1p(
            math.exp(-abs(found[token] - logprob))
        )
    else:
        found[token] = logprob


def _normalised(
    found: Candidates, offered: Sequence[tuple[bytes, float]], counts: Counter[str]
) -> Candidates | None:
    """Rounding above one is taken out; more than rounding is no distribution."""
    mass = math.fsum(math.exp(min(logprob, 1.0)) for _, logprob in offered)
    if mass > ROUNDING:
        counts["impossible_positions"] += 1
        return None
    over = math.log(mass) if mass > 1 else 0.0
    return {token: min(logprob - over, 0.0) for token, logprob in found.items()}
