"""Making batches: intend, send, and know what the reply proves.

    await make_what_fits(run)

The attempts of a batch and the batch itself are durable, and their money is reserved, before a byte
leaves; `creating` is durable before the call that may be billed.
"""

from dataclasses import replace

from synth.batching import FORMATS, api_of
from synth.batching.channel import Told, submit
from synth.batching.job import Job, Sent
from synth.batching.lots import Lot, Room, take
from synth.batching.parts import Ask, Format, Order, custom_id, tag_of, uploaded
from synth.batching.run import Run
from synth.jobs import JobState
from synth.ledger import spent_nano
from synth.rows import Row
from synth.wire import Call, Failure, OutcomeClass


async def make_what_fits(run: Run) -> None:
    """Make batches until nothing is left, or nothing more fits for now. Raises BudgetReached where
    nothing is open that could make room."""
    while _may_make(run):
        lot = _lot(run)
        if not lot.calls:
            if lot.full and not run.jobs:
                raise lot.full
            return
        await _make(run, lot)


def _may_make(run: Run) -> bool:
    books = run.books
    return bool(books.queue) and not run.stop.asked and books.hold <= run.its.monotonic()


def _lot(run: Run) -> Lot:
    its, teacher = run.its, run.its.teacher
    form = FORMATS[api_of(teacher)]
    most = min(form.requests, its.limits.batch_requests or form.requests)
    cap = its.budget.cap_nano
    left = None if cap is None else cap - spent_nano(its.ledger)
    return take(
        run.books.queue,
        Room(most, form.size, left),
        lambda call: len(form.line_of(teacher, custom_id(call.key, 10**6), call.body)),
        lambda call: _reserve(run, call),
        run.books.admit,
    )


def _reserve(run: Run, call: Call) -> int:
    its, tier = run.its, run.books.tier
    return its.price.reserve_nano(
        call.prompt_tokens, its.sampling.max_tokens, tier=tier, batch=True, at=its.clock()
    )


async def _make(run: Run, lot: Lot) -> None:
    job = _intend(run, lot)
    form = FORMATS[job.api]
    bodies = (call.body for call in lot.calls)
    lines = list(zip(job.waiting, bodies, strict=True))
    order = Order(job.id, run.its.teacher, lines, run.its.limits.batch_hours)
    if form.upload:
        told = await _insist(run, form.upload(order), twice=True)
        job.file = uploaded(told.body) if isinstance(told, Told) else ""
        if not job.file:
            run.drop(job, _not_made(told))
            return
        run.books.log(job, JobState.UPLOADED)
    run.books.log(job, JobState.CREATING)
    _made(run, job, form, await _insist(run, form.create(order._replace(file=job.file))))


def _intend(run: Run, lot: Lot) -> Job:
    """One commit: the batch, and every attempt in it with its reserve."""
    its, decision = run.its, run.permit.decision
    at, sent, rows = its.ledger.now(), [], list[Row]()
    prices = its.price.named_in_batch
    for call, reserve in zip(lot.calls, lot.reserves, strict=True):
        number = run.attempts.next(call.key)
        run.books.tries[call.key] += 1
        row = its.attempt(call, number, decision, reserve, prices, at)
        rows.append(row)
        kept = replace(call, body=b"")  # a batch may take a day: only its file holds bodies
        sent.append(Sent(row.id, kept, reserve, run.books.tokens(call)))
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
    run.books.summary.sent += len(sent)
    return job


async def _insist(run: Run, ask: Ask, *, twice: bool = False) -> Told | Failure:
    """Ask until there is an answer. Only with `twice` is a question whose reply was lost asked
    again: a file that is there twice costs nothing."""
    answer: Told | Failure = await submit(run.channel, ask, run.permit)
    for attempt in range(1, run.its.limits.tries):
        if isinstance(answer, Told) or run.stop.asked:
            break
        if not answer.retry and not (twice and answer.outcome is OutcomeClass.UNKNOWN):
            break
        await run.sleep(_backoff(run, attempt, answer))
        if run.stop.asked:
            break
        answer = await submit(run.channel, ask, run.permit)
    return answer


def _backoff(run: Run, attempt: int, failure: Failure) -> float:
    if failure.retry_after is not None:
        return failure.retry_after
    return min(30.0, 0.5 * 2.0**attempt) * run.its.chance.uniform(0.75, 1.0)


def _made(run: Run, job: Job, form: Format, answer: Told | Failure) -> None:
    """What the reply to the call that makes a batch proves."""
    state = form.state(run.its.teacher, answer.body) if isinstance(answer, Told) else None
    job.interval = run.its.limits.batch_poll_seconds
    if state is not None:
        run.adopt(job, state)
        run.jobs.append(job)
    elif isinstance(answer, Failure) and answer.outcome is not OutcomeClass.UNKNOWN:
        run.drop(job, _not_made(answer))
    else:
        run.say(f"batch {job.id}: the reply to its making was lost; it is looked for")
        run.later(job)
        run.jobs.append(job)


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
