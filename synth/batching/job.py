"""A batch while a run works on it, and how a run finds those that an earlier one left open.

for job in open_jobs(ledger): ...       # after a kill -9 too
"""

from dataclasses import dataclass, field
from typing import Any

from synth.batching.parts import custom_id
from synth.jobs import JobRow, JobState
from synth.ledger import Ledger
from synth.wire import Call


@dataclass(frozen=True, slots=True)
class Sent:
    """One attempt inside a batch."""

    attempt: str
    call: Call
    reserve: int
    tokens: int = 0
    """Counted against the organisation's caps by this run."""

    @property
    def custom_id(self) -> str:
        """Its name in the batch."""
        return custom_id(self.call.key, int(self.attempt.rpartition(".")[2]))


@dataclass(slots=True)
class Job:
    """One batch."""

    id: str
    state: JobState
    api: str
    base: str
    offering: str
    model: str
    since: int
    """Milliseconds: when it was intended."""
    at: int
    """The same: when its state changed last."""
    requests: int
    waiting: dict[str, Sent]
    """Attempts without an outcome, by custom id."""
    known: frozenset[str]
    """Every custom id in it."""
    provider_id: str = ""
    file: str = ""
    word: str = ""
    due: float = 0.0
    """When to ask for it next, on the run's clock."""
    interval: float = 0.0
    troubles: int = 0
    """Questions in a row that got no usable answer."""
    missed_at: float | None = None
    """When this run first read the provider's list without finding it."""
    reads: int = 0
    denied: set[str] = field(default_factory=set)
    """Batches of the provider that turned out to be somebody else's."""

    def row(self, at: int, state: JobState, note: str = "", attempts: Any = ()) -> JobRow:
        """The row that says what it is now."""
        self.state, self.at = state, at
        return JobRow(
            id=self.id,
            at=at,
            state=state,
            api=self.api,
            base=self.base,
            offering=self.offering,
            model=self.model,
            provider_id=self.provider_id,
            file=self.file,
            word=self.word,
            requests=self.requests,
            attempts=tuple(attempts),
            note=note,
        )


def open_jobs(ledger: Ledger) -> list[Job]:
    """Every batch that has not ended, and those that were lost, the oldest first."""
    rows = ledger.rows(
        "SELECT n.id, n.state, n.api, n.base, n.offering, n.model, n.provider_id, n.file, n.word,"
        " n.requests, i.at_ms, n.at_ms FROM newest_job n"
        " JOIN job i ON i.id = n.id AND i.state = 'intended'"
        " WHERE n.state NOT IN ('settled', 'dropped') ORDER BY n.seq"
    )
    return [_job(ledger, row) for row in rows]


def _job(ledger: Ledger, row: tuple[Any, ...]) -> Job:
    name, state, api, base, offering, model, provider_id, file, word, requests, since, at = row
    waiting, known = _attempts(ledger, name)
    return Job(
        id=name,
        state=JobState(state),
        api=api,
        base=base,
        offering=offering,
        model=model,
        since=since,
        at=at,
        requests=requests,
        waiting=waiting,
        known=known,
        provider_id=provider_id,
        file=file,
        word=word,
    )


def _attempts(ledger: Ledger, name: str) -> tuple[dict[str, Sent], frozenset[str]]:
    waiting, known = {}, set()
    for attempt, key, prompt, sample, split, reserve, ended in ledger.each(
        "SELECT a.id, a.key, a.prompt_id, a.sample, a.split, a.reserve_nano, o.attempt IS NOT NULL"
        " FROM (SELECT unnest(attempts) AS id FROM job WHERE id = ? AND state = 'intended') j"
        " JOIN attempt a ON a.id = j.id LEFT JOIN outcome o ON o.attempt = a.id ORDER BY a.seq",
        [name],
    ):
        sent = Sent(attempt, Call("", b"", key, prompt, sample, split, 0), reserve)
        known.add(sent.custom_id)
        if not ended:
            waiting[sent.custom_id] = sent
    return waiting, frozenset(known)


def known_ids(ledger: Ledger) -> set[str]:
    """The provider's id of every batch that was ever ours."""
    rows = ledger.rows("SELECT DISTINCT provider_id FROM job WHERE provider_id <> ''")
    return {str(row[0]) for row in rows}
