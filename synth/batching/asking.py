"""Asking for batches: what became of one, and where one is whose id was lost.

await look(run, job)
"""

from synth.batching import FORMATS
from synth.batching.finding import Found, find
from synth.batching.job import Job, known_ids
from synth.batching.parts import Phase, State
from synth.batching.reading import read
from synth.batching.results import whole_failure
from synth.batching.run import Run
from synth.breaker import KINDS
from synth.jobs import JobState
from synth.wire import Failure, OutcomeClass

DOUBT = 900.0  # seconds after which a batch that is not in the list was not made
APART = 30.0  # seconds between two readings of a list that names our batches: the same, sooner


async def look(run: Run, job: Job) -> None:
    """Ask for one batch, and read its results if it has them."""
    if not job.provider_id:
        await look_for(run, job)
        return
    form = FORMATS[job.api]
    answer = await run.channel.question(form.poll(run.books.teacher(job), job.provider_id))
    if isinstance(answer, Failure):
        run.trouble(job, answer)
        return
    state = form.state(run.books.teacher(job), answer.body)
    if state is None:
        run.trouble(job, Failure(OutcomeClass.UNKNOWN, "bad_shape", "it is not a batch"))
        return
    job.troubles = 0
    if state.word != job.word:
        job.word = state.word
        run.books.log(job, JobState.CREATED)
        run.say(f"batch {job.id}: {state.word}")
    if state.phase is Phase.WORKING:
        run.later(job)
    elif state.phase is Phase.FAILED:
        run.end(job)
        run.drop(job, whole_failure(state.error, state.word))
    else:
        await read(run, job, form, state)


async def look_for(run: Run, job: Job) -> None:
    """Look for a batch whose id was lost among those of the account."""
    its, form = run.its, FORMATS[job.api]
    others = (known_ids(its.ledger) | job.denied) - {job.provider_id}
    found = await find(run.channel, form, run.books.teacher(job), job, others)
    if isinstance(found, State):
        run.adopt(job, found)
        job.due = 0.0
        if job not in run.jobs:
            run.jobs.append(job)
        return
    if isinstance(found, Failure) and found.kind in KINDS:
        run.trouble(job, found)
        return
    if job.state is JobState.LOST:
        return
    old = its.clock() - job.at / 1000 > DOUBT
    if job.missed_at is None:
        job.missed_at = its.monotonic()
    sure = form.tagged and its.monotonic() - job.missed_at >= APART
    if isinstance(found, Failure):
        if found.kind in ("not_found", "bad_request"):
            run.lose(job, f"its provider has no list of batches ({found.message})")
        else:
            run.trouble(job, found)
    elif found is Found.ABSENT and (old or sure):
        run.end(job)
        why = "the reply was lost, and the provider has no such batch"
        run.drop(job, Failure(OutcomeClass.NOT_SENT, "not_made", why, retry=True))
    elif found is Found.UNDECIDED and old:
        run.lose(job, "it cannot be told apart from others in the provider's list")
    elif found is Found.ABSENT and form.tagged:
        job.due = its.monotonic() + APART
    else:
        run.later(job)
