"""The same figures for TensorBoard: `tensorboard --logdir runs`.

The writer is torch's own over the package tensorboard, which whoever looks at events has anyway.

    board = Board(Path("runs/sft/tensorboard"))
    board.open(150)                    # what was logged after the checkpoint is taken back
    board.write(151, {"loss": 1.7})
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from train import processes
from train.checkpoints import protect


class Board:
    """One folder of events; only the leading process writes to it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._writer: Any = None

    def open(self, step: int) -> None:
        """Go on after `step`: readers drop what an interrupted process wrote beyond it."""
        if not processes.leads():
            return
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(self.folder), purge_step=step + 1)

    def write(self, step: int, found: Mapping[str, float]) -> None:
        """One point of each curve."""
        for name, value in found.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def close(self) -> None:
        """Everything is on the disk, for the owner's eyes."""
        if self._writer is not None:
            self._writer.close()
            protect(self.folder)
