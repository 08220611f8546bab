"""The receipt of a directory: what is in it, from what it was made, and its one digest.

The manifest is written last, so a directory without one is unfinished. Its digest does not cover
when it was made, so the same inputs give the same digest on any day and any machine.

    data = {"schema": 1, "kind": "dataset", "name": "demo", "files": describe_files(folder)}
    write_manifest(folder, data)
    check_files(folder, read_manifest(folder))      # [] : nothing altered, missing or extra
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from policy.digest import PREFIX, digest, file_digest
from policy.errors import BadInput
from policy.files import write_whole

MANIFEST = "manifest.json"
UNCOVERED = ("digest", "created", "checkpoint")


class Fault(NamedTuple):
    """A file that is not what the manifest says."""

    name: str
    problem: str


def manifest_digest(data: Mapping[str, Any]) -> str:
    """The digest of what a manifest says, less its digest, its time and its checkpoint."""
    return digest({key: value for key, value in data.items() if key not in UNCOVERED})


def describe_files(folder: Path) -> dict[str, dict[str, Any]]:
    """Digest and size of every file of a directory, its manifest aside, in order of name."""
    return {
        name: {"sha256": file_digest(folder / name), "bytes": (folder / name).stat().st_size}
        for name in _names(folder)
    }


def write_manifest(folder: Path, data: Mapping[str, Any]) -> dict[str, Any]:
    """Set `digest` and write the manifest whole or not at all; returns what was written."""
    complete = {**data, "digest": manifest_digest(data)}
    text = json.dumps(complete, indent=2, ensure_ascii=False, sort_keys=False) + "\n"
    try:
        write_whole(folder / MANIFEST, text.encode("utf-8"))
    except OSError as error:
        raise BadInput(
            f"the manifest cannot be written ({error.strerror})", where=str(folder)
        ) from error
    return complete


def read_manifest(folder: Path) -> dict[str, Any]:
    """Read a manifest; a directory without one is unfinished."""
    path = folder / MANIFEST
    try:
        data = json.loads(path.read_text("utf-8"))
    except FileNotFoundError as error:
        raise BadInput(
            "has no manifest.json, so it is unfinished or no such directory",
            where=str(folder),
            fix="Make it again.",
        ) from error
    except OSError as error:
        raise BadInput(f"cannot be read ({error.strerror})", where=str(path)) from error
    except ValueError as error:
        raise BadInput(f"is not JSON: {error}", where=str(path)) from error
    if not isinstance(data, dict) or not isinstance(data.get("files"), dict):
        raise BadInput('is no manifest: it has no table "files"', where=str(path))
    return data


def check_files(folder: Path, manifest: Mapping[str, Any]) -> list[str]:
    """The names of the files that are altered, missing or extra, in order."""
    return [fault.name for fault in file_faults(folder, manifest)]


def file_faults(folder: Path, manifest: Mapping[str, Any]) -> list[Fault]:
    """Every file that is not what the manifest says, with what is wrong."""
    listed = {str(name): entry for name, entry in manifest["files"].items()}
    present = set(_names(folder))
    faults = [Fault(name, "is not in the manifest") for name in present - listed.keys()]
    for name, entry in listed.items():
        if name not in present:
            faults.append(Fault(name, "is missing"))
        elif problem := _difference(folder / name, entry):
            faults.append(Fault(name, problem))
    return sorted(faults)


def _difference(path: Path, entry: Any) -> str:
    if path.is_symlink():
        return "is a link, not a file"
    if not isinstance(entry, Mapping) or "sha256" not in entry:
        return "has no sha256 in the manifest"
    size = path.stat().st_size
    if entry.get("bytes", size) != size:
        return f"is altered: {size} bytes, the manifest says {entry['bytes']}"
    found, expected = file_digest(path), str(entry["sha256"])
    if found.removeprefix(PREFIX) != expected.removeprefix(PREFIX):
        return f"is altered: {found}, the manifest says {expected}"
    return ""


def _names(folder: Path) -> Iterator[str]:
    """Every file but the manifest, by its path inside the directory."""
    for path in sorted(folder.rglob("*")):
        if (path.is_file() or path.is_symlink()) and path != folder / MANIFEST:
            yield path.relative_to(folder).as_posix()
