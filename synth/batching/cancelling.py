"""Cancelling a batch: who asked for it is durable before the question leaves.

    refused = await cancel(channel, ledger, teacher, job, "A. Jurist: the wrong instruction", sleep)

It needs no permit: whoever may no longer collect may still stop. What the provider did until then
is billed; synth/batching/engine.py fetches it. The rest was not worked on, and is asked again by
the next collection.
"""

from synth.batching import FORMATS
from synth.batching.channel import Channel, Told
from synth.batching.finding import find
from synth.batching.job import Job, known_ids
from synth.batching.parts import Format, Phase, State
from synth.collect import Sleep
from synth.config import Teacher
from synth.jobs import JobState
from synth.ledger import Ledger
from synth.wire import Failure, OutcomeClass

TRIES = 5
PAUSE = 1.0  # seconds; the next ones are longer


async def cancel(
    channel: Channel, ledger: Ledger, teacher: Teacher, job: Job, who: str, sleep: Sleep
) -> Failure | None:
    """Ask the provider to stop a batch; the failure where it goes on. A batch that was never made
    has nothing to stop."""
    teacher, form = teacher.model_copy(update={"model": job.model}), FORMATS[job.api]
    if job.state in (JobState.INTENDED, JobState.UPLOADED):
        return None
    if not job.provider_id:
        found = await find(channel, form, teacher, job, known_ids(ledger))
        if not isinstance(found, State):
            why = found.message if isinstance(found, Failure) else "its id is not known yet"
            return Failure(OutcomeClass.UNKNOWN, "no_id", why)
        job.provider_id, job.word = found.id, found.word
    ledger.append_all([job.row(ledger.now(), JobState.CREATED, f"cancelled by {who}")])
    told = await channel.withdraw(form.cancel(teacher, job.provider_id))
    for attempt in range(1, TRIES):
        if isinstance(told, Told) or not (told.retry or told.outcome is OutcomeClass.UNKNOWN):
            break
        await sleep(told.retry_after or PAUSE * 2.0**attempt)
        told = await channel.withdraw(form.cancel(teacher, job.provider_id))
    if isinstance(told, Told) or await _has_ended(channel, form, teacher, job):
        return None
    return told


async def _has_ended(channel: Channel, form: Format, teacher: Teacher, job: Job) -> bool:
    """What has ended cannot be cancelled, and need not be."""
    told = await channel.question(form.poll(teacher, job.provider_id))
    state = form.state(teacher, told.body) if isinstance(told, Told) else None
    return state is not None and state.phase is not Phase.WORKING
