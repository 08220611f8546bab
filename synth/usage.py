"""The organisation's usage book: what all its projects used of an offering on this day.

    with book.page(day, "deepseek-api") as page:     # held against other processes
        page["this ledger"] = Line(requests=5)

It lies beside `guardrails.toml`, since a cap there is the organisation's and not one project's.
Each project's own line is set anew from its ledger when a run starts: a crash leaves nothing wrong.
"""

import contextlib
import fcntl
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from policy.errors import BadInput
from policy.guardrails import Used

BOOK = "usage-today.json"


class Line(NamedTuple):
    """What one project used of an offering on a day, reserves included."""

    requests: int = 0
    tokens: int = 0
    nano: int = 0
    """Billionths of a dollar."""
    rows: int = 0

    @property
    def used(self) -> Used:
        """The same, as caps are written."""
        return Used(self.requests, self.tokens, self.nano / 10**9, self.rows)


NOTHING = Line()


def total(lines: Iterable[Line]) -> Line:
    """The sum of several lines."""
    requests = tokens = nano = rows = 0
    for line in lines:
        requests += line[0]
        tokens += line[1]
        nano += line[2]
        rows += line[3]
    return Line(requests, tokens, nano, rows)


class Book:
    """An open usage book."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise BadInput(
                f"the organisation's usage cannot be kept there: {error.strerror}",
                where=str(path),
                fix="make the directory of guardrails.toml writable for those who collect",
            ) from error

    def close(self) -> None:
        """Release the file."""
        os.close(self._file)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @contextlib.contextmanager
    def page(self, day: int, offering: str) -> Iterator[dict[str, Line]]:
        """Usage by ledger on that day, to be read and changed while nobody else can."""
        fcntl.flock(self._file, fcntl.LOCK_EX)
        try:
            book = self._read()
            if book.get("day") != day:
                book = {"day": day, "offerings": {}}
            lines = book["offerings"].setdefault(offering, {})
            page = {name: Line(*line) for name, line in lines.items()}
            yield page
            book["offerings"][offering] = {name: list(line) for name, line in page.items()}
            self._write(book)
        finally:
            fcntl.flock(self._file, fcntl.LOCK_UN)

    def _read(self) -> dict[str, Any]:
        data = os.pread(self._file, os.fstat(self._file).st_size, 0)
        if not data.strip():
            return {}
        try:
            book = json.loads(data)
            for lines in book["offerings"].values():
                for line in lines.values():
                    Line(*map(int, line))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise BadInput(
                f"is not what was written there: {error}",
                where=str(self._path),
                fix="remove it: each project counts its own usage anew when it collects",
            ) from error
        return dict(book)

    def _write(self, book: dict[str, Any]) -> None:
        data = json.dumps(book).encode()
        os.pwrite(self._file, data, 0)
        os.ftruncate(self._file, len(data))
