"""Checkpoints that can be trusted: safetensors and JSON, with a manifest written last.

A run killed in the middle of a write leaves a folder whose manifest is missing or does not match;
`newest` steps back to the one before it.

    newest(Path("runs/sft/checkpoints"))      # .../checkpoint-150, or None
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from policy.errors import SpiritSafeError
from policy.manifest import check_files, describe_files, read_manifest, write_manifest

PREFIX = "checkpoint-"
OPTIMISER, STATE = "optimiser.safetensors", "optimiser.json"
RANDOM = "random-{}.safetensors"  # one a process


def newest(folder: Path) -> Path | None:
    """The latest checkpoint whose files are all as its manifest says."""
    return next((path for path in _latest_first(folder) if _valid(path)), None)


def step_of(checkpoint: Path | None) -> int:
    """`checkpoint-150` is 150; None is 0."""
    return int(checkpoint.name.removeprefix(PREFIX)) if checkpoint else 0


def seal(path: Path) -> None:
    """Write the manifest that makes a checkpoint count."""
    protect(path)
    write_manifest(path, {"schema": 1, "kind": "checkpoint", "files": describe_files(path)})


def prune(folder: Path, keep: Path | None) -> None:
    """Drop every checkpoint but one: called before the next is written, so two fit, not three."""
    for old in _latest_first(folder):
        if old != keep:
            shutil.rmtree(old)


def protect(path: Path) -> None:
    """Only the owner may read; and what the manifest will vouch for is on the disk."""
    for item in [path, *path.rglob("*")]:
        item.chmod(0o700 if item.is_dir() else 0o600)
        if item.is_file():
            with item.open("rb") as file:
                os.fsync(file.fileno())


def save_optimiser(path: Path, optimiser: Any, schedule: Any) -> None:
    """Moments and schedule; torch.save would pickle, and nothing here is pickled."""
    state = optimiser.state_dict()
    tensors = {
        f"{index}.{key}": value.contiguous()
        for index, values in state["state"].items()
        for key, value in values.items()
    }
    save_file(tensors, path / OPTIMISER)
    record = {"groups": state["param_groups"], "schedule": schedule.state_dict()}
    (path / STATE).write_text(json.dumps(record), encoding="utf-8")


def load_optimiser(path: Path, optimiser: Any, schedule: Any) -> None:
    """Put back what save_optimiser kept, to the bit."""
    record = json.loads((path / STATE).read_text(encoding="utf-8"))
    state: dict[int, dict[str, torch.Tensor]] = {}
    for name, tensor in load_file(path / OPTIMISER).items():
        index, _, key = name.partition(".")
        state.setdefault(int(index), {})[key] = tensor
    optimiser.load_state_dict({"state": state, "param_groups": record["groups"]})
    schedule.load_state_dict(record["schedule"])


def save_random(path: Path, rank: int) -> None:
    """The random state of one process: LoRA's dropout draws from it."""
    path.mkdir(parents=True, exist_ok=True)
    tensors = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        tensors["cuda"] = torch.cuda.get_rng_state()
    save_file(tensors, path / RANDOM.format(rank))


def load_random(path: Path, rank: int) -> None:
    """Random state as it was at the checkpoint; a process that was not there then has none."""
    file = path / RANDOM.format(rank)
    if not file.is_file():
        return
    tensors = load_file(file)
    torch.set_rng_state(tensors["cpu"])
    if "cuda" in tensors and torch.cuda.is_available():
        torch.cuda.set_rng_state(tensors["cuda"])


def _latest_first(folder: Path) -> list[Path]:
    found = [p for p in folder.glob(f"{PREFIX}*") if p.name.removeprefix(PREFIX).isdigit()]
    return sorted(found, key=step_of, reverse=True)


def _valid(path: Path) -> bool:
    try:
        return not check_files(path, read_manifest(path))
    except (SpiritSafeError, OSError, ValueError):
        return False
