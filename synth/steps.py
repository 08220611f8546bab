"""The verbs of this room, bound to one project: decide, check, collect, filter, freeze.

    bench = Bench(load(Path("project.toml")), ...)
    asyncio.run(collect_step(bench, ledger, Stop()))

Each reads what the step before it left on disk, so any of them may be run alone, stopped, and run
again.
"""

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from policy.decide import Decision, allowing, decide_offering
from policy.errors import BadInput
from policy.guardrails import Guardrails
from policy.own import is_own_server
from policy.permit import Action, Permit, require
from policy.records import Record, read_records
from policy.terms import Level, Register
from policy.use import Given, Purpose, Use
from synth.batching import api_of
from synth.batching.channel import Channel
from synth.batching.engine import collect_batches
from synth.batching.job import open_jobs
from synth.breaker import check_breaker
from synth.checkpoints import checkpoint
from synth.collect import Collection, Summary, collect
from synth.config import Variant
from synth.display import Display
from synth.events import EventLog, of_teacher
from synth.filters import Candidate
from synth.filters.apply import Found, apply, candidates
from synth.freeze import Frozen, Order, coverage_of, freeze
from synth.guard import Guard, check_prompts, check_use, rails_folder, rails_of
from synth.imports.rows import Imported, imported_rows
from synth.key_binding import Owner, bind_key, bindings_of, check_key
from synth.ledger import Ledger, record_decision, spent_nano
from synth.pacing import Budget
from synth.plan import Plan, plan, sort_out
from synth.pricing import Price, price_of
from synth.project import Project
from synth.prompts import Prompt, load
from synth.rates import InForce
from synth.reasoning import asked_for, check_reasoning
from synth.secrets import Key, key_for
from synth.stop import Stop
from synth.teachers import ADAPTERS, local
from synth.terms_state import register_of
from synth.transport import check_base_url, open_client
from synth.turns import pictures_of, words_of
from synth.watch import Watch
from synth.wire import Call


@dataclass(frozen=True, slots=True)
class Bench:
    """One project on the workbench, with the outside world passed in."""

    project: Project
    display: Display
    environment: Mapping[str, str]
    clock: Callable[[], float] = time.time
    events: EventLog | None = None
    """Where a collection tells machines what happens."""
    register: Register = field(init=False)

    records: tuple[Record, ...] = field(init=False)
    """What named people put on record in this project."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "register", register_of(self.project.folder))
        object.__setattr__(self, "records", read_records(self.project.folder, self.register))

    @property
    def today(self) -> date:
        """The day that decisions are made on."""
        return datetime.fromtimestamp(self.clock(), UTC).date()

    def open(self, *, create: bool = False) -> Ledger:
        """The project's ledger; the caller closes it."""
        return Ledger.open(self.project.ledger, clock=self.clock, create=create)


def decision_of(bench: Bench, stage: str = "plan", use: Use | None = None) -> Decision:
    """What the terms in force today say about this project's use of its teacher."""
    sections = bench.project.sections
    teacher = sections.teacher
    return decide_offering(
        use or sections.use,
        bench.register,
        teacher.offering,
        bench.today,
        given=Given(features=teacher.features, requested=teacher.model, stage=stage),
        records=bench.records,
    )


def decisions_by_purpose(bench: Bench) -> list[Decision]:
    """The same teacher for every purpose, for somebody who plans."""
    use = bench.project.sections.use
    return [
        decision_of(bench, use=use.model_copy(update={"purpose": purpose})) for purpose in Purpose
    ]


def alternatives(bench: Bench) -> tuple[str, ...]:
    """Other offerings of the register that allow this use, for a refusal's last line."""
    return allowing(bench.register, bench.project.sections.use, bench.today)


def permit_for(bench: Bench, action: Action) -> Permit:
    """The permit for an action. Raises PolicyDenied with the clause, and where it is possible."""
    decision = decision_of(bench, str(action))
    others = () if decision.level <= Level.ALLOW_WITH else alternatives(bench)
    return require(decision, action, alternatives=others)


def prompts_of(bench: Bench) -> list[Prompt]:
    """The project's prompts, split."""
    sections = bench.project.sections
    return load(sections.prompts, sections.dataset.split, bench.project.folder)


def base_of(bench: Bench) -> str:
    """What stands for the server in request keys: its address, or the weights served here."""
    teacher = bench.project.sections.teacher
    if teacher.base_url:
        return teacher.base_url.rstrip("/")
    return local.identity(teacher, local.weights_of(teacher, bench.project.folder))


def calls_of(bench: Bench, prompts: Sequence[Prompt]) -> Sequence[Call]:
    """Every call that the project needs."""
    sections = bench.project.sections
    return plan(sections.teacher, sections.sampling, prompts, base_of(bench))


def price_for(bench: Bench) -> Price:
    """What the teacher costs. Raises BadInput for a hosted model without a price."""
    sections = bench.project.sections
    return price_of(sections.teacher.offering, sections.teacher.model, sections.limits.price)


def check_batch(bench: Bench) -> None:
    """Refuse batches of a teacher that has no batch API."""
    if bench.project.sections.limits.batch:
        api_of(bench.project.sections.teacher)


