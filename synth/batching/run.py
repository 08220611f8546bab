"""One run over the batches of a project: what is open, when to ask again, how a batch ends.

run = Run(collection, channel, permit, stop, say)
run.adopt(job, state)        # the provider's id is durable before anything else happens

synth/batching/making.py, asking.py and reading.py act on it; synth/batching/engine.py is the loop.
"""

from collections.abc import Callable

from policy.errors import BadInput
from policy.permit import Permit
from synth.batching.books import Books
from synth.batching.channel import Channel
from synth.batching.job import Job
from synth.batching.parts import State
from synth.breaker import KINDS
from synth.collect import Collection
from synth.jobs import JobState
from synth.stop import Stop
from synth.wire import Failure, Reply

TROUBLES = 20  # questions in a row without an answer, after which the run stops
VANISHED = 3  # times that a batch must be called unknown before it counts as lost
LONGEST_WAIT = 600.0  # seconds between two questions


class Run:
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

    async def sleep(self, seconds: float) -> None:
        """Sleep; whoever stops the run ends it."""
        await self.stop.sleep(self.its.sleep(max(0.0, seconds)))

    def later(self, job: Job, asked: float | None = None) -> None:
        """When to ask next: each wait is longer, and no shorter than the server asks."""
        base = self.its.limits.batch_poll_seconds
        wait = max(job.interval or base, asked or 0.0)
        job.interval = min(max(base, LONGEST_WAIT), (job.interval or base) * 1.5)
        job.due = self.its.monotonic() + wait * self.its.chance.uniform(1.0, 1.1)

    def adopt(self, job: Job, state: State) -> None:
        """Its id is known, and durable when this returns."""
        job.provider_id, job.word, job.troubles = state.id, state.word, 0
        self.books.log(job, JobState.CREATED)
        self.say(f"batch {job.id}: {job.requests:,} requests are {state.id}, {state.word}")
        self.later(job)

    def drop(self, job: Job, failure: Failure) -> None:
        """Nothing was made: its attempts end at no cost."""
        group = [(sent, Reply(failure)) for sent in job.waiting.values()]
        self.books.write(job, group, JobState.DROPPED, failure.message)

    def trouble(self, job: Job, failure: Failure) -> None:
        """A question without a usable answer."""
        job.troubles += 1
        if failure.kind == "not_found":
            if job.troubles >= VANISHED:
                self.lose(job, f"the provider does not know it: {failure.message}")
                return
        elif failure.fatal and not failure.retry:
            if failure.kind in KINDS:
                self.books.log(job, job.state, f"{failure.kind}: {failure.message}")
            self.books.stop_for(failure)
            return
        if job.troubles >= TROUBLES:
            why = f"{TROUBLES} questions in a row got no answer, the last: {failure.message}"
            raise BadInput(why, where=f"batch {job.id}", fix="run again: it goes on from here")
        self.later(job, failure.retry_after)

    def lose(self, job: Job, why: str) -> None:
        """Nobody can tell: its attempts are unknown, and keep their reserves."""
        self.books.log(job, JobState.LOST, why)
        self.say(f"batch {job.id} is lost: {why}; its {len(job.waiting):,} requests are held")
        self.end(job)
        self.books.summary.failures["lost_batch"] += len(job.waiting)

    def end(self, job: Job) -> None:
        """Nothing more is asked of it."""
        self.jobs = [one for one in self.jobs if one is not job]
