"""A model that answers with scores: every architecture's own scaling, LoRA, refusals."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import (
    CohereConfig,
    CohereForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    GraniteConfig,
    GraniteForCausalLM,
    PhiConfig,
    PhiForCausalLM,
)

from policy.errors import BadInput
from tests.train.parts import build_model
from train.scoring import add_scoring, ask

SMALL: dict[str, Any] = {
    "vocab_size": 60,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
FAMILIES = {
    "llama": lambda: build_model(60),
    "softcap": lambda: Gemma2ForCausalLM(
        Gemma2Config(**SMALL, head_dim=8, final_logit_softcapping=0.5)
    ),
    "scaled": lambda: CohereForCausalLM(CohereConfig(**SMALL, logit_scale=0.3)),
    "divided": lambda: GraniteForCausalLM(GraniteConfig(**SMALL, logits_scaling=4.0)),
    "bias": lambda: PhiForCausalLM(PhiConfig(**SMALL)),
    "gpt2": lambda: GPT2LMHeadModel(
        GPT2Config(vocab_size=60, n_embd=16, n_layer=1, n_head=2, bos_token_id=1, eos_token_id=2)
    ),
}


def asked(model: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Normalised log-probabilities of three tokens by the kernel, and by the model's own logits."""
    ids = torch.arange(5, 13)[None]
    trained = torch.tensor([[False, False, True, True, False, True, False, True]])
    wanted = torch.tensor([[3, 7, 50]]).repeat(4, 1)
    scores = ask(model, trained, wanted, input_ids=ids, attention_mask=torch.ones_like(ids))
    total = torch.logaddexp(scores.chosen.logsumexp(-1), scores.rest)
    whole = model(input_ids=ids).logits[trained].log_softmax(-1)
    return scores.chosen - total[:, None], whole.gather(-1, wanted)


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_the_scores_are_those_of_the_models_own_logits(family: str) -> None:
    torch.manual_seed(0)
    model = FAMILIES[family]().eval()
    for each in model.parameters():
        each.data.add_(torch.randn_like(each) * 0.1)
    add_scoring(model)
    torch.testing.assert_close(*asked(model), atol=1e-5, rtol=1e-5)


def test_lora_layers_are_passed_through_and_learn() -> None:
    model = get_peft_model(build_model(60), LoraConfig(target_modules=["q_proj"], r=2))
    add_scoring(model)
    add_scoring(model)
    ours, theirs = asked(model)
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
    ours.sum().backward()  # type: ignore[no-untyped-call]
    learned = [p for p in model.parameters() if p.requires_grad and p.grad is not None]
    assert learned
    assert all(p.grad is None for p in model.parameters() if not p.requires_grad)


def test_a_head_that_is_no_plain_layer_is_refused() -> None:
    untied = PhiForCausalLM(PhiConfig(**SMALL))
    model = get_peft_model(untied, LoraConfig(target_modules=["lm_head"], r=2))
    with pytest.raises(BadInput, match="lm_head out of LoRA's targets"):
        add_scoring(model)


def test_a_model_still_writes() -> None:
    model = build_model(60)
    add_scoring(model)
    ids = torch.tensor([[5, 6]])
    written = model.generate(
        ids, attention_mask=torch.ones_like(ids), max_new_tokens=3, do_sample=False
    )
    assert written.shape[1] >= 3
