"""What training minimises: plain functions of (student logits, teacher evidence), in one dict.

Pure torch, so the maths is tested without a trainer. Shapes: N trained positions, V vocabulary,
K stored candidates (fewer are padded with id -1). Every objective is a sum over positions, each
times its weight; the trainer divides by the number of trained tokens of the whole batch.

    loss = mix(Positions(logits, labels, top_ids, top_logprobs), {"top_k": 1.0, "sft": 0.5})
    (loss.value / len(labels)).backward()
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor


class Positions(NamedTuple):
    """The trained positions of a batch, student beside teacher."""

    logits: Tensor  # [N, V] student scores for the next token
    labels: Tensor  # [N] the token of the teacher's text
    top_ids: Tensor  # [N, K] candidates as student ids, -1 where there is none
    top_logprobs: Tensor  # [N, K] the teacher's logprobs of them
    chunk_ids: Tensor | None = None  # [N] chunk of another tokenizer's text it is in, -1 for none
    chunk_logprobs: Tensor | None = None  # [C] the teacher's logprob of each chunk as a whole

    @property
    def signal(self) -> Tensor:
        """[N] True where the teacher left probabilities."""
        return self.top_ids.ge(0).any(-1)


class Loss(NamedTuple):
    """A sum over positions to differentiate, and detached sums to report."""

    value: Tensor
    metrics: dict[str, Tensor]


def sft(positions: Positions, weight: Tensor) -> Loss:
    """Negative log-likelihood of the teacher's text: sequence-level distillation.

    Kim and Rush, 2016, "Sequence-Level Knowledge Distillation", arXiv:1606.07947.
    """
    logits = positions.logits.float()
    chosen = logits.gather(-1, positions.labels[:, None]).squeeze(-1)
    nll = torch.logsumexp(logits, -1) - chosen
    return Loss((weight * nll).sum(), {"sft_loss": nll.detach().sum()})


def top_k(positions: Positions, weight: Tensor) -> Loss:
    """Forward KL from the teacher's stored top-k to the student, the rest in one tail bucket.

    sum_S p log(p/q) + p_T log(p_T/q_T): never above the full KL (data processing), zero at
    equality, gradient q - p on the support S and q - p_T q/q_T off it. Token-level distillation is
    Hinton et al., 2015, arXiv:1503.02531; the bias of dropping the tail, Anshumann et al., 2025,
    "Sparse Logit Sampling", arXiv:2503.16870. The student's tail is a logsumexp with S masked:
    1 - sum(q) loses every digit in fp32 once the tail is below 1e-7.
    """
    per_position = bucket_kl(positions)
    signal = positions.signal
    kl = torch.where(signal, per_position, per_position.new_zeros(()))
    metrics = {"top_k_loss": kl.detach().sum(), "top_k_tokens": signal.sum()}
    return Loss((weight * kl).sum(), metrics)


def bucket_kl(positions: Positions) -> Tensor:
    """[N] the bucketed KL of each position; meaningless (finite) where there is no signal."""
    logits = positions.logits.float()
    valid = positions.top_ids.ge(0)
    student, student_tail = _student_log_probabilities(logits, positions.top_ids)
    teacher = positions.top_logprobs.float().masked_fill(~valid, -torch.inf)
    p = teacher.exp()
    p_tail = (1 - p.sum(-1)).clamp(min=0)
    p_tail = torch.where(valid.sum(-1) >= logits.shape[-1], torch.zeros_like(p_tail), p_tail)
    support = torch.xlogy(p, p) - p * torch.where(p > 0, student, torch.zeros_like(student))
    tail = torch.xlogy(p_tail, p_tail) - p_tail * student_tail
    return support.sum(-1) + tail


def _student_log_probabilities(logits: Tensor, top_ids: Tensor) -> tuple[Tensor, Tensor]:
    """The student's log q of each candidate [N, K] and of everything else together [N]."""
    valid = top_ids.ge(0)
    ids = torch.where(valid, top_ids, top_ids[:, :1].clamp(min=0))  # padding repeats a candidate
    lowest = torch.finfo(logits.dtype).min  # not -inf: a support that is all of V stays finite
    chosen = logits.gather(-1, ids)
    log_tail = torch.logsumexp(logits.scatter(-1, ids, lowest), -1)
    log_support = torch.logsumexp(chosen.masked_fill(~valid, lowest), -1)
    log_total = torch.logaddexp(log_tail, log_support)
    return chosen - log_total[:, None], log_tail - log_total


ObjectiveFunction = Callable[[Positions, Tensor], Loss]

OBJECTIVES: dict[str, ObjectiveFunction] = {"sft": sft, "top_k": top_k}


def mix(positions: Positions, objective: Mapping[str, float]) -> Loss:
    """The weighted sum. A position without teacher probabilities is taught by `sft` at the weight
    of `top_k`, so every token of a completion weighs the same whatever its evidence is."""
    signal = positions.signal
    weights = {
        name: torch.full_like(signal, weight, dtype=torch.float32)
        for name, weight in objective.items()
    }
    if "top_k" in weights and not bool(signal.all()):
        missing = weights["top_k"] * ~signal
        weights["sft"] = weights.get("sft", torch.zeros_like(missing)) + missing
    losses = [OBJECTIVES[name](positions, weight) for name, weight in weights.items()]
    value = torch.stack([loss.value for loss in losses]).sum()
    return Loss(value, {key: sums for loss in losses for key, sums in loss.metrics.items()})
