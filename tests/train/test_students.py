"""Bases: what is taken, what is refused, what is kept."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from policy.errors import BadInput
from tests.train.parts import build_model
from train.students import find_base, keep_layers, load


def test_a_directory_is_named_by_the_digest_of_its_files(base_dir: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(base_dir, tmp_path / "copy"))
    assert find_base(str(copy), tmp_path).digest == find_base(str(base_dir), tmp_path).digest
    (copy / "config.json").write_text((copy / "config.json").read_text() + " ")
    assert find_base(str(copy), tmp_path).digest != find_base(str(base_dir), tmp_path).digest


def test_pickled_weights_are_not_read(base_dir: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(base_dir, tmp_path / "copy"))
    (copy / "model.safetensors").rename(copy / "pytorch_model.bin")
    with pytest.raises(BadInput, match=r"no \.safetensors"):
        find_base(str(copy), tmp_path)


@pytest.mark.parametrize("name", ["no-such-model", "absent.gguf", "HuggingFaceTB/SmolLM2-135M"])
def test_a_base_that_is_not_there_is_one_line(name: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no such base"):
        find_base(name, tmp_path)


def test_a_directory_that_is_no_model_is_one_line(base_dir: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(base_dir, tmp_path / "copy"))
    (copy / "config.json").write_text('{"model_type": "no such kind"}')
    with pytest.raises(BadInput, match="no causal language model"):
        load(find_base(str(copy), tmp_path))


def test_a_cut_keeps_the_first_the_last_and_even_steps_between() -> None:
    model = build_model(300, layers=7)
    kept = [model.model.layers[n] for n in (0, 3, 6)]
    keep_layers(model, 3)
    assert list(model.model.layers) == kept
    assert model.config.num_hidden_layers == 3
    ids = torch.tensor([[5, 6, 7, 8]])
    cached = model.generate(ids, max_new_tokens=4, do_sample=False)
    plain = model.generate(ids, max_new_tokens=4, do_sample=False, use_cache=False)
    assert cached.tolist() == plain.tolist()


def test_more_layers_than_there_are_is_refused() -> None:
    with pytest.raises(BadInput, match="has 2 layers"):
        keep_layers(build_model(300), 3)
