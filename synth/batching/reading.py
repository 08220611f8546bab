"""Reading the results of a batch: a line is an outcome once, however often a file is read.

await read(run, job, form, state)
"""

import asyncio
from collections.abc import AsyncIterator, Callable

from synth.batching.channel import BrokenError
from synth.batching.job import Job, Sent
from synth.batching.parts import Ask, Format, Phase, State
from synth.batching.results import Reading, absent, cut_line, reply_of
from synth.batching.run import Run
from synth.jobs import JobState
from synth.settling import checked, withheld
from synth.teachers import ADAPTERS
from synth.wire import Failure, OutcomeClass, Reply

GROUP = 200  # outcomes of one commit
GROUP_BYTES = 8_000_000
READS = 4  # of results that are not all there and bring nothing new
_OVERHEAD = 4096  # bytes of a line around the reply in it


async def read(run: Run, job: Job, form: Format, state: State) -> None:
    """Every result that is there, each group in one commit; then what is missing."""
    reading, group, size, broken = Reading(), list[tuple[Sent, Reply]](), 0, None
    before = len(job.waiting)
    try:
        async for raw in _lines(run, job, form, state):
            if pair := _matched(run, job, form, raw, reading):
                group.append(pair)
                size += len(raw)
            if len(group) >= GROUP or size > GROUP_BYTES:
                run.books.write(job, group)
                group, size = [], 0
                await asyncio.sleep(0)
            if run.stop.interrupted:
                break
    except BrokenError as error:
        broken = error.failure
    run.books.write(job, group)
    job.reads = 1 if len(job.waiting) < before else job.reads + 1
    if not run.stop.interrupted:
        _close(run, job, state, reading, broken)


async def _lines(run: Run, job: Job, form: Format, state: State) -> AsyncIterator[bytes]:
    longest = run.its.limits.max_response_bytes + _OVERHEAD
    if form.whole is not None:
        told = await run.channel.question(form.poll(run.books.teacher(job), state.id))
        if isinstance(told, Failure):
            raise BrokenError(told)
        for line in form.whole(told.body):
            yield line
        return
    for path in state.results:
        async for line in run.channel.lines(Ask("GET", path), longest):
            yield line


def _matched(
    run: Run, job: Job, form: Format, raw: bytes, reading: Reading
) -> tuple[Sent, Reply] | None:
    """The attempt that a line ends, or None for a line that ends none."""
    reading.lines += 1
    name, reply = _read_line(run, job, form, raw)
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
    run: Run, job: Job, form: Format, raw: bytes
) -> tuple[str, Callable[[], Reply] | None]:
    """(custom id, what makes its reply): a line that ends nothing is not parsed further."""
    line, its = form.line(raw), run.its
    if line is not None:
        adapter = ADAPTERS[its.teacher.adapter]
        given = (line, raw, adapter, its.sampling, job.provider_id)
        return line.custom_id, lambda: _checked(run, job, reply_of(*given))
    if len(raw) > its.limits.max_response_bytes:
        name, reply = cut_line(raw)
        return name, (lambda: reply) if name else None
    return "", None


def _checked(run: Run, job: Job, given: Reply) -> Reply:
    keep = run.its.keep_reasoning
    reply = checked(given, run.books.teacher(job), keep_reasoning=keep)
    run.books.summary.withheld += withheld(given, reply)
    return reply


def _close(run: Run, job: Job, state: State, reading: Reading, broken: Failure | None) -> None:
    """What is missing after a reading is asked for again, or known not to be there."""
    short = reading.lines < state.lines or "malformed lines" in reading.odd
    if broken and broken.kind != "not_found" and (broken.fatal or not reading.lines):
        run.trouble(job, broken)
        return
    if job.waiting and (broken or short) and job.reads < READS:
        why = broken.message if broken else f"{reading.lines} of {state.lines} lines"
        run.say(f"batch {job.id}: its results are not whole ({why}); they are read again")
        job.interval = min(run.its.limits.batch_poll_seconds, 5.0)
        run.later(job)
        return
    stopped = state.phase is Phase.STOPPED and not broken and not short
    gone = absent(state.word, stopped)
    if broken:
        gone = Failure(OutcomeClass.UNKNOWN, "no_line", f"no results: {broken.message}")
    if note := reading.note():
        run.say(f"batch {job.id}: its results hold {note}")
    run.end(job)
    left = [(one, Reply(gone)) for one in job.waiting.values()]
    run.books.write(job, left, JobState.SETTLED, note)
