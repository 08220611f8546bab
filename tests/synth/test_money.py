"""Money and limits against a provider that counts by itself."""

from decimal import Decimal
from pathlib import Path

import pytest

from policy.errors import BadInput, BudgetReached
from synth.ledger import spent_nano
from tests.fake_teacher import FakeTeacher
from tests.rate_server import RateServer
from tests.synth.parts import ask, asked, opened, project

PRICE = {"input": 150.0, "output": 600.0, "cached_input": 75.0}


def test_the_price_of_a_run_is_the_sum_over_its_usage_fields(tmp_path: Path) -> None:
    limits = {"concurrency": 32, "budget_usd": 100.0, "price": PRICE}
    with RateServer(latency=(0.01, 0.05)) as server:
        path = project(
            tmp_path, server.base_url, rows=60, limits=limits, sampling={"max_tokens": 500}
        )
        ask(path)
        stats = server.stats()
    usages = asked(path, "SELECT prompt_tokens, completion_tokens, cached_tokens FROM outcome")
    million = Decimal(10**6)
    expected = sum(
        (Decimal(150) * (prompt - cached) + Decimal(75) * cached + Decimal(600) * completion)
        / million
        for prompt, completion, cached in usages
    )
    with opened(path) as ledger:
        spent = Decimal(spent_nano(ledger)) / 10**9
    assert abs(spent - expected) < Decimal("0.000001")
    billed = 150 * stats["prompt_tokens"] + 600 * stats["completion_tokens"]
    assert abs(spent - Decimal(billed) / million) < Decimal("0.000001")
    (prices,) = {row[0] for row in asked(path, "SELECT prices FROM attempt")}
    assert prices == "own 150.0/600.0/75.0/150.0/1"


def test_a_cap_of_a_dollar_holds_with_512_at_once(tmp_path: Path) -> None:
    """By what the server billed: 1,200 requests at 0.06 to 0.3 cents want three times the cap."""
    limits = {"concurrency": 512, "budget_usd": 1.0, "price": {"input": 1.0, "output": 6.0}}
    with RateServer(latency=(0.05, 0.3)) as server:
        path = project(
            tmp_path, server.base_url, rows=1200, limits=limits, sampling={"max_tokens": 500}
        )
        with pytest.raises(BudgetReached):
            ask(path)
        stats = server.stats()
    billed = (stats["prompt_tokens"] + 6 * stats["completion_tokens"]) / 10**6
    assert 0.95 < billed <= 1.0
    assert stats["peak"] > 100


@pytest.mark.parametrize("headers", [True, False])
def test_nothing_is_lost_at_a_limit(tmp_path: Path, headers: bool) -> None:
    with RateServer(
        requests=2400, latency=(0.05, 0.2), headers=headers, retry_after=headers, burst=2.0
    ) as server:
        path = project(
            tmp_path,
            server.base_url,
            rows=300,
            limits={"concurrency": 128},
        )
        summary = ask(path).summary
        stats = server.stats()
    assert (summary.answers, sum(summary.failures.values())) == (300, 0)
    assert stats["admitted"] == 300
    assert stats["refused"] <= (6 if headers else 200)


def test_a_day_s_ceiling_is_counted_from_the_ledger(tmp_path: Path) -> None:
    with RateServer(latency=(0.01, 0.02)) as server:
        limits = {"concurrency": 4, "requests_per_day": 5}
        path = project(tmp_path, server.base_url, rows=12, limits=limits)
        for _ in range(2):
            with pytest.raises(BudgetReached, match="requests_per_day"):
                ask(path)
        assert server.stats()["admitted"] == 5


def test_a_price_of_nothing_needs_no_budget_and_a_budget_of_nothing_pays_none(
    tmp_path: Path,
) -> None:
    nothing = {"price": {"input": 0.0, "output": 0.0}}
    with FakeTeacher() as server:
        ask(project(tmp_path / "free", server.base_url, rows=2, limits=nothing))
        ask(
            project(tmp_path / "both", server.base_url, rows=2, limits={**nothing, "budget_usd": 0})
        )
        assert server.billed == 4
        dear = {"price": {"input": 1.0, "output": 1.0}, "budget_usd": 0}
        with pytest.raises(BudgetReached):
            ask(project(tmp_path / "dear", server.base_url, rows=2, limits=dear))
        hidden = {"price": {"input": 0.0, "output": 0.0, "cache_write": 1.0}}
        with pytest.raises(BadInput, match="no budget is set"):
            ask(project(tmp_path / "hidden", server.base_url, rows=2, limits=hidden))
    assert server.billed == 4
