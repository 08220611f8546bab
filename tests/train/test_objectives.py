"""The mathematics of what training minimises; loads torch alone."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.distributions import Bernoulli, Categorical, kl_divergence
from torch.nn.functional import kl_div

from train.config import Training
from train.kernel import Head, Tiles, support_scores
from train.objectives import (
    OBJECTIVES,
    TAUGHT,
    Positions,
    Settings,
    alm,
    forward_kl,
    mix,
    sampled_tail,
    sft,
    support,
    top_k,
)

SHAPES = {
    "n": st.integers(1, 5),
    "v": st.integers(3, 40),
    "k": st.integers(1, 20),
    "seed": st.integers(0, 10_000),
}
BARE, FULL = Settings(tail_weight=0.0), Settings(tail_weight=1.0)
many = settings(max_examples=30, deadline=None)


def seen(
    logits: Tensor, labels: Tensor, top_ids: Tensor, top_logprobs: Tensor, *chunks: Tensor
) -> Positions:
    """Positions of a student whose logits these are: its head is the identity."""
    head = Head(torch.eye(logits.shape[1], dtype=logits.dtype))
    scores = support_scores(logits, head, support(labels, top_ids), Tiles(2, 7))
    return Positions(scores, labels, top_ids, top_logprobs, *chunks)


class Made:
    """A random student and teacher, and the teacher's own top k."""

    def __init__(
        self, n: int, v: int, k: int, seed: int, dtype: torch.dtype = torch.float64
    ) -> None:
        torch.manual_seed(seed)
        self.logits = torch.randn(n, v, dtype=torch.float64).mul(2).to(dtype).requires_grad_()
        self.log_p = torch.randn(n, v, dtype=torch.float64).mul(2).log_softmax(-1)
        logprobs, ids = self.log_p.sort(-1, descending=True)
        self.labels = torch.randint(v, (n,))
        self.top_ids, self.top_logprobs = ids[:, : min(k, v)], logprobs[:, : min(k, v)]

    def at(self, logits: Tensor | None = None, labels: Tensor | None = None) -> Positions:
        return seen(
            self.logits if logits is None else logits,
            self.labels if labels is None else labels,
            self.top_ids,
            self.top_logprobs,
        )

    def buckets(self) -> tuple[Categorical, Categorical]:
        """Teacher and student over each candidate and everything else, the plain way."""
        return tuple(  # type: ignore[return-value]
            Categorical(
                probs=torch.cat(
                    [p.gather(-1, self.top_ids), p.scatter(-1, self.top_ids, 0).sum(-1)[:, None]],
                    -1,
                )
            )
            for p in (self.log_p.exp(), self.logits.detach().softmax(-1))
        )

    def full_kl(self) -> Tensor:
        log_q = self.logits.log_softmax(-1)
        return kl_div(log_q, self.log_p, reduction="none", log_target=True).sum(-1)

    def gradient(self, value: Tensor) -> Tensor:
        (found,) = torch.autograd.grad(value, self.logits)
        return found


def ones(positions: Positions) -> Tensor:
    return torch.ones(len(positions.labels))


def each(name: str, positions: Positions, set_to: Settings = BARE) -> Tensor:
    """[N] one objective's value at each position, from its sums over single ones."""
    rows = torch.eye(len(positions.labels))
    return torch.stack([OBJECTIVES[name](positions, row, set_to).value for row in rows])


def by_distributions(name: str, p: Categorical, q: Categorical) -> Tensor:
    def mixed(share: float) -> Categorical:
        return Categorical(probs=share * p.probs + (1 - share) * q.probs)

    found: Tensor = {
        "top_k": lambda: kl_divergence(p, q),
        "reverse_kl": lambda: kl_divergence(q, p),
        "jsd": lambda: 0.3 * kl_divergence(p, mixed(0.3)) + 0.7 * kl_divergence(q, mixed(0.3)),
        "skew_kl": lambda: kl_divergence(p, mixed(0.2)),
        "skew_reverse_kl": lambda: kl_divergence(q, mixed(0.8)),
    }[name]()
    return found


@pytest.mark.parametrize("name", sorted(TAUGHT))
@many
@given(**SHAPES, dtype=st.sampled_from([torch.float64, torch.float32]))
def test_each_is_what_torch_distributions_says(
    name: str, n: int, v: int, k: int, seed: int, dtype: torch.dtype
) -> None:
    made = Made(n, v, min(k, v - 1), seed, dtype)
    set_to = Settings(tail_weight=0.0, jsd_beta=0.3, skew=0.2)
    expected = by_distributions(name, *made.buckets())
    found = each(name, made.at(), set_to).double()
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", sorted(TAUGHT))
@many
@given(**SHAPES)
def test_it_is_never_negative_and_the_buckets_never_exceed_the_whole(
    name: str, n: int, v: int, k: int, seed: int
) -> None:
    made, whole = Made(n, v, k, seed), Made(n, v, v, seed)
    cut = each(name, made.at())
    assert bool((cut >= -1e-9).all())
    assert bool((cut <= each(name, whole.at()) + 1e-9).all())
    assert bool((each(name, made.at(), FULL) >= cut - 1e-9).all())


