"""One run in many processes: torchrun starts the same command several times, and one of them leads.

The leader alone writes. Every function here does nothing special in a single process.

    torchrun --nproc_per_node 2 -m synth train project.toml
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple

import torch.distributed as dist

from policy.errors import BadInput


def join(*, cpu: bool) -> None:
    """Meet the other processes, where a launcher started several (gloo on CPU, NCCL on GPUs)."""
    if dist.is_available() and dist.is_torchelastic_launched() and not dist.is_initialized():
        from accelerate import PartialState

        PartialState(cpu=cpu)


def world() -> int:
    """How many processes take part."""
    return dist.get_world_size() if _joined() else 1


def rank() -> int:
    """The number of this process; 0 leads."""
    return dist.get_rank() if _joined() else 0


def leads() -> bool:
    """Whether this process is the one that writes."""
    return rank() == 0


def wait() -> None:
    """Go on when every process is here."""
    if _joined():
        dist.barrier()


@contextmanager
def leader_first() -> Iterator[None]:
    """The leader runs the block before the others do: what it leaves on disk is there for them."""
    if not leads():
        wait()
    yield
    if leads():
        wait()


def total(sums: Mapping[str, float]) -> Counter[str]:
    """The same sums over all processes."""
    if not _joined():
        return Counter(sums)
    found: list[Mapping[str, float]] = [{}] * world()
    dist.all_gather_object(found, dict(sums))
    added = Counter[str]()
    for one in found:
        added.update(one)
    return added


class Share(NamedTuple):
    """What one process does of each optimiser step."""

    batch_size: int
    accumulate: int


def share(batch_size: int, accumulate: int, count: int) -> Share:
    """Split a step's rows so that each of `count` processes has as many; their number stays what
    was asked."""
    if accumulate % count == 0:
        return Share(batch_size, accumulate // count)
    if batch_size % count == 0:
        return Share(batch_size // count, accumulate)
    raise BadInput(
        f"{count} processes cannot share {batch_size} rows in {accumulate} passes evenly",
        where="[training] batch_size, accumulate",
        fix=f"Make one of them a multiple of {count}.",
    )


def _joined() -> bool:
    return dist.is_available() and dist.is_initialized()
