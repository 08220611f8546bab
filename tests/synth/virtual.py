"""A provider and a client in virtual time: hours of traffic through the real limiter in seconds.

    done = Run(Provider(requests=3000), wanted=512).until(60)
    assert done.share() > 0.97 and done.refused == 0

The provider is two token buckets, a latency and a way of speaking about them. Headers are text, and
go through the real parser, as on the wire.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime

from synth.collect import BACKOFF_BASE, BACKOFF_MAX, PUT_BACK
from synth.config import Limits
from synth.limiter import FOREVER, Limiter, Ticket, Used
from synth.rate_headers import parse
from synth.retries import RetryQuota

EPOCH = 1_795_000_000.0
TRIES = Limits().tries


@dataclass
class Bucket:
    """The provider's own: `per_minute`, with `burst` seconds of it."""

    per_minute: float
    burst: float = 10.0
    level: float = field(init=False)
    at: float = 0.0
    granted: float = 0.0
    """Everything that it ever allowed: the burst, and what came back while it was not full."""
    window: float = 0.0

    def __post_init__(self) -> None:
        self.level = self.granted = self.size

    @property
    def size(self) -> float:
        return self.per_minute / 60 * self.burst

    def advance(self, now: float) -> None:
        if self.window:
            if now // self.window > self.at // self.window:
                self.level = self.per_minute * self.window / 60
            self.at = now
            return
        more = (now - self.at) * self.per_minute / 60
        self.granted += more
        self.level, self.at = min(max(self.size, self.level), self.level + more), now

    def change(self, per_minute: float, now: float) -> None:
        self.advance(now)
        self.per_minute = per_minute
        self.level = min(self.level, self.size)


@dataclass
class Provider:
    """What it limits, how long it takes, and what it says."""

    requests: float = 0.0
    tokens: float = 0.0
    burst: float = 10.0
    charge: str = "used"
    """`used`, `refunded`, `kept` or `at_end`."""
    headers: str = "openai"
    """`openai`, `anthropic` or `none`."""
    by_reply: bool = False
    """`remaining` is as of the reply, not as of the request."""
    retry_after: bool = True
    latency: Callable[[random.Random], float] = lambda chance: chance.uniform(0.5, 1.0)
    refusal: float = 0.005
    """Seconds until a refusal is back."""
    network: Callable[[random.Random], float] = lambda chance: chance.uniform(0.001, 0.02)
    prompt: int = 60
    completion: Callable[[random.Random], int] = lambda chance: chance.randint(100, 500)
    most: int = 500
    concurrency: int = 0
    slots: int = 0
    """Decoded side by side; others wait in its queue."""
    down: tuple[float, float] = (0.0, 0.0)
    skew: float = 0.0
    chance: float = 0.0
    """Share of requests refused whatever the rate."""
    busy: bool = False
    """Those are 503, not 429."""
    window: float = 0.0
    """Seconds of a fixed window: all of a minute's requests at once, then nothing until its end."""
    lie: Mapping[int, Mapping[str, str]] = field(default_factory=dict)
    """Reply number -> headers that are wrong."""


@dataclass
class Request:
    """What a worker sees through: how often it was refused, and how often that counted."""

    refusals: int = 0
    counted: int = 0


@dataclass
class Sent:
    ticket: Ticket
    at: float
    completion: int
    headers: dict[str, str] = field(default_factory=dict)