@many
@given(**SHAPES)
def test_with_all_of_the_vocabulary_it_is_torchs_full_kl(n: int, v: int, k: int, seed: int) -> None:
    whole = Made(n, v, v, seed)
    found = each("top_k", whole.at(), FULL)
    torch.testing.assert_close(found, whole.full_kl(), atol=1e-9, rtol=1e-9)


@many
@given(**SHAPES)
def test_more_candidates_never_lower_it(n: int, v: int, k: int, seed: int) -> None:
    few, more = (forward_kl(Made(n, v, each_k, seed).at(), BARE) for each_k in (k, k + 1))
    assert bool((few <= more + 1e-9).all())


@pytest.mark.parametrize("name", sorted(TAUGHT))
def test_it_and_its_gradient_are_zero_where_the_student_is_the_teacher(name: str) -> None:
    made = Made(4, 30, 5, 0)
    same = made.log_p.clone().requires_grad_()
    positions = made.at(same)._replace(labels=made.top_ids[:, 0])
    value = OBJECTIVES[name](positions, ones(positions), BARE).value
    (slope,) = torch.autograd.grad(value, same)
    assert abs(value.item()) < 1e-6
    assert float(slope.abs().max()) < 1e-6


@many
@given(**SHAPES)
def test_the_expected_gradient_over_the_sampled_token_is_that_of_the_full_kl(
    n: int, v: int, k: int, seed: int
) -> None:
    made = Made(n, v, k, seed)
    expected = made.gradient(made.full_kl().sum())
    found = torch.zeros_like(expected)
    for token in range(v):
        at = made.at(labels=torch.full((n,), token))
        value = top_k(at, made.log_p[:, token].exp(), FULL).value
        found += made.gradient(value)
    torch.testing.assert_close(found, expected, atol=1e-10, rtol=1e-9)


@pytest.mark.parametrize("name", sorted(TAUGHT))
def test_in_expectation_the_teacher_is_where_each_comes_to_rest(name: str) -> None:
    made = Made(1, 12, 4, 2)
    logits = made.log_p.clone().requires_grad_()
    slope = torch.zeros_like(logits)
    for token in range(12):
        at = made.at(logits, torch.tensor([token]))
        value = OBJECTIVES[name](at, made.log_p[:, token].exp(), FULL).value
        slope += torch.autograd.grad(value, logits)[0]
    assert float(slope.abs().max()) < 1e-6


@pytest.mark.parametrize("name", sorted(OBJECTIVES))
def test_finite_differences_agree(name: str) -> None:
    made = Made(3, 9, 4, 1)
    set_to = Settings(tail_weight=0.7)
    chunks = torch.tensor([0, 0, 1]), torch.tensor([-1.5, -0.2])

    def value(logits: Tensor) -> Tensor:
        at = made.at(logits)._replace(chunk_ids=chunks[0], chunk_logprobs=chunks[1])
        return OBJECTIVES[name](at, torch.tensor([1.0, 0.3, 2.0]).double(), set_to).value

    assert torch.autograd.gradcheck(value, made.logits)


def test_the_gradient_is_the_closed_form() -> None:
    made, share = Made(1, 12, 4, 3), 0.6
    label = int(made.log_p[0].argmin())  # surely no candidate
    at = made.at(labels=torch.tensor([label]))
    slope = made.gradient(top_k(at, torch.ones(1), Settings(share)).value)[0]
    q, p = made.logits.detach()[0].softmax(-1), made.top_logprobs[0].exp()
    outside = torch.ones(12, dtype=torch.bool).index_fill(0, made.top_ids[0], False)
    expected = q + (share - (1 - p.sum())) * q / q[outside].sum()
    expected[label] -= share
    expected[made.top_ids[0]] = q[made.top_ids[0]] - p
    torch.testing.assert_close(slope, expected)


@pytest.mark.parametrize("name", sorted(OBJECTIVES))
@many
@given(**SHAPES)
def test_every_gradient_sums_to_zero_over_the_vocabulary(
    name: str, n: int, v: int, k: int, seed: int
) -> None:
    made = Made(n, v, k, seed)
    at = made.at()._replace(
        chunk_ids=torch.zeros(n, dtype=torch.long), chunk_logprobs=torch.tensor([-1.0])
    )
    slope = made.gradient(OBJECTIVES[name](at, ones(at), FULL).value)
    assert float(slope.sum(-1).abs().max()) < 1e-9


