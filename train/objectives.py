"""What training minimises: plain functions of (student scores, teacher evidence), in one dict.

Pure torch, so the maths is tested without a trainer. The student is seen through
train.kernel.Scores: its scores of the label and of the stored candidates, and the logsumexp of
all other tokens. Every objective is a sum over positions, each times its weight; the trainer
divides by the number of trained tokens of the whole batch. docs/objectives.md derives them.

    scores = support_scores(hidden, head, support(labels, top_ids))
    loss = mix(Positions(scores, labels, top_ids, top_logprobs), {"top_k": 1.0, "sft": 0.5})
    (loss.value / len(labels)).backward()

Shapes: N trained positions, K stored candidates (fewer are padded with id -1), B = K + 1 buckets
(each candidate, and everything else together), C chunks of another tokenizer's text. S is the
set of candidates of a position, T all other tokens, p the teacher, q the student, y the label.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from train.kernel import Scores

FLOOR = 1e-6  # a stored tail below it is the rounding of K fp32 logprobs, not a probability


class Positions(NamedTuple):
    """The trained positions of a batch, student beside teacher."""

    scores: Scores  # of support(labels, top_ids)
    labels: Tensor  # [N] the token of the teacher's text
    top_ids: Tensor  # [N, K] distinct candidates as student ids, -1 where there is none
    top_logprobs: Tensor  # [N, K] the teacher's logprobs of them
    chunk_ids: Tensor | None = None  # [N] chunk of another tokenizer's text it is in, -1 for none
    chunk_logprobs: Tensor | None = None  # [C] the teacher's logprob of each chunk as a whole

    @property
    def signal(self) -> Tensor:
        """[N] True where the teacher left probabilities."""
        return self.top_ids.ge(0).any(-1)

    @property
    def chunked(self) -> Tensor:
        """[N] True where the position is in a chunk."""
        if self.chunk_ids is None:
            return torch.zeros_like(self.labels, dtype=torch.bool)
        return self.chunk_ids.ge(0)

    @property
    def surprising(self) -> Tensor:
        """[N] True where the label is not among the candidates."""
        return ~self.top_ids.eq(self.labels[:, None]).any(-1)


class Settings(NamedTuple):
    """What the objectives are set to."""

    tail_weight: float = 1.0
    """The lambda of the sampled tail: at 1 the expected gradient is that of the full KL."""
    jsd_beta: float = 0.5
    """The teacher's share of the mixture in `jsd`, between 0 and 1."""
    skew: float = 0.1
    """The alpha of `skew_kl` and `skew_reverse_kl`, between 0 and 1."""


class Loss(NamedTuple):
    """A sum over positions to differentiate, and detached sums to report."""

    value: Tensor
    metrics: dict[str, Tensor]


def support(labels: Tensor, top_ids: Tensor) -> Tensor:
    """[N, 1 + K] the tokens to ask the student about: the label unless it is a candidate, those."""
    surprising = ~top_ids.eq(labels[:, None]).any(-1)
    return torch.cat([torch.where(surprising, labels, -1)[:, None], top_ids], -1)


class Student(NamedTuple):
    """The student's log-probabilities, each accurate next to 0 and far below it."""

    label: Tensor  # [N] log q_y
    buckets: Tensor  # [N, B] log q of each candidate and of T; the lowest number where none is
    tail: Tensor  # [N] log q_T, the last of them


def student(positions: Positions) -> Student:
    """Normalise the scores. 1 - sum(q) would lose every digit once a tail is below 1e-7."""
    chosen, rest, _ = positions.scores
    lowest = torch.finfo(chosen.dtype).min
    held = positions.top_ids.eq(positions.labels[:, None])
    column = torch.where(positions.surprising, 0, 1 + held.int().argmax(-1))[:, None]
    others = torch.cat([chosen.scatter(-1, column, lowest), rest[:, None]], -1).logsumexp(-1)
    label = logsigmoid(chosen.gather(-1, column).squeeze(-1) - others)
    tail_score = torch.logaddexp(rest, chosen[:, 0])
    support_score = chosen[:, 1:].logsumexp(-1)
    tail = logsigmoid(tail_score - support_score)
    total = torch.logaddexp(tail_score, support_score)
    top = (chosen[:, 1:] - total[:, None]).masked_fill(positions.top_ids.lt(0), lowest)
    return Student(label, torch.cat([top, tail[:, None]], -1), tail)


