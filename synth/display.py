"""What a person sees while a run works: a bar with the rate and the time left, and a few lines of
details below it.

On a terminal it moves; elsewhere a plain line is printed now and then. All of it goes to standard
error: standard output is for results.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO, cast

from rich.console import Console, RenderableType
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

PLAIN_SECONDS = 5.0  # between two plain lines of one step
WIDE = 72  # columns of a terminal; on a narrower one bar, rate and time spent give way
MOVING_SECONDS = 0.1  # between two updates of the bar: rich takes a lock for each
Details = Callable[[], list[str]]


def _nothing() -> list[str]:
    return []


class Board(Progress):
    """A progress bar with plain lines of text below it."""

    def __init__(self, console: Console, details: Details) -> None:
        self._details = details
        note = TextColumn("{task.fields[note]}", markup=False)
        wide = console.width >= WIDE
        super().__init__(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            *([BarColumn(bar_width=24)] if wide else []),
            MofNCompleteColumn(),
            *([note, TimeElapsedColumn()] if wide else []),
            TextColumn("eta"),
            TimeRemainingColumn(),
            console=console,
        )

    def get_renderables(self) -> Iterable[RenderableType]:
        """The bar, then the lines, each cut at the width of the terminal."""
        yield from super().get_renderables()
        for line in self._details():
            yield Text(f"  {plain(line)}", no_wrap=True, overflow="ellipsis", style="dim")


class Screen:
    """Standard error as rich writes to it. Where nobody is left to read it, a closed terminal or a
    broken pipe, what is said is lost and the paid run goes on."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """As many characters as were asked, written or not."""
        with suppress(OSError, ValueError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Now, if there is somebody to read it."""
        with suppress(OSError, ValueError):
            self._stream.flush()


class Display:
    """One progress display for a whole walk."""

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        self.console = console
        self._clock = clock

    @classmethod
    def on(cls, stream: TextIO) -> "Display":
        """On a stream that may go away."""
        return cls(Console(file=cast(TextIO, Screen(stream))))

    @contextmanager
    def step(self, name: str, total: int, details: Details = _nothing) -> "Iterator[Step]":
        """One step of the walk: `total` units, counted with `advance`. `details` gives short lines
        on how it goes; it is asked when something is drawn, not for every unit."""
        if not self.console.is_terminal:
            step = Step(self, name, total, details)
            try:
                yield step
            finally:
                step.plain(final=True)
            return
        with Board(self.console, details) as progress:
            task = progress.add_task(name, total=total or None, note="")
            step = Step(self, name, total, details, progress, task)
            try:
                yield step
            finally:
                step.draw()

    def say(self, text: str) -> None:
        """A line that stays. Text of a model is shown as text: no markup, no control characters."""
        self.console.print(plain(text), markup=False, highlight=False, soft_wrap=True)

    def show(self, renderable: RenderableType) -> None:
        """A table that stays."""
        self.console.print(renderable)

    def now(self) -> float:
        """Seconds, for rates."""
        return self._clock()


class Step:
    """Progress of one step."""

    def __init__(
        self,
        display: Display,
        name: str,
        total: int,
        details: Details,
        progress: Progress | None = None,
        task: TaskID | None = None,
    ) -> None:
        self._display = display
        self._name = name
        self._total = total
        self._details = details
        self._progress = progress
        self._task = task
        self._done = 0
        self._note = ""
        self._started = display.now()
        self._shown = self._started

    def advance(self, units: int = 1, note: str = "") -> None:
        """Some units are done."""
        self._done += units
        self._note = note or self._note
        waited = self._display.now() - self._shown
        if self._progress is not None:
            if waited >= MOVING_SECONDS:
                self.draw()
        elif self._done != self._total and waited >= PLAIN_SECONDS:
            self.plain()

    def reach(self, done: int, total: int, note: str = "") -> None:
        """So many are done of so many."""
        if total != self._total:
            self._total = total
            if self._progress is not None and self._task is not None:
                self._progress.update(self._task, total=total)
        self.advance(done - self._done, note)

    def say(self, text: str) -> None:
        """A line that stays above the progress."""
        self._display.say(text)

    def draw(self) -> None:
        """Move the bar to where the step is."""
        if self._progress is not None and self._task is not None:
            self._shown = self._display.now()
            shown = f"{self.rate:.1f}/s  {self._note}".rstrip()
            self._progress.update(self._task, completed=self._done, note=shown)

    @property
    def rate(self) -> float:
        """Units a second since the step began."""
        return self._done / max(self._display.now() - self._started, 1e-9)

    def plain(self, *, final: bool = False) -> None:
        """One plain line, for logs."""
        if not (self._total or self._done):
            return  # the result was there already
        now = self._display.now()
        self._shown = now
        left = (self._total - self._done) / self.rate if self._done else 0.0
        eta = f"about {left:.0f} s left" if left > 0 and not final else ""
        count = f"{self._done}/{self._total}" if self._total else f"{self._done}"
        told = [f"{count} in {now - self._started:.0f} s ({self.rate:.1f}/s)", self._note]
        said = ", ".join(one for one in (*told, *self._details(), eta) if one)
        self._display.say(f"{self._name}: {said}")


def plain(text: str) -> str:
    """Text without characters that a terminal would obey."""
    return "".join(c if c.isprintable() or c == "\n" else " " for c in text)
