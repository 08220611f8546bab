"""What an organisation allows its projects beyond what the terms allow: `guardrails.toml`.

    organisation = "acme"
    purposes = ["evaluate", "train_classifier"]

    [offerings.deepseek-api]
    models = ["deepseek-chat"]
    hard = {usd_per_day = 20}

Pure checks: each returns the reason why not, or nothing. Who counts what was used is the caller's
ledger, so that caps outlive a restart. What is not on the list is not allowed.
"""

from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple, Self

from pydantic import Field, model_validator

from policy.config import Fault, Section, load_toml, parse
from policy.entry import Terms
from policy.errors import BudgetReached, PolicyDenied
from policy.sensitive import Finding, sensitive
from policy.terms import split_version
from policy.use import Purpose

FILE = "guardrails.toml"
UNITS = ("requests_per_day", "tokens_per_day", "usd_per_day", "rows_per_day")


class Caps(Section):
    """How much a day, counted over all projects that share the ledger; nothing means no cap."""

    requests_per_day: int | None = Field(default=None, ge=0)
    """Requests sent."""

    tokens_per_day: int | None = Field(default=None, ge=0)
    """Tokens in and out."""

    usd_per_day: float | None = Field(default=None, ge=0)
    """Money."""

    rows_per_day: int | None = Field(default=None, ge=0)
    """Rows kept."""


class OfferingRails(Section):
    """What is allowed of one offering."""

    models: tuple[str, ...] = ()
    """Models that may be asked, as patterns; empty means any that its terms cover."""

    purposes: tuple[Purpose, ...] = ()
    """Purposes, where they are fewer than the organisation's."""

    hard: Caps = Caps()
    """Nothing more is sent above these."""

    soft: Caps = Caps()
    """A person is told above these."""

    stopped: bool = False
    """The kill switch: while it is on, nothing is sent to this offering."""

    stopped_because: str = ""
    """Why, for those who are stopped."""

    reasoning: bool = False
    """Whether reasoning may be asked for and kept; the terms must list it as output too."""

    scan: bool | None = None
    """Whether prompts are scanned for personal data; unstated means where the terms forbid it."""

    @model_validator(mode="after")
    def _soft_below_hard(self) -> Self:
        for unit in UNITS:
            soft, hard = getattr(self.soft, unit), getattr(self.hard, unit)
            if soft is not None and hard is not None and soft > hard:
                wrong = f"lies above hard.{unit} = {hard}"
                raise Fault(f"soft.{unit}", soft, wrong, "Warn at less than what stops.")
        return self


class Guardrails(Section):
    """The organisation's file."""

    organisation: str = ""
    """Whose rails these are; a project of another organisation is refused."""

    purposes: tuple[Purpose, ...] = ()
    """Purposes that projects may have; empty means any."""

    offerings: Mapping[str, OfferingRails] = Field(default_factory=dict)
    """The allow-list, with what is allowed of each; "*" stands for every other one."""

    stopped: bool = False
    """The kill switch for everything."""

    proxies: bool = True
    """Whether a project may send through a proxy; false refuses one that asks for it."""

    one_key_per_project: bool = True
    """Whether a key that serves one project is refused in another."""

    def of(self, offering: str) -> OfferingRails | None:
        """The rails of an offering; None where it is not on the list."""
        name = split_version(offering)[0]
        return self.offerings.get(name) or self.offerings.get("*")


class Asked(NamedTuple):
    """What somebody is about to do."""

    organisation: str
    offering: str
    model: str
    purpose: Purpose
    reasoning: bool = False
    proxy: bool = False


class Used(NamedTuple):
    """What was used of an offering on this day, this request included."""

    requests: int = 0
    tokens: int = 0
    usd: float = 0.0
    rows: int = 0


NO_RAILS = Guardrails(offerings={"*": OfferingRails(reasoning=True)})
"""An organisation that set none: the terms and the project's own words still hold."""


def read_guardrails(path: Path) -> Guardrails:
    """The organisation's rails. Raises BadInput naming file, key, value and fix."""
    return parse(Guardrails, load_toml(path), where=str(path))


