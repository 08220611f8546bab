"""Bases: what is taken, what is refused, what is kept."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from policy.errors import BadInput
from tests.train.parts import build_model
from train.config import Student
from train.students import find_base, keep_layers, load, shape_of, untaught


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


def test_a_student_from_scratch_has_its_own_shape_and_the_base_s_tokenizer(
    base_dir: Path, tmp_path: Path
) -> None:
    shell = tmp_path / "shell"
    shutil.copytree(base_dir, shell, ignore=shutil.ignore_patterns("*.safetensors"))
    student = Student(base=str(shell), scratch={"hidden_size": 32, "num_hidden_layers": 3})
    base = find_base(str(shell), tmp_path, weights=False)
    one, tokenizer = untaught(base, student, seed=1)
    again, other = (untaught(base, student, seed=seed)[0] for seed in (1, 2))
    assert (one.config.hidden_size, len(one.model.layers)) == (32, 3)
    assert one.get_input_embeddings().num_embeddings >= len(tokenizer)
    weights = [next(model.parameters()) for model in (one, again, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_weights_that_are_not_there_are_wanted_unless_they_are_random(
    base_dir: Path, tmp_path: Path
) -> None:
    shell = tmp_path / "shell"
    shutil.copytree(base_dir, shell, ignore=shutil.ignore_patterns("*.safetensors"))
    with pytest.raises(BadInput, match=r"no \.safetensors"):
        find_base(str(shell), tmp_path)


@pytest.mark.parametrize(
    ("scratch", "said"),
    [
        ({"hiden_size": 32}, r"no whole number named 'hiden_size'.*'hidden_size'"),
        ({"hidden_size": 30, "num_attention_heads": 7}, "no causal language model"),
    ],
)
def test_a_shape_that_cannot_be_is_one_line(
    scratch: dict[str, int], said: str, base_dir: Path, tmp_path: Path
) -> None:
    student = Student(base=str(base_dir), scratch=scratch)
    with pytest.raises(BadInput, match=said):
        shape_of(find_base(str(base_dir), tmp_path), student)
