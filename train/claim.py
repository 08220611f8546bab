"""A run directory belongs to the inputs that it was begun with.

finished(out_dir, inputs)      # the manifest of a whole run, None where there is none yet
refuse_other(out_dir, inputs)  # a run of another dataset or configuration was begun here
claim(out_dir, inputs)
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from policy.errors import BadInput, VerificationFailed
from policy.files import write_whole
from policy.manifest import read_manifest
from train import processes
from train.receipt import altered

RECORD = "checkpoints/inputs.json"


def finished(out_dir: Path, inputs: dict[str, Any]) -> dict[str, Any] | None:
    """The manifest of the run that is already there, if it is whole and came from these inputs."""
    if not (out_dir / "manifest.json").is_file():
        return None
    manifest = read_manifest(out_dir)
    _refuse_difference(out_dir, manifest.get("inputs", {}), inputs)
    if processes.leads():
        shutil.rmtree(out_dir / "checkpoints", ignore_errors=True)  # killed while it tidied up
    if names := altered(out_dir, manifest):
        raise VerificationFailed(
            f"{', '.join(names)} is not as the manifest says",
            where=str(out_dir),
            fix="Delete the directory to train again.",
        )
    return manifest


def refuse_other(out_dir: Path, inputs: dict[str, Any]) -> None:
    """Raises BadInput where a run of other inputs was begun here."""
    record = out_dir / RECORD
    if record.is_file():
        _refuse_difference(out_dir, json.loads(record.read_text(encoding="utf-8")), inputs)


def claim(out_dir: Path, inputs: dict[str, Any]) -> None:
    """Begin a run here, once nothing but the training itself can fail; or go on with it."""
    with processes.leader_first():
        record = out_dir / RECORD
        if not processes.leads() or record.is_file():
            return
        record.parent.mkdir(parents=True, exist_ok=True)
        out_dir.chmod(0o700)
        write_whole(record, json.dumps(inputs).encode())


def _refuse_difference(out_dir: Path, before: dict[str, Any], now: dict[str, Any]) -> None:
    """One line that names what changed."""
    old, new = dict(_flat(before)), dict(_flat(now))
    changed = [
        f"{key} was {old.get(key, 'unset')} and is {new.get(key, 'unset')}"
        for key in sorted(old.keys() | new.keys())
        if old.get(key) != new.get(key)
    ]
    if changed:
        raise BadInput(
            f"was begun with other inputs: {'; '.join(changed)}",
            where=str(out_dir),
            fix="Give the run another name, or delete this directory.",
        )


def _flat(value: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, item in value.items():
        if isinstance(item, dict):
            yield from _flat(item, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", item