class Run:
    """One client against one provider."""

    def __init__(
        self, provider: Provider, wanted: int = 64, seed: int = 0, limits: Limits | None = None
    ) -> None:
        self.provider = provider
        self.chance = random.Random(seed)
        self.limiter = Limiter(limits or Limits(concurrency=wanted), random.Random(seed))
        self.buckets = {
            kind: Bucket(rate, provider.window or provider.burst, window=provider.window)
            for kind, rate in (("requests", provider.requests), ("tokens", provider.tokens))
            if rate
        }
        self.now = 0.0
        self.admissions: list[float] = []
        self.refusals: list[float] = []
        self.arrivals: list[float] = []
        self.by_chance = 0
        self.answers = 0
        self.peak = 0
        self.replies = 0
        self.used_tries = 0
        self.prompt_factor = 4
        self._inside = 0
        self._free_slots = [0.0] * provider.slots
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._timer = FOREVER
        self._at(0.0, self._pump)

    def at(self, when: float, do: Callable[[], None]) -> Run:
        self._at(when, do)
        return self

    def until(self, end: float) -> Run:
        while self._events and self._events[0][0] <= end:
            self.now, _, do = heapq.heappop(self._events)
            do()
        self.now = end
        for bucket in self.buckets.values():
            bucket.advance(end)
        return self

    # -- what is asked of a run ---------------------------------------------------------------

    @property
    def refused(self) -> int:
        return len(self.refusals)

    def allowed(self) -> float:
        """Requests that the tightest bucket would have let through, burst counted."""
        sent = max(1, len(self.admissions))
        return min(
            b.granted / (1.0 if kind == "requests" else self.charged / sent)
            for kind, b in self.buckets.items()
        )

    def share(self) -> float:
        return len(self.admissions) / self.allowed()

    charged = 0.0

    def rate(self, since: float, until: float) -> float:
        """Requests a minute let through in a part of the run."""
        return 60 * sum(since <= one < until for one in self.admissions) / (until - since)

    def per_thousand(self, since: float = 0.0) -> float:
        answered = sum(one >= since for one in self.admissions)
        return 1000 * sum(one >= since for one in self.refusals) / max(1, answered)

    # -- the client ---------------------------------------------------------------------------

    def _at(self, when: float, do: Callable[[], None]) -> None:
        heapq.heappush(self._events, (when, next(self._order), do))

    def _pump(self) -> None:
        while True:
            ticket = self.limiter.ticket(
                self.provider.prompt * self.prompt_factor, self.provider.most
            )
            wait = self.limiter.wait(ticket, self.now)
            if wait > 0:
                if wait < FOREVER and not self.now < self._timer <= self.now + wait:
                    self._timer = self.now + wait
                    self._at(self._timer, self._pump)
                return
            self.limiter.take(ticket, self.now)
            self.peak = max(self.peak, self.limiter.in_flight)
            sent = Sent(ticket, self.now, self.provider.completion(self.chance))
            arrives = self.now + self.provider.network(self.chance)
            self._at(arrives, lambda sent=sent: self._arrive(sent))  # type: ignore[misc]

    # -- the provider -------------------------------------------------------------------------

    def _arrive(self, sent: Sent) -> None:
        p, now = self.provider, self.now
        self.arrivals.append(now)
        if p.down[0] <= now < p.down[1]:
            self._at(now + p.refusal, lambda: self._refuse(sent, {}, None, busy=True))
            return
        if p.chance and self.chance.random() < p.chance:
            self.by_chance += 1
            headers = self._headers()
            self._at(now + p.refusal, lambda: self._refuse(sent, headers, None, busy=p.busy))
            return
        costs = self._costs(sent)
        short = 0.0
        for kind, bucket in self.buckets.items():
            bucket.advance(now)
            need = 1e-9 if p.charge == "at_end" and kind == "tokens" else costs[kind]
            short = max(short, (need - bucket.level) / (bucket.per_minute / 60))
        if short > 0 or (p.concurrency and self._inside >= p.concurrency):
            self.refusals.append(now)
            asked = max(short, 0.001) if p.retry_after else None
            headers = self._headers()
            self._at(now + p.refusal, lambda: self._refuse(sent, headers, asked))
            return
        self.admissions.append(now)
        self._inside += 1
        if not (p.charge == "at_end" and "tokens" in self.buckets):
            self.charged += costs.get("tokens", 0.0)
        for kind, bucket in self.buckets.items():
            if not (kind == "tokens" and p.charge == "at_end"):
                bucket.level -= costs[kind]
        sent.headers = self._headers()
        latency = p.latency(self.chance)
        if self._free_slots:
            free = heapq.heappop(self._free_slots)
            latency += max(0.0, free - now)
            heapq.heappush(self._free_slots, now + latency)
        self._at(now + latency, lambda: self._answer(sent))

    def _costs(self, sent: Sent) -> dict[str, float]:
        p = self.provider
        used = p.prompt + sent.completion
        tokens = used if p.charge in ("used", "at_end") else p.prompt + p.most
        return {"requests": 1.0, "tokens": float(tokens)}

    def _answer(self, sent: Sent) -> None:
        p = self.provider
        self._inside -= 1
        self.answers += 1
        if bucket := self.buckets.get("tokens"):
            bucket.advance(self.now)
            used = p.prompt + sent.completion
            if p.charge == "at_end":
                bucket.level -= used
                self.charged += used
            elif p.charge == "refunded":
                bucket.level += p.most + p.prompt - used
                self.charged -= p.most + p.prompt - used
        headers = self._headers() if p.by_reply else sent.headers
        self.replies += 1
        limits = parse({**headers, **p.lie.get(self.replies, {})}, EPOCH + self.now)
        used_tokens = Used(p.prompt, sent.completion)
        self.limiter.answered(sent.ticket, self.now, limits, used_tokens)
        self._pump()

    def _refuse(
        self, sent: Sent, headers: dict[str, str], asked: float | None, *, busy: bool = False
    ) -> None:
        limits = parse(headers, EPOCH + self.now)
        self.used_tries += self.limiter.refused(
            sent.ticket, self.now, limits, busy=busy, asked=asked
        )
        self._pump()

    def _headers(self) -> dict[str, str]:
        p, found = self.provider, {}
        for kind, bucket in self.buckets.items():
            bucket.advance(self.now)
            left = int(max(0.0, bucket.level))
            full = max(0.0, bucket.size - bucket.level) / (bucket.per_minute / 60)
            if p.headers == "openai":
                for field_, value in (
                    ("limit", f"{bucket.per_minute:.0f}"),
                    ("remaining", left), ("reset", f"{full:.3f}s"),
                ):  # fmt: skip
                    found[f"x-ratelimit-{field_}-{kind}"] = str(value)
            elif p.headers == "anthropic":
                server = EPOCH + self.now + p.skew
                found["date"] = format_datetime(datetime.fromtimestamp(server, UTC), usegmt=True)
                moment = datetime.fromtimestamp(server + full, UTC)
                for field_, text in (
                    ("limit", f"{bucket.per_minute:.0f}"), ("remaining", str(left)),
                    ("reset", moment.isoformat(timespec="seconds").replace("+00:00", "Z")),
                ):  # fmt: skip
                    found[f"anthropic-ratelimit-{kind}-{field_}"] = text
        return found