def check_address(bench: Bench) -> None:
    """Refuse a base URL that is unsafe or another offering's."""
    teacher = bench.project.sections.teacher
    if teacher.base_url:
        check_base_url(teacher.base_url, teacher.offering, bench.register.offering_of_host)


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a project will ask for, before anything is asked."""

    prompts: int
    requests: int
    held_out: int
    prompt_tokens: int
    """By four bytes a token: a guess for people. The budget reserves by the safe bound instead."""
    completion_tokens: int
    """If every answer runs to max_tokens."""
    cost_nano: int | None
    """None where the price is not known."""


def estimate(bench: Bench) -> Estimate:
    """Requests, tokens and money of a whole collection."""
    sections = bench.project.sections
    prompts = prompts_of(bench)
    asked = [1 if prompt.split == "test" else sections.sampling.samples for prompt in prompts]
    sizes = [
        sum(len(words_of(m).encode()) // 4 + 4 for m in p.teacher)
        + sections.teacher.image_tokens * pictures_of(p.teacher)
        for p in prompts
    ]
    tokens = sum(size * count for size, count in zip(sizes, asked, strict=True))
    answers = sum(asked) * sections.sampling.max_tokens
    cost: int | None = None
    with contextlib.suppress(BadInput):  # an unpriced model is said on the screen, not raised
        price, most = price_for(bench), sections.sampling.max_tokens
        each, batch = zip(sizes, asked, strict=True), sections.limits.batch
        cost = sum(count * price.cost_nano(size, most, batch=batch) for size, count in each)
    return Estimate(len(prompts), sum(asked), _held_out(prompts), tokens, answers, cost)


def _held_out(prompts: Sequence[Prompt]) -> int:
    return sum(prompt.split == "test" for prompt in prompts)


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


def get_ready(bench: Bench) -> Ready:
    """Permit, rails, address, price, prompts, key, budget. Raises what must be mended first."""
    permit = permit_for(bench, Action.COLLECT)
    sections = bench.project.sections
    teacher = sections.teacher
    rails, terms = (
        rails_of(bench.project.folder),
        bench.register.find(teacher.offering, bench.today),
    )
    check_use(rails, sections.use, teacher.offering, teacher.model, terms)
    check_reasoning(rails, sections.use, teacher, terms)
    check_address(bench)
    check_batch(bench)
    price = price_for(bench)
    prompts = prompts_of(bench)
    check_prompts(rails, teacher.offering, terms, prompts)
    key = key_for(teacher.api_key_env, bench.environment)
    bindings = _bindings(bench, rails)
    if bindings and not bench.project.ledger.exists():
        check_key(bindings, key, "")
    return Ready(
        permit=permit,
        key=key,
        price=price,
        cap_nano=cap_of(bench, price),
        prompts=prompts,
        base=base_of(bench),
        rails=rails,
        bindings=bindings,
    )


def _bindings(bench: Bench, rails: Guardrails) -> Path | None:
    """A key for a server of one's own binds nobody."""
    teacher = bench.project.sections.teacher
    free = not teacher.api_key_env or is_own_server(teacher.offering)
    if free or not rails.one_key_per_project:
        return None
    return bindings_of(rails_folder(bench.project.folder), bench.environment)


async def collect_step(bench: Bench, ledger: Ledger, ready: Ready, stop: Stop) -> Collected:
    """Ask for everything that the ledger lacks."""
    sections, home = bench.project.sections, bench.project.home
    calls = plan(sections.teacher, sections.sampling, ready.prompts, ready.base)
    work = sort_out(ledger, calls, sections.limits)
    decision = ready.permit.decision
    checkpoint(ledger, home)  # before the first row: a run killed at any instant still verifies
    record_decision(ledger, decision.digest, decision.model_dump_json())
    checkpoint(ledger, home)  # whatever happens next, the log so far is signed
    waiting = bool(open_jobs(ledger))
    if work.todo or waiting:
        _look_before_sending(bench, ledger, ready)
    watch = _watch(bench, ready)
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
        )
        stack.callback(guard.close)
        client = open_client(
            address,
            ready.key,
            limit=sections.limits.max_response_bytes,
            headers=ADAPTERS[sections.teacher.adapter].credentials(ready.key.reveal()),
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
            monotonic=time.monotonic,
        )
        with watch.ending(stop):
            try:
                summary = await _asked(bench, collection, ready, stop, waiting=waiting)
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
    summary = await _in_batches(bench, collection, ready, stop)
    now = sort_out(ledger, work.calls, limits)
    work.pending = now.pending
    if limits.batch:
        return summary
    budget = Budget(ready.cap_nano, spent_nano(ledger))
    return await collect(replace(collection, plan=now, budget=budget), ready.permit, stop, summary)


async def _in_batches(bench: Bench, collection: Collection, ready: Ready, stop: Stop) -> Summary:
    """What is open at the provider, and with `[limits] batch` everything else too."""
    teacher, limits = collection.teacher, collection.limits
    headers = ADAPTERS[teacher.adapter].credentials(ready.key.reveal())
    async with Channel(
        teacher.base_url, ready.key, headers, seconds=limits.deadline_seconds, now=bench.clock
    ) as channel:
        say, permit = bench.display.say, ready.permit
        return await collect_batches(collection, channel, permit, stop, say, make=limits.batch)


def _watch(bench: Bench, ready: Ready) -> Watch:
    sections = bench.project.sections
    return Watch(
        sections,
        {prompt.id: prompt for prompt in ready.prompts},
        say=bench.display.say,
        clock=time.monotonic,
        log=bench.events,
        same=of_teacher(sections.teacher),
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


def cap_of(bench: Bench, price: Price) -> int | None:
    """The money that this project may ever spend. Raises BadInput where a price has no budget."""
    budget = bench.project.sections.limits.budget_usd
    if budget is None and price.source != "free":
        raise BadInput(
            f"{price.model} costs money and no budget is set",
            where="[limits] budget_usd",
            fix="say how much this project may ever spend, for instance budget_usd = 5",
        )
    return None if budget is None else round(budget * 10**9)


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
    rows = candidates(ledger, calls_of(bench, prompts), prompts, sections.sampling)
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
