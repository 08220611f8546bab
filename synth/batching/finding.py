"""Finding a batch whose id was lost, because the process died or the reply did.

    found = await find(channel, form, teacher, job, others) -> State | Failure | Found

Where a batch keeps our name for it, the provider's list decides. Anthropic's keeps none: there a
batch with our number of requests, made since, is ours if its results name our requests; until it
has results, nothing is decided.
"""

from enum import Enum

from synth.batching.channel import BrokenError, Channel
from synth.batching.job import Job
from synth.batching.parts import Ask, Format, Page, Phase, State
from synth.config import Teacher
from synth.wire import Failure, OutcomeClass

PAGES = 50  # of the provider's list
SLACK = 93_600.0  # seconds that two clocks may differ by: 26 hours, one of them set to local time
LONGEST = 2**20  # bytes of a line that is read for its name


class Found(Enum):
    """What a list says where it does not name the batch."""

    ABSENT = "absent"
    WAITING = "waiting"
    """One that may be it has no results yet."""
    UNDECIDED = "undecided"


async def find(
    channel: Channel, form: Format, teacher: Teacher, job: Job, others: set[str]
) -> State | Failure | Found:
    """The batch, or what is known instead. `others` are batches that it is not."""
    after, known, since = "", Found.ABSENT, job.since / 1000 - SLACK
    for _ in range(PAGES):
        told = await channel.question(form.listing(teacher, after))
        if isinstance(told, Failure):
            return told
        page = form.page(teacher, told.body, after)
        if page is None:
            return Failure(OutcomeClass.UNKNOWN, "bad_shape", "the list of batches is not one")
        for state in page.states:
            if state.id in others:
                continue
            if form.tagged and state.tag == job.id:
                return state
            if not form.tagged and state.total == job.requests and state.created >= since:
                ours = await _names_ours(channel, state, form, job)
                if ours is True:
                    return state
                if isinstance(ours, Found):
                    known = ours
                else:
                    job.denied.add(state.id)
        if not page.after or _older(page, since):
            return known
        after = page.after
    return Found.UNDECIDED


def _older(page: Page, since: float) -> bool:
    """Whether a page, newest first, reaches back before a moment: ours cannot come after it."""
    times = [state.created for state in page.states]
    return bool(times) and times == sorted(times, reverse=True) and 0 < times[-1] < since


async def _names_ours(channel: Channel, state: State, form: Format, job: Job) -> bool | Found:
    """Whether the results of a batch are for our requests."""
    if state.phase is Phase.WORKING:
        return Found.WAITING
    for path in state.results:
        lines = channel.lines(Ask("GET", path), LONGEST)
        try:
            async for raw in lines:
                line = form.line(raw)
                if line is not None:
                    return line.custom_id in job.known
        except BrokenError:
            return Found.UNDECIDED
        finally:
            await lines.aclose()
    return Found.UNDECIDED
