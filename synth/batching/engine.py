"""Batch collection: intend, send, ask, read; and after a crash go on at any of these.

    summary = await collect_batches(collection, channel, permit, stop, say)

The order is the promise, as online. The attempts of a batch and the batch itself are durable, and
their money is reserved, before a byte leaves; `creating` is durable before the call that may be
billed, the provider's id before the first question. A reply to that call that is lost is looked for
in the provider's list of batches. A line is an outcome once, however often a file is read.
"""

import asyncio
from collections.abc import Callable, Coroutine
from enum import Enum
from typing import Any

from policy.errors import SpiritSafeError
from policy.permit import Action, Permit
from synth.batching.asking import look, look_for
from synth.batching.channel import Channel
from synth.batching.job import open_jobs
from synth.batching.making import make_what_fits
from synth.batching.run import Run
from synth.collect import Collection, Summary
from synth.jobs import JobState
from synth.stop import Stop
from synth.wire import Failure, OutcomeClass


class Aim(Enum):
    """How far a run goes."""

    ALL = "all"
    """Everything that the ledger lacks goes out in batches."""
    END = "end"
    """Nothing is made; what is open is waited for."""
    GLANCE = "glance"
    """Nothing is made and nothing is waited for."""


async def collect_batches(
    collection: Collection,
    channel: Channel,
    permit: Permit,
    stop: Stop,
    say: Callable[[str], None],
    *,
    aim: Aim = Aim.ALL,
    only: frozenset[str] | None = None,
) -> Summary:
    """Go on with every open batch, or with `only` those, and make what is missing. Raises what
    stopped the run."""
    Permit.must_be(permit, Action.COLLECT)
    run = Run(collection, channel, permit, stop, say)
    try:
        await _take_up(run, only)
        await _work(run, aim)
    except SpiritSafeError as error:
        stop.fail(error)
    run.books.summary.interrupted = stop.interrupted
    if stop.error:
        raise stop.error
    return run.books.summary


async def _take_up(run: Run, only: frozenset[str] | None) -> None:
    """The batches that an earlier run left."""
    its = run.its
    for job in open_jobs(its.ledger):
        if only is not None and job.id not in only:
            continue
        if (job.base, job.offering) != (its.base, its.teacher.offering):
            run.say(f"batch {job.id} is at another server or offering: left as it is")
            continue
        run.books.take_over(job)
        if job.state in (JobState.INTENDED, JobState.UPLOADED):
            why = "the process ended before its batch was made"
            run.drop(job, Failure(OutcomeClass.NOT_SENT, "not_made", why, retry=True))
        elif job.state is JobState.LOST:
            await look_for(run, job)
        else:
            run.jobs.append(job)


async def _work(run: Run, aim: Aim) -> None:
    """Until nothing is open and nothing is left, or somebody stops it."""
    while not run.stop.asked:
        if aim is Aim.ALL:
            await make_what_fits(run)
        now = run.its.monotonic()
        for job in [one for one in run.jobs if one.due <= now]:
            if run.stop.asked:
                return
            await _unless_interrupted(run, look(run, job))
        left = run.jobs or (aim is Aim.ALL and run.books.queue)
        if aim is Aim.GLANCE or not left:
            return
        await _rest(run, aim)


async def _unless_interrupted(run: Run, work: Coroutine[Any, Any, None]) -> None:
    """A question may be left in the middle: the next run asks it again."""
    task, stopped = asyncio.ensure_future(work), asyncio.ensure_future(run.stop.wait())
    try:
        await asyncio.wait({task, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if not run.stop.interrupted:
            await task
    finally:
        task.cancel()
        stopped.cancel()
        await asyncio.gather(task, stopped, return_exceptions=True)


async def _rest(run: Run, aim: Aim) -> None:
    moments = [job.due for job in run.jobs]
    held = run.books.hold > run.its.monotonic()
    if aim is Aim.ALL and run.books.queue and (held or not moments):
        moments.append(run.books.hold)
    if moments:
        await run.sleep(min(moments) - run.its.monotonic())