def teacher(positions: Positions, floor: float = 0.0) -> Tensor:
    """[N, B] the teacher's log-probabilities of the buckets, summing to one.

    Stored logprobs are rounded: a sum above 1 is normalised, a tail is at least `floor`, and there
    is none where the candidates are the whole vocabulary.
    """
    exact = torch.float64
    lowest = torch.finfo(positions.scores.chosen.dtype).min
    stored = positions.top_logprobs.to(exact).masked_fill(positions.top_ids.lt(0), -torch.inf)
    left = torch.logaddexp(positions.scores.rest.detach(), positions.scores.chosen[:, 0].detach())
    tail = (1 - stored.exp().sum(-1)).clamp(min=floor)
    tail = tail.masked_fill(left.lt(lowest / 2), 0.0)
    buckets = torch.cat([stored, tail.log()[:, None]], -1)
    whole = (buckets - buckets.logsumexp(-1, keepdim=True)).clamp(min=lowest)
    return whole.nan_to_num(nan=lowest).to(positions.scores.chosen.dtype)


def sft(positions: Positions, weight: Tensor, settings: Settings) -> Loss:
    """Negative log-likelihood of the teacher's text: sequence-level distillation.

    Kim and Rush, 2016, "Sequence-Level Knowledge Distillation", arXiv:1606.07947.
    """
    nll = -student(positions).label
    return Loss((weight * nll).sum(), {"sft_loss": nll.detach().sum()})


def divergence(log_p: Tensor, log_q: Tensor) -> Tensor:
    """[N] sum over buckets of p log(p/q)."""
    return (log_p.exp() * (log_p - log_q)).sum(-1)


def forward_kl(positions: Positions, settings: Settings) -> Tensor:
    """[N] KL(p, q) over the buckets."""
    return divergence(teacher(positions), student(positions).buckets)


def _reverse_kl(positions: Positions, settings: Settings) -> Tensor:
    return divergence(student(positions).buckets, teacher(positions, FLOOR))


def _jsd(positions: Positions, settings: Settings) -> Tensor:
    log_p, log_q = teacher(positions), student(positions).buckets
    beta = settings.jsd_beta
    mixture = torch.logaddexp(log_p + math.log(beta), log_q + math.log1p(-beta))
    return beta * divergence(log_p, mixture) + (1 - beta) * divergence(log_q, mixture)


def _skew_kl(positions: Positions, settings: Settings) -> Tensor:
    log_p, log_q = teacher(positions), student(positions).buckets
    return divergence(log_p, _mixture(log_p, log_q, settings.skew))


def _skew_reverse_kl(positions: Positions, settings: Settings) -> Tensor:
    log_p, log_q = teacher(positions), student(positions).buckets
    return divergence(log_q, _mixture(log_q, log_p, settings.skew))


def _mixture(first: Tensor, second: Tensor, share: float) -> Tensor:
    return torch.logaddexp(first + math.log(share), second + math.log1p(-share))


def sampled_tail(positions: Positions) -> Tensor:
    """[N] -log(q_y / q_T) where the label is no candidate, else 0: what the tail looks like inside.

    In expectation over text sampled at temperature 1 it is p_T times the cross-entropy of the two
    tails, which is all that the buckets lack to the full KL.
    """
    found = student(positions)
    return torch.where(positions.surprising, found.tail - found.label, 0.0)


def _taught(
    name: str, distance: Tensor, positions: Positions, weight: Tensor, settings: Settings
) -> Loss:
    """A distance between buckets plus the sampled tail, where the teacher left probabilities."""
    signal = positions.signal
    whole = torch.where(signal, distance + settings.tail_weight * sampled_tail(positions), 0.0)
    metrics = {f"{name}_loss": whole.detach().sum(), f"{name}_tokens": signal.sum()}
    return Loss((weight * whole).sum(), metrics)


def top_k(positions: Positions, weight: Tensor, settings: Settings) -> Loss:
    """Forward KL to the stored top-k, the rest in one tail bucket, the tail taught by the label.

    sum_S p log(p/q) + p_T log(p_T/q_T) - lambda [y not in S] log(q_y/q_T). The buckets alone never
    exceed the full KL and are zero at equality; with lambda = 1 and text sampled at temperature 1
    the expected gradient is that of the full KL. Token-level distillation is Hinton et al., 2015,
    arXiv:1503.02531; the bias of dropping the tail, Anshumann et al., 2025, "Sparse Logit
    Sampling", arXiv:2503.16870. The sampled tail is ours.
    """
    return _taught("top_k", forward_kl(positions, settings), positions, weight, settings)


def reverse_kl(positions: Positions, weight: Tensor, settings: Settings) -> Loss:
    """KL(student, teacher) over the buckets, plus the sampled tail.

    Gu et al., 2023, "MiniLLM", arXiv:2306.08543, without the policy gradient. It is infinite where
    the teacher's tail is nil, so that is taken to be at least 1e-6, the rounding of what is stored.
    """
    return _taught("reverse_kl", _reverse_kl(positions, settings), positions, weight, settings)


def jsd(positions: Positions, weight: Tensor, settings: Settings) -> Loss:
    """Generalised Jensen-Shannon divergence over the buckets, plus the sampled tail.

    beta KL(p, m) + (1 - beta) KL(q, m) with m = beta p + (1 - beta) q: Agarwal et al., 2023,
    "On-Policy Distillation of Language Models" (GKD), arXiv:2306.13649.
    """
    return _taught("jsd", _jsd(positions, settings), positions, weight, settings)


