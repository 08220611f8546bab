"""The head file: size and root of the log after the last durable commit, beside the ledger.

    {"size": 42, "root": "9f2c…"}

A database that opens with less than it says has lost rows, whatever it says itself.
"""

import json
import os
from collections.abc import Sequence
from pathlib import Path

from policy.errors import LedgerBroken
from synth.journal import write_through


class Head:
    """The open head file."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(head_path(path), os.O_RDWR | os.O_CREAT, 0o600)

    def write(self, size: int, root: bytes) -> None:
        """Remember a commit; on the disk when this returns."""
        line = json.dumps({"size": size, "root": root.hex()}).ljust(127) + "\n"
        write_through(self._file, 0, line.encode())

    def close(self) -> None:
        """Release the file."""
        os.close(self._file)


def read_head(path: Path) -> tuple[int, str] | None:
    """(size, root in hex) of the head file beside a ledger, or None if there is none."""
    try:
        data = json.loads(head_path(path).read_text(encoding="utf-8"))
        return int(data["size"]), str(data["root"])
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise LedgerBroken(
            f"unreadable: {error}", where=head_path(path).name, fix="restore it from a backup"
        ) from error


def check_size(path: Path, size: int, head: tuple[int, str] | None) -> None:
    """Refuse what holds less than was made durable. Raises LedgerBroken."""
    durable = head[0] if head else 0
    if durable > size:
        raise LedgerBroken(
            f"it holds {size} entries, but {durable} were made durable: {durable - size} are lost",
            where=path.name,
            fix="restore ledger.duckdb and its .wal from a backup; nothing was sent",
        )


def check_root(path: Path, size: int, roots: Sequence[bytes], root: str) -> None:
    """Refuse another history than the one that was made durable. Raises LedgerBroken."""
    if size and (not roots or bytes(roots[0]).hex() != root):
        raise LedgerBroken(
            f"entry {size} is not the one that the head file remembers",
            where=path.name,
            fix="restore both from one backup; nothing was sent",
        )


def head_path(path: Path) -> Path:
    """Where it lies."""
    return path.with_suffix(".head")
