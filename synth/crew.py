"""Several processes over one ledger: each reads the file for itself and looks at parts of it.

    with Crew(ledger, check, parts_of(ledger)) as crew:
        ...                             # something else meanwhile
        found = list(crew.found())

Hashing a million answers takes Python a minute on one core. A small ledger is looked at here.
"""

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from pathlib import Path
from typing import Any, Generic, TypeVar

from synth.ledger import Ledger
from synth.reader import Readable, Reader

LARGE = 100_000  # entries, from which starting processes (half a second) is worth it
P = TypeVar("P")
F = TypeVar("F")


class Crew(Generic[P, F]):
    """Looks at a ledger part by part. With a ledger that only reads, all cores do; `look` is then
    a function of a module, and parts and what it finds go from process to process."""

    def __init__(
        self,
        ledger: Ledger,
        look: Callable[[Readable, P], list[F]],
        parts: Sequence[P],
        large: int = LARGE,
    ) -> None:
        self._ledger, self._look, self._parts = ledger, look, parts
        self._pool: ProcessPoolExecutor | None = None
        self._sent: list[Future[list[F]]] = []
        if ledger.reads_only and ledger.size >= large and cores() > 1:
            self._pool = ProcessPoolExecutor(
                cores(),
                mp_context=multiprocessing.get_context("spawn"),
                initializer=_begin,
                initargs=(ledger.path,),
            )

    def __enter__(self) -> "Crew[P, F]":
        """Work begins: the caller may do something else meanwhile."""
        if self._pool:
            self._sent = [self._pool.submit(_one, self._look, part) for part in self._parts]
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool:
            self._pool.shutdown(cancel_futures=True)

    def found(self) -> Iterator[F]:
        """What was found, in order of the parts."""
        if self._pool:
            for sent in self._sent:
                yield from sent.result()
        else:
            for part in self._parts:
                yield from self._look(self._ledger, part)


def cores() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


_READERS: list[Reader] = []  # of a process of the crew: opened once, read until it ends


def _begin(path: Path) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the one that waits for us
    _READERS.append(Reader(path))


def _one(look: Callable[[Readable, Any], list[Any]], part: Any) -> list[Any]:
    return look(_READERS[0], part)
