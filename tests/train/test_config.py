"""The sections of the project file that belong to this room."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel

from policy.config import parse
from policy.errors import BadInput
from train.config import Arm, Evaluation, Student, Training

SECTIONS = (Student, Training, Arm, Evaluation)


@pytest.mark.parametrize("section", SECTIONS)
def test_every_field_has_a_sentence(section: type[BaseModel]) -> None:
    assert [n for n, f in section.model_fields.items() if not f.description] == []


@pytest.mark.parametrize(
    ("section", "data", "line"),
    [
        (Training, {"learning_rte": 1}, "learning_rate"),
        (Training, {"objective": {"topk": 1.0}}, "objective"),
        (Training, {"objective": {}}, "objective"),
        (Training, {"objective": {"sft": 0.0}}, "objective"),
        (Training, {"batch_size": 0}, "batch_size"),
        (Training, {"tail_weight": 1.5}, "tail_weight"),
        (Training, {"jsd_beta": 1.0}, "jsd_beta"),
        (Training, {"skew": 0.0}, "skew"),
        (Training, {"objective": {"top_k": 1}, "kd_temperature": 2}, "holds the top few only"),
        (Evaluation, {"metric": "bleu"}, "metric"),
        (Arm, {}, "dataset"),
    ],
)
def test_what_cannot_be_used_is_one_line(
    section: type[BaseModel], data: dict[str, Any], line: str
) -> None:
    with pytest.raises(BadInput, match=line):
        parse(section, data, where="project.toml")


def test_an_arm_changes_the_objective_and_nothing_else() -> None:
    base = Training(objective={"top_k": 1.0, "sft": 0.5}, max_steps=60)
    arm = Arm(dataset="verified", objective={"sft": 1.0}).training(base)
    assert arm.objective == {"sft": 1.0}
    assert arm.model_copy(update={"objective": base.objective}) == base
    assert Arm(dataset="verified").training(base) == base
