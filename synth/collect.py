"""Collect: ask the teacher for every answer that the ledger does not have, and pay for none twice.

    summary = await collect(collection, permit)

The order is the promise. Money is reserved, the intent is durable, then one attempt is sent, then
its outcome is durable, and only then may a retry be thought of. Retries happen only where the
provider's answer proves that nothing was billed.
"""

import asyncio
import os
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from tenacity import AsyncRetrying, RetryCallState, retry_if_result

from policy.decide import Decision
from policy.errors import BadInput, SpiritSafeError
from policy.permit import Action, Permit
from synth.client import send
from synth.config import Limits, Sampling, Teacher
from synth.crash import Point
from synth.garbage import rare_collections
from synth.guard import Guard
from synth.ledger import Ledger
from synth.limiter import Limiter, Ticket
from synth.pacing import Budget, Pace, Today
from synth.plan import Plan, Queue
from synth.pricing import Price
from synth.retries import GIVE_UP, RetryQuota
from synth.rows import AttemptRow
from synth.settling import bill_of, checked, outcome_row, withheld
from synth.stop import Stop, fatal_error
from synth.teachers import ADAPTERS
from synth.transport import TeacherClient
from synth.wire import Call, Completion, Failure, OutcomeClass, Reply

Sleep = Callable[[float], Awaitable[None]]
BACKOFF_BASE, BACKOFF_MAX = 0.5, 30.0  # seconds; each wait is longer than the one before
PUT_BACK = 10  # times [limits] tries: the most attempts that refusals of everything may cause
BREAKER = 20  # failures in a row, with no answer between them, after which the run stops


@dataclass(frozen=True, slots=True)
class Event:
    """Something a display wants to know."""

    kind: str
    """`answer`; `failure`, or `hold` where nobody knows whether it was billed; `retry`."""
    call: Call
    result: Completion | Failure
    attempt: str
    seconds: float
    """0 in a batch."""
    cost_nano: int
    """What this attempt costs, or the reserve that is kept for it."""
    billed_nano: int
    """Billed by the run so far."""


class _Ended(NamedTuple):
    """How the latest attempt at a call ended."""

    attempt: str
    seconds: float
    cost_nano: int


@dataclass(frozen=True, slots=True)
class Collection:
    """Everything that one collection needs; clock, sleep and chance are among it."""

    teacher: Teacher
    sampling: Sampling
    limits: Limits
    plan: Plan
    ledger: Ledger
    client: TeacherClient
    base: str
    """What stands for the server in request keys."""
    price: Price
    budget: Budget
    guard: Guard
    on_event: Callable[[Event], None]
    clock: Callable[[], float]
    """Wall clock, seconds."""
    monotonic: Callable[[], float]
    keep_reasoning: bool = False
    """Whether the terms list it as output, and the project asks for it."""
    sleep: Sleep = asyncio.sleep
    random_bytes: Callable[[int], bytes] = os.urandom
    chance: random.Random = field(default_factory=random.Random)

    def attempt(
        self, call: Call, number: int, decision: Decision, reserve: int, prices: str, at: int
    ) -> AttemptRow:
        """The intent of the `number`th attempt at a call; `at` is milliseconds since 1970."""
        return AttemptRow(
            id=f"{call.key.removeprefix('sha256:')[:24]}.{number}",
            at=at,
            call=call,
            base=self.base,
            offering=self.teacher.offering,
            model=self.teacher.model,
            decision=decision.digest,
            terms_pin=decision.terms_pin,
            prices=prices,
            reserve_nano=reserve,
        )


@dataclass(slots=True)
class Summary:
    """What a collection did."""

    sent: int = 0
    answers: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    ignored: Counter[str] = field(default_factory=Counter)
    withheld: int = 0
    """Replies whose reasoning was not kept."""
    cost_nano: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    interrupted: bool = False


class _Stopped(Exception):  # noqa: N818 - it says what happened
    """The run was stopped while somebody waited for a turn."""


async def collect(
    collection: Collection, permit: Permit, stop: Stop, before: Summary | None = None
) -> Summary:
    """Send what is to do; the summary goes on from what the run did before. Raises what stopped
    the run, after what was in flight is settled."""
    Permit.must_be(permit, Action.COLLECT)
    run = _Run(collection, permit, stop, before or Summary())
    workers = min(_workers(collection.limits.concurrency), max(1, len(collection.plan.todo)))
    tasks = [asyncio.create_task(run.work()) for _ in range(workers)]
    watching = asyncio.create_task(run.watch())
    with rare_collections():
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in (*tasks, watching):
                task.cancel()
            await asyncio.gather(*tasks, watching, return_exceptions=True)
            await collection.ledger.drained()
    run.summary.interrupted = stop.interrupted
    if stop.error:
        raise stop.error
    return run.summary


