"""What a reply's headers say about the provider's limits, in one form for all of them.

    parse({"x-ratelimit-limit-requests": "3000", "x-ratelimit-remaining-requests": "2999",
           "x-ratelimit-reset-requests": "20ms"}, now) -> (Limit("requests", ..., 60.0, 3000),)

Total: whatever a server sends gives limits or nothing. `-1` and `0` stand for "unknown" at Azure.

Sources: OpenAI rate-limits guide (Go durations); Anthropic rate-limits page (RFC 3339 resets,
input and output apart); Mistral (`-req-minute`, `-tokens-month`); Groq (OpenAI's names, requests a
day); Together (bare names, per second); Cerebras (`-requests-day`); Fireworks (`-tokens-prompt`);
LiteLLM (`llm_provider-` before the provider's own); IETF draft-ietf-httpapi-ratelimit-headers-07.
"""

import email.utils
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import NamedTuple

MINUTE, DAY = 60.0, 86_400.0
_WINDOWS = {"second": 1.0, "minute": MINUTE, "hour": 3600.0, "day": DAY, "month": 30 * DAY}
_KINDS = {
    "req": "requests",
    "requests": "requests",
    "tokens": "tokens",
    "input-tokens": "input_tokens",
    "tokens-prompt": "input_tokens",
    "output-tokens": "output_tokens",
    "tokens-generated": "output_tokens",
}
_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3}
_UNITS |= {"s": 1.0, "m": 60.0, "h": 3600.0, "d": DAY}
_KIND = "|".join(sorted(_KINDS, key=len, reverse=True))
_NAMES = (
    re.compile(
        rf"x-ratelimit-(?P<field>limit|remaining|reset)-(?P<kind>{_KIND})"
        rf"(?:-(?P<window>{'|'.join(_WINDOWS)}))?"
    ),
    re.compile(rf"anthropic-ratelimit-(?P<kind>{_KIND})-(?P<field>limit|remaining|reset)"),
    re.compile(r"(?:x-)?(?P<bare>ratelimit|tokenlimit)-(?P<field>limit|remaining|reset)"),
)
_NUMBER = re.compile(r"-?\d{1,15}(?:\.\d{1,15})?", re.ASCII)
_DURATION = re.compile(r"(\d{1,12}(?:\.\d{1,12})?)(ns|us|µs|μs|ms|s|m|h|d)", re.ASCII)
_SKEW = 5.0  # seconds; the Date header has whole seconds, so a smaller difference is no skew


@dataclass(frozen=True, slots=True)
class Limit:
    """One limit as one reply states it."""

    name: str
    """What tells this limit from the reply's others."""
    kind: str
    """`requests`, `tokens`, `input_tokens` or `output_tokens`."""
    seconds: float
    """Length of the window that `limit` is for."""
    limit: float
    remaining: float | None = None
    reset: float | None = None
    """Seconds until the provider calls the limit full again."""


class _Name(NamedTuple):
    kind: str
    window: str
    field: str


def parse(headers: Mapping[str, str], now: float) -> tuple[Limit, ...]:
    """The limits that a reply states. `now` is the wall clock, for resets that are dates; where the
    reply's own Date says that our clock is wrong, the Date is used instead."""
    found: dict[tuple[str, str], dict[str, str]] = {}
    for header, value in headers.items():
        if name := _named(header):
            found.setdefault(name[:2], {}).setdefault(name.field, value)
    if not found:
        return ()
    moment = _server_time(headers.get("date", ""), now)
    limits = (_limit(kind, window, given, moment) for (kind, window), given in found.items())
    return tuple(limit for limit in limits if limit)


@lru_cache(maxsize=256)
def _named(header: str) -> _Name | None:
    name = header.lower().removeprefix("llm_provider-")
    for pattern in _NAMES:
        if match := pattern.fullmatch(name):
            groups = match.groupdict()
            if bare := groups.get("bare"):
                return _Name(
                    "requests" if bare == "ratelimit" else "tokens", "bare", groups["field"]
                )
            return _Name(_KINDS[groups["kind"]], groups.get("window") or "", groups["field"])
    return None


def _limit(kind: str, window: str, given: Mapping[str, str], now: float) -> Limit | None:
    limit = _number(given.get("limit", ""))
    if limit is None or limit <= 0:
        return None
    remaining = _number(given.get("remaining", ""))
    if remaining is not None and remaining < 0:
        remaining = None
    reset = _reset(given.get("reset", ""), now)
    seconds = _WINDOWS.get(window) or _guessed(window, limit, remaining, reset)
    return Limit(f"{kind}/{window}" if window else kind, kind, seconds, limit, remaining, reset)


def _guessed(window: str, limit: float, remaining: float | None, reset: float | None) -> float:
    """The window that a name does not tell. A bare name's reset lies within it (Together: seconds).
    Otherwise a minute, unless what was used would take about a day to come back (Groq)."""
    if window == "bare":
        return next((one for one in (1.0, MINUTE, 3600.0) if (reset or MINUTE) <= one * 1.01), DAY)
    if reset and reset > 1.5 * MINUTE and remaining is not None and remaining < limit:
        whole = reset * limit / (limit - remaining)
        if DAY / 3 <= whole <= 3 * DAY:
            return DAY
    return MINUTE


@lru_cache(maxsize=1024)
def _number(text: str) -> float | None:
    # The IETF draft allows `100, 100;w=60`: the first is the limit in force.
    first = text.partition(",")[0].partition(";")[0].strip()
    return float(first) if _NUMBER.fullmatch(first) else None


def _reset(text: str, now: float) -> float | None:
    """Seconds from now: a Go duration, seconds, seconds or milliseconds since 1970, RFC 3339."""
    text = text.strip()
    if _NUMBER.fullmatch(text):
        value = float(text)
        if value >= 1e9:  # 2001 as seconds; a reset of 30 years is no reset
            value = (value / 1000 if value >= 1e11 else value) - now
        return max(0.0, value)
    parts = _DURATION.findall(text)
    if parts and "".join(number + unit for number, unit in parts) == text:
        return sum(float(number) * _UNITS[unit] for number, unit in parts)
    try:
        moment = datetime.fromisoformat(text)
        return max(0.0, (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() - now)
    except (ValueError, OverflowError, OSError):
        return None


def _server_time(date: str, now: float) -> float:
    server = _date(date)
    return now if server is None or abs(server - now) <= _SKEW else server


@lru_cache(maxsize=64)
def _date(text: str) -> float | None:
    try:
        return email.utils.parsedate_to_datetime(text).timestamp()
    except (ValueError, OverflowError, OSError, TypeError, IndexError):
        return None
