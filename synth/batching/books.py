"""The books of a batch run: outcomes become rows, rows have consequences.

books.write(job, [(sent, reply), ...])      # one commit; then money, counts, what to ask again
"""

from collections import Counter, deque
from dataclasses import replace
from itertools import chain

from policy.errors import BadInput, BudgetReached, SpiritSafeError
from synth.batching.job import Job, Sent
from synth.collect import Collection, Event, Summary
from synth.config import Teacher
from synth.guard import DAY_MS
from synth.jobs import JobState
from synth.pacing import Today
from synth.plan import Plan
from synth.pricing import Price, price_of
from synth.rows import Row
from synth.settling import Bill, bill_of, outcome_row
from synth.stop import Stop, fatal_error
from synth.wire import Call, Completion, Failure, OutcomeClass, Reply

NOT_MADE = "not_made"
_OURS = ("batch_refused", NOT_MADE)
"""Kinds of failure of a batch as a whole."""


class Ahead:
    """Requests for the next batches, by their places: each is rendered as its turn comes."""

    def __init__(self, plan: Plan) -> None:
        self._calls = plan.calls
        self._queue = deque(plan.todo.places)
        waiting = [zip(some.places, some, strict=True) for some in (plan.pending, plan.held)]
        self._places = {call.key: place for place, call in chain(*waiting)}
        self._first: Call | None = None

    def __bool__(self) -> bool:
        return bool(self._queue)

    def __contains__(self, key: str) -> bool:
        """Whether it is, or was, to be asked."""
        return key in self._places

    def known(self, key: str) -> Call:
        """One that is, or was, to be asked."""
        call: Call = self._calls[self._places[key]]
        return call

    def first(self) -> Call:
        """The next one; it stays."""
        if self._first is None:
            self._first = self._calls[self._queue[0]]
        return self._first

    def popleft(self) -> Call:
        """The next one."""
        call, self._first = self.first(), None
        self._places[call.key] = self._queue.popleft()
        return call

    def again(self, key: str) -> None:
        """One that was taken before."""
        self._queue.append(self._places[key])


class Books:
    """What a run wrote, and what is to be put into the next batch."""

    def __init__(self, collection: Collection, stop: Stop) -> None:
        self.its = collection
        self.stop = stop
        self.summary = Summary()
        self.queue = Ahead(collection.plan)
        guard, sampling = collection.guard, collection.sampling
        self.today = Today(collection.limits, collection.clock, guard.requests, guard.tokens)
        self.tier = str(sampling.extra.get("service_tier", ""))
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
        price, tier, at = self.price(job), self.tier, self.its.clock()
        bills = [
            bill_of(reply.result, sent.reserve, price, tier=tier, at=at, batch=True)
            for sent, reply in group
        ]
        rows: list[Row] = [
            self._row(sent, reply, bill) for (sent, reply), bill in zip(group, bills, strict=True)
        ]
        if ended:
            rows.append(job.row(self.its.ledger.now(), ended, note))
        if rows:
            self.its.ledger.append_all(rows)
        for (sent, reply), bill in zip(group, bills, strict=True):
            job.waiting.pop(sent.custom_id, None)
            self._settle(job, sent, reply, bill)
            self._finish(sent, reply, bill)

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

    def take_over(self, job: Job) -> None:
        """A batch of an earlier run: its requests have the tokens that the caps count for them."""
        for name, sent in job.waiting.items():
            if (key := sent.call.key) in self.queue:
                job.waiting[name] = replace(sent, tokens=self.tokens(self.queue.known(key)))

    def admit(self, call: Call, reserve: int) -> None:
        """Count a request of the batch that is about to be made. Raises BudgetReached."""
        tokens = self.tokens(call)
        self.today.admit(tokens)
        try:
            self.its.guard.admit(reserve, tokens)
        except BudgetReached:
            self.today.withdraw(tokens)
            raise

    def _settle(self, job: Job, sent: Sent, reply: Reply, bill: Bill) -> None:
        """As online: an attempt that is unknown keeps its reserve. What was sent on an earlier day
        counts on that day."""
        result = reply.result
        if isinstance(result, Failure) and result.outcome is OutcomeClass.UNKNOWN:
            return
        self.summary.cost_nano += bill.nano
        self.summary.prompt_tokens += bill.usage.prompt_tokens
        self.summary.completion_tokens += bill.usage.completion_tokens
        used = bill.usage.prompt_tokens + bill.usage.completion_tokens
        self.its.guard.settle(sent.reserve, bill.nano, sent.tokens, used, sent_ms=job.since)
        if job.since // DAY_MS == self.its.ledger.now() // DAY_MS:
            self.today.settle(sent.tokens, used)

    def _finish(self, sent: Sent, reply: Reply, bill: Bill) -> None:
        """Count one reply, or put its request into the next batch."""
        call, result = sent.call, reply.result
        if isinstance(result, Completion):
            self.summary.answers += 1
            self.summary.ignored.update(result.ignored)
            self._tell("answer", sent, result, bill)
            return
        if result.kind == NOT_MADE:
            self.tries[call.key] -= 1  # nothing was asked
        if result.retry and call.key in self.queue and self._may_try(call):
            self.queue.again(call.key)
            wait = 0.0 if result.kind == NOT_MADE else self.its.limits.batch_poll_seconds
            self.hold = max(self.hold, self.its.monotonic() + wait)
            self._tell("retry", sent, result, bill)
            return
        self.summary.failures[result.kind] += 1
        held = result.outcome is OutcomeClass.UNKNOWN
        self._tell("hold" if held else "failure", sent, result, bill)
        if result.fatal:
            self.stop_for(result)

    def _may_try(self, call: Call) -> bool:
        return self.tries[call.key] < self.its.limits.tries

    def _tell(self, kind: str, sent: Sent, result: Completion | Failure, bill: Bill) -> None:
        """Of what the project still asks for."""
        if sent.call.key in self.queue:
            billed = self.summary.cost_nano
            self.its.on_event(Event(kind, sent.call, result, sent.attempt, 0.0, bill.nano, billed))

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
        """What its model costs."""
        if job.model == self.its.teacher.model:
            return self.its.price
        return price_of(job.offering, job.model, self.its.limits.price)
