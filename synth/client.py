"""One attempt: send once, and say in one word what is known afterwards.

    send(client, call, permit) -> Reply

The table from facts to outcome class is `classify_status` and `classify_error`; money and retries
follow from the class alone (see synth/wire.py). Nothing here retries.
"""

import asyncio
import email.utils
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import httpx2
import openai

from policy.permit import Action, Permit
from synth.config import Sampling
from synth.teachers import Adapter
from synth.transport import ReplyTooLarge
from synth.wire import Call, Completion, Failure, OutcomeClass, Reply, printable, text_or_empty

_STOP_CODES = frozenset(
    {
        *("insufficient_quota", "credit_balance_exhausted", "organization_spend_limit_exceeded"),
        *("project_spend_limit_exceeded", "organization_usage_limit_exceeded"),
        *("enforced_spend_limit_reached", "billing_hard_limit_reached"),
    }
)
_KEPT_HEADERS = ("x-request-id", "request-id", "date", "openai-processing-ms", "retry-after")
_WAITS = (("retry-after-ms", 1000.0), ("retry-after", 1.0), ("llm_provider-retry-after", 1.0))
"""The last is what LiteLLM's proxy sends, and nothing else."""
MAX_RETRY_AFTER = 600.0  # seconds: a longer wait is a refusal for this run
SECRET_LENGTH = 8  # characters


async def send(
    client: openai.AsyncOpenAI,
    adapter: Adapter,
    call: Call,
    sampling: Sampling,
    permit: Permit,
    *,
    deadline: float,
    now: Callable[[], float],
) -> Reply:
    """Send one call, once. Every fault of the network or the provider is a Failure in the reply.

    `deadline` is seconds of wall clock for the whole attempt; `now` is the wall clock, for
    Retry-After dates.
    """
    Permit.must_be(permit, Action.COLLECT)
    try:
        async with asyncio.timeout(deadline):
            response = await client.post(
                call.path,
                content=call.body,
                cast_to=httpx2.Response,
                options={"headers": {"content-type": "application/json"}},
            )
    except TimeoutError:
        return Reply(_unknown("deadline", f"no complete reply within {deadline:g} s"))
    except openai.APIStatusError as error:
        response = error.response
    except (openai.APIConnectionError, httpx2.HTTPError) as error:
        lost = classify_error(error)
        return replace(lost, raw=_without(client.api_key, lost.raw))
    raw = _without(client.api_key, response.content)
    headers = {
        name: _without(client.api_key, value.encode()).decode()
        for name, value in response.headers.items()
    }
    if response.status_code != 200:
        failure = classify_status(response.status_code, raw, headers, now())
        return Reply(failure, raw, _kept(headers))
    return Reply(adapter.parse(raw, sampling, _kept(headers)), raw, _kept(headers))


def _without(key: str, data: bytes) -> bytes:
    """What came back, less our own key: some servers repeat it in their error, and replies are
    stored as received. A word too short to be a secret stays."""
    return data.replace(key.encode(), b"[key]") if len(key) >= SECRET_LENGTH else data


def classify_error(error: Exception) -> Reply:
    """What an exception proves: only a connection that never stood proves that nothing was sent."""
    cause = error.__cause__ if isinstance(error, openai.APIConnectionError) else error
    cause = cause or error
    name = type(cause).__name__
    detail = str(cause)[:160] or name
    if isinstance(cause, ReplyTooLarge):
        return Reply(Failure(OutcomeClass.BILLED_BAD, "too_large", detail, 200), raw=cause.partial)
    if isinstance(cause, httpx2.ConnectError | httpx2.ConnectTimeout | httpx2.PoolTimeout):
        if "certificate" in detail.lower():
            return Reply(_refused("tls", f"the server's certificate is not valid: {detail}"))
        return Reply(
            Failure(OutcomeClass.NOT_SENT, "no_connection", f"no connection: {detail}", retry=True)
        )
    if isinstance(cause, httpx2.LocalProtocolError | httpx2.ProxyError):
        return Reply(Failure(OutcomeClass.NOT_SENT, "not_sent", detail, fatal=True))
    return Reply(_unknown(name.lower(), f"the reply was lost: {detail}"))


