"""Leave the blocking rows of a dataset out: a new dataset, with its own digest and a pointer back.

    target = drop_blocking(bench, folder)      # datasets/NAME.lawful

The dataset that was there stays as it is: what was collected is a fact.
"""

import os
import shutil
from pathlib import Path
from typing import Any

from policy.decide import join
from policy.errors import BadInput
from policy.manifest import describe_files, manifest_digest, read_manifest, write_manifest
from policy.permit import Action, Permit, require
from synth.bench import Bench
from synth.cards import dataset_card
from synth.formats import read_parquet, write_parquet
from synth.freeze import SPLITS
from synth.gates import Group, groups_of
from synth.rejected import REJECTED

SUFFIX = ".lawful"


def drop_blocking(bench: Bench, folder: Path) -> tuple[Path, list[Group]]:
    """(the directory without blocking rows, the groups that were left out).

    Raises BadInput if nothing would be left to train on.
    """
    groups = groups_of(bench, folder)
    dropped = [group for group in groups if group.blocks]
    kept = [group for group in groups if not group.blocks]
    if not dropped:
        return folder, []
    if not kept:
        raise BadInput(
            "every row is of a blocking group, so nothing would be left", where=str(folder)
        )
    permit = require(join([group.decision for group in kept]), Action.FREEZE)
    return _write(folder, {(group.offering, group.terms_pin) for group in dropped}, permit), dropped


def _write(folder: Path, dropped: set[tuple[str, str]], permit: Permit) -> Path:
    Permit.must_be(permit, Action.FREEZE)
    target = folder.with_name(folder.name + SUFFIX)
    partial = folder.with_name(f".{target.name}.{os.getpid()}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        counts = {}
        for split in [*SPLITS, REJECTED]:
            if split == REJECTED and not (folder / f"{split}.parquet").is_file():
                continue
            rows = [
                row
                for row in read_parquet(folder / f"{split}.parquet")
                if (row["offering"], row["terms_pin"]) not in dropped
            ]
            write_parquet(partial / f"{split}.parquet", rows)
            counts[split] = len(rows)
        manifest = _manifest(read_manifest(folder), target.name, dropped, permit)
        (partial / "README.md").write_text(dataset_card(manifest), encoding="utf-8")
        manifest.update({REJECTED: counts[REJECTED]} if REJECTED in counts else {})
        manifest["files"] = describe_files(partial)
        for split, count in counts.items():
            manifest["files"][f"{split}.parquet"]["rows"] = count
        return _put(partial, target, manifest)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _put(partial: Path, target: Path, manifest: dict[str, Any]) -> Path:
    """Rename into place, unless the very same is there already."""
    if target.exists():
        if read_manifest(target)["digest"] == manifest_digest(manifest):
            return target
        shutil.rmtree(target)
    write_manifest(partial, manifest)
    os.replace(partial, target)
    return target


def _manifest(
    source: dict[str, Any], name: str, dropped: set[tuple[str, str]], permit: Permit
) -> dict[str, Any]:
    return {
        **source,
        "name": name,
        "teachers": [
            teacher
            for teacher in source["teachers"]
            if (teacher["offering"], teacher["terms_pin"]) not in dropped
        ],
        "decided": permit.decision.model_dump(mode="json", exclude={"date"}),
        "obligations": list(permit.obligations),
        "derived_from": {"name": source["name"], "digest": source["digest"]},
        "left_out": sorted([offering, pin] for offering, pin in dropped),
        "files": {},
    }
