"""Several processes over one ledger: each reads the file for itself and looks at parts of it.

    found = check_all(ledger)

Hashing a million answers takes Python a minute on one core. A small ledger is looked at here.
"""

import multiprocessing
import signal
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from pathlib import Path

from policy.verify import Finding
from synth.database import cores
from synth.ledger import Ledger
from synth.ledger_checks import Part, check, parts_of
from synth.reader import Reader

LARGE = 100_000  # entries, from which starting processes (half a second) is worth it


class Crew:
    """Looks at a ledger part by part. With a ledger that only reads, all cores do."""

    def __init__(self, ledger: Ledger, large: int = LARGE) -> None:
        self._ledger = ledger
        self._parts = parts_of(ledger)
        self._pool: ProcessPoolExecutor | None = None
        self._sent: list[Future[list[Finding]]] = []
        if ledger.reads_only and ledger.size >= large and cores() > 1:
            self._pool = ProcessPoolExecutor(
                cores(),
                mp_context=multiprocessing.get_context("spawn"),
                initializer=_begin,
                initargs=(ledger.path,),
            )

    def __enter__(self) -> "Crew":
        """Work begins: the caller may do something else meanwhile."""
        if self._pool:
            self._sent = [self._pool.submit(_one, part) for part in self._parts]
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool:
            self._pool.shutdown(cancel_futures=True)

    def findings(self) -> Iterator[Finding]:
        """What was found, in order of the parts."""
        if self._pool:
            for sent in self._sent:
                yield from sent.result()
        else:
            for part in self._parts:
                yield from check(self._ledger, part)


_READERS: list[Reader] = []  # of a process of the crew: opened once, read until it ends


def _begin(path: Path) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the one that waits for us
    _READERS.append(Reader(path))


def _one(part: Part) -> list[Finding]:
    return check(_READERS[0], part)
