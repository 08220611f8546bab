"""Fixtures of these tests; the functions behind them are in parts.py."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from synth.ledger import Ledger
from tests.fake_teacher import FakeTeacher
from tests.synth.parts import Time, ask, project


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    """An empty ledger."""
    with Ledger.open(tmp_path / "ledger.duckdb", clock=lambda: 1.0) as ledger:
        yield ledger


@pytest.fixture
def time_() -> Time:
    return Time()


@pytest.fixture
def private() -> Iterator[None]:
    """The umask that the command line sets."""
    before = os.umask(0o077)
    yield
    os.umask(before)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A project whose three rows were asked."""
    with FakeTeacher() as server:
        path = project(tmp_path, server.base_url, rows=3)
        ask(path)
    return path