class Workers(Run):
    """As `collect` asks: each of `wanted` workers sees one request through, with its backoff and
    the quota of retries."""

    def __init__(self, provider: Provider, wanted: int = 64, seed: int = 0) -> None:
        super().__init__(provider, wanted, seed)
        self.free = wanted
        self.again: list[Request] = []
        self.flying: dict[int, Request] = {}
        self.lost = 0
        self.quota = RetryQuota(0.0)

    def _pump(self) -> None:
        while self.again or self.free:
            ticket = self.limiter.ticket(240, self.provider.most)
            wait = self.limiter.wait(ticket, self.now)
            if wait > 0:
                if wait < FOREVER and not self.now < self._timer <= self.now + wait:
                    self._timer = self.now + wait
                    self._at(self._timer, self._pump)
                return
            if self.again:
                one = self.again.pop(0)
            else:
                one, self.free = Request(), self.free - 1
            self.flying[id(ticket)] = one
            self.limiter.take(ticket, self.now)
            sent = Sent(ticket, self.now, self.provider.completion(self.chance))
            arrives = self.now + self.provider.network(self.chance)
            self._at(arrives, lambda sent=sent: self._arrive(sent))  # type: ignore[misc]

    def _answer(self, sent: Sent) -> None:
        del self.flying[id(sent.ticket)]
        self.free += 1
        self.quota.answered()
        super()._answer(sent)

    def _refuse(
        self, sent: Sent, headers: dict[str, str], asked: float | None, *, busy: bool = False
    ) -> None:
        one, before = self.flying.pop(id(sent.ticket)), self.used_tries
        one.refusals += 1
        super()._refuse(sent, headers, asked, busy=busy)
        one.counted += self.used_tries - before
        if one.counted >= TRIES or one.refusals >= PUT_BACK * TRIES:
            self.lost += 1
            self.free += 1
            self._pump()
            return
        backoff = 0.0
        unpaid = 0.0 if self.limiter.paced else self.quota.wait(self.now)
        if asked is None and not self.limiter.breaker.open:
            longest = self.limiter.backoff(min(one.refusals, 10), BACKOFF_BASE)
            backoff = min(BACKOFF_MAX, longest) * self.chance.uniform(0.75, 1.0)
        self._at(self.now + max(unpaid, backoff), lambda: self._return(one))

    def _return(self, one: Request) -> None:
        self.again.append(one)
        self._pump()
