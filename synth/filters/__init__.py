"""Quality filters: plain functions in one dict. Each looks at all completions and says, for each,
keep, or drop with the reason.

    FILTERS["finish"](candidates, settings) -> [Verdict(...), ...]

A filter of one's own is named in the project file as "module:function" with the same signature.
Verdicts are rows of the ledger: changing a filter costs no request, and what was dropped, and why,
can be looked up for ever.
"""

import importlib
from collections.abc import Callable, Sequence

from policy.errors import BadInput
from synth.config import Filters
from synth.filters.content import fmt, reasoning, refusal, verify
from synth.filters.group import agreement, duplicate
from synth.filters.record import Candidate, Verdict
from synth.filters.reply import answered, finish, served

Filter = Callable[[Sequence[Candidate], Filters], list[Verdict]]

FILTERS: dict[str, Filter] = {
    "answered": answered,
    "served": served,
    "finish": finish,
    "refusal": refusal,
    "format": fmt,
    "reasoning": reasoning,
    "verify": verify,
    "agreement": agreement,
    "duplicate": duplicate,
}

ROWWISE = ("answered", "served", "finish", "refusal", "format", "reasoning", "verify")
"""Filters whose verdict on a completion depends on nothing else: they also run live."""


def resolve(name: str, settings: Filters) -> Filter:
    """The filter of that name. Raises BadInput naming the ones that exist."""
    if name in FILTERS:
        return FILTERS[name]
    target = settings.custom.get(name, "")
    module, _, function = target.partition(":")
    if not function:
        raise BadInput(
            f"no filter {name!r}",
            where="[dataset] require",
            fix=f"use one of {', '.join(FILTERS)}, or name yours in [filters.custom]",
        )
    try:
        found: Filter = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise BadInput(
            f"cannot load {target!r}: {error}",
            where=f"[filters.custom] {name}",
            fix='write "module:function" of something that is importable here',
        ) from None
    return found


__all__ = ["FILTERS", "ROWWISE", "Candidate", "Filter", "Verdict", "resolve"]
