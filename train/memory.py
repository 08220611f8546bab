"""What a run will need of memory, found without the memory: the model runs on torch's meta device.

    needs = estimate(config, layers=15, training=training, rows=8, length=512)
    needs.total       # bytes

Activations are counted, not guessed: every tensor that autograd would keep for the backward pass
of the longest batch (`torch.autograd.graph.saved_tensors_hooks`). The meta device has only the
attention that keeps its whole matrix, so the count is an upper bound; on SmolLM2 with 4 rows of 256
tokens it is 1.27 times what the CPU keeps. What the head's tiles, the allocator and the libraries
take is not in it: there, the whole estimate is 3.90 GB and the process grew by 3.99 GB.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch.autograd.graph import saved_tensors_hooks

from train import tuning
from train.config import Student, Training
from train.quiet import quiet
from train.students import keep_layers

NUMBER = 4  # bytes: weights, gradients and moments are fp32
FOUR_BITS = 4.127 / 8  # NF4 with doubly quantised scales (arXiv 2305.14314, section 3)


class Needs(NamedTuple):
    """Bytes, by what holds them."""

    parameters: int
    trainable: int
    weights: int
    gradients: int
    moments: int
    activations: int
    teacher: int = 0

    @property
    def total(self) -> int:
        """All of them at once, as at the end of a forward pass."""
        return self.weights + self.gradients + self.moments + self.activations + self.teacher


def estimate(config: Any, student: Student, training: Training, rows: int, length: int) -> Needs:
    """What one process holds when it trains on `rows` rows of `length` tokens."""
    from transformers import AutoModelForCausalLM

    with quiet(), torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, attn_implementation="sdpa")
        if student.layers:
            keep_layers(model, student.layers)
        parameters, kept = model.num_parameters(), parameters_outside_linears(model)
        plain = training.model_copy(
            update={"tune": "lora" if training.tune == "qlora" else training.tune}
        )
        model = tuning.tune(model, plain)
    trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
    cut = parameters - kept if training.tune == "qlora" else 0
    beside = trainable if tuning.is_adapted(model) else 0
    return Needs(
        parameters,
        trainable,
        weights=round(cut * FOUR_BITS) + (parameters - cut + beside) * NUMBER,
        gradients=trainable * NUMBER,
        moments=trainable * NUMBER * 2,
        activations=_activations(model, training, rows, length),
    )


def parameters_outside_linears(model: Any) -> int:
    """Embeddings, norms and the head: what bitsandbytes leaves as it is."""
    head = model.get_output_embeddings()
    linears = (m for m in model.modules() if isinstance(m, torch.nn.Linear) and m is not head)
    return int(model.num_parameters()) - sum(linear.weight.numel() for linear in linears)


def _activations(model: Any, training: Training, rows: int, length: int) -> int:
    own = {weight.untyped_storage()._cdata for weight in model.parameters()}
    kept: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in own:
            kept[storage._cdata] = storage  # held, so that no other takes its number
        return tensor

    ids = torch.zeros((rows, length), dtype=torch.long, device="meta")
    with quiet(), saved_tensors_hooks(keep, lambda tensor: tensor):
        model.train()
        model.get_decoder()(input_ids=ids)
    whole = sum(int(storage.nbytes()) for storage in kept.values())
    if not training.gradient_checkpointing:
        return whole
    layers = int(model.config.num_hidden_layers)
    inputs = rows * length * int(model.config.hidden_size) * NUMBER * layers
    return min(whole, inputs + whole // layers)  # each layer's input, and one layer at a time