def skew_kl(positions: Positions, weight: Tensor, settings: Settings) -> Loss:
    """KL(p, alpha p + (1 - alpha) q) over the buckets, plus the sampled tail.

    Ko et al., 2024, "DistiLLM", arXiv:2402.03898.
    """
    return _taught("skew_kl", _skew_kl(positions, settings), positions, weight, settings)


def skew_reverse_kl(positions: Positions, weight: Tensor, settings: Settings) -> Loss:
    """KL(q, (1 - alpha) p + alpha q) over the buckets, plus the sampled tail.

    Ko et al., 2024, "DistiLLM", arXiv:2402.03898.
    """
    distance = _skew_reverse_kl(positions, settings)
    return _taught("skew_reverse_kl", distance, positions, weight, settings)


def alm(positions: Positions, weight: Tensor, settings: Settings) -> Loss:
    """KL between the two likelihoods of a chunk, for a teacher with another tokenizer.

    P log(P/Q) + (1 - P) log((1 - P)/(1 - Q)) with P and Q the probabilities of the chunk's bytes:
    Minixhofer et al., 2025, "Cross-Tokenizer Distillation via Approximate Likelihood Matching",
    arXiv:2503.20083, binarised at temperature 1. Never above the KL over whole chunks.
    """
    chunked = positions.chunked
    if positions.chunk_ids is None or positions.chunk_logprobs is None or not chunked.any():
        nothing = positions.scores.rest.new_zeros(())
        return Loss(nothing, {"alm_loss": nothing, "alm_chunks": nothing})
    number, inside = positions.chunk_ids.clamp(min=0), chunked.to(weight)
    empty = weight.new_zeros(len(positions.chunk_logprobs))
    length = empty.index_add(0, number, inside)
    share = empty.index_add(0, number, weight * inside) / length.clamp(min=1)
    label = student(positions).label
    log_q = torch.zeros_like(empty).to(label).index_add(0, number, label.where(chunked, 0.0))
    log_p = positions.chunk_logprobs.to(label).clamp(max=0)
    kl = log_p.exp() * (log_p - log_q) - log_p.expm1() * (_log_not(log_p) - _log_not(log_q))
    kl = kl.where(length > 0, 0.0)
    metrics = {"alm_loss": kl.detach().sum(), "alm_chunks": length.gt(0).sum()}
    return Loss((share * kl).sum(), metrics)


def _log_not(log_p: Tensor) -> Tensor:
    """log(1 - p), accurate at both ends; a p within 1e-37 of 1 counts as that far from it."""
    below = log_p.clamp(max=-1e-37)
    near = below > -math.log(2)
    return torch.where(
        near,
        torch.log(-torch.expm1(torch.where(near, below, -1.0))),
        torch.log1p(-torch.exp(torch.where(near, -1.0, below))),
    )


ObjectiveFunction = Callable[[Positions, Tensor, Settings], Loss]

TAUGHT: dict[str, ObjectiveFunction] = {
    "top_k": top_k,
    "reverse_kl": reverse_kl,
    "jsd": jsd,
    "skew_kl": skew_kl,
    "skew_reverse_kl": skew_reverse_kl,
}
"""Those that learn from stored probabilities."""

OBJECTIVES: dict[str, ObjectiveFunction] = {"sft": sft, **TAUGHT, "alm": alm}


def mix(
    positions: Positions, objective: Mapping[str, float], settings: Settings | None = None
) -> Loss:
    """The weighted sum. A position without the evidence that an objective needs is taught by the
    next one at the same weight: stored probabilities, then `alm`, then `sft`; so every token of a
    completion weighs the same whatever its evidence is."""
    settings = settings or Settings()
    weights = shares(positions, objective)
    losses = [OBJECTIVES[name](positions, weight, settings) for name, weight in weights.items()]
    value = torch.stack([loss.value for loss in losses]).sum()
    return Loss(value, {key: sums for loss in losses for key, sums in loss.metrics.items()})


def shares(positions: Positions, objective: Mapping[str, float]) -> dict[str, Tensor]:
    """The weight [N] of each position by objective, without what is neither named nor needed."""
    signal, chunked = positions.signal, positions.chunked
    everywhere, nowhere = torch.ones_like(signal), signal.new_zeros(signal.shape)
    found = {name: nowhere.float() for name in objective}
    for name, weight in objective.items():
        own = everywhere if name == "sft" else chunked if name == "alm" else signal
        next_best = {"alm": ~own & chunked, "sft": ~own & ~chunked}
        for other, places in [(name, own), *next_best.items()]:
            found[other] = found.get(other, nowhere) + weight * places.float()
    return {name: each for name, each in found.items() if name in objective or bool(each.any())}