def classify_status(status: int, body: bytes, headers: Mapping[str, str], now: float) -> Failure:
    """What an HTTP status other than 200 proves, by its code and never by its prose."""
    code, message = _error(body)
    verdict = _status(status, code)
    wait = retry_after(headers, now) if verdict.retry else None
    if wait is not None and wait > MAX_RETRY_AFTER:
        verdict = verdict._replace(kind="asked_to_wait", retry=False, fatal=True)
        message, wait = f"asks to wait {wait:.0f} s. {message}", None
    return Failure(
        verdict.outcome,
        verdict.kind,
        (f"{status} {code}: {message}" if code else f"{status}: {message}")[:300],
        status,
        retry=verdict.retry,
        fatal=verdict.fatal,
        retry_after=wait,
        provider_request_id=headers.get("x-request-id", ""),
    )


class _Status(NamedTuple):
    outcome: OutcomeClass
    kind: str
    retry: bool = False
    fatal: bool = False


_BY_STATUS = {
    401: _Status(OutcomeClass.REJECTED, "bad_key", fatal=True),
    402: _Status(OutcomeClass.REJECTED, "out_of_money", fatal=True),
    403: _Status(OutcomeClass.REJECTED, "forbidden", fatal=True),
    404: _Status(OutcomeClass.REJECTED, "not_found", fatal=True),
    408: _Status(OutcomeClass.UNKNOWN, "server_error"),
    409: _Status(OutcomeClass.UNKNOWN, "server_error"),
    429: _Status(OutcomeClass.REJECTED, "rate_limited", retry=True),
    503: _Status(OutcomeClass.REJECTED, "overloaded", retry=True),
    529: _Status(OutcomeClass.REJECTED, "overloaded", retry=True),
}


def _status(status: int, code: str) -> _Status:
    """The table of facts to classes. 500, 502 and 504 may hide a billed generation."""
    if code in _STOP_CODES:
        return _BY_STATUS[402]
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    if 300 <= status < 400:
        return _Status(OutcomeClass.REJECTED, "redirect", fatal=True)
    if 400 <= status < 500:
        return _Status(OutcomeClass.REJECTED, "bad_request")
    return _Status(OutcomeClass.UNKNOWN, "server_error")


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds that the server asks us to wait: `retry-after-ms`, else `retry-after` as seconds or
    an HTTP date. None where it says nothing usable."""
    for name, scale in _WAITS:
        try:
            seconds = float(headers.get(name, "")) / scale
        except ValueError:
            continue
        if 0 <= seconds < float("inf"):
            return seconds
    try:
        moment = email.utils.parsedate_to_datetime(headers.get("retry-after", ""))
    except ValueError:
        return None
    return max(0.0, moment.timestamp() - now)


def served_wrongly(completion: Completion, requested: str, allowed: tuple[str, ...]) -> bool:
    """Whether another model answered than the one that was asked and decided on.

    A dated snapshot of the requested name (`gpt-4o-mini-2024-07-18`) is the same model, and so is
    a path that ends in it; anything else must be listed in `served_as`.
    """
    served = completion.served_model
    if not served or served in (requested, *allowed):
        return False
    tail = served.rstrip("/").rsplit("/", 1)[-1]
    return not any(
        one == requested.rsplit("/", 1)[-1] or _snapshot(one, requested) for one in (served, tail)
    )


def _snapshot(served: str, requested: str) -> bool:
    rest = served.removeprefix(requested)
    return rest != served and (rest[:1] == "@" or (rest[:1] == "-" and rest[1:2].isdigit()))


def _error(body: bytes) -> tuple[str, str]:
    """(code, message) of an error body of any of the usual shapes."""
    try:
        data: Any = json.loads(body)
    except (ValueError, RecursionError):
        return "", printable(body[:160].decode("utf-8", "replace"))
    error = data.get("error", data) if isinstance(data, dict) else data
    if not isinstance(error, dict):
        return "", printable(str(error)[:200])
    details = error.get("details")
    inner = text_or_empty(details.get("error_code")) if isinstance(details, dict) else ""
    code = inner or text_or_empty(error.get("code")) or text_or_empty(error.get("type"))
    message = text_or_empty(error.get("message")) or text_or_empty(error.get("detail"))
    return printable(code)[:80], printable(message)[:240]


def _kept(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers worth an audit: ids, dates, rates. Never cookies, never what we sent."""
    return {
        name: value
        for name, value in headers.items()
        if name in _KEPT_HEADERS or "ratelimit" in name
    }


def _unknown(kind: str, message: str) -> Failure:
    return Failure(OutcomeClass.UNKNOWN, kind, message)


def _refused(kind: str, message: str) -> Failure:
    return Failure(OutcomeClass.NOT_SENT, kind, message, fatal=True)
