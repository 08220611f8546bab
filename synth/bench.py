"""One project on the workbench: what is decided about it, what it asks for, what that may cost.

    bench = Bench(load(Path("project.toml")), display, environment)
    permit_for(bench, Action.COLLECT)      # PolicyDenied with the clause

Everything here looks and nothing is sent; the steps that do something are in synth/steps.py.
"""

import asyncio
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime

from policy.decide import Decision, allowing, decide_offering
from policy.errors import BadInput
from policy.permit import Action, Permit, require
from policy.records import Record, read_records
from policy.terms import Level, Register
from policy.use import Given, Purpose, Use
from synth.batching import api_of
from synth.collect import Sleep
from synth.display import Display
from synth.events import EventLog
from synth.ledger import Ledger
from synth.plan import plan
from synth.pricing import Price, price_of
from synth.project import Project
from synth.prompts import Prompt, load
from synth.teachers import local
from synth.terms_state import register_of
from synth.transport import check_base_url
from synth.wire import Call

MILLION = 10**6  # tokens


@dataclass(frozen=True, slots=True)
class Bench:
    """One project on the workbench, with the outside world passed in."""

    project: Project
    display: Display
    environment: Mapping[str, str]
    clock: Callable[[], float] = time.time
    monotonic: Callable[[], float] = time.monotonic
    sleep: Sleep = asyncio.sleep
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
        """The project's ledger; the caller closes it. Raises BadInput where it cannot be written:
        looking at it writes too, what a killed run had only noted down."""
        self._writable(create)
        ledger = Ledger.open(self.project.ledger, clock=self.clock, create=create)
        if not ledger.size:
            return ledger
        from synth.retention import minded  # it needs all of this room

        return minded(self, ledger)

    def _writable(self, create: bool) -> None:
        ledger = self.project.ledger
        places = [one for one in (ledger, *ledger.absolute().parents) if one.exists()]
        wanted = places[:2] if ledger.exists() else places[:1] if create else []
        for place in wanted:
            if not os.access(place, os.W_OK):
                raise BadInput(
                    "cannot be written, and the ledger lies there",
                    where=str(place),
                    fix="change its permissions, or copy the project to a folder of your own",
                )


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


def cap_of(bench: Bench, price: Price) -> int | None:
    """The money that this project may ever spend. Raises BadInput where a price has no budget."""
    budget = bench.project.sections.limits.budget_usd
    if budget is None and price.reserve_nano(MILLION, MILLION):
        raise BadInput(
            f"{price.model} costs money and no budget is set",
            where="[limits] budget_usd",
            fix="say how much this project may ever spend, for instance budget_usd = 5",
        )
    return None if budget is None else round(budget * 10**9)
