"""Intervals that cover what they should, and pairing that narrows a difference."""

from __future__ import annotations

import math

import numpy as np

from train.bootstrap import Sums, difference, interval


def test_the_interval_of_a_share_is_near_the_normal_one() -> None:
    rows = Sums([1.0] * 60 + [0.0] * 40, [1.0] * 100)
    found = interval(rows, resamples=10_000, seed=0)
    half = 1.96 * math.sqrt(0.6 * 0.4 / 100)
    assert found["value"] == 0.6
    assert abs(found["low"] - (0.6 - half)) < 0.02
    assert abs(found["high"] - (0.6 + half)) < 0.02


def test_the_same_seed_gives_the_same_figures() -> None:
    rows = Sums([1.0, 0.0, 1.0, 1.0], [1.0] * 4)
    assert interval(rows, resamples=777, seed=1) == interval(rows, resamples=777, seed=1)


def test_a_mean_over_tokens_weighs_rows_by_their_tokens() -> None:
    found = interval(Sums([10.0, 1.0], [10.0, 2.0]), resamples=200, seed=0)
    assert found["value"] == round(11 / 12, 6)


def test_pairing_finds_a_small_steady_difference() -> None:
    hard = np.random.default_rng(0).normal(5, 3, 80)
    ones = [1.0] * 80
    found = difference(Sums(list(hard + 0.1), ones), Sums(list(hard), ones), resamples=2000, seed=0)
    assert found["low"] > 0
    assert abs(found["value"] - 0.1) < 1e-6


def test_against_itself_nothing_differs() -> None:
    rows = Sums([1.0, 0.0, 1.0], [1.0] * 3)
    assert difference(rows, rows, resamples=500, seed=0) == {"value": 0.0, "low": 0.0, "high": 0.0}
