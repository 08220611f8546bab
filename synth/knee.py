"""How many requests at once: up to what the user allows, less where the server refuses or queues.

Refusals: where a trial has shown a limit (finder.py), what the server had taken in beside a refused
request is what it bears; from there one more is tried now and then (AIMD, as Netflix's
concurrency-limits recommends for clients). Latency (the idea of its Gradient2): where answers take
much longer than at the best of times, requests wait in a queue of the server, and as many as it
answers in that best time are enough. A cut that makes nothing faster is taken back: then the
answers are long.

Source: github.com/Netflix/concurrency-limits, AIMDLimit.java, Gradient2Limit.java, README.
"""

WORTH = 0.9  # of the present number: less of a cut is none
QUEUED = 2.5  # times the best latency, from which on requests are thought to queue
WINDOW = 64  # answers whose mean latency is one figure
WARY = 4.0  # times as many answers for one more after a cut, and after each refusal of that one
RARELY = 1000  # answers between two tries of one more, at a server that limits concurrency


class Knee:
    """The number of requests in flight, between 1 and the ceiling."""

    def __init__(self, ceiling: int) -> None:
        self.ceiling = ceiling
        self.limit = float(ceiling)
        self._patience = 1.0
        self._answers = 0
        self._restoring = False
        self._best = 0.0
        self._window: list[float] = []
        self._window_at = 0.0
        self._before_cut: tuple[float, float, float] | None = None
        self._grown, self._grown_from = 0, self.limit

    @property
    def probing(self) -> bool:
        """Whether one more has been tried so lately that a refusal is due to it."""
        return self._grown > 0

    def answered(self, now: float, seconds: float, in_flight: int) -> None:
        """An answer came after `seconds`, with `in_flight` others still out."""
        self._watch(now, seconds)
        self._grown -= 1
        if self.limit >= self.ceiling or in_flight + 1 < int(self.limit):
            return
        if self._restoring:
            self.limit = min(self.ceiling, self.limit + 1)
            return
        self._answers += 1
        if self._answers >= max(8.0, self.limit) * self._patience:
            self._answers = 0
            self._patience = max(1.0, self._patience / 1.5)
            self._grown, self._grown_from = 2 * int(self.limit), self.limit
            self.limit = min(self.ceiling, max(self.limit + 1, self.limit * 1.05))

    def cut(self, beside: int) -> None:
        """A limit has been shown; so many were inside at most when it refused."""
        self.limit, self._restoring, self._grown = max(1.0, min(self.limit, beside)), False, 0
        self._patience, self._answers = WARY, 0

    def unproved(self) -> None:
        """One more was tried, and one was refused."""
        self.limit, self._grown, self._answers = min(self.limit, self._grown_from), 0, 0
        self._patience = min(self._patience * WARY, max(1.0, RARELY / self.limit))

    def restart(self) -> None:
        """After an outage: one, then two, then four."""
        self.limit, self._restoring, self._answers = 1.0, True, 0
        self._window.clear()

    def _watch(self, now: float, seconds: float) -> None:
        if self._before_cut and now - seconds < self._before_cut[2]:
            return  # it was in the queue already
        if not self._window:
            self._window_at = now - seconds
        self._window.append(seconds)
        if len(self._window) < WINDOW:
            return
        mean = sum(self._window) / len(self._window)
        rate = len(self._window) / max(now - self._window_at, mean, 1e-9)
        self._window.clear()
        if self._before_cut:
            limit, latency, _ = self._before_cut
            self._before_cut = None
            if mean > latency * 0.85:
                self._best, self.limit = mean, min(self.ceiling, max(self.limit, limit))
        self._best = min(mean, self._best * 1.01) if self._best else mean
        wanted = max(1.0, 2 * rate * self._best)
        if mean > QUEUED * self._best and wanted < self.limit * WORTH:
            self._before_cut = (self.limit, mean, now)
            self.limit = wanted
