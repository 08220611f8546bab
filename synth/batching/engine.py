"""Batch collection: intend, send, ask, read; and after a crash go on at any of these.

    summary = await collect_batches(collection, channel, permit, stop, say)

The order is the promise, as online. The attempts of a batch and the batch itself are durable, and
their money is reserved, before a byte leaves; `creating` is durable before the call that may be
billed, the provider's id before the first question. A reply to that call that is lost is looked for
in the provider's list of batches. A line is an outcome once, however often a file is read.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import replace
from typing import Any

from policy.errors import BadInput, SpiritSafeError
from policy.permit import Action, Permit
from synth.batching import FORMATS, api_of
from synth.batching.books import Books
from synth.batching.channel import BrokenError, Channel, Told, submit
from synth.batching.finding import Found, find
from synth.batching.job import Job, Sent, known_ids, open_jobs
from synth.batching.lots import Lot, Room, take
from synth.batching.parts import Ask, Format, Order, Phase, State, custom_id, tag_of, uploaded
from synth.batching.results import Reading, absent, cut_line, reply_of, whole_failure
from synth.breaker import KINDS
from synth.collect import Collection, Summary
from synth.jobs import JobState
from synth.ledger import spent_nano
from synth.rows import Row
from synth.settling import checked, withheld
from synth.stop import Stop
from synth.teachers import ADAPTERS
from synth.wire import Call, Failure, OutcomeClass, Reply

GROUP = 200  # outcomes of one commit
GROUP_BYTES = 8_000_000
READS = 4  # of results that are not all there and bring nothing new
TROUBLES = 20  # questions in a row without an answer, after which the run stops
VANISHED = 3  # times that a batch must be called unknown before it counts as lost
LONGEST_WAIT = 600.0  # seconds between two questions
DOUBT = 900.0  # seconds after which a batch that is not in the list was not made
_OVERHEAD = 4096  # bytes of a line around the reply in it


async def collect_batches(
    collection: Collection,
    channel: Channel,
    permit: Permit,
    stop: Stop,
    say: Callable[[str], None],
    *,
    make: bool = True,
) -> Summary:
    """Go on with every open batch, and make those that are missing. With `make` false nothing is
    made and nothing is waited for. Raises what stopped the run."""
    Permit.must_be(permit, Action.COLLECT)
    run = _Batches(collection, channel, permit, stop, say)
    try:
        await run.work(make=make)
    except SpiritSafeError as error:
        stop.fail(error)
    run.books.summary.interrupted = stop.interrupted
    if stop.error:
        raise stop.error
    return run.books.summary


class _Batches:
    """The state of one run."""

    def __init__(
        self,
        collection: Collection,
        channel: Channel,
        permit: Permit,
        stop: Stop,
        say: Callable[[str], None],
    ) -> None:
        self.its = collection
        self.channel = channel
        self.permit = permit
        self.stop = stop
        self.say = say
        self.books = Books(collection, stop)
        self.jobs: list[Job] = []
        self.attempts = collection.plan.attempts

    # -- the loop -----------------------------------------------------------------------------

    async def work(self, *, make: bool) -> None:
        """Until nothing is open and nothing is left, or somebody stops it."""
        await self._take_up()
        while not self.stop.asked:
            if make:
                await self._make_what_fits()
            now = self.its.monotonic()
            for job in [one for one in self.jobs if one.due <= now]:
                if self.stop.asked:
                    return
                await self._unless_interrupted(self._look(job))
            if not make or not (self.jobs or self.books.queue):
                return
            await self._rest()

    async def _unless_interrupted(self, work: Coroutine[Any, Any, None]) -> None:
        """A question may be left in the middle: the next run asks it again."""
        task, stopped = asyncio.ensure_future(work), asyncio.ensure_future(self.stop.wait())
        try:
            await asyncio.wait({task, stopped}, return_when=asyncio.FIRST_COMPLETED)
            if not self.stop.interrupted:
                await task
        finally:
            task.cancel()
            stopped.cancel()
            await asyncio.gather(task, stopped, return_exceptions=True)

    async def _rest(self) -> None:
        moments = [job.due for job in self.jobs]
        if self.books.queue and (self.books.hold > self.its.monotonic() or not moments):
            moments.append(self.books.hold)
        if moments:
            await self._sleep(min(moments) - self.its.monotonic())

    async def _sleep(self, seconds: float) -> None:
        """Sleep; whoever stops the run ends it."""
        sleeping = asyncio.ensure_future(self.its.sleep(max(0.0, seconds)))
        stopped = asyncio.ensure_future(self.stop.wait())
        try:
            await asyncio.wait({sleeping, stopped}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            sleeping.cancel()
            stopped.cancel()

    async def _take_up(self) -> None:
        """The batches that an earlier run left."""
        for job in open_jobs(self.its.ledger):
            if (job.base, job.offering) != (self.its.base, self.its.teacher.offering):
                self.say(f"batch {job.id} is at another server or offering: left as it is")
            elif job.state in (JobState.INTENDED, JobState.UPLOADED):
                why = "the process ended before its batch was made"
                self._drop(job, Failure(OutcomeClass.NOT_SENT, "not_made", why, retry=True))
            elif job.state is JobState.LOST:
                await self._find(job)
            else:
                self.jobs.append(job)

    # -- making -------------------------------------------------------------------------------

    async def _make_what_fits(self) -> None:
        while self._may_make():
            lot = self._lot()
            if not lot.calls:
                if lot.full and not self.jobs:
                    raise lot.full
                return
            await self._make(lot)

    def _may_make(self) -> bool:
        books = self.books
        return bool(books.queue) and not self.stop.asked and books.hold <= self.its.monotonic()

    def _lot(self) -> Lot:
        its, teacher = self.its, self.its.teacher
        form = FORMATS[api_of(teacher)]
        most = min(form.requests, its.limits.batch_requests or form.requests)
        cap = its.budget.cap_nano
        left = None if cap is None else cap - spent_nano(its.ledger)
        return take(
            self.books.queue,
            Room(most, form.size, left),
            lambda call: len(form.line_of(teacher, custom_id(call.key, 10**6), call.body)),
            self._reserve,
            self.books.admit,
        )

    def _reserve(self, call: Call) -> int:
        its, tier = self.its, self.books.tier
        return its.price.reserve_nano(
            call.prompt_tokens, its.sampling.max_tokens, tier=tier, batch=True, at=its.clock()
        )

    async def _make(self, lot: Lot) -> None:
        job = self._intend(lot)
        form = FORMATS[job.api]
        bodies = (call.body for call in lot.calls)
        lines = list(zip(job.waiting, bodies, strict=True))
        order = Order(job.id, self.its.teacher, lines, self.its.limits.batch_hours)
        if form.upload:
            told = await self._insist(form.upload(order), twice=True)
            job.file = uploaded(told.body) if isinstance(told, Told) else ""
            if not job.file:
                self._drop(job, _not_made(told))
                return
            self.books.log(job, JobState.UPLOADED)
        self.books.log(job, JobState.CREATING)
        self._made(job, form, await self._insist(form.create(order._replace(file=job.file))))

    def _intend(self, lot: Lot) -> Job:
        """One commit: the batch, and every attempt in it with its reserve."""
        its, decision = self.its, self.permit.decision
        at, sent, rows = its.ledger.now(), [], list[Row]()
        prices = its.price.named_in_batch
        for call, reserve in zip(lot.calls, lot.reserves, strict=True):
            number = self.attempts.next(call.key)
            self.books.tries[call.key] += 1
            row = its.attempt(call, number, decision, reserve, prices, at)
            rows.append(row)
            kept = replace(call, body=b"")  # a batch may take a day: only its file holds bodies
            sent.append(Sent(row.id, kept, reserve, self.books.tokens(call)))
        job = Job(
            id=tag_of(lot.calls, at),
            state=JobState.INTENDED,
            api=api_of(its.teacher),
            base=its.base,
            offering=its.teacher.offering,
            model=its.teacher.model,
            since=at,
            at=at,
            requests=len(sent),
            waiting={one.custom_id: one for one in sent},
            known=frozenset(one.custom_id for one in sent),
        )
        intent = job.row(at, JobState.INTENDED, attempts=[one.attempt for one in sent])
        its.ledger.append_all([intent, *rows])
        self.books.summary.sent += len(sent)
        return job

    async def _insist(self, ask: Ask, *, twice: bool = False) -> Told | Failure:
        """Ask until there is an answer. Only with `twice` is a question whose reply was lost asked
        again: a file that is there twice costs nothing."""
        answer: Told | Failure = await submit(self.channel, ask, self.permit)
        for attempt in range(1, self.its.limits.tries):
            if isinstance(answer, Told) or self.stop.asked:
                break
            if not answer.retry and not (twice and answer.outcome is OutcomeClass.UNKNOWN):
                break
            await self._sleep(self._backoff(attempt, answer))
            if self.stop.asked:
                break
            answer = await submit(self.channel, ask, self.permit)
        return answer

    def _backoff(self, attempt: int, failure: Failure) -> float:
        if failure.retry_after is not None:
            return failure.retry_after
        return min(30.0, 0.5 * 2.0**attempt) * self.its.chance.uniform(0.75, 1.0)

    def _made(self, job: Job, form: Format, answer: Told | Failure) -> None:
        """What the reply to the call that makes a batch proves."""
        state = form.state(self.its.teacher, answer.body) if isinstance(answer, Told) else None
        job.interval = self.its.limits.batch_poll_seconds
        if state is not None:
            self._adopt(job, state)
            self.jobs.append(job)
        elif isinstance(answer, Failure) and answer.outcome is not OutcomeClass.UNKNOWN:
            self._drop(job, _not_made(answer))
        else:
            self.say(f"batch {job.id}: the reply to its making was lost; it is looked for")
            self._later(job)
            self.jobs.append(job)

    def _adopt(self, job: Job, state: State) -> None:
        job.provider_id, job.word, job.troubles = state.id, state.word, 0
        self.books.log(job, JobState.CREATED)
        self.say(f"batch {job.id}: {job.requests:,} requests are {state.id}, {state.word}")
        self._later(job)

    def _later(self, job: Job, asked: float | None = None) -> None:
        """When to ask next: each wait is longer, and no shorter than the server asks."""
        base = self.its.limits.batch_poll_seconds
        wait = max(job.interval or base, asked or 0.0)
        job.interval = min(max(base, LONGEST_WAIT), (job.interval or base) * 1.5)
        job.due = self.its.monotonic() + wait * self.its.chance.uniform(1.0, 1.1)

    def _drop(self, job: Job, failure: Failure) -> None:
        """Nothing was made: its attempts end at no cost."""
        group = [(sent, Reply(failure)) for sent in job.waiting.values()]
        self.books.write(job, group, JobState.DROPPED, failure.message)

    # -- asking -------------------------------------------------------------------------------

    async def _look(self, job: Job) -> None:
        """Ask for one batch, and read its results if it has them."""
        if not job.provider_id:
            await self._find(job)
            return
        form = FORMATS[job.api]
        answer = await self.channel.question(form.poll(self.books.teacher(job), job.provider_id))
        if isinstance(answer, Failure):
            self._trouble(job, answer)
            return
        state = form.state(self.books.teacher(job), answer.body)
        if state is None:
            self._trouble(job, Failure(OutcomeClass.UNKNOWN, "bad_shape", "it is not a batch"))
            return
        job.troubles = 0
        if state.word != job.word:
            job.word = state.word
            self.books.log(job, JobState.CREATED)
            self.say(f"batch {job.id}: {state.word}")
        if state.phase is Phase.WORKING:
            self._later(job)
        elif state.phase is Phase.FAILED:
            self._end(job)
            self._drop(job, whole_failure(state.error, state.word))
        else:
            await self._read(job, form, state)

    def _trouble(self, job: Job, failure: Failure) -> None:
        job.troubles += 1
        if failure.kind == "not_found":
            if job.troubles >= VANISHED:
                self._lose(job, f"the provider does not know it: {failure.message}")
                return
        elif failure.fatal:
            if failure.kind in KINDS:
                self.books.log(job, job.state, f"{failure.kind}: {failure.message}")
            self.books.stop_for(failure)
            return
        if job.troubles >= TROUBLES:
            why = f"{TROUBLES} questions in a row got no answer, the last: {failure.message}"
            raise BadInput(why, where=f"batch {job.id}", fix="run again: it goes on from here")
        self._later(job, failure.retry_after)

    def _lose(self, job: Job, why: str) -> None:
        """Nobody can tell: its attempts are unknown, and keep their reserves."""
        self.books.log(job, JobState.LOST, why)
        self.say(f"batch {job.id} is lost: {why}; its {len(job.waiting):,} requests are held")
        self._end(job)
        self.books.summary.failures["lost_batch"] += len(job.waiting)

    async def _find(self, job: Job) -> None:
        """Look for a batch whose id was lost among those of the account."""
        its, form = self.its, FORMATS[job.api]
        others = (known_ids(its.ledger) | job.denied) - {job.provider_id}
        found = await find(self.channel, form, self.books.teacher(job), job, others)
        if isinstance(found, State):
            self._adopt(job, found)
            job.due = 0.0
            if job not in self.jobs:
                self.jobs.append(job)
            return
        if isinstance(found, Failure) and found.kind in KINDS:
            self._trouble(job, found)
            return
        if job.state is JobState.LOST:
            return
        old = its.clock() - job.at / 1000 > DOUBT
        if isinstance(found, Failure):
            if found.kind in ("not_found", "bad_request"):
                self._lose(job, f"its provider has no list of batches ({found.message})")
            else:
                self._trouble(job, found)
        elif found is Found.ABSENT and old:
            self._end(job)
            why = "the reply was lost, and the provider has no such batch"
            self._drop(job, Failure(OutcomeClass.NOT_SENT, "not_made", why, retry=True))
        elif found is Found.UNDECIDED and old:
            self._lose(job, "it cannot be told apart from others in the provider's list")
        else:
            self._later(job)

    # -- reading ------------------------------------------------------------------------------

    async def _read(self, job: Job, form: Format, state: State) -> None:
        reading, group, size, broken = Reading(), list[tuple[Sent, Reply]](), 0, None
        before = len(job.waiting)
        try:
            async for raw in self._lines(job, form, state):
                if pair := self._matched(job, form, raw, reading):
                    group.append(pair)
                    size += len(raw)
                if len(group) >= GROUP or size > GROUP_BYTES:
                    self.books.write(job, group)
                    group, size = [], 0
                    await asyncio.sleep(0)
                if self.stop.interrupted:
                    break
        except BrokenError as error:
            broken = error.failure
        self.books.write(job, group)
        job.reads = 1 if len(job.waiting) < before else job.reads + 1
        if not self.stop.interrupted:
            self._close(job, state, reading, broken)

    async def _lines(self, job: Job, form: Format, state: State) -> AsyncIterator[bytes]:
        longest = self.its.limits.max_response_bytes + _OVERHEAD
        if form.whole is not None:
            told = await self.channel.question(form.poll(self.books.teacher(job), state.id))
            if isinstance(told, Failure):
                raise BrokenError(told)
            for line in form.whole(told.body):
                yield line
            return
        for path in state.results:
            async for line in self.channel.lines(Ask("GET", path), longest):
                yield line

    def _matched(
        self, job: Job, form: Format, raw: bytes, reading: Reading
    ) -> tuple[Sent, Reply] | None:
        """The attempt that a line ends, or None for a line that ends none."""
        reading.lines += 1
        name, reply = self._read_line(job, form, raw)
        if reply is None:
            reading.odd["malformed lines"] += 1
        elif name not in job.known:
            reading.odd["lines of requests that are not ours"] += 1
        elif name in reading.ids:
            reading.odd["lines that came twice"] += 1
        else:
            reading.ids.add(name)
            if name in job.waiting:
                return job.waiting.pop(name), reply()
        return None

    def _read_line(
        self, job: Job, form: Format, raw: bytes
    ) -> tuple[str, Callable[[], Reply] | None]:
        """(custom id, what makes its reply): a line that ends nothing is not parsed further."""
        line, its = form.line(raw), self.its
        if line is not None:
            adapter = ADAPTERS[its.teacher.adapter]
            given = (line, raw, adapter, its.sampling, job.provider_id)
            return line.custom_id, lambda: self._checked(job, reply_of(*given))
        if len(raw) > its.limits.max_response_bytes:
            name, reply = cut_line(raw)
            return name, (lambda: reply) if name else None
        return "", None

    def _checked(self, job: Job, given: Reply) -> Reply:
        keep = self.its.keep_reasoning
        reply = checked(given, self.books.teacher(job), keep_reasoning=keep)
        self.books.summary.withheld += withheld(given, reply)
        return reply

    def _close(self, job: Job, state: State, reading: Reading, broken: Failure | None) -> None:
        """What is missing after a reading is asked for again, or known not to be there."""
        short = reading.lines < state.lines or "malformed lines" in reading.odd
        if broken and broken.kind != "not_found" and (broken.fatal or not reading.lines):
            self._trouble(job, broken)
            return
        if job.waiting and (broken or short) and job.reads < READS:
            why = broken.message if broken else f"{reading.lines} of {state.lines} lines"
            self.say(f"batch {job.id}: its results are not whole ({why}); they are read again")
            job.interval = min(self.its.limits.batch_poll_seconds, 5.0)
            self._later(job)
            return
        stopped = state.phase is Phase.STOPPED and not broken and not short
        gone = absent(state.word, stopped)
        if broken:
            gone = Failure(OutcomeClass.UNKNOWN, "no_line", f"no results: {broken.message}")
        if note := reading.note():
            self.say(f"batch {job.id}: its results hold {note}")
        self._end(job)
        left = [(one, Reply(gone)) for one in job.waiting.values()]
        self.books.write(job, left, JobState.SETTLED, note)

    def _end(self, job: Job) -> None:
        self.jobs = [one for one in self.jobs if one is not job]


def _not_made(answer: Told | Failure) -> Failure:
    """Why a batch was not made, as the end of each request that was to be in it."""
    if isinstance(answer, Told):
        why = "the reply to an upload has no file in it"
        return Failure(OutcomeClass.NOT_SENT, "not_made", why, fatal=True)
    refused = answer.outcome in (OutcomeClass.REJECTED, OutcomeClass.BILLED_BAD)
    outcome = OutcomeClass.REJECTED if refused else OutcomeClass.NOT_SENT
    if answer.fatal and answer.kind not in ("not_found", "unsupported"):
        return replace(answer, outcome=outcome, retry=False)
    kind = "batch_refused" if refused else "not_made"
    return replace(answer, outcome=outcome, kind=kind, retry=False, fatal=True)
