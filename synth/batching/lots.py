"""Which requests go into the next batch: as many as the provider, the budget and the rails let.

lot = take(queue, room, size_of, reserve_of, admit)
"""

from collections.abc import Callable
from typing import NamedTuple, Protocol

from policy.errors import BadInput, BudgetReached
from synth.pricing import dollars
from synth.wire import Call


class Queue(Protocol):
    """Requests in their order."""

    def __bool__(self) -> bool: ...

    def first(self) -> Call:
        """The next one; it stays."""

    def popleft(self) -> Call:
        """The next one."""


class Room(NamedTuple):
    """What one batch may hold."""

    requests: int
    size: int
    nano: int | None
    """Money that is left; None where there is no cap."""


class Lot(NamedTuple):
    """The requests of one batch, with their reserves."""

    calls: list[Call]
    reserves: list[int]
    full: BudgetReached | None = None
    """What kept the next one out, where it was money or a cap of the organisation."""


def take(
    queue: Queue,
    room: Room,
    size_of: Callable[[Call], int],
    reserve_of: Callable[[Call], int],
    admit: Callable[[Call, int], None],
) -> Lot:
    """Move calls from the queue into a lot, in their order. `admit` raises BudgetReached where the
    organisation's caps are met."""
    calls: list[Call] = []
    reserves: list[int] = []
    size = nano = 0
    while queue and len(calls) < room.requests:
        call = queue.first()
        size += size_of(call) + 1
        if size > room.size:
            if not calls:
                raise BadInput(
                    f"the request of prompt {call.prompt_id} has {size:,} bytes, and a batch of"
                    f" this provider takes {room.size:,}",
                    where="[limits] batch",
                    fix="shorten it, or collect without batch",
                )
            break
        reserve = reserve_of(call)
        nano += reserve
        if room.nano is not None and nano > room.nano:
            return Lot(calls, reserves, _too_dear(reserve, nano - reserve, room.nano))
        try:
            admit(call, reserve)
        except BudgetReached as error:
            return Lot(calls, reserves, error)
        calls.append(queue.popleft())
        reserves.append(reserve)
    return Lot(calls, reserves)


def _too_dear(reserve: int, before: int, left: int) -> BudgetReached:
    return BudgetReached(
        f"the next request may cost {dollars(reserve)}, and {dollars(max(0, left - before))} of the"
        " budget are neither spent nor reserved",
        where="[limits] budget_usd",
        fix="raise it to go on; what was collected is kept",
    )