def _workers(concurrency: int) -> int:
    """More than may be in flight: an answer gives up its place when it is there, and its row is
    then some 20 ms on its way to the disk. The limiter holds the others back."""
    return concurrency + concurrency // 4


class _Run:
    """The state of one collection: what is left, and what came of the rest."""

    def __init__(
        self, collection: Collection, permit: Permit, stop: Stop, summary: Summary
    ) -> None:
        self.its = collection
        self.permit = permit
        self.stop = stop
        self.summary = summary
        self.queue = Queue(collection.plan.todo)
        self.attempts = collection.plan.attempts
        self.ended: dict[str, _Ended] = {}
        self.failed_in_a_row = 0
        self.tier = str(collection.sampling.extra.get("service_tier", ""))
        self.limiter = Limiter(collection.limits, collection.chance)
        self.pace = Pace(self.limiter, collection.monotonic)
        self.quota = RetryQuota(collection.monotonic())
        self.tries: Counter[str] = Counter()
        guard = collection.guard
        self.today = Today(collection.limits, collection.clock, guard.requests, guard.tokens)

    async def watch(self) -> None:
        """Send those who wait for a turn home when the run is stopped."""
        await self.stop.wait()
        self.pace.stop(_Stopped())

    async def _sleep(self, seconds: float) -> None:
        """Sleep; whoever stops the run wakes every sleeper."""
        await self.stop.sleep(self.its.sleep(seconds))
        if self.stop.asked:
            raise _Stopped

    async def work(self) -> None:
        """Take calls until none is left or the run is stopped."""
        while self.queue and not self.stop.asked:
            call = self.queue.popleft()
            try:
                reply = await self._with_retries(call)
            except _Stopped:
                return
            except SpiritSafeError as error:
                self.stop.fail(error)
                return
            if not self._is_left(call, reply):
                self._finish(call, reply)

    def _is_left(self, call: Call, reply: Reply) -> bool:
        """Whether a refused call is the next run's, because this one was stopped: no failure."""
        left = self.stop.asked and isinstance(reply.result, Failure) and reply.result.retry
        if left:
            self.ended.pop(call.key)
        return left

    async def _with_retries(self, call: Call) -> Reply:
        """The last reply to a call. Only a first refusal makes a retry object: it costs as much
        CPU as writing the rows does."""
        reply = await self._attempt(call)
        return await self._retried(call, reply) if self._may_retry(reply) else reply

    async def _retried(self, call: Call, refusal: Reply) -> Reply:
        had = [refusal]

        async def attempt() -> Reply:
            return had.pop() if had else await self._attempt(call, first=True)

        def tried(state: RetryCallState) -> bool:
            tries = self.its.limits.tries
            return self.tries[call.key] >= tries or state.attempt_number >= PUT_BACK * tries

        retrying = AsyncRetrying(
            stop=tried,
            wait=self._wait,
            retry=retry_if_result(self._may_retry),
            sleep=self._sleep,
            retry_error_callback=_last_result,
            before_sleep=lambda state: self._tell("retry", call, _last_result(state)),
        )
        reply: Reply = await retrying(attempt)
        self.tries.pop(call.key, None)
        return reply

    def _may_retry(self, reply: Reply) -> bool:
        failure = reply.result
        return isinstance(failure, Failure) and failure.retry and not self.stop.asked

    def _wait(self, state: RetryCallState) -> float:
        """Jittered backoff, unless the server said when or is down: then the pace holds all."""
        now = self.its.monotonic()
        unpaid = 0.0 if self.limiter.paced else self.quota.wait(now)
        failure = _last_result(state).result
        said = isinstance(failure, Failure) and failure.retry_after is not None
        if said or self.limiter.breaker.open:
            return unpaid
        longest = min(
            BACKOFF_MAX, self.limiter.backoff(min(state.attempt_number, 10), BACKOFF_BASE)
        )
        return max(unpaid, min(BACKOFF_MAX, longest) * self.its.chance.uniform(0.75, 1.0))

    async def _attempt(self, call: Call, *, first: bool = False) -> Reply:
        """One attempt, from the reserve to the durable outcome."""
        its = self.its
        reserve = its.price.reserve_nano(
            call.prompt_tokens, its.sampling.max_tokens, tier=self.tier, at=its.clock()
        )
        ticket = self.limiter.ticket(call.prompt_tokens, its.sampling.max_tokens)
        attempt = await self._begin(call, reserve, ticket, first)
        try:
            started = its.monotonic()
            its.ledger.passing(Point.BEFORE_SEND)
            reply = await send(
                its.client,
                ADAPTERS[its.teacher.adapter],
                call,
                its.sampling,
                self.permit,
                deadline=its.limits.deadline_seconds,
                now=its.clock,
            )
        except BaseException:
            self.pace.lose(ticket)
            raise
        self._paced(call, ticket, reply)
        its.ledger.passing(Point.AFTER_BYTES)
        given, reply = reply, checked(reply, its.teacher, keep_reasoning=its.keep_reasoning)
        self.summary.withheld += withheld(given, reply)
        await self._settle(call, attempt, reserve, reply, its.monotonic() - started)
        its.ledger.passing(Point.AFTER_OUTCOME)
        return reply

    def _paced(self, call: Call, ticket: Ticket, reply: Reply) -> None:
        """Let the limits learn from a reply, and count the tries of its request. What refuses
        everything stops the run before a place is free for the next."""
        if isinstance(reply.result, Failure) and not reply.result.retry:
            self._stop_at(reply.result)
        self.tries[call.key] += self.pace.settle(ticket, reply, self.its.clock())
        if isinstance(reply.result, Completion):
            del self.tries[call.key]
            self.quota.answered()
        elif self.limiter.breaker.given_up(self.its.monotonic()):
            self.stop.fail(
                BadInput(
                    f"the server has had no capacity for {GIVE_UP / 60:.0f} minutes"
                    f" ({reply.result.message})",
                    where=self.its.teacher.model,
                    fix="run again later: it goes on from here",
                )
            )

    async def _begin(self, call: Call, reserve: int, ticket: Ticket, first: bool) -> str:
        """Money, a turn and the durable intent. Where nothing will be sent, the first two are
        given back: others may be waiting for them."""
        await self.its.budget.reserve(reserve)
        try:
            await self.pace.admit(ticket, first=first)
            try:
                if self.stop.asked:
                    raise _Stopped
                self.today.admit(self._tokens(call))
                self.its.guard.admit(reserve, self._tokens(call))
                return await self._intend(call, reserve)
            except BaseException:
                self.pace.withdraw(ticket)
                raise
        except BaseException:
            self.its.budget.settle(reserve, 0)
            raise

    def _tokens(self, call: Call) -> int:
        """The most tokens that one request may use."""
        return call.prompt_tokens + self.its.sampling.max_tokens

    async def _intend(self, call: Call, reserve: int) -> str:
        its, decision = self.its, self.permit.decision
        number = self.attempts.next(call.key)
        its.ledger.passing(Point.BEFORE_INTENT)
        row = its.attempt(call, number, decision, reserve, its.price.named, its.ledger.now())
        await its.ledger.append(row)
        self.summary.sent += 1
        return row.id

    async def _settle(
        self, call: Call, attempt: str, reserve: int, reply: Reply, seconds: float
    ) -> None:
        its, result = self.its, reply.result
        bill = bill_of(result, reserve, its.price, tier=self.tier, at=its.clock())
        usage, cost = bill
        self.ended[call.key] = _Ended(attempt, seconds, cost)
        failure = result if isinstance(result, Failure) else None
        held = failure is not None and failure.outcome is OutcomeClass.UNKNOWN
        if not held:
            self.summary.cost_nano += cost
            self.summary.prompt_tokens += usage.prompt_tokens
            self.summary.completion_tokens += usage.completion_tokens
        try:
            await its.ledger.append(
                outcome_row(
                    attempt,
                    call.key,
                    its.ledger.now(),
                    reply,
                    bill,
                    milliseconds=int(seconds * 1000),
                    salt=its.random_bytes(16),
                )
            )
        finally:  # after the row, so that the ledger too never shows more than the cap
            its.budget.settle(reserve, reserve if held else cost)
            if not held:
                spent = usage.prompt_tokens + usage.completion_tokens
                its.guard.settle(reserve, cost, self._tokens(call), spent)
                self.today.settle(self._tokens(call), spent)

    def _finish(self, call: Call, reply: Reply) -> None:
        """The last word on one call of this run."""
        self.attempts.forget(call.key)
        self.tries.pop(call.key, None)
        result = reply.result
        if isinstance(result, Completion):
            self.failed_in_a_row = 0
            self.summary.answers += 1
            self.summary.ignored.update(result.ignored)
            self._tell("answer", call, reply)
            return
        self.summary.failures[result.kind] += 1
        self._tell("hold" if result.outcome is OutcomeClass.UNKNOWN else "failure", call, reply)
        self._stop_at(result)
        self.failed_in_a_row += 1
        if self.failed_in_a_row >= BREAKER:
            self.stop.fail(
                BadInput(
                    f"{self.failed_in_a_row} requests failed in a row, the last with"
                    f" {result.kind}: {result.message}",
                    where=self.its.teacher.model,
                    fix="look at the server, then run again: it goes on from here",
                )
            )

    def _stop_at(self, failure: Failure) -> None:
        if failure.fatal:
            self.stop.fail(fatal_error(failure, self.its.teacher))

    def _tell(self, kind: str, call: Call, reply: Reply) -> None:
        ended = self.ended.pop(call.key)
        self.its.on_event(Event(kind, call, reply.result, *ended, self.summary.cost_nano))


def _last_result(state: RetryCallState) -> Reply:
    assert state.outcome is not None
    reply: Reply = state.outcome.result()
    return reply
