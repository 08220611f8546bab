"""Where two tokenizers cut the same bytes: the pieces between cuts that both make.

    pieces([b"ca", b"rd"], [b"card"], shared=4)     # [Piece(0, 2, 0, 1)]

A piece of one token on each side compares token with token. Any other piece is compared as a whole,
by the likelihood of its bytes: Minixhofer, Vulić and Ponti, 2025, "Universal Cross-Tokenizer
Distillation via Approximate Likelihood Matching", arXiv:2503.20083.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple

SENTINEL = -9000.0  # OpenAI answers -9999.0 for "not among the top": it is no probability


class Piece(NamedTuple):
    """Tokens first to last on both sides that spell the same bytes, and cannot be cut further."""

    teacher: int
    teacher_end: int
    student: int
    student_end: int

    @property
    def one_to_one(self) -> bool:
        return self.teacher_end - self.teacher == 1 == self.student_end - self.student


def common_bytes(one: Sequence[bytes], other: Sequence[bytes]) -> int:
    """How many bytes two token sequences spell alike before they first differ."""
    left, right = b"".join(one), b"".join(other)
    length = min(len(left), len(right))
    if left[:length] == right[:length]:
        return length
    return next(n for n in range(length) if left[n] != right[n])


def pieces(teacher: Sequence[bytes], student: Sequence[bytes], shared: int) -> list[Piece]:
    """The finest common pieces within the first `shared` bytes. Tokens of no bytes must be gone."""
    ends = [0, *accumulate(len(token) for token in teacher)]
    place_of = {end: place for place, end in enumerate(ends)}
    found, before, start, offset = [], 0, 0, 0
    for place, token in enumerate(student, 1):
        offset += len(token)
        if offset > shared:
            break
        if offset in place_of:
            found.append(Piece(before, place_of[offset], start, place))
            before, start = place_of[offset], place
    return found


def is_real(logprob: float | None) -> bool:
    """Whether a stored number is a log-probability: no null, NaN or sentinel."""
    return logprob is not None and logprob > SENTINEL  # NaN compares false


def chunk_logprob(logprobs: Sequence[float | None]) -> float | None:
    """The teacher's logprob of a whole piece; None where one of its tokens has none."""
    real = [logprob for logprob in logprobs if logprob is not None and is_real(logprob)]
    return min(math.fsum(real), 0.0) if real and len(real) == len(logprobs) else None
