"""LoRA beside frozen weights: what is trained, what is left, what is refused."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from policy.errors import BadInput
from policy.permit import Permit
from tests.train.parts import build_model
from train.config import Lora, Student, Training
from train.devices import settle
from train.run import Run, train
from train.students import find_base, untaught
from train.tuning import merge, save_adapter, tune

SHORT = Training(tune="lora", lora=Lora(rank=4), max_steps=4, batch_size=4, threads=1)


@pytest.fixture(scope="module")
def run(
    dataset_dir: Path, base_dir: Path, may_train: Permit, tmp_path_factory: pytest.TempPathFactory
) -> Run:
    folder = tmp_path_factory.mktemp("lora")
    student = Student(base=str(base_dir))
    return train(dataset_dir, student, SHORT, may_train, folder / "run", cache_dir=folder / "cache")


def test_the_student_is_a_plain_model_with_the_updates_in_its_weights(
    run: Run, base_dir: Path
) -> None:
    from peft import PeftModel

    names = load_file(run.student / "model.safetensors").keys()
    assert not [name for name in names if "lora" in name or "base_model" in name]
    plain = AutoModelForCausalLM.from_pretrained(run.student)
    base = AutoModelForCausalLM.from_pretrained(base_dir)
    ids = torch.tensor([[5, 6, 7, 8]])
    with torch.no_grad():
        start = base(ids).logits  # before peft puts its layers into this very model
        updated = PeftModel.from_pretrained(base, run.path / "adapter")(ids).logits
        assert torch.allclose(plain(ids).logits, updated, atol=1e-5)
        assert not torch.allclose(plain(ids).logits, start, atol=1e-3)


def test_the_receipt_counts_what_was_trained_and_covers_the_updates(run: Run) -> None:
    student = run.manifest["student"]
    assert 0 < student["trainable"] < student["parameters"] / 5
    assert "adapter/adapter_model.safetensors" in run.manifest["files"]
    assert "adapter/README.md" not in run.manifest["files"]


def test_the_updates_name_no_path_of_this_machine(run: Run, base_dir: Path) -> None:
    assert str(base_dir.parent) not in (run.path / "adapter" / "adapter_config.json").read_text()


def test_the_same_seed_starts_the_same_updates() -> None:
    def start(seed: int) -> torch.Tensor:
        torch.manual_seed(seed * 7)  # whatever was drawn before
        model = tune(build_model(300), SHORT.model_copy(update={"seed": seed}))
        return next(p for n, p in model.named_parameters() if "lora_A" in n).detach()

    assert torch.equal(start(1), start(1))
    assert not torch.equal(start(1), start(2))


@pytest.mark.parametrize("name", ["lm_head", "q_prog"])
def test_a_layer_that_cannot_be_updated_is_refused_with_those_that_can(name: str) -> None:
    wrong = SHORT.model_copy(update={"lora": Lora(targets=(name,))})
    with pytest.raises(BadInput, match=rf"{name}.*q_proj"):
        tune(build_model(300), wrong)


def test_checkpointed_activations_leave_the_weights_as_they_are(
    dataset_dir: Path, base_dir: Path, may_train: Permit, tmp_path: Path, run: Run
) -> None:
    again = SHORT.model_copy(update={"gradient_checkpointing": True})
    other = train(
        dataset_dir, Student(base=str(base_dir)), again, may_train, tmp_path / "run",
        cache_dir=tmp_path,
    )  # fmt: skip
    first, second = (load_file(r.student / "model.safetensors") for r in (run, other))
    assert all(torch.allclose(first[name], second[name], atol=1e-6) for name in first)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"device": "cuda"}, r'device = "cuda": this machine has no GPU.*device = "auto"'),
        ({"precision": "bf16"}, r'precision = "bf16": there is no GPU here.*precision = "auto"'),
        ({"tune": "qlora"}, r'tune = "qlora": needs a GPU.*tune = "lora"'),
    ],
)
def test_a_gpu_config_on_a_cpu_box_is_one_line_and_leaves_nothing(
    changes: dict[str, Any], said: str, dataset_dir: Path, base_dir: Path, may_train: Permit,
    tmp_path: Path,
) -> None:  # fmt: skip
    with pytest.raises(BadInput, match=said):
        train(
            dataset_dir, Student(base=str(base_dir)), SHORT.model_copy(update=changes), may_train,
            tmp_path / "run", cache_dir=tmp_path,
        )  # fmt: skip
    assert not (tmp_path / "run").exists()


def test_bf16_on_a_cpu_is_had_by_asking_for_the_cpu() -> None:
    asked = Training(device="cpu", precision="bf16")
    assert settle(asked) == (False, True)
    assert settle(Training(device="cpu")) == (False, False)


@pytest.mark.skipif(not find_spec("bitsandbytes"), reason="bitsandbytes is optional")
def test_updates_learned_beside_four_bits_end_in_the_whole_weights(
    base_dir: Path, tmp_path: Path
) -> None:
    """On a CPU, which `settle` refuses for its slowness; the way is the same."""
    base = find_base(str(base_dir), tmp_path)
    quantised = SHORT.model_copy(update={"tune": "qlora"})
    model = tune(untaught(base, Student(), 0, four_bits=True)[0], quantised)
    ids = torch.tensor([[5, 6, 7, 8]])
    model(input_ids=ids, labels=ids).loss.backward()
    for name, weight in model.named_parameters():
        if weight.requires_grad:
            weight.data.add_(0.05 if "lora_B" in name else 0.0)
    save_adapter(model, tmp_path / "adapter", "base")
    whole = merge(model, tmp_path / "adapter", lambda: untaught(base, Student(), 0)[0], quantised)
    name = "model.layers.0.self_attn.q_proj"
    layer = model.get_submodule(f"base_model.model.{name}")
    update = layer.get_delta_weight("default")
    start = load_file(base_dir / "model.safetensors")[f"{name}.weight"]
    assert whole.get_submodule(name).weight.dtype == torch.float32
    torch.testing.assert_close(whole.get_submodule(name).weight.data, start + update.data)
