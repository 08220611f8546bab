"""Stopping a project's open batches, whoever may or may not collect today.

jobs = chosen(ledger, ["batch_abc"])
stopped = await cancel_step(bench, ledger, jobs, "A. Jurist: the wrong instruction")
"""

from collections.abc import Sequence

from policy.errors import BadInput
from synth.batching.cancelling import cancel
from synth.batching.channel import Channel
from synth.batching.job import Job, open_jobs
from synth.bench import Bench, base_of, check_address
from synth.breaker import KINDS
from synth.checkpoints import checkpoint
from synth.ledger import Ledger
from synth.readiness import Needs
from synth.stop import fatal_error
from synth.teachers import ADAPTERS


def chosen(ledger: Ledger, ids: Sequence[str]) -> list[Job]:
    """The open batches of these ids, ours or the provider's; all of them where none is named.
    Raises BadInput for an id that none has."""
    jobs = open_jobs(ledger)
    for name in ids:
        if not any(name in (job.id, job.provider_id) for job in jobs):
            raise BadInput(
                f"no open batch is called {name}", where="--id", fix="see `spiritsafe batch list`"
            )
    return [job for job in jobs if not ids or {job.id, job.provider_id} & set(ids)]


async def cancel_step(bench: Bench, ledger: Ledger, jobs: Sequence[Job], who: str) -> list[str]:
    """Ask for each to be stopped; the names of those that the provider stops, or has ended."""
    teacher, say, needs = bench.project.sections.teacher, bench.display.say, Needs(bench)
    check_address(bench)
    headers = ADAPTERS[teacher.adapter].credentials(needs.key.reveal())
    stopped: list[str] = []
    seconds = bench.project.sections.limits.deadline_seconds
    async with Channel(
        teacher.base_url, needs.key, headers, seconds=seconds, now=bench.clock, proxy=needs.proxy
    ) as channel:
        for job in jobs:
            if (job.base, job.offering) != (base_of(bench), teacher.offering):
                say(f"batch {job.id} is at another server or offering: left as it is")
                continue
            refused = await cancel(channel, ledger, teacher, job, who, bench.sleep)
            if refused is None:
                say(f"batch {job.id} is being cancelled")
                stopped.append(job.id)
                continue
            say(f"batch {job.id} goes on: it could not be cancelled ({refused.message})")
            if refused.kind in KINDS:
                raise fatal_error(refused, teacher)
    checkpoint(ledger, bench.project.home)
    return stopped