def test_sft_is_torchs_cross_entropy() -> None:
    made = Made(6, 20, 3, 2)
    expected = torch.nn.functional.cross_entropy(made.logits, made.labels, reduction="sum")
    torch.testing.assert_close(sft(made.at(), torch.ones(6), FULL).value, expected)


@pytest.mark.parametrize("name", sorted(OBJECTIVES))
def test_a_weight_of_zero_leaves_no_gradient(name: str) -> None:
    made = Made(3, 10, 4, 0)
    at = made.at()._replace(
        chunk_ids=torch.tensor([0, 1, 0]), chunk_logprobs=torch.tensor([-1.0, -2.0])
    )
    slope = made.gradient(OBJECTIVES[name](at, torch.tensor([1.0, 0.0, 1.0]), FULL).value)
    assert not slope[1].any()
    assert slope[0].any()


def test_padding_and_order_of_candidates_change_nothing() -> None:
    made = Made(3, 15, 4, 0)
    ids, logprobs = made.top_ids, made.top_logprobs
    expected = each("top_k", made.at(), FULL)
    padded = torch.cat([ids, torch.full((3, 2), -1)], -1)
    infinite = torch.cat([logprobs, torch.full((3, 2), -torch.inf)], -1)
    for top_ids, top_logprobs in ((ids.flip(-1), logprobs.flip(-1)), (padded, infinite)):
        found = each("top_k", seen(made.logits, made.labels, top_ids, top_logprobs), FULL)
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("name", sorted(TAUGHT))
def test_rounded_logprobs_whose_sum_is_above_one_leave_it_finite_and_not_negative(
    name: str,
) -> None:
    logprobs = torch.tensor([[0.7, 0.301]]).log()
    logits = torch.tensor([[0.7, 0.3, 1e-9]]).log().requires_grad_()
    at = seen(logits, torch.tensor([2]), torch.tensor([[0, 1]]), logprobs)
    value = OBJECTIVES[name](at, torch.ones(1), BARE).value
    (slope,) = torch.autograd.grad(value, logits)
    assert -1e-6 < value.item() < 1e-3
    assert bool(slope.isfinite().all())


@pytest.mark.parametrize("depth", [1.0, 20.0, 200.0])
@pytest.mark.parametrize("name", sorted(TAUGHT))
def test_a_student_tail_of_e_to_the_minus_200_is_finite_and_exact(name: str, depth: float) -> None:
    logits = torch.tensor([[0.0, -depth, -depth]], requires_grad=True)
    at = seen(logits, torch.tensor([0]), torch.tensor([[0]]), torch.tensor([[-1e-3]]))
    value = OBJECTIVES[name](at, torch.ones(1), BARE).value
    p = torch.stack([torch.tensor(-1e-3).double().exp(), -torch.tensor(-1e-3).double().expm1()])
    q = logits.detach().double().log_softmax(-1)[0]
    q = torch.stack([q[0], torch.logsumexp(q[1:], -1)]).exp()
    mixes = {"jsd": 0.5, "skew_kl": 0.1, "skew_reverse_kl": 0.9}
    m = mixes.get(name, 0.0) * p + (1 - mixes.get(name, 0.0)) * q
    to_p, to_q = (p * (p / m).log()).sum(), (q * (q / m).log()).sum()
    expected = {
        "reverse_kl": (q * (q / p).log()).sum(),
        "jsd": (to_p + to_q) / 2,
        "skew_reverse_kl": to_q,
    }.get(name, to_p)
    assert value.item() == pytest.approx(expected.item(), rel=1e-4, abs=1e-6)
    (slope,) = torch.autograd.grad(value, logits)
    assert bool(slope.isfinite().all())


@pytest.mark.parametrize("depth", [1.0, 200.0])
def test_the_sampled_tail_of_a_far_token_is_finite_and_exact(depth: float) -> None:
    logits = torch.tensor([[0.0, -depth, -depth - 1]], requires_grad=True)
    at = seen(logits, torch.tensor([2]), torch.tensor([[0]]), torch.tensor([[-1e-3]]))
    value = sampled_tail(at)
    expected = torch.log1p(torch.tensor(1.0).exp())
    torch.testing.assert_close(value, expected[None], atol=1e-4, rtol=1e-4)
    (slope,) = torch.autograd.grad(value.sum(), logits)
    torch.testing.assert_close(slope[0, 1:], torch.tensor([1.0, -1.0]) * 0.7310586)


def test_half_precision_states_are_summed_in_single() -> None:
    made = Made(2, 10, 3, 0, torch.bfloat16)
    assert forward_kl(made.at(), BARE).dtype == torch.float32


