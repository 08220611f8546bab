"""A dry run: what it says holds for the run, and it leaves nothing behind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from torch.autograd.graph import saved_tensors_hooks

from policy.errors import BadInput, PolicyDenied
from policy.permit import Action, Permit
from tests.train.parts import build_model, permit
from tests.train.test_chunks import other_tokenizer
from train.config import Lora, Student, Training
from train.memory import estimate
from train.rehearsal import rehearse, shown
from train.run import train


def test_its_figures_are_those_of_the_run(
    dataset_dir: Path, student: Student, may_train: Permit, tmp_path: Path
) -> None:
    training = Training(
        tune="lora", lora=Lora(rank=4), epochs=0.5, batch_size=2, accumulate=2, threads=1
    )
    found = rehearse(dataset_dir, student, training, may_train, cache_dir=tmp_path)
    run = train(dataset_dir, student, training, may_train, tmp_path / "run", cache_dir=tmp_path)
    assert found.schedule.steps == run.manifest["training"]["steps"] == 4
    assert found.needs.parameters == run.manifest["student"]["parameters"]
    assert found.needs.trainable == run.manifest["student"]["trainable"]


def test_it_shows_the_example_with_its_mask_and_the_decision(
    dataset_dir: Path, student: Student, training: Training, may_train: Permit, tmp_path: Path
) -> None:
    found = rehearse(dataset_dir, student, training, may_train, cache_dir=tmp_path)
    console = Console(record=True, width=200, color_system="truecolor", force_terminal=True)
    console.print(shown(found))
    coloured = console.export_text(styles=True, clear=False)
    assert '\x1b[1;32m{"intent": "card_arrival"}<|im_end|>' in coloured
    plain = console.export_text()
    assert '<|im_start|>assistant\n⟦{"intent": "card_arrival"}<|im_end|>⟧' in plain
    assert "allowed by: smollm2@self-host, allow" in plain
    assert "Any use (Apache-2.0 2)" in plain
    assert "steps: 12 of 4 rows" in plain
    assert "objective: top_k 1, sft 0.5; sampled tail 0.1" in plain  # no fair sample is claimed


def test_it_writes_nothing_and_needs_the_permit(
    dataset_dir: Path, student: Student, training: Training, may_train: Permit, tmp_path: Path
) -> None:
    rehearse(dataset_dir, student, training, may_train, cache_dir=tmp_path)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(PolicyDenied):
        rehearse(dataset_dir, student, training, permit(Action.EVALUATE), cache_dir=tmp_path)


def test_a_local_teacher_is_counted_and_a_hosted_one_refused(
    dataset_dir: Path, student: Student, may_train: Permit, base_dir: Path, tmp_path: Path
) -> None:
    training = Training(
        objective={"on_policy": 1.0},
        teacher=str(base_dir),
        teacher_offering="smollm2@self-host",
        max_steps=2,
    )
    found = rehearse(dataset_dir, student, training, may_train, cache_dir=tmp_path)
    assert found.needs.teacher == (base_dir / "model.safetensors").stat().st_size
    hosted = training.model_copy(update={"teacher": "gpt-4.1"})
    with pytest.raises(BadInput, match="no hosted chat API"):
        rehearse(dataset_dir, student, hosted, may_train, cache_dir=tmp_path)


@pytest.mark.parametrize(
    ("cut", "changes", "said"),
    [
        ({"scratch": {"num_hidden_layers": 1}}, {"tune": "lora"}, "nothing to keep frozen"),
        ({"layers": 3}, {}, "the base has 2 layers"),
        ({}, {"k": 5}, "asks for 5 candidates and the dataset stores 4"),
        ({}, {"coverage_floor": 0.9}, r"below the floor of 90\.0%"),
        ({}, {"objective": {"alm": 1.0}}, "alm has nothing to learn from"),
        ({}, {"objective": {"dpo": 1.0}}, "holds no dropped answers"),
        ({}, {"tune": "lora", "lora": Lora(targets=("q_prog",))}, "no linear layer 'q_prog'"),
    ],
)
def test_it_refuses_in_the_words_of_the_run_and_neither_leaves_anything(
    cut: dict[str, Any], changes: dict[str, Any], said: str, dataset_dir: Path, student: Student,
    training: Training, may_train: Permit, tmp_path: Path,
) -> None:  # fmt: skip
    student, training = student.model_copy(update=cut), training.model_copy(update=changes)
    with pytest.raises(BadInput, match=said) as dry:
        rehearse(dataset_dir, student, training, may_train, cache_dir=tmp_path)
    with pytest.raises(BadInput) as wet:
        train(dataset_dir, student, training, may_train, tmp_path / "run", cache_dir=tmp_path)
    assert str(dry.value) == str(wet.value)
    assert list(tmp_path.iterdir()) == []


def test_a_teacher_of_other_tokens_is_refused_before_a_run_is_begun(
    dataset_dir: Path, student: Student, may_train: Permit, tmp_path: Path
) -> None:
    scorer = tmp_path / "scorer"
    build_model(len(other_tokenizer())).save_pretrained(scorer)
    other_tokenizer().save_pretrained(scorer)
    training = Training(
        objective={"on_policy": 1.0},
        teacher=str(scorer),
        teacher_offering="smollm2@self-host",
        max_steps=2,
    )
    with pytest.raises(BadInput, match="another tokenizer than the student"):
        rehearse(dataset_dir, student, training, may_train, cache_dir=tmp_path)
    with pytest.raises(BadInput, match="another tokenizer than the student"):
        train(dataset_dir, student, training, may_train, tmp_path / "run", cache_dir=tmp_path)
    assert not (tmp_path / "run").exists()


def kept_by(model: Any, rows: int, length: int) -> int:
    """Bytes that autograd really keeps on this machine."""
    own = {weight.untyped_storage().data_ptr() for weight in model.parameters()}
    kept: dict[int, Any] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage()
        return tensor

    with saved_tensors_hooks(keep, lambda tensor: tensor):
        model.get_decoder()(input_ids=torch.zeros((rows, length), dtype=torch.long))
    return sum(storage.nbytes() for place, storage in kept.items() if place not in own)


def test_activations_are_counted_within_a_half_and_never_short() -> None:
    model = build_model(400)
    found = estimate(model.config, Student(), Training(), rows=4, length=64)
    real = kept_by(model, 4, 64)
    assert real <= found.activations <= 1.5 * real
    assert found.weights == 4 * found.parameters == 4 * model.num_parameters()
    again = Training(gradient_checkpointing=True)
    assert estimate(model.config, Student(), again, 4, 64).activations < found.activations


def test_four_bits_hold_the_linear_layers_and_nothing_else() -> None:
    model = build_model(400)
    plain, small = (
        estimate(model.config, Student(), Training(tune=tune), 1, 8) for tune in ("lora", "qlora")
    )
    linear = sum(weight.numel() for name, weight in model.named_parameters() if "proj" in name)
    assert plain.weights - small.weights == pytest.approx(linear * (4 - 4.127 / 8), abs=1)
