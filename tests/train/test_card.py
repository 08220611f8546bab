"""The card says what the receipt says."""

from __future__ import annotations

import json
from typing import Any

import pytest

from train.card import render

MANIFEST: dict[str, Any] = {
    "name": "sft",
    "dataset": {"name": "verified", "digest": "sha256:aa"},
    "data": {
        "teachers": [
            {
                "offering": "smollm2@self-host",
                "model": "smollm2",
                "rows": 30,
                "terms_pin": "sha256:bb",
            }
        ],
        "sampling": {"temperature": 1.0},
        "quantisation": "served as Q4_1",
    },
    "student": {
        "base": "smollm2",
        "base_digest": "sha256:cc",
        "layers": 30,
        "license": "apache-2.0",
        "origin": "HuggingFaceTB/SmolLM2-135M-Instruct",
        "parameters": 134515008,
        "trainable": 134515008,
        "quantisation": "weights dequantised from Q4_1 to fp32",
    },
    "training": {
        "objective": {"top_k": 1.0, "sft": 0.5},
        "steps": 60,
        "batch_size": 8,
        "accumulate": 1,
        "learning_rate": 5e-4,
        "seed": 0,
        "counts": {
            "examples": 30,
            "positions": 300,
            "signal_positions": 290,
            "unaligned_positions": 10,
            "too_long": 2,
        },
    },
    "decision": {
        "date": "2026-11-24",
        "purpose": "train_specialist_generative",
        "distribution": "internal",
        "level": "ALLOW",
        "reasons": [{"text": "Any use", "document": "Apache-2.0", "clause": "2"}],
    },
    "obligations": ["keep_the_notice"],
    "as_teacher": "student-of(smollm2@self-host)",
    "metrics": {"loss": 0.25, "validation_loss": 0.5},
}
EVALUATION: dict[str, Any] = {
    "rows": 80,
    "metrics": {"exact_match": {"value": 0.75, "low": 0.65, "high": 0.84}, "prompt_tokens": 41.5},
}


@pytest.mark.parametrize(
    "said",
    [
        'license: "apache-2.0"',
        'base_model: "HuggingFaceTB/SmolLM2-135M-Instruct"',
        'tags: ["synthetic", "distillation"]',
        "sha256:aa",
        "sha256:bb",
        "sha256:cc",
        "smollm2@self-host",
        "train_specialist_generative",
        "Any use (Apache-2.0, 2)",
        "`keep_the_notice`",
        "the offering `student-of(smollm2@self-host)`",
        "1.0 · top_k + 0.5 · sft",
        "290 of them with the teacher's probabilities",
        "Left out: 2 rows (longer than max_length)",
        "served as Q4_1",
        "dequantised from Q4_1",
        "10 tokens of rows",
        "Validation loss 0.5000",
    ],
)
def test_it_says(said: str) -> None:
    assert said in render(MANIFEST, None)


def test_figures_come_with_their_interval() -> None:
    text = render(MANIFEST, EVALUATION)
    assert "| exact match | 0.750 | 0.650 to 0.840 |" in text
    assert "| mean prompt tokens | 41.5 | |" in text
    assert "Held-out" not in render(MANIFEST, None)


def test_nothing_can_be_injected_into_the_front_matter() -> None:
    name = 'x"\nlicense: mit\n---'
    student = {**MANIFEST["student"], "origin": name}
    text = render({**MANIFEST, "student": student}, None)
    assert f"base_model: {json.dumps(name)}" in text.split("\n---\n")[0]


def test_a_base_of_unknown_licence_is_other() -> None:
    student = {**MANIFEST["student"], "license": "", "origin": ""}
    assert 'license: "other"' in render({**MANIFEST, "student": student}, None)
