"""Where each loss comes to rest: one position, a teacher of 200 tokens, the top 5 stored.

    python benchmarks/fixed_points.py          # seconds

The loss in expectation over the sampled token is minimised from a random student. The best that a
loss can do is the teacher itself: ratio 1, the teacher's mass, a KL of nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from distil import renormalised, zero_tail
from torch import Tensor

from train.kernel import Head, Scores, support_scores
from train.objectives import OBJECTIVES, Positions, Settings, support

V, K = 200, 5
LossFunction = Callable[[Positions, Tensor], Tensor]


def ours(name: str, tail_weight: float = 1.0) -> LossFunction:
    settings = Settings(tail_weight)
    return lambda positions, weight: OBJECTIVES[name](positions, weight, settings).value


def theirs(distance: Callable[[Positions], Tensor]) -> LossFunction:
    return lambda positions, weight: (weight * distance(positions)).sum()


def truncated_reverse(positions: Positions) -> Tensor:
    """[N] sum_S q log(q/p) and nothing for the rest: verl's former reverse KL."""
    chosen, rest, _ = positions.scores
    log_q = chosen[:, 1:] - torch.cat([chosen, rest[:, None]], -1).logsumexp(-1, keepdim=True)
    return (log_q.exp() * (log_q - positions.top_logprobs)).sum(-1)


LOSSES: dict[str, LossFunction] = {
    "`sft`": ours("sft"),
    "`top_k`, λ = 1": ours("top_k"),
    "`reverse_kl`, λ = 1": ours("reverse_kl"),
    "`jsd`, λ = 1": ours("jsd"),
    "bucket alone (λ = 0)": ours("top_k", 0.0),
    "zero tail": theirs(zero_tail),
    "renormalised": theirs(renormalised),
    "truncated reverse KL": theirs(truncated_reverse),
}


def main() -> None:
    torch.manual_seed(0)
    log_p = torch.randn(V, dtype=torch.float64).mul(3).log_softmax(-1)
    start = torch.randn(V, dtype=torch.float64)
    top = log_p.topk(K)
    print(f"The teacher's top {K} hold {top.values.exp().sum():.3f}\n")
    print("| loss | student's mass on the top 5 | q/p on them | full KL |\n|---|--:|--:|--:|")
    for name, loss in LOSSES.items():
        log_q = rest_of(loss, log_p, top, start)
        held, kl = log_q[top.indices].exp(), (log_p.exp() * (log_p - log_q)).sum()
        ratio = held / top.values.exp()
        spread = f"{ratio.min():.3f} to {ratio.max():.3f}"
        print(f"| {name} | {held.sum():.3f} | {spread} | {kl:.3f} |")


def rest_of(loss: LossFunction, log_p: Tensor, top: Any, start: Tensor) -> Tensor:
    """The student's log-probabilities at the minimum of the expected loss."""
    logits = start.clone().requires_grad_()
    optimiser = torch.optim.LBFGS([logits], max_iter=400, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimiser.zero_grad()
        value = expected(loss, log_p, top, logits)
        value.backward()
        return value

    optimiser.step(closure)
    return logits.detach().log_softmax(-1)


def expected(loss: LossFunction, log_p: Tensor, top: Any, logits: Tensor) -> Tensor:
    """The loss for every token that could be sampled, times its probability."""
    labels = torch.arange(V)
    ids, logprobs = top.indices.expand(V, K), top.values.expand(V, K)
    head = Head(torch.eye(V, dtype=torch.float64))
    one = support_scores(logits[None], head, torch.arange(V)[None])
    asked = support(labels, ids)
    lowest = torch.finfo(torch.float64).min
    chosen = one.chosen.expand(V, V).gather(-1, asked.clamp(min=0)).masked_fill(asked < 0, lowest)
    everything = one.chosen.expand(V, V).scatter(-1, ids, lowest)
    rest = everything.scatter(-1, labels[:, None], lowest).logsumexp(-1)
    positions = Positions(Scores(chosen, rest, rest), labels, ids, logprobs)
    return loss(positions, log_p.exp())


if __name__ == "__main__":
    main()
