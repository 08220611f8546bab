"""Close a run directory: the card, then the manifest last.

seal(Path("runs/sft"), {"dataset": {...}, "student": {...}, ...})
reseal(Path("runs/sft"), evaluation)     # after it was judged
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from policy.manifest import check_files, describe_files, read_manifest, write_manifest
from train import card

WORK = "checkpoints/"  # removed once the manifest stands
LATER = {"evaluation.json", "evaluation.partial", "README.md", ".manifest.json.partial"}
"""What judging writes again: a kill in between leaves these ahead of the manifest, no more."""


def seal(folder: Path, data: Mapping[str, Any]) -> dict[str, Any]:
    """Write card and manifest, then drop the checkpoints; returns the manifest."""
    manifest = {"schema": 1, "kind": "run", "name": folder.name, **data}
    return _write(folder, manifest, None)


def reseal(folder: Path, evaluation: Mapping[str, Any]) -> dict[str, Any]:
    """Bring card and manifest up to date with an evaluation that was written beside them."""
    manifest = {**read_manifest(folder), "evaluation": evaluation["metrics"]}
    return _write(folder, manifest, evaluation)


def altered(folder: Path, manifest: Mapping[str, Any]) -> list[str]:
    """Names of what training wrote and is not as the manifest says."""
    return [name for name in check_files(folder, manifest) if name not in LATER]


def _write(
    folder: Path, manifest: dict[str, Any], evaluation: Mapping[str, Any] | None
) -> dict[str, Any]:
    text = folder / "README.md"
    text.write_text(card.render(manifest, evaluation), encoding="utf-8")
    for path in folder.iterdir():
        path.chmod(0o700 if path.is_dir() else 0o600)
    files = describe_files(folder)
    manifest["files"] = {name: entry for name, entry in files.items() if not name.startswith(WORK)}
    written = write_manifest(folder, manifest)
    shutil.rmtree(folder / WORK, ignore_errors=True)
    return written