@many
@given(p=st.floats(1e-6, 1.0), q=st.floats(1e-6, 1 - 1e-6))
def test_alm_is_the_kl_of_two_bernoullis(p: float, q: float) -> None:
    logits = torch.tensor([[q, 1 - q]], dtype=torch.float64).log()
    at = seen(
        logits,
        torch.tensor([0]),
        torch.tensor([[-1]]),
        torch.zeros(1, 1),
        torch.tensor([0]),
        torch.tensor([p], dtype=torch.float64).log(),
    )
    found = alm(at, torch.ones(1), BARE).value
    expected = kl_divergence(
        *(Bernoulli(torch.tensor(each, dtype=torch.float64)) for each in (p, q))
    )
    assert found.item() == pytest.approx(expected.item(), abs=1e-5, rel=1e-5)


@pytest.mark.parametrize("depth", [1.0, 50.0, 200.0])
@pytest.mark.parametrize("logprob", [0.0, -1e-9, -0.7, -200.0])
def test_alm_is_finite_from_one_end_to_the_other(depth: float, logprob: float) -> None:
    logits = torch.tensor([[depth, 0.0], [0.0, depth]], requires_grad=True)
    at = seen(
        logits,
        torch.tensor([0, 0]),
        torch.full((2, 1), -1),
        torch.zeros(2, 1),
        torch.tensor([0, 1]),
        torch.tensor([logprob, logprob]),
    )
    value = alm(at, torch.ones(2), BARE).value
    (slope,) = torch.autograd.grad(value, logits)
    assert bool(value.isfinite())
    assert value.item() >= -1e-6
    assert bool(slope.isfinite().all())


def test_the_tokens_of_a_chunk_count_together() -> None:
    made = Made(3, 8, 2, 4)
    at = made.at()._replace(
        chunk_ids=torch.tensor([-1, 0, 0]), chunk_logprobs=torch.tensor([-1.0]).double()
    )
    log_q = made.logits.log_softmax(-1).gather(-1, made.labels[:, None])[1:].sum()
    expected = kl_divergence(Bernoulli(torch.tensor(-1.0).double().exp()), Bernoulli(log_q.exp()))
    found = alm(at, torch.ones(3), BARE)
    torch.testing.assert_close(found.value, expected)
    assert found.metrics["alm_chunks"] == 1


def test_a_position_is_taught_by_the_best_evidence_that_it_has() -> None:
    made = Made(3, 10, 3, 0)
    ids = made.top_ids.index_fill(0, torch.tensor([1, 2]), -1)
    chunks = torch.tensor([-1, 0, -1]), torch.tensor([-1.0]).double()
    at = seen(made.logits, made.labels, ids, made.top_logprobs, *chunks)
    rows = torch.eye(3)
    apart = sum(
        2 * OBJECTIVES[name](at, row, FULL).value
        for name, row in zip(("top_k", "alm", "sft"), rows, strict=True)
    )
    torch.testing.assert_close(mix(at, {"top_k": 2.0}, FULL).value, apart)


def test_a_mix_is_the_weighted_sum_however_it_is_split() -> None:
    made = Made(4, 12, 3, 5)
    whole = mix(made.at(), {"top_k": 1.0, "sft": 0.5}).value
    one = ones(made.at())
    apart = top_k(made.at(), one, FULL).value + 0.5 * sft(made.at(), one, FULL).value
    halves = [
        mix(
            seen(made.logits[n], made.labels[n], made.top_ids[n], made.top_logprobs[n]),
            {"top_k": 1.0, "sft": 0.5},
        ).value
        for n in (slice(0, 1), slice(1, 4))
    ]
    torch.testing.assert_close(whole, apart)
    torch.testing.assert_close(whole, sum(halves))


@pytest.mark.parametrize("name", sorted(TAUGHT))
def test_the_fixed_point_holds_the_teachers_mass(name: str) -> None:
    made = Made(1, 20, 5, 7)
    logits = torch.zeros(1, 20, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([logits], max_iter=300, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimiser.zero_grad()
        value = OBJECTIVES[name](made.at(logits), torch.ones(1), BARE).value
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimiser.step(closure)  # type: ignore[no-untyped-call]
    held = logits.detach().log_softmax(-1).gather(-1, made.top_ids)
    torch.testing.assert_close(held, made.top_logprobs, atol=1e-3, rtol=1e-3)


def test_every_objective_can_be_named_in_the_project_file_and_cites_its_paper() -> None:
    for name, objective in OBJECTIVES.items():
        assert Training(objective={name: 1.0})  # type: ignore[dict-item]
        assert "arXiv" in (objective.__doc__ or "")


def test_the_mathematics_needs_no_trainer() -> None:
    code = "import sys, train.objectives as _; print(*(n in sys.modules for n in ('trl', 'peft')))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["False", "False"]
