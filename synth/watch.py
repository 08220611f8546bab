"""What a collection looks like while it runs: rates and money for people, events for machines.

watch = Watch(bench, prompts, ...)
with display.step("collect", total, watch.lines) as step:
    watch.attach(step)
    await collect(Collection(..., on_event=watch), permit, stop)
watch.report()      # afterwards: failures with what to do, tokens, money, rate and limit
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from policy.errors import SpiritSafeError
from synth.advice import failure_lines
from synth.collect import Event
from synth.config import Limits, Sampling
from synth.display import Step
from synth.events import EventLog, of_result
from synth.filters import ROWWISE, Candidate, Filter, resolve
from synth.filters.apply import live
from synth.pricing import dollars
from synth.project import Sections
from synth.prompts import Prompt
from synth.rates import InForce, Rates
from synth.stop import Stop
from synth.wire import Call, Completion, Failure

SHOWN_ROWS = 3  # kept rows printed as they come, so that a person sees what is being paid for
SHOWN_KINDS = 3  # kinds of failure that fit on a line


class Watch:
    """Turns the events of one collection into the display's lines and the log's."""

    def __init__(
        self,
        sections: Sections,
        prompts: Mapping[str, Prompt],
        *,
        say: Callable[[str], None],
        clock: Callable[[], float],
        log: EventLog | None = None,
        same: Mapping[str, Any] | None = None,
        limit: Callable[[], InForce] | None = None,
    ) -> None:
        self._prompts = prompts
        self._say = say
        self._sampling: Sampling = sections.sampling
        self._limits: Limits = sections.limits
        self._filters = sections.filters
        names = [name for name in sections.dataset.require if name in ROWWISE]
        self._tests: list[Filter] = [resolve(name, sections.filters) for name in names]
        self._log = log
        self._same = dict(same or {})
        self._told = limit is not None
        self._limit = limit or self._own_limit
        self._step: Step | None = None
        self._kept = self._held_out = 0
        self._billed = 0
        self._retries = 0
        self._answers = 0
        self._failed: Counter[str] = Counter()
        self._examples: dict[str, str] = {}
        self._clock = clock
        self.rates = Rates(clock)

    def attach(self, step: Step) -> None:
        """Where units are counted. The run begins here: a local server's start is no part."""
        self._step = step
        self.rates = Rates(self._clock)

    def __call__(self, event: Event) -> None:
        """One event of the collection."""
        self.rates.add(event)
        self._billed = event.billed_nano
        if self._log:
            self.tell(event.kind, _attributes(event))
        if event.kind == "retry":
            self._retries += 1
            return
        if isinstance(event.result, Completion):
            self._answer(event.result, event.call)
        else:
            self._failure(event.result)
        if self._step:
            self._step.advance(1)

    def tell(self, name: str, attributes: Mapping[str, Any]) -> None:
        """One line of the log for machines; said once on the screen if it cannot be written."""
        if self._log and not self._log.tell(name, {**self._same, **attributes}):
            self._log = None
            self._say("the event log cannot be written any more; the run goes on without it")

    def start(self, requests: int, todo: int, held: int, size: int) -> None:
        """The first event: what is to do."""
        self.tell("start", {
            "spiritsafe.requests": requests,
            "spiritsafe.requests.todo": todo,
            "spiritsafe.requests.held": held,
            "spiritsafe.log.size": size,
        })  # fmt: skip

    def checkpoint(self, size: int, root: str) -> None:
        """The log of the ledger was signed."""
        self.tell("checkpoint", {"spiritsafe.log.size": size, "spiritsafe.log.root": root})

    @contextmanager
    def ending(self, stop: Stop) -> Iterator[None]:
        """Tells the end of the run that is inside. Of one that was stopped people read the report
        here, since no result will show it."""
        try:
            yield
        except BaseException as error:
            deliberate = isinstance(error, SpiritSafeError)
            self._stopped(type(error).__name__ if deliberate else "interrupted")
            raise
        if stop.interrupted:
            self._stopped("interrupted")
        else:
            self.end()

    def _stopped(self, why: str) -> None:
        self.end(why)
        for line in self.report():
            self._say(line)

    def end(self, error: str = "") -> None:
        """The last event: what came of it, and why it ended where it ended early."""
        whole = self.rates.whole
        found: dict[str, Any] = {"error.type": error} if error else {}
        self.tell("end", {
            **found,
            "spiritsafe.requests.sent": whole.requests,
            "spiritsafe.answers": self._answers,
            "spiritsafe.kept": self._kept,
            "spiritsafe.held_out": self._held_out,
            "spiritsafe.failures": dict(self._failed),
            "spiritsafe.retries": self._retries,
            "spiritsafe.cost.usd": self._billed / 10**9,
            "spiritsafe.duration": round(self.rates.seconds, 3),
            "gen_ai.usage.input_tokens": whole.prompt_tokens,
            "gen_ai.usage.output_tokens": whole.completion_tokens,
        })  # fmt: skip

    def report(self) -> list[str]:
        """The run in a few lines, after it: failures and what to do, tokens, money, rate, limit."""
        whole, rate = self.rates.whole, self.rates.mean("requests")
        if not whole.requests:
            return []
        return [
            *failure_lines(self._failed, self._examples),
            f"{whole.prompt_tokens:,} tokens in, {whole.completion_tokens:,} out,"
            f" {dollars(self._billed)} in {_duration(self.rates.seconds)}",
            f"{rate * 60:,.0f} requests a minute, {self._retries:,} tried again; limit"
            f" {self._limit() if self._told else self._own_limit(self.rates.mean)}",
        ]

    def lines(self) -> list[str]:
        """The state of the run, as short lines."""
        rate = self.rates.a_second
        hourly = dollars(round(rate("nano") * 3600))
        money = f"{dollars(self._billed)}, {hourly} an hour" if self._billed else "free"
        words_in, words_out = rate("prompt_tokens"), rate("completion_tokens")
        return [
            self._came(),
            *self._failures(),
            f"{words_in:,.0f} tokens/s in, {words_out:,.0f} out, {money}",
            f"limit {self._limit()}",
        ]

    def _came(self) -> str:
        """What became of the answers, the test rows' among them; and what was asked again."""
        dropped = self._answers - self._kept - self._held_out
        more = {"dropped": dropped, "held out": self._held_out, "tried again": self._retries}
        said = [f"{count:,} {word}" for word, count in more.items() if count]
        return ", ".join([f"{self._kept:,} kept", *said])

    def _failures(self) -> list[str]:
        if not self._failed:
            return []
        kinds = [f"{kind} {count:,}" for kind, count in self._failed.most_common(SHOWN_KINDS)]
        more = " …" if len(self._failed) > SHOWN_KINDS else ""
        return [f"{self._failed.total():,} failed ({', '.join(kinds)}{more})"]

    def _own_limit(self, rate: Callable[[str], float] | None = None) -> InForce:
        """What the project file says, where nobody knows better. In flight at a time are as many as
        end in a second times the seconds that each takes (Little's law)."""
        rate = rate or self.rates.a_second
        if self._limits.requests_per_minute:
            most = self._limits.requests_per_minute
            return InForce(f"{most:,g} requests a minute", rate("requests") * 60 / most)
        most = self._limits.concurrency
        return InForce(f"{most:,} at once", min(1.0, rate("busy") / most))

    def _failure(self, failure: Failure) -> None:
        self._failed[failure.kind] += 1
        if self._failed[failure.kind] == 1:
            self._examples[failure.kind] = failure.message
            self._say(f"failed: {failure.kind}: {failure.message}")

    def _answer(self, completion: Completion, call: Call) -> None:
        self._answers += 1
        if call.split == "test":
            self._held_out += 1
            return
        prompt = self._prompts[call.prompt_id]
        if not self._passes(live(completion, call, prompt, self._sampling)):
            return
        self._kept += 1
        if self._kept <= SHOWN_ROWS:
            asked = prompt.student[-1]["content"]
            self._say(f"kept row {self._kept}: {_short(asked)} -> {_short(completion.text)}")

    def _passes(self, candidate: Candidate) -> bool:
        return all(test([candidate], self._filters)[0].keep for test in self._tests)


def _attributes(event: Event) -> dict[str, Any]:
    found = {
        "spiritsafe.attempt.id": event.attempt,
        "spiritsafe.request.key": event.call.key,
        "spiritsafe.sample": event.call.sample,
        "spiritsafe.duration": round(event.seconds, 4),
        **of_result(event.result),
    }
    money = "spiritsafe.reserve.usd" if event.kind == "hold" else "spiritsafe.cost.usd"
    found[money] = event.cost_nano / 10**9
    if isinstance(event.result, Failure) and event.result.retry_after is not None:
        found["spiritsafe.retry.after"] = event.result.retry_after
    return found


def _duration(seconds: float) -> str:
    """`41 s`, `12 min 3 s`, `2 h 5 min`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def _short(text: str, width: int = 44) -> str:
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line if len(line) <= width else line[: width - 1] + "…"
