"""The books of a batch run: outcomes become rows, rows have consequences.

books.write(job, [(sent, reply), ...])      # one commit; then money, counts, what to ask again
"""

from collections import Counter, deque

from policy.errors import BadInput, SpiritSafeError
from synth.batching.job import Job, Sent
from synth.collect import Collection, Event, Summary
from synth.config import Teacher
from synth.jobs import JobState
from synth.pricing import Price, price_of
from synth.rows import Row
from synth.settling import Bill, bill_of, outcome_row
from synth.stop import Stop, fatal_error
from synth.wire import Call, Completion, Failure, OutcomeClass, Reply

NOT_MADE = "not_made"
_OURS = ("batch_refused", NOT_MADE)
"""Kinds of failure of a batch as a whole."""


class Books:
    """What a run wrote, and what is to be put into the next batch."""

    def __init__(self, collection: Collection, stop: Stop) -> None:
        self.its = collection
        self.stop = stop
        self.summary = Summary()
        self.calls = {call.key: call for call in collection.plan.calls}
        self.queue = deque(collection.plan.todo)
        self.tries: Counter[str] = Counter()
        self.hold = 0.0
        """Nothing is made before that."""

    def log(self, job: Job, state: JobState, note: str = "") -> None:
        """A change of a batch's state, durable when this returns."""
        self.its.ledger.append_all([job.row(self.its.ledger.now(), state, note)])

    def write(
        self,
        job: Job,
        group: list[tuple[Sent, Reply]],
        ended: JobState | None = None,
        note: str = "",
    ) -> None:
        """One commit of outcomes, with the batch's end where it is one; then the consequences."""
        price = self.price(job)
        bills = [bill_of(reply.result, sent.reserve, price) for sent, reply in group]
        rows: list[Row] = [
            self._row(sent, reply, bill) for (sent, reply), bill in zip(group, bills, strict=True)
        ]
        if ended:
            rows.append(job.row(self.its.ledger.now(), ended, note))
        if rows:
            self.its.ledger.append_all(rows)
        for (sent, reply), bill in zip(group, bills, strict=True):
            job.waiting.pop(sent.custom_id, None)
            self._settle(sent, reply, bill)
            self._finish(sent.call, reply)

    def _row(self, sent: Sent, reply: Reply, bill: Bill) -> Row:
        its = self.its
        return outcome_row(
            sent.attempt,
            sent.call.key,
            its.ledger.now(),
            reply,
            bill,
            milliseconds=0,
            salt=its.random_bytes(16),
        )

    def _settle(self, sent: Sent, reply: Reply, bill: Bill) -> None:
        """As online: an attempt that is unknown keeps its reserve."""
        result = reply.result
        if isinstance(result, Failure) and result.outcome is OutcomeClass.UNKNOWN:
            return
        self.summary.cost_nano += bill.nano
        self.summary.prompt_tokens += bill.usage.prompt_tokens
        self.summary.completion_tokens += bill.usage.completion_tokens
        used = bill.usage.prompt_tokens + bill.usage.completion_tokens
        self.its.guard.settle(sent.reserve, bill.nano, sent.tokens, used)

    def _finish(self, call: Call, reply: Reply) -> None:
        """Count one reply, or put its request into the next batch."""
        result = reply.result
        if isinstance(result, Completion):
            self.summary.answers += 1
            self.summary.ignored.update(result.ignored)
            self._tell("answer", call, result)
            return
        if result.kind == NOT_MADE:
            self.tries[call.key] -= 1  # nothing was asked
        if result.retry and call.key in self.calls and self._may_try(call):
            self.queue.append(self.calls[call.key])
            wait = 0.0 if result.kind == NOT_MADE else self.its.limits.batch_poll_seconds
            self.hold = max(self.hold, self.its.monotonic() + wait)
            self._tell("retry", call, result)
            return
        self.summary.failures[result.kind] += 1
        self._tell("failure", call, result)
        if result.fatal:
            self.stop_for(result)

    def _may_try(self, call: Call) -> bool:
        return self.tries[call.key] < self.its.limits.tries

    def _tell(self, kind: str, call: Call, result: Completion | Failure) -> None:
        if known := self.calls.get(call.key):
            self.its.on_event(Event(kind, known, result, self.summary.cost_nano))

    def stop_for(self, failure: Failure) -> None:
        """Stop the run, unless a person just did."""
        if self.stop.asked:
            return
        if failure.kind in _OURS:
            error: SpiritSafeError = BadInput(
                failure.message,
                where=f"batch of {self.its.teacher.model}",
                fix="mend it and run again: it goes on from here",
            )
        else:
            error = fatal_error(failure, self.its.teacher)
        self.stop.fail(error)

    def tokens(self, call: Call) -> int:
        """The most tokens that one request may use."""
        return call.prompt_tokens + self.its.sampling.max_tokens

    def teacher(self, job: Job) -> Teacher:
        """The teacher that a batch was made for: an earlier project file may have named another
        model."""
        return self.its.teacher.model_copy(update={"model": job.model})

    def price(self, job: Job) -> Price:
        """What its requests cost in a batch."""
        price, own = self.its.price, self.its.limits.price
        if job.model != self.its.teacher.model:
            price = price_of(job.offering, job.model, own)
        return price.in_batch(job.offering, own)
