"""The verbs of this room, bound to one project: collect, filter, freeze.

    bench = Bench(load(Path("project.toml")), ...)
    asyncio.run(collect_step(bench, ledger, Stop()))

Each reads what the step before it left on disk, so any of them may be run alone, stopped, and run
again.
"""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from policy.guardrails import Guardrails
from policy.own import is_own_server
from policy.permit import Action, Permit
from synth.batching.channel import Channel
from synth.batching.engine import Aim, collect_batches
from synth.batching.job import open_jobs
from synth.bench import Bench, base_of, calls_of, cap_of, permit_for, prompts_of
from synth.breaker import check_breaker
from synth.checkpoints import checkpoint
from synth.collect import Collection, Summary, collect
from synth.config import Variant
from synth.events import of_teacher
from synth.filters import Candidate
from synth.filters.apply import Found, apply, candidates
from synth.freeze import Frozen, Order, coverage_of, freeze
from synth.guard import Guard, rails_folder
from synth.imports.rows import Imported, imported_rows
from synth.key_binding import Owner, bind_key, bindings_of, check_key
from synth.ledger import Ledger, record_decision, spent_nano
from synth.pacing import Budget
from synth.plan import Plan, plan, sort_out
from synth.policy_notes import policy_changes
from synth.pricing import Price
from synth.prompts import Prompt
from synth.proxy import Proxy
from synth.rates import InForce
from synth.readiness import Needs, student_that_teaches
from synth.reasoning import asked_for
from synth.secrets import Key
from synth.stop import Stop
from synth.taken import lawful, taken_out, without_rows
from synth.teachers import ADAPTERS, local
from synth.transport import open_client
from synth.watch import Watch


@dataclass(frozen=True, slots=True)
class Collected:
    """What a collection found and did."""

    plan: Plan
    summary: Summary
    report: tuple[str, ...] = ()
    """The run in a few lines, for people."""

    @property
    def incomplete(self) -> bool:
        """Whether some request has no completion."""
        work = self.plan
        return bool(
            self.summary.failures or work.held or work.unusable or work.refused or work.pending
        )


@dataclass(frozen=True, slots=True)
class Ready:
    """All that a collection may be refused for, settled before a file is made."""

    permit: Permit
    key: Key
    price: Price
    cap_nano: int | None
    prompts: list[Prompt]
    base: str
    rails: Guardrails
    bindings: Path | None
    """Where it is kept which project a key serves; None where that is nobody's concern."""
    proxy: Proxy | None = None


def get_ready(bench: Bench) -> Ready:
    """Permit, rails, address, price, prompts, key, budget. Raises what must be mended first."""
    permit = permit_for(bench, Action.COLLECT)
    needs = Needs(bench)
    for check in needs.checks():
        check()
    bindings = _bindings(bench, needs.rails)
    if bindings and not bench.project.ledger.exists():
        check_key(bindings, needs.key, "")
    return Ready(
        permit=permit,
        key=needs.key,
        price=needs.price,
        cap_nano=cap_of(bench, needs.price),
        prompts=needs.prompts,
        base=base_of(bench),
        rails=needs.rails,
        bindings=bindings,
        proxy=needs.proxy,
    )


def _bindings(bench: Bench, rails: Guardrails) -> Path | None:
    """A key for a server of one's own binds nobody."""
    teacher = bench.project.sections.teacher
    free = not teacher.api_key_env or is_own_server(teacher.offering)
    if free or not rails.one_key_per_project:
        return None
    return bindings_of(rails_folder(bench.project.folder), bench.environment)


