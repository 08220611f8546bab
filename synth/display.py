"""What a person sees while a run works: one line with the step, the rate, the money and the ETA.

On a terminal it moves; elsewhere a plain line is printed now and then. All of it goes to standard
error: standard output is for results.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

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

PLAIN_SECONDS = 5.0  # between two plain lines of one step


class Display:
    """One progress display for a whole walk."""

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        self.console = console
        self._clock = clock
        self._progress: Progress | None = None

    @contextmanager
    def step(self, name: str, total: int) -> "Iterator[Step]":
        """One step of the walk: `total` units, counted with `advance`."""
        if not self.console.is_terminal:
            step = Step(self, name, total, None, None)
            try:
                yield step
            finally:
                step.plain(final=True)
            return
        progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}", markup=False),
            TimeElapsedColumn(),
            TextColumn("eta"),
            TimeRemainingColumn(),
            console=self.console,
        )
        with progress:
            task = progress.add_task(name, total=total or None, note="")
            yield Step(self, name, total, progress, task)

    def say(self, text: str) -> None:
        """A line that stays. Text of a model is shown as text: no markup, no control characters."""
        plain = "".join(c if c.isprintable() or c == "\n" else " " for c in text)
        self.console.print(plain, markup=False, highlight=False, soft_wrap=True)

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
        progress: Progress | None,
        task: TaskID | None,
    ) -> None:
        self._display = display
        self._name = name
        self._total = total
        self._progress = progress
        self._task = task
        self._done = 0
        self._note = ""
        self._started = display.now()
        self._printed = self._started

    def advance(self, units: int = 1, note: str = "") -> None:
        """Some units are done."""
        self._done += units
        self._note = note or self._note
        if self._progress is not None and self._task is not None:
            shown = f"{self.rate:.1f}/s  {self._note}"
            self._progress.update(self._task, completed=self._done, note=shown)
        elif self._done != self._total and self._display.now() - self._printed >= PLAIN_SECONDS:
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

    @property
    def rate(self) -> float:
        """Units a second since the step began."""
        return self._done / max(self._display.now() - self._started, 1e-9)

    def plain(self, *, final: bool = False) -> None:
        """One plain line, for logs."""
        if not (self._total or self._done):
            return  # the result was there already
        now = self._display.now()
        self._printed = now
        left = (self._total - self._done) / self.rate if self._done else 0.0
        eta = "" if final or not left else f", about {left:.0f} s left"
        took = f"{now - self._started:.0f} s"
        note = f", {self._note}" if self._note else ""
        count = f"{self._done}/{self._total}" if self._total else f"{self._done}"
        self._display.say(f"{self._name}: {count} in {took} ({self.rate:.1f}/s){note}{eta}")
