"""Before a dataset is used: decide again, group by group, with today's register.

    permit = dataset_permit(bench, folder, Action.TRAIN)     # PolicyDenied names the blocking rows

A dataset was lawful to collect on its day. Whether it may train today hangs on the terms then and
now, the stricter of both, and on what the project says that it is for, which may have changed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from policy.decide import Decision, join
from policy.errors import BadInput, PolicyDenied
from policy.manifest import read_manifest
from policy.own import is_own_server
from policy.permit import Action, Permit, require
from policy.rows import Origin, decide_then_and_now
from policy.terms import Level
from policy.use import Given
from synth.bench import Bench
from synth.checkpoints import checkpoint
from synth.takedown import refuse_unclean, states_at, states_of


@dataclass(frozen=True, slots=True)
class Group:
    """The rows of one teacher under one version of its terms."""

    offering: str
    terms_pin: str
    rows: int
    decision: Decision

    @property
    def blocks(self) -> bool:
        """Whether these rows may not be used as things stand."""
        return self.decision.level >= Level.NEEDS_ACK


def groups_of(bench: Bench, folder: Path, stage: str = "train", name: str = "") -> list[Group]:
    """Every group of a frozen dataset with today's decision on it."""
    teachers = read_manifest(folder).get("teachers")
    if not isinstance(teachers, list):
        raise BadInput("its manifest names no teachers", where=str(folder), fix="freeze it again")
    return [_group(bench, teacher, Given(stage=stage, name=name)) for teacher in teachers]


def _group(bench: Bench, teacher: dict[str, Any], given: Given) -> Group:
    """Every day and served model of the group is asked, then and now."""
    use, offering = bench.project.sections.use, str(teacher["offering"])
    # A server of one's own is named as one likes; the licence of its weights is what was declared.
    own = is_own_server(offering)
    served_models = [""] if own else teacher["served_models"] or [""]
    origins = [
        Origin(
            offering,
            date.fromisoformat(day),
            features=tuple(teacher.get("features", ())),
            requested="" if own else str(teacher["model"]),
            served=served,
        )
        for day in sorted(set(teacher["collected"]))
        for served in served_models
    ]
    decision = join(
        decide_then_and_now(
            use, bench.register, one, bench.today, records=bench.records, given=given
        )
        for one in origins
    )
    return Group(offering, str(teacher["terms_pin"]), int(teacher["rows"]), decision)


def _scoring(bench: Bench, offering: str, given: Given) -> Group:
    """A teacher that answers nothing, but whose probabilities teach: asked about as of today."""
    today = {"collected": [bench.today.isoformat()], "served_models": [], "model": ""}
    return _group(bench, {"offering": offering, "terms_pin": "", "rows": 0, **today}, given)


def dataset_permit(bench: Bench, folder: Path, action: Action, *, scored_by: str = "") -> Permit:
    """The permit for a use of a dataset, and of the weights that score its prompts, if any do.
    Raises PolicyDenied with every blocking group."""
    look_and_sign(bench, folder, action)
    groups = groups_of(bench, folder, str(action))
    if groups and scored_by:
        groups.append(_scoring(bench, scored_by, Given(stage=str(action))))
    if not groups:
        raise BadInput("it has no row of a teacher", where=str(folder), fix="freeze it again")
    joined = join([group.decision for group in groups])
    if blocking := [group for group in groups if group.blocks]:
        way = "; train --drop-blocking leaves them out" if all(g.rows for g in blocking) else ""
        raise PolicyDenied(
            f"{action} is denied by {_listed(blocking)}{way}",
            where=str(folder),
            fix=joined.fix,
            decision=joined,
        )
    return require(joined, action)


def look_and_sign(bench: Bench, folder: Path, action: Action) -> None:
    """Before a dataset or a run is used: sign the log, and refuse what a takedown reached.

    Without the ledger, on another machine, the states that were written beside it count.
    """
    home = bench.project.home
    states = states_at(home)
    if bench.project.ledger.exists():
        with bench.open() as ledger:
            states = states_of(ledger)
            checkpoint(ledger, home)
    refuse_unclean(states, folder, str(action))


def _listed(blocking: Sequence[Group]) -> str:
    return "; ".join(
        f"{f'{group.rows} rows' if group.rows else 'the weights'} of {group.offering}"
        f" ({group.decision.level.name},"
        f" {group.decision.reasons[0].clause or group.decision.reasons[0].code})"
        for group in blocking
    )
