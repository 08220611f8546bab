"""A causal language model that answers with scores of a few tokens instead of all its logits.

The model's own forward is given a second way in, as TRL's fused head does, so that whatever
wraps the model (DDP, FSDP, LoRA, autocast) sees an ordinary forward pass and its hooks run.

    add_scoring(model)
    scores = ask(model, trained, ids, input_ids=..., attention_mask=...)    # train.kernel.Scores
"""

from __future__ import annotations

import functools
import types
from typing import Any

from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from policy.errors import BadInput
from train.kernel import Head, Scores, support_scores

MARK = "_answers_with_scores"


def add_scoring(model: Any) -> None:
    """Let `model(support=ids, trained=mask, ...)` return scores; a second call changes nothing."""
    causal = model.get_base_model() if hasattr(model, "get_base_model") else model
    if getattr(causal, MARK, False):
        return
    head_of(causal)  # refused now rather than at the first step
    plain = causal.forward

    @functools.wraps(type(causal).forward)  # `generate` looks at the signature
    def forward(
        self: Any, *args: Any, support: Any = None, trained: Any = None, **rest: Any
    ) -> Any:
        if support is None:
            return plain(*args, **rest)
        hidden = self.base_model(*args, **{**rest, "use_cache": False}).last_hidden_state
        return tuple(support_scores(hidden[trained], head_of(self), support))

    causal.forward = types.MethodType(forward, causal)
    setattr(causal, MARK, True)


def ask(model: Any, trained: Tensor, ids: Tensor, **inputs: Any) -> Scores:
    """Scores of `ids` [N, M] for the token after each of the N positions that `trained` marks."""
    return Scores(*model(support=ids, trained=trained, **inputs))


def head_of(model: Any) -> Head:
    """The last layer with the scaling that this architecture does to its logits."""
    layer = model.get_output_embeddings()
    if type(layer) is not nn.Linear or not layer.weight.numel():
        raise BadInput(
            f"the student's head is a {type(layer).__name__} without plain weights of its own",
            fix="Leave lm_head out of LoRA's targets and out of quantisation; use ZeRO 2, not 3.",
        )
    weight, bias = _whole(layer.weight), None if layer.bias is None else _whole(layer.bias)
    config = model.config.get_text_config()
    return Head(weight, bias, _scale(config), getattr(config, "final_logit_softcapping", None))


def _whole(parameter: Tensor) -> Tensor:
    """FSDP2 leaves each process a shard of it."""
    return parameter.full_tensor() if isinstance(parameter, DTensor) else parameter


def _scale(config: Any) -> float:
    """What the logits are multiplied by: each architecture has its own word for it."""
    for name in ("logit_scale", "output_multiplier", "lm_head_multiplier"):
        if (found := getattr(config, name, None)) is not None:
            return float(found)
    divisor = getattr(config, "logits_scaling", None)
    if divisor is None:
        return 1.0
    return float(divisor) if config.model_type == "hyperclovax" else 1 / float(divisor)
