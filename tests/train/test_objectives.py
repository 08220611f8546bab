"""The mathematics of what training minimises; loads torch alone."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import kl_div

from train.config import Training
from train.objectives import OBJECTIVES, Positions, bucket_kl, mix, sft, top_k

SHAPES = {
    "n": st.integers(1, 5),
    "v": st.integers(3, 40),
    "k": st.integers(1, 20),
    "seed": st.integers(0, 10_000),
}


def made(n: int, v: int, k: int, seed: int, dtype: torch.dtype = torch.float32) -> Positions:
    """Random student, random teacher, the teacher's own top k."""
    torch.manual_seed(seed)
    logprobs, ids = torch.randn(n, v).mul(2).log_softmax(-1).sort(-1, descending=True)
    logits = torch.randn(n, v).mul(2).to(dtype).requires_grad_()
    return Positions(logits, ids[:, 0], ids[:, :k], logprobs[:, :k])


def gradient(value: Tensor, positions: Positions) -> Tensor:
    (found,) = torch.autograd.grad(value, positions.logits)
    return found


def full_kl(positions: Positions, teacher: Tensor) -> Tensor:
    return kl_div(positions.logits.log_softmax(-1), teacher, reduction="none", log_target=True).sum(
        -1
    )


@settings(max_examples=30, deadline=None)
@given(**SHAPES)
def test_with_all_of_the_vocabulary_it_is_torchs_full_kl(n: int, v: int, k: int, seed: int) -> None:
    whole = made(n, v, v, seed)
    teacher = torch.empty(n, v).scatter(-1, whole.top_ids, whole.top_logprobs)
    torch.testing.assert_close(bucket_kl(whole), full_kl(whole, teacher), atol=1e-5, rtol=1e-4)


@settings(max_examples=30, deadline=None)
@given(**SHAPES)
def test_the_tail_bucket_never_exceeds_the_full_kl(n: int, v: int, k: int, seed: int) -> None:
    whole = made(n, v, v, seed)
    teacher = torch.empty(n, v).scatter(-1, whole.top_ids, whole.top_logprobs)
    cut = bucket_kl(made(n, v, min(k, v), seed))
    assert bool((cut <= full_kl(whole, teacher) + 1e-5).all())
    assert bool((cut >= -1e-5).all())


@settings(max_examples=30, deadline=None)
@given(**SHAPES)
def test_more_candidates_never_lower_it(n: int, v: int, k: int, seed: int) -> None:
    k = min(k, v - 1)
    few, more = made(n, v, k, seed), made(n, v, k + 1, seed)
    assert bool((bucket_kl(few) <= bucket_kl(more) + 1e-5).all())


def test_it_is_zero_where_the_student_is_the_teacher() -> None:
    found = made(4, 30, 5, 0)
    teacher = made(4, 30, 30, 0)
    logits = torch.empty(4, 30).scatter(-1, teacher.top_ids, teacher.top_logprobs).requires_grad_()
    same = found._replace(logits=logits)
    loss = top_k(same, torch.ones(4))
    assert abs(loss.value.item()) < 1e-5
    assert float(gradient(loss.value, same).abs().max()) < 1e-6


@settings(max_examples=30, deadline=None)
@given(**SHAPES)
def test_every_gradient_sums_to_zero_over_the_vocabulary(n: int, v: int, k: int, seed: int) -> None:
    for name, objective in OBJECTIVES.items():
        found = made(n, v, min(k, v), seed)
        slope = gradient(objective(found, torch.ones(n)).value, found)
        assert float(slope.sum(-1).abs().max()) < 1e-5, name


def test_the_gradient_is_the_closed_form() -> None:
    found = made(1, 12, 4, 3)
    slope = gradient(top_k(found, torch.ones(1)).value, found)[0]
    q, p = found.logits.detach()[0].softmax(-1), found.top_logprobs[0].exp()
    support = torch.zeros(12, dtype=torch.bool).index_fill(0, found.top_ids[0], True)
    expected = q - (1 - p.sum()) * q / q[~support].sum()
    expected[found.top_ids[0]] = q[found.top_ids[0]] - p
    torch.testing.assert_close(slope, expected, atol=1e-6, rtol=1e-4)


def test_finite_differences_agree() -> None:
    found = made(3, 9, 4, 1)
    logits = found.logits.detach().double().requires_grad_()

    def value(at: Tensor) -> Tensor:  # the objectives compute in fp32, so the step is wide
        return top_k(found._replace(logits=at), torch.ones(3)).value

    assert torch.autograd.gradcheck(
        value, logits, eps=1e-2, atol=1e-2, rtol=1e-2, check_undefined_grad=False, nondet_tol=1e-5
    )


