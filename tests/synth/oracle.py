"""What must hold after any crash, asked of the server's own count and of the ledger.

oracle = Oracle(path, lambda: server.seen)
oracle.holds()              # at any time that no run is going on
oracle.is_complete(rows)    # after the last run
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from synth.audit import findings
from synth.bodies import as_sent
from synth.ledger import Ledger, spent_nano
from synth.project import load
from tests.synth.parts import opened

Journal = Callable[[], Iterable["Billed"]]


class Billed(Protocol):
    """One request as the server wrote it down."""

    @property
    def billed(self) -> bool: ...
    @property
    def digest(self) -> str: ...


@dataclass
class Oracle:
    """A project and the server that bills it."""

    path: Path
    journal: Journal
    cap_nano: int | None = field(init=False)

    def __post_init__(self) -> None:
        budget = load(self.path).sections.limits.budget_usd
        self.cap_nano = None if budget is None else round(budget * 10**9)

    def billed(self) -> Counter[str]:
        """How often each request was billed, by the digest of its body."""
        return Counter(one.digest for one in self.journal() if one.billed)

    def holds(self) -> None:
        """Nothing twice, nothing unknown to the ledger, the cap kept, every row verifies."""
        billed = self.billed()
        assert not billed or max(billed.values()) == 1, "a request was billed twice"
        if not (self.path.parent / "ledger.duckdb").exists():
            assert not billed, "billed without a ledger"
            return
        with opened(self.path) as ledger:
            assert findings(ledger, self.path.parent) == []
            known = {digest for digest, _ in requests(ledger)}
            assert billed.keys() <= known, "a billed request is absent from the ledger"
            total = running_total(ledger)
            assert total[-1:] in ([], [spent_nano(ledger)])
            assert self.cap_nano is None or max(total, default=0) <= self.cap_nano
            assert billed.total() * cheapest(ledger) <= spent_nano(ledger), "billed, not counted"
            assert one_completion_a_request(ledger)

    def is_complete(self, rows: int) -> None:
        """Every request ended with exactly one completion, or is held as unknown."""
        with opened(self.path) as ledger:
            found = Counter(outcome for _, outcome in requests(ledger))
        assert set(found) <= {"ok", "unknown"}, found
        assert found.total() == rows

    def absent(self) -> int:
        """Billed requests that the ledger does not know."""
        with opened(self.path) as ledger:
            return len(self.billed().keys() - {digest for digest, _ in requests(ledger)})

    def unknown(self) -> int:
        """Requests whose outcome nobody knows."""
        with opened(self.path) as ledger:
            return sum(outcome == "unknown" for _, outcome in requests(ledger))


def requests(ledger: Ledger) -> Iterator[tuple[str, str]]:
    """(digest of the body, what is known of it) of each request that was ever meant to be sent."""
    rows = ledger.rows(
        "SELECT any_value(form), any_value(body), CASE WHEN bool_or(class = 'ok') THEN 'ok'"
        " WHEN bool_or(class = 'unknown') THEN 'unknown' ELSE max(class) END"
        " FROM request JOIN state USING (key) GROUP BY key"
    )
    for form, body, outcome in rows:
        yield hashlib.sha256(as_sent(form, body)).hexdigest(), outcome


def running_total(ledger: Ledger) -> list[int]:
    """Billed and reserved nano-dollars after each entry of the log."""
    rows = ledger.rows(
        "SELECT seq, reserve_nano FROM attempt UNION ALL"
        " SELECT o.seq, CASE class WHEN 'unknown' THEN 0 ELSE cost_nano - reserve_nano END"
        " FROM outcome o JOIN attempt a ON a.id = o.attempt ORDER BY 1"
    )
    total = 0
    return [total := total + int(change) for _, change in rows]


def cheapest(ledger: Ledger) -> int:
    """What an answer costs at least."""
    return int(ledger.one("SELECT COALESCE(min(cost_nano), 0) FROM outcome WHERE class = 'ok'")[0])


def one_completion_a_request(ledger: Ledger) -> bool:
    counts = ledger.rows(
        "SELECT count(*), count(DISTINCT a.key) FROM completion JOIN attempt a ON id = attempt"
    )
    return bool(counts[0][0] == counts[0][1])


@dataclass(frozen=True)
class Line:
    """A line of the log that a server in a process of its own writes."""

    billed: bool
    digest: str


def journal_of(log: Path) -> Journal:
    """What such a server wrote down so far."""

    def read() -> Iterator[Line]:
        lines = log.read_text().splitlines() if log.exists() else []
        for one in map(json.loads, lines):
            data: Mapping[str, Any] = one
            yield Line(data["billed"], data["digest"])

    return read