async def collect_step(
    bench: Bench,
    ledger: Ledger,
    ready: Ready,
    stop: Stop,
    follow: frozenset[str] | None = None,
) -> Collected:
    """Ask for everything that the ledger lacks; with `follow` only wait for these batches."""
    sections, home = bench.project.sections, bench.project.home
    prompts = taken_out(ledger, sections.teacher.offering, ready.prompts)
    calls = plan(sections.teacher, sections.sampling, prompts, ready.base)
    work = sort_out(ledger, calls, sections.limits)
    decision = ready.permit.decision
    checkpoint(ledger, home)  # before the first row: a run killed at any instant still verifies
    met = policy_changes(bench, ledger)
    record_decision(ledger, decision.digest, decision.model_dump_json(), met)
    checkpoint(ledger, home)  # whatever happens next, the log so far is signed
    waiting = bool(open_jobs(ledger))
    if work.todo or waiting:
        _look_before_sending(bench, ledger, ready)
    watch = _watch(bench, ready)
    if ready.proxy:
        bench.display.say(f"everything goes through the proxy {ready.proxy.name}")
    watch.start(len(work.calls), len(work.todo), len(work.held), ledger.size)
    if not work.todo and not waiting:
        watch.end()
        return Collected(work, Summary())
    with contextlib.ExitStack() as stack:
        address = sections.teacher.base_url
        if not address:
            address = stack.enter_context(_served_here(bench)).base_url
        guard = Guard.of(
            ready.rails,
            sections.teacher.offering,
            ledger,
            bench.display.say,
            folder=rails_folder(bench.project.folder),
            waiting=work.waiting(sections.sampling.max_tokens),
        )
        stack.callback(guard.close)
        client = open_client(
            address,
            ready.key,
            limit=sections.limits.max_response_bytes,
            headers=ADAPTERS[sections.teacher.adapter].credentials(ready.key.reveal()),
            proxy=ready.proxy,
        )
        shown = bench.display.step("collect", len(work.todo) + len(work.pending), watch.lines)
        watch.attach(stack.enter_context(shown))
        collection = Collection(
            teacher=sections.teacher,
            sampling=sections.sampling,
            limits=sections.limits,
            plan=work,
            ledger=ledger,
            client=client,
            base=ready.base,
            price=ready.price,
            budget=Budget(ready.cap_nano, spent_nano(ledger)),
            keep_reasoning=asked_for(sections.teacher),
            guard=guard,
            on_event=watch,
            clock=bench.clock,
            monotonic=bench.monotonic,
            sleep=bench.sleep,
        )
        with watch.ending(stop):
            try:
                summary = (
                    await _asked(bench, collection, ready, stop, waiting=waiting)
                    if follow is None
                    else await _in_batches(bench, collection, ready, stop, Aim.END, follow)
                )
            finally:
                await client.close()
                checkpoint(ledger, home)
                watch.checkpoint(ledger.size, ledger.root.hex())
    return Collected(work, summary, tuple(watch.report()))


async def _asked(
    bench: Bench, collection: Collection, ready: Ready, stop: Stop, *, waiting: bool
) -> Summary:
    """What is open at the provider; then everything else, in batches or one by one."""
    ledger, limits, work = collection.ledger, collection.limits, collection.plan
    if not (waiting or limits.batch):
        return await collect(collection, ready.permit, stop)
    aim = Aim.ALL if limits.batch else Aim.GLANCE
    summary = await _in_batches(bench, collection, ready, stop, aim)
    now = sort_out(ledger, work.calls, limits)
    work.pending = now.pending
    if limits.batch:
        return summary
    budget = Budget(ready.cap_nano, spent_nano(ledger))
    return await collect(replace(collection, plan=now, budget=budget), ready.permit, stop, summary)


async def _in_batches(
    bench: Bench,
    collection: Collection,
    ready: Ready,
    stop: Stop,
    aim: Aim,
    only: frozenset[str] | None = None,
) -> Summary:
    """What is open at the provider, and where that is the aim everything else too."""
    teacher, limits = collection.teacher, collection.limits
    headers = ADAPTERS[teacher.adapter].credentials(ready.key.reveal())
    async with Channel(
        teacher.base_url,
        ready.key,
        headers,
        seconds=limits.deadline_seconds,
        now=bench.clock,
        proxy=ready.proxy,
    ) as channel:
        say, permit = bench.display.say, ready.permit
        return await collect_batches(collection, channel, permit, stop, say, aim=aim, only=only)


def _watch(bench: Bench, ready: Ready) -> Watch:
    sections = bench.project.sections
    return Watch(
        sections,
        {prompt.id: prompt for prompt in ready.prompts},
        say=bench.display.say,
        clock=bench.monotonic,
        log=bench.events,
        same=of_teacher(sections.teacher, ready.proxy.name if ready.proxy else ""),
        limit=(lambda: InForce("the provider's, in batches")) if sections.limits.batch else None,
    )


