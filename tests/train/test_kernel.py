"""The kernel against the dense computation: values, gradients, tiles, dtypes, extremes."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from train.kernel import Head, Tiles, support_scores

LOWEST = torch.finfo(torch.float32).min


def made(
    n: int, v: int, m: int, seed: int, dtype: torch.dtype = torch.float64, bias: bool = True
) -> tuple[Tensor, Head, Tensor]:
    """Random hidden states and head; distinct ids, the first of every other row left out."""
    torch.manual_seed(seed)
    hidden = torch.randn(n, 6, dtype=dtype).requires_grad_()
    weight = torch.randn(v, 6, dtype=dtype).requires_grad_()
    offset = torch.randn(v, dtype=dtype).requires_grad_() if bias else None
    ids = torch.stack([torch.randperm(v)[:m] for _ in range(n)])
    ids[::2, 0] = -1
    return hidden, Head(weight, offset), ids


def leaves(hidden: Tensor, head: Head) -> list[Tensor]:
    return [each for each in (hidden, head.weight, head.bias) if each is not None]


def dense(hidden: Tensor, head: Head, ids: Tensor) -> tuple[Tensor, Tensor]:
    """The same two answers from all the logits."""
    wide = torch.promote_types(hidden.dtype, torch.float32)
    logits = hidden.to(wide) @ head.weight.to(wide).T
    logits = logits if head.bias is None else logits + head.bias.to(wide)
    logits = logits * head.scale
    if head.softcap:
        logits = head.softcap * torch.tanh(logits / head.softcap)
    asked = torch.zeros(len(ids), logits.shape[1] + 1, dtype=torch.bool)
    asked = asked.scatter(1, ids.masked_fill(ids < 0, logits.shape[1]), True)[:, :-1]
    chosen = logits.gather(1, ids.clamp(min=0)).masked_fill(ids < 0, torch.finfo(wide).min)
    return chosen, torch.logsumexp(logits.masked_fill(asked, -torch.inf), -1)


def gradients(found: tuple[Tensor, Tensor], at: list[Tensor], ids: Tensor) -> list[Tensor]:
    torch.manual_seed(1)
    chosen, rest = found
    weights = torch.randn_like(chosen).masked_fill(ids < 0, 0)
    value = (chosen.clamp(min=-1e6) * weights).sum() + (rest * torch.randn_like(rest)).sum()
    return list(torch.autograd.grad(value, at))


@settings(max_examples=40, deadline=None)
@given(
    n=st.integers(0, 9),
    v=st.integers(5, 40),
    m=st.integers(1, 4),
    seed=st.integers(0, 9999),
    bias=st.booleans(),
    softcap=st.sampled_from([None, 2.0]),
    scale=st.sampled_from([1.0, 0.3]),
    tiles=st.builds(Tiles, st.integers(1, 10), st.integers(1, 50), st.sampled_from([0, 200, 9999])),
)
def test_it_is_the_dense_computation_whatever_the_tiles(
    n: int,
    v: int,
    m: int,
    seed: int,
    bias: bool,
    softcap: float | None,
    scale: float,
    tiles: Tiles,
) -> None:
    hidden, head, ids = made(max(n, 1), v, m, seed, bias=bias)
    hidden, ids = hidden[:n], ids[:n]
    head = head._replace(scale=scale, softcap=softcap)
    ours, theirs = support_scores(hidden, head, ids, tiles)[:2], dense(hidden, head, ids)
    torch.testing.assert_close(ours, theirs, atol=1e-12, rtol=1e-12)
    at = leaves(hidden, head)
    torch.testing.assert_close(
        gradients(ours, at, ids), gradients(theirs, at, ids), atol=1e-11, rtol=1e-11
    )


def test_finite_differences_agree() -> None:
    hidden, head, ids = made(3, 9, 2, 0)
    head = head._replace(softcap=3.0, scale=0.7)

    def answer(hidden: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        scores = support_scores(hidden, head._replace(weight=weight, bias=bias), ids, Tiles(2, 4))
        return scores.chosen.clamp(min=-1e6), scores.rest

    assert torch.autograd.gradcheck(answer, tuple(leaves(hidden, head)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_every_dtype_is_summed_in_single_precision(dtype: torch.dtype) -> None:
    hidden, head, ids = made(7, 300, 3, 2, dtype, bias=False)
    ours, theirs = support_scores(hidden, head, ids, Tiles(4, 32))[:2], dense(hidden, head, ids)
    assert ours[1].dtype == torch.float32
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
    mine, exact = (gradients(each, leaves(hidden, head), ids) for each in (ours, theirs))
    assert [each.dtype for each in mine] == [dtype, dtype]
    torch.testing.assert_close(mine, exact, atol=1e-5, rtol=torch.finfo(dtype).eps * 2)


def test_under_autocast_it_multiplies_what_the_model_would() -> None:
    hidden, head, ids = made(5, 50, 2, 3, torch.float32, bias=False)
    with torch.autocast("cpu", torch.bfloat16):
        ours = support_scores(hidden, head, ids)
    rounded = head._replace(weight=head.weight.bfloat16())
    theirs = dense(hidden.bfloat16(), rounded, ids)
    torch.testing.assert_close(ours[:2], theirs, atol=1e-5, rtol=1e-5)


def test_the_greatest_of_the_rest_is_that_of_the_rest() -> None:
    hidden, head, ids = made(6, 30, 3, 4, torch.float32)
    logits = hidden @ head.weight.T + head.bias
    asked = torch.zeros(6, 31, dtype=torch.bool).scatter(1, ids.masked_fill(ids < 0, 30), True)
    expected = logits.masked_fill(asked[:, :-1], -torch.inf).amax(-1)
    torch.testing.assert_close(support_scores(hidden, head, ids, Tiles(4, 7)).highest, expected)


def test_a_support_that_is_the_whole_vocabulary_leaves_no_rest() -> None:
    hidden, head, _ = made(2, 5, 5, 0, torch.float32)
    ids = torch.arange(5).repeat(2, 1)
    scores = support_scores(hidden, head, ids, Tiles(1, 2))
    assert bool((scores.rest < LOWEST / 2).all())
    found = torch.autograd.grad(scores.chosen.logsumexp(-1).sum(), leaves(hidden, head))
    assert all(bool(each.isfinite().all()) for each in found)


@pytest.mark.parametrize("depth", [1e-3, 20.0, 200.0, 1e4])
def test_scores_that_are_far_apart_stay_exact(depth: float) -> None:
    weight = torch.tensor([[0.0], [-depth], [-depth], [depth]], requires_grad=True)
    scores = support_scores(torch.ones(1, 1), Head(weight), torch.tensor([[0, 3]]), Tiles(1, 1))
    expected = -depth + torch.log(torch.tensor(2.0))
    torch.testing.assert_close(scores.rest, expected[None], rtol=1e-6, atol=1e-6)
    (found,) = torch.autograd.grad(scores.rest.sum(), weight)
    torch.testing.assert_close(found.flatten(), torch.tensor([0.0, 0.5, 0.5, 0.0]))


def test_a_frozen_head_gets_no_gradient_and_costs_none() -> None:
    hidden, head, ids = made(3, 20, 2, 0)
    frozen = Head(head.weight.detach())
    (found,) = torch.autograd.grad(support_scores(hidden, frozen, ids).rest.sum(), hidden)
    assert found.shape == hidden.shape


def test_the_backward_pass_may_run_twice() -> None:
    hidden, head, ids = made(3, 20, 2, 0)
    value = support_scores(hidden, head, ids).rest.sum()
    first = torch.autograd.grad(value, hidden, retain_graph=True)
    torch.testing.assert_close(torch.autograd.grad(value, hidden), first)


MEMORY = """
import resource, torch
from train.kernel import Head, support_scores
torch.set_num_threads(1)
hidden = torch.randn(2048, 8).requires_grad_()
weight = torch.randn(60_000, 8).requires_grad_()
ids = torch.arange(2048)[:, None]
support_scores(hidden[:1], Head(weight), ids[:1]).rest.sum().backward()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
support_scores(hidden, Head(weight), ids).rest.sum().backward()
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""


def test_the_scores_of_all_tokens_are_never_in_memory() -> None:
    done = subprocess.run(
        [sys.executable, "-c", MEMORY], capture_output=True, text=True, check=True
    )
    assert float(done.stdout) < 160  # MiB; all the scores alone are 469
