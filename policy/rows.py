"""Many rows, few questions: group what was collected alike, decide each group once, join.

    judged = decide_rows(use, register, origins, today)
    judged.decision.level, [(group.origin.offering, group.rows) for group in judged.blocking]
    judged.without_blocking().decision

Terms at collection and terms now both bind, and the stricter counts: a later text may bind the
continuing use of what was collected before it.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from typing import NamedTuple

from policy.clauses import Level
from policy.decide import Decision, decide_offering, join
from policy.errors import BadInput
from policy.records import Record
from policy.terms import Register
from policy.use import NOTHING_GIVEN, Given, Use


class Origin(NamedTuple):
    """Where a row comes from: all that its terms may depend on."""

    offering: str
    collected: date
    features: tuple[str, ...] = ()
    modality: str = ""
    requested: str = ""
    served: str = ""


class Group(NamedTuple):
    """Rows of one origin, and what may be done with them."""

    origin: Origin
    rows: int
    decision: Decision

    @property
    def blocks(self) -> bool:
        """Whether these rows hold up the whole."""
        return self.decision.level >= Level.NEEDS_ACK


@dataclass(frozen=True)
class Judgement:
    """The groups of a set of rows, and the decision over all of them."""

    groups: tuple[Group, ...]

    @cached_property
    def decision(self) -> Decision:
        """All of them together. Raises BadInput where there is no row."""
        return join(group.decision for group in self.groups)

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return sum(group.rows for group in self.groups)

    @property
    def blocking(self) -> tuple[Group, ...]:
        """The groups that hold up the whole, the largest first."""
        return tuple(
            sorted((group for group in self.groups if group.blocks), key=lambda each: -each.rows)
        )

    def without_blocking(self) -> "Judgement":
        """The same without the rows that hold up the whole."""
        return Judgement(tuple(group for group in self.groups if not group.blocks))


def decide_rows(
    use: Use,
    register: Register,
    rows: Iterable[Origin] | Counter[Origin],
    today: date,
    *,
    records: Sequence[Record] = (),
    given: Given = NOTHING_GIVEN,
) -> Judgement:
    """Group rows by origin and decide each group once; `given` holds the stage and the name."""
    counts = rows if isinstance(rows, Counter) else Counter(rows)
    if not counts:
        raise BadInput("there is no row to decide", fix="Collect some first.")
    return Judgement(
        tuple(
            Group(
                origin,
                count,
                decide_then_and_now(use, register, origin, today, records=records, given=given),
            )
            for origin, count in sorted(counts.items())
        )
    )


def decide_then_and_now(
    use: Use,
    register: Register,
    origin: Origin,
    today: date,
    *,
    records: Sequence[Record] = (),
    given: Given = NOTHING_GIVEN,
) -> Decision:
    """The stricter of the terms at collection and the terms now."""
    row = given._replace(
        features=origin.features,
        modality=origin.modality,
        requested=origin.requested,
        served=origin.served,
    )
    return join(
        decide_offering(
            use,
            register,
            origin.offering,
            today,
            in_force=day,
            collected=origin.collected,
            given=row,
            records=records,
        )
        for day in sorted({origin.collected, today})
    )
