"""A full disk is one line, said before the work where that can be known.

with boundary(out_dir):
    demand_space(out_dir, parameters, checkpoint=3 * parameters)
"""

from __future__ import annotations

import errno
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from policy.errors import BadInput

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
WEIGHT = 4  # bytes in fp32
HELD = 2  # checkpoints on disk at once


def demand_space(
    folder: Path,
    parameters: int,
    *,
    checkpoint: int,
    usage: Callable[[Path], Any] = shutil.disk_usage,
) -> None:
    """Refuse to start what could not be written down: the student, and checkpoints of so many
    numbers each (0: none is written)."""
    needed = (parameters + checkpoint * HELD) * WEIGHT
    free = usage(folder).free
    if free < needed:
        raise BadInput(
            f"training needs {needed / 1e9:.1f} GB of disk and {free / 1e9:.1f} GB are free",
            where=str(folder),
            fix="Free some, or raise save_steps.",
        )


@contextmanager
def boundary(folder: Path) -> Iterator[None]:
    """Turn the libraries' ways of saying `disk full` into ours; everything else passes."""
    try:
        yield
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise _full(folder) from error
    except SafetensorError as error:
        if not any(f"os error {number}" in str(error) for number in FULL):
            raise
        raise _full(folder) from error


def _full(folder: Path) -> BadInput:
    return BadInput(
        "the disk is full",
        where=str(folder),
        fix="Free some space and run again: it goes on from the last checkpoint.",
    )
