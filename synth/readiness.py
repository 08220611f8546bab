"""What a project still lacks before it may and can collect.

missing(bench, ledger) -> every refusal that `collect` would meet, each with its fix
remedies(decision)     -> the commands that put on record what a decision asks for
"""

import shlex
from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import cached_property

from policy.decide import Decision
from policy.errors import BadInput, SpiritSafeError
from policy.guardrails import Guardrails
from policy.manifest import read_manifest
from policy.terms import Level, Terms
from synth.bench import Bench, cap_of, check_address, check_batch, price_for, prompts_of
from synth.breaker import standing
from synth.guard import check_prompts, check_use, rails_of
from synth.ledger import Ledger
from synth.pricing import Price
from synth.prompts import Prompt
from synth.proxy import Proxy, proxy_of
from synth.reasoning import check_reasoning
from synth.secrets import Key, key_for
from synth.takedown import refuse_unclean, states_at

_VERBS = {Level.NEEDS_ACK: "acknowledge", Level.NEEDS_PERMISSION: "permit"}


class Needs:
    """What a collection needs beside its permit. Each thing is read once; each raises where it
    cannot be had."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._teacher = bench.project.sections.teacher

    @cached_property
    def rails(self) -> Guardrails:
        """The organisation's."""
        return rails_of(self._bench.project.folder)

    @cached_property
    def terms(self) -> Terms | None:
        """In force today."""
        return self._bench.register.find(self._teacher.offering, self._bench.today)

    @cached_property
    def price(self) -> Price:
        """What the teacher costs."""
        return price_for(self._bench)

    @cached_property
    def prompts(self) -> list[Prompt]:
        """The project's prompts."""
        return prompts_of(self._bench)

    @cached_property
    def proxy(self) -> Proxy | None:
        """The way out, where the project asks for one."""
        return proxy_of(self._teacher, self._bench.environment)

    @cached_property
    def key(self) -> Key:
        """The account's."""
        return key_for(self._teacher.api_key_env, self._bench.environment)

    def checks(self) -> Iterator[Callable[[], object]]:
        """Every check, in the order in which a person would mend them."""
        bench, teacher, rails, terms = self._bench, self._teacher, self.rails, self.terms
        use = bench.project.sections.use
        yield lambda: check_use(rails, use, teacher, terms)
        yield lambda: check_reasoning(rails, use, teacher, terms)
        yield lambda: check_address(bench)
        yield lambda: check_batch(bench)
        yield lambda: student_that_teaches(bench)
        yield lambda: cap_of(bench, self.price)
        yield lambda: check_prompts(rails, teacher.offering, terms, self.prompts)
        yield lambda: self.proxy
        yield lambda: self.key


def student_that_teaches(bench: Bench) -> str:
    """The digest of the run that answers, where the teacher is a student of ours. Raises
    PolicyDenied where a takedown reached it, here or in the project that trained it."""
    teacher = bench.project.sections.teacher
    if not teacher.run:
        return ""
    folder = (bench.project.folder / teacher.run).resolve()
    for home in {folder.parent.parent, bench.project.home}:
        refuse_unclean(states_at(home), folder, "teaching")
    return str(read_manifest(folder)["digest"])


def missing(bench: Bench, ledger: Ledger | None) -> list[SpiritSafeError]:
    """Everything but the terms themselves that would stop a collection, all at once."""
    found: list[SpiritSafeError] = []
    checks: list[Callable[[], object]] = [*Needs(bench).checks(), lambda: _looked_at(bench, ledger)]
    for check in checks:
        try:
            check()
        except SpiritSafeError as error:
            if str(error) not in map(str, found):
                found.append(error)
    return found


def _looked_at(bench: Bench, ledger: Ledger | None) -> None:
    if ledger is None:
        return
    offering = bench.project.sections.teacher.offering
    if trip := standing(ledger, bench.project.home, offering):
        raise BadInput(
            f"the provider refused ({trip.message}), and nobody has looked at it yet",
            where=offering,
            fix="ask why; then `spiritsafe resume`",
        )


def remedies(decision: Decision, bench: Bench) -> list[str]:
    """The exact commands for whoever may give what the decision lacks; empty where it lacks none.
    NAME, TEXT and FILE are for a person to fill in."""
    project = bench.project
    until = (bench.today + timedelta(days=180)).isoformat()
    asked = {
        reason.offering: _VERBS[reason.level]
        for reason in decision.reasons
        if reason.level == decision.level and reason.level in _VERBS
    }
    return [
        f"spiritsafe terms {verb} {shlex.quote(offering)} --by NAME --reason TEXT --document FILE"
        f" --purpose {decision.purpose} --distribution {decision.distribution}"
        f" --expires {until} --project {shlex.quote(str(project.folder))}"
        for offering, verb in asked.items()
    ]