def test_sft_is_torchs_cross_entropy() -> None:
    found = made(6, 20, 3, 2)
    expected = torch.nn.functional.cross_entropy(found.logits, found.labels, reduction="sum")
    torch.testing.assert_close(sft(found, torch.ones(6)).value, expected)


@pytest.mark.parametrize("name", sorted(OBJECTIVES))
def test_a_weight_of_zero_leaves_no_gradient(name: str) -> None:
    found = made(3, 10, 4, 0)
    slope = gradient(OBJECTIVES[name](found, torch.tensor([1.0, 0.0, 1.0])).value, found)
    assert not slope[1].any()
    assert slope[0].any()


def test_padding_and_order_of_candidates_change_nothing() -> None:
    found = made(3, 15, 4, 0)
    shuffled = found._replace(
        top_ids=found.top_ids.flip(-1), top_logprobs=found.top_logprobs.flip(-1)
    )
    padded = found._replace(
        top_ids=torch.cat([found.top_ids, torch.full((3, 2), -1)], -1),
        top_logprobs=torch.cat([found.top_logprobs, torch.full((3, 2), -torch.inf)], -1),
    )
    torch.testing.assert_close(bucket_kl(shuffled), bucket_kl(found))
    torch.testing.assert_close(bucket_kl(padded), bucket_kl(found))


@pytest.mark.parametrize("depth", [1.0, 20.0, 200.0])
def test_a_student_tail_of_e_to_the_minus_200_is_finite_and_exact(depth: float) -> None:
    logits = torch.tensor([[0.0, -depth, -depth]], requires_grad=True)
    found = Positions(logits, torch.tensor([0]), torch.tensor([[0]]), torch.tensor([[-1e-3]]))
    loss = top_k(found, torch.ones(1)).value
    p = torch.tensor(-1e-3, dtype=torch.float64).exp()
    q = logits.detach().double().log_softmax(-1)[0]
    tail = torch.logsumexp(q[1:], -1)
    expected = p * (p.log() - q[0]) + (1 - p) * ((1 - p).log() - tail)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-4, abs=1e-4)
    assert bool(gradient(loss, found).isfinite().all())


def test_half_precision_logits_are_computed_in_single() -> None:
    found = made(2, 10, 3, 0, torch.bfloat16)
    assert bucket_kl(found).dtype == torch.float32


def test_a_position_without_evidence_is_taught_as_text() -> None:
    found = made(2, 10, 3, 0)
    bare = found._replace(top_ids=found.top_ids.index_fill(0, torch.tensor([1]), -1))
    mixed = mix(bare, {"top_k": 2.0}).value
    first, second = (
        bare._replace(
            logits=bare.logits[n : n + 1],
            labels=bare.labels[n : n + 1],
            top_ids=bare.top_ids[n : n + 1],
            top_logprobs=bare.top_logprobs[n : n + 1],
        )
        for n in (0, 1)
    )
    apart = 2 * top_k(first, torch.ones(1)).value + 2 * sft(second, torch.ones(1)).value
    torch.testing.assert_close(mixed, apart)


def test_a_mix_is_the_weighted_sum_however_it_is_split() -> None:
    found = made(4, 12, 3, 5)
    whole = mix(found, {"top_k": 1.0, "sft": 0.5}).value
    ones = torch.ones(4)
    torch.testing.assert_close(whole, top_k(found, ones).value + 0.5 * sft(found, ones).value)


def test_the_fixed_point_holds_the_teachers_mass() -> None:
    found = made(1, 20, 5, 7)
    logits = torch.zeros(1, 20, requires_grad=True)
    optimiser = torch.optim.LBFGS([logits], max_iter=200, tolerance_grad=1e-10)

    def closure() -> Tensor:
        optimiser.zero_grad()
        loss = top_k(found._replace(logits=logits), torch.ones(1)).value
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimiser.step(closure)  # type: ignore[no-untyped-call]
    held = logits.detach().log_softmax(-1).gather(-1, found.top_ids)
    torch.testing.assert_close(held, found.top_logprobs, atol=1e-3, rtol=1e-3)


def test_every_objective_can_be_named_in_the_project_file_and_cites_its_paper() -> None:
    for name, objective in OBJECTIVES.items():
        assert Training(objective={name: 1.0})  # type: ignore[dict-item]
        assert "arXiv" in (objective.__doc__ or "")


def test_the_mathematics_needs_no_trainer() -> None:
    code = "import sys, train.objectives as _; print(*(n in sys.modules for n in ('trl', 'peft')))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["False", "False"]
