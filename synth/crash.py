"""The instants at which a collection may be killed, by name. Nothing happens at any of them.

    Ledger.open(path, clock=time.time, passing=killer)    # tests/synth/test_crash_points.py

A run is killed between two instructions sooner or later. These are the ones between which the
promise "paid for once, known for ever" could break, so each is passed by name, and a test hands in
a function that kills its own process at the n-th passing (as RocksDB's whitebox crash test does).
The two that only the server can see, a request that has arrived and an answer that has left, are
killed from there.
"""

from collections.abc import Callable
from enum import StrEnum


class Point(StrEnum):
    """Where a process can die, in the order of one attempt."""

    BEFORE_INTENT = "before_intent"
    """Money is reserved and a turn taken; the ledger knows of nothing."""
    BEFORE_COMMIT = "before_commit"
    """A group of rows is about to be written to the journal."""
    AFTER_COMMIT = "after_commit"
    """Rows are durable, the head file still names the commit before."""
    AFTER_HEAD = "after_head"
    """The head file is durable too; nobody was told."""
    BEFORE_SEND = "before_send"
    """The intent is durable; no byte has left."""
    AFTER_BYTES = "after_bytes"
    """The whole reply is in memory; the ledger knows only of the intent."""
    AFTER_OUTCOME = "after_outcome"
    """The outcome is durable."""
    BEFORE_MERGE = "before_merge"
    """DuckDB has been given rows, its transaction is open."""
    AFTER_MERGE = "after_merge"
    """DuckDB has committed them, and the journal still has them too."""
    AFTER_CLEAR = "after_clear"
    """The journal is empty."""
    BEFORE_NOTE = "before_note"
    """The signed checkpoint is written beside its name."""
    NOTE_KEPT = "note_kept"
    """The ledger remembers a checkpoint whose file has no name yet."""
    AFTER_NOTE = "after_note"
    """The signed checkpoint has its name."""
    BEFORE_CLOSE = "before_close"
    """DuckDB is about to move the write-ahead log into the file (its own CHECKPOINT)."""
    AFTER_MARK = "after_mark"
    """An erasure is marked as begun; the log knows nothing of it."""
    BEFORE_FORGET = "before_forget"
    """The log says what is erased; nothing is deleted."""
    BEFORE_REWRITE = "before_rewrite"
    """The rows are deleted; their blocks lie in the file."""
    BEFORE_SWAP = "before_swap"
    """The file without them is written beside it."""
    AFTER_SWAP = "after_swap"
    """The file without them has the ledger's name."""
    BEFORE_UNMARK = "before_unmark"
    """Every byte is gone; the mark is there."""


Passing = Callable[[Point], None]


def pass_by(point: Point) -> None:
    """What happens at a point outside of tests: nothing."""