def why_not(rails: Guardrails, asked: Asked, terms: Terms | None = None) -> str:
    """Why it is not allowed; empty where it is."""
    found = rails.of(asked.offering)
    if rails.stopped:
        return "everything is stopped by the organisation"
    if rails.organisation and asked.organisation != rails.organisation:
        whose = asked.organisation or "nobody named"
        return f"these guardrails are of {rails.organisation}, the project of {whose}"
    if found is None:
        listed = ", ".join(sorted(rails.offerings)) or "none"
        return f"{asked.offering} is not on the organisation's list: {listed}"
    if found.stopped:
        return f"{asked.offering} is stopped: {found.stopped_because or 'no reason was written'}"
    for purposes in (rails.purposes, found.purposes):
        if purposes and asked.purpose not in purposes:
            return f"purpose {asked.purpose} is not among those allowed: {', '.join(purposes)}"
    if found.models and not _any(asked.model, found.models):
        return f"model {asked.model} is not among those allowed: {', '.join(found.models)}"
    if asked.proxy and not rails.proxies:
        return "the organisation lets no project send through a proxy"
    if asked.reasoning:
        return _why_no_reasoning(found, terms)
    return ""


def _why_no_reasoning(found: OfferingRails, terms: Terms | None) -> str:
    if terms is None or "reasoning" not in terms.outputs:
        return "the terms do not list reasoning as output, so it is neither asked for nor kept"
    return "" if found.reasoning else "reasoning is off; the organisation has not turned it on"


def check_asked(rails: Guardrails, asked: Asked, terms: Terms | None = None) -> None:
    """Raise PolicyDenied where the rails do not allow it."""
    if reason := why_not(rails, asked, terms):
        raise PolicyDenied(
            reason,
            where=f"{FILE}, {asked.offering}",
            fix=f"Whoever keeps {FILE} changes it, or the project changes.",
        )


def over(caps: Caps, used: Used) -> str:
    """The first cap that is passed, in words; empty where none is."""
    amounts = (used.requests, used.tokens, used.usd, used.rows)
    for unit, amount in zip(UNITS, amounts, strict=True):
        cap = getattr(caps, unit)
        if cap is not None and amount > cap:
            return f"{unit} = {cap:g} would be passed: {amount:g}"
    return ""


def check_caps(rails: Guardrails, offering: str, used: Used) -> str:
    """The soft cap that is passed, for a warning. Raises BudgetReached above a hard one."""
    found = rails.of(offering)
    if found is None:
        return ""
    if reason := over(found.hard, used):
        raise BudgetReached(
            f"hard cap {reason}",
            where=f"{FILE}, {offering}",
            fix="Go on tomorrow, or let whoever keeps the file raise it.",
        )
    return over(found.soft, used)


def must_scan(rails: Guardrails, offering: str, terms: Terms | None) -> bool:
    """Whether prompts are scanned: as the rails say, else where the terms forbid sensitive data."""
    found = rails.of(offering)
    if found is not None and found.scan is not None:
        return found.scan or bool(terms and terms.forbids_sensitive)
    return terms is None or bool(terms.forbids_sensitive)


def check_prompt(text: str, offering: str, terms: Terms | None) -> None:
    """Raise PolicyDenied where a prompt holds what may not be sent; the value is not repeated."""
    found = sensitive(text)
    if not found:
        return
    clause = terms.forbids_sensitive if terms else ""
    cited = f" (clause {clause})" if clause else ""
    raise PolicyDenied(
        f"the prompt holds {_counted(found)}, which may not be sent{cited}",
        where=offering,
        fix="Take it out of the prompt; nothing was sent.",
    )


def _counted(found: list[Finding]) -> str:
    kinds: dict[str, int] = {}
    for each in found:
        kinds[each.kind] = kinds.get(each.kind, 0) + 1
    return ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))


def _any(model: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(model.lower(), pattern.lower()) for pattern in patterns)
