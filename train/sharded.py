"""A student whose weights are cut over the processes (torch's fully_shard, accelerate's FSDP2).

Checkpoints and students are written whole, so they are safetensors like any other and a run may go
on with another number of processes. Every function is called by all processes together.

    weights = whole_weights(model)                 # on the leader; empty elsewhere
    moments = whole_moments(model, optimiser)
    put_weights(model, weights); put_moments(model, optimiser, moments)
"""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)
from torch.distributed.tensor import DTensor

from policy.errors import VerificationFailed

WHOLE = StateDictOptions(full_state_dict=True, cpu_offload=True)
FROM_LEADER = StateDictOptions(full_state_dict=True, broadcast_from_rank0=True, strict=False)


def is_sharded(model: Any) -> bool:
    """Whether each process holds a part of the weights."""
    return any(isinstance(weight, DTensor) for weight in model.parameters())


def local(weight: Tensor) -> Tensor:
    """The part of a weight that this process holds."""
    return weight.to_local() if isinstance(weight, DTensor) else weight


def whole_weights(model: Any) -> dict[str, Tensor]:
    """Every weight, gathered on the leader."""
    found: dict[str, Any] = get_model_state_dict(model, options=WHOLE)
    return found


def put_weights(model: Any, weights: dict[str, Tensor]) -> None:
    """Hand out what the leader read. A tied weight is in a file under one of its names alone."""
    handed: dict[str, Any] = dict(weights)  # torch puts its shards into what it is given
    missing = set_model_state_dict(model, handed, options=FROM_LEADER).missing_keys
    named = dict(model.named_parameters(remove_duplicate=False))
    given = {id(weight) for name, weight in named.items() if name not in missing}
    if lost := [name for name in missing if id(named.get(name)) not in given]:
        raise VerificationFailed(f"the checkpoint lacks {', '.join(lost)}")


def whole_moments(model: Any, optimiser: Any) -> dict[str, Any]:
    """AdamW's state by the names of the weights, gathered on the leader."""
    return dict(get_optimizer_state_dict(model, _plain(optimiser), options=WHOLE))


def put_moments(model: Any, optimiser: Any, state: dict[str, Any]) -> None:
    """Hand out what the leader read."""
    set_optimizer_state_dict(model, _plain(optimiser), state, options=FROM_LEADER)


def _plain(optimiser: Any) -> Any:
    """Without accelerate's wrapper."""
    return getattr(optimiser, "optimizer", optimiser)