def _look_before_sending(bench: Bench, ledger: Ledger, ready: Ready) -> None:
    """The breaker, and the key's one project. Raises PolicyDenied."""
    project, teacher = bench.project, bench.project.sections.teacher
    offering = teacher.offering
    check_breaker(ledger, project.home, offering, ready.key if teacher.api_key_env else None)
    if ready.bindings:
        owner = Owner(ledger.id, str(project.path.resolve()), offering)
        bind_key(ready.bindings, ready.key, owner, bench.today)


@contextlib.contextmanager
def _served_here(bench: Bench) -> Iterator[local.Server]:
    project, teacher = bench.project, bench.project.sections.teacher
    log = project.home / "llama-server.log"
    bench.display.say(f"starting llama.cpp's server with {teacher.weights} on the loopback")
    with local.serve(teacher, project.folder, project.cache, log) as server:
        bench.display.say(f"the teacher answers at {server.base_url}")
        yield server


@dataclass(frozen=True, slots=True)
class Filtered:
    """What the filters found."""

    prompts: list[Prompt]
    rows: list[Candidate]
    found: Found
    imported: Mapping[str, Imported] = field(default_factory=dict)
    """Of the candidates, those that came from outside."""


def filter_step(bench: Bench, ledger: Ledger) -> Filtered:
    """Every filter that a dataset of this project requires, over all that was collected."""
    sections = bench.project.sections
    prompts = prompts_of(bench)
    prompts = without_rows(ledger, prompts)
    rows = lawful(ledger, candidates(ledger, calls_of(bench, prompts), prompts, sections.sampling))
    wanted = list(sections.dataset.require)
    for variant in sections.dataset.variants.values():
        wanted += variant.require
    outside = imported_rows(ledger, sections.prompts, sections.dataset)
    prompts, rows = [*prompts, *outside.prompts], [*rows, *outside.candidates]
    found = apply(ledger, rows, sections.filters, wanted)
    return Filtered(prompts, rows, found, outside.imported)


def freeze_step(bench: Bench, ledger: Ledger, filtered: Filtered) -> dict[str, Frozen]:
    """The project's dataset and its variants, by name."""
    permit = permit_for(bench, Action.FREEZE)
    project, sections = bench.project, bench.project.sections
    variants = {project.name: Variant(), **sections.dataset.variants}
    ledger.append_all(policy_changes(bench, ledger))
    note = checkpoint(ledger, project.home)
    frozen = {}
    for name, variant in variants.items():
        order = order_of(bench, ledger, filtered, name, variant, note)
        frozen[name] = freeze(order, permit)
    checkpoint(ledger, project.home)
    return frozen


def order_of(
    bench: Bench, ledger: Ledger, filtered: Filtered, name: str, variant: Variant, note: str
) -> Order:
    """All that decides what one dataset holds."""
    project, sections = bench.project, bench.project.sections
    return Order(
        name=name,
        folder=project.datasets,
        ledger=ledger,
        prompts=filtered.prompts,
        candidates=filtered.rows,
        found=filtered.found,
        variant=variant,
        dataset=sections.dataset,
        teacher=sections.teacher,
        sampling=sections.sampling,
        filters=sections.filters,
        source=sections.prompts,
        prompts_file=project.folder / sections.prompts.file,
        weights=weights_in_words(bench),
        created=bench.today.isoformat(),
        checkpoint=note,
        teacher_run=student_that_teaches(bench),
        imported=filtered.imported,
    )


def coverage_now(bench: Bench, ledger: Ledger, filtered: Filtered) -> list[dict[str, Any]]:
    """What is left of each class in the project's dataset, before it is frozen."""
    order = order_of(bench, ledger, filtered, bench.project.name, Variant(), "")
    return coverage_of(order)


def weights_in_words(bench: Bench) -> str:
    """What a local teacher serves, for cards: file, digest, precision."""
    teacher = bench.project.sections.teacher
    if teacher.base_url or teacher.adapter != "local":
        return ""
    path = local.weights_of(teacher, bench.project.folder)
    if teacher.precision == "f32":
        how = "expanded to float32, so that its probabilities are exactly those of the weights"
    else:
        how = "served as quantised, whose probabilities differ a little from an exact computation"
    return f"{Path(path).name}, {how}"
