"""Whole files: durable before they get their name, so that a kill leaves the old one or the new.

    write_whole(folder / "manifest.json", data)

They are for their owner alone (0600): most hold answers, or what stands for them.
"""

import os
from pathlib import Path


def write_whole(path: Path, data: bytes) -> None:
    """Write a file whole or not at all; on the disk when this returns. Raises OSError."""
    put(stage(path, data), path)


def stage(path: Path, data: bytes) -> Path:
    """The content, durable under another name beside it. One left by a kill is written over."""
    staged = staged_path(path)
    handle = os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    return staged


def staged_path(path: Path) -> Path:
    """Where a file waits for its name."""
    return path.with_name(f".{path.name}.partial")


def put(staged: Path, path: Path) -> None:
    """Give a staged file its name."""
    os.replace(staged, path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in it durable: a synced file that nobody finds is lost."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
