"""One attempt: send once, and say in one word what is known afterwards.

    send(client, call, permit) -> Reply

The table from facts to outcome class is `classify_status` and `classify_error`; money and retries
follow from the class alone (see synth/wire.py). Nothing here retries.
"""

import email.utils
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import httpx2
import openai

from policy.permit import Action, Permit
from synth.config import Sampling
from synth.connection import ReplyTooLarge
from synth.error_bodies import NO_CREDIT, ErrorBody, read_error
from synth.proxy import ProxyFailed
from synth.teachers import Adapter
from synth.teachers.reading import REQUEST_IDS, request_id
from synth.transport import TeacherClient
from synth.wire import Call, Completion, Failure, OutcomeClass, Reply

_STOP_CODES = frozenset(
    {
        *("insufficient_quota", "credit_balance_exhausted", "organization_spend_limit_exceeded"),
        *("project_spend_limit_exceeded", "organization_usage_limit_exceeded"),
        *("enforced_spend_limit_reached", "contract_spend_limit_reached", "billing_error"),
        *("linked_organization_spend_limit_reached", "linked_organization_billing_unavailable"),
        *("billing_hard_limit_reached", "billing_not_active", NO_CREDIT),
    }
)
_FORBIDDEN_CODES = frozenset(
    {
        *("organization_on_hold", "access_terminated", "account_deactivated"),
        *("unsupported_country_region_territory", "organization_must_be_verified"),
        *("FAILED_PRECONDITION", "SERVICE_DISABLED", "API_KEY_SERVICE_BLOCKED"),
    }
)
"""The account or the place is refused, not this prompt."""
_KEY_CODES = frozenset({"API_KEY_INVALID", "invalid_api_key"})
_FILTER_CODES = frozenset(
    {
        *("content_filter", "content_policy_violation", "ResponsibleAIPolicyViolation"),
        *("invalid_prompt", "bio_policy", "cyber_policy", "misalignment_policy_violation"),
        *("image_content_policy_violation", "moderation_blocked"),
    }
)
"""This one prompt is refused; OpenAI calls a flagged prompt `invalid_prompt`."""
_SETTING_CODES = frozenset(
    {"unsupported_parameter", "unsupported_value", "unknown_parameter", "extra_forbidden"}
)
"""A field of the request is refused, whatever the prompt says."""
_DONE_CODES = frozenset({"json_validate_failed", "tool_use_failed"})
"""Groq: the model answered, but not in the form that was asked for."""
_PROMPT_FIELDS = ("messages", "input", "contents", "prompt")
_KEPT_HEADERS = frozenset(
    {
        *REQUEST_IDS,
        *("date", "openai-processing-ms", "retry-after", "retry-after-ms", "x-ds-trace-id"),
        *("x-litellm-call-id", "x-litellm-response-cost", "x-gemini-service-tier"),
    }
)
_WAITS = (("retry-after-ms", 1000.0), ("retry-after", 1.0), ("llm_provider-retry-after", 1.0))
"""The last is what LiteLLM's proxy sends, and nothing else."""
MAX_RETRY_AFTER = 600.0  # seconds: a longer wait is a refusal for this run
SECRET_LENGTH = 8  # characters
_DATED = re.compile(r"@|-\d{3}")  # -2024-08-06, -20250929, -0613, -001; never the -1 of opus-4-1


async def send(
    client: TeacherClient,
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
        status, headers, body = await client.exchange(call.path, call.body, deadline)
    except httpx2.HTTPError as error:
        lost = classify_error(error)
        return replace(lost, raw=_without(client.api_key, lost.raw))
    raw, kept = _without(client.api_key, body), _kept(headers, client.api_key)
    if status != 200:
        return Reply(classify_status(status, raw, kept, now()), raw, kept)
    return Reply(adapter.parse(raw, sampling, kept), raw, kept)


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
    if isinstance(cause, ProxyFailed):
        late = cause.later
        return Reply(Failure(OutcomeClass.NOT_SENT, "proxy", detail, retry=late, fatal=True))
    if isinstance(cause, httpx2.LocalProtocolError):
        return Reply(Failure(OutcomeClass.NOT_SENT, "not_sent", detail, fatal=True))
    return Reply(_unknown(name.lower(), f"the reply was lost: {detail}"))


def classify_status(status: int, body: bytes, headers: Mapping[str, str], now: float) -> Failure:
    """What an HTTP status other than 200 proves, by its code and never by its prose."""
    error = read_error(body)
    verdict, code, message = _status(status, error), error.code, error.message
    wait = _wait(headers, error, now) if verdict.retry else None
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
        provider_request_id=request_id(headers) or error.request_id,
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
    498: _Status(OutcomeClass.REJECTED, "overloaded", retry=True),  # Groq's flex tier
    503: _Status(OutcomeClass.REJECTED, "overloaded", retry=True),
    529: _Status(OutcomeClass.REJECTED, "overloaded", retry=True),
}


def _status(status: int, error: ErrorBody) -> _Status:
    """The table of facts to classes. 500, 502 and 504 may hide a billed generation."""
    if error.words & _STOP_CODES:
        return _BY_STATUS[402]
    if 400 <= status < 500 and (verdict := _by_code(status, error)):
        return verdict
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    if 300 <= status < 400:
        return _Status(OutcomeClass.REJECTED, "redirect", fatal=True)
    if 400 <= status < 500:
        return _Status(OutcomeClass.REJECTED, "bad_request")
    return _Status(OutcomeClass.UNKNOWN, "server_error")


def _by_code(status: int, error: ErrorBody) -> _Status | None:
    """What a body proves more exactly than its status does."""
    words = error.words
    if words & _KEY_CODES:
        return _BY_STATUS[401]
    if words & _FORBIDDEN_CODES:
        return _BY_STATUS[403]
    if status == 429:
        stop = _Status(OutcomeClass.REJECTED, "daily_limit", fatal=True)
        return stop if error.daily else None
    if words & _FILTER_CODES or error.filtered:
        # Azure bills what its filter read: "calls that resulted in a 200 or 400 code".
        billed = "content_filter" in words or "ResponsibleAIPolicyViolation" in words
        outcome = OutcomeClass.BILLED_BAD if billed else OutcomeClass.REJECTED
        return _Status(outcome, "content_filter")
    if words & _DONE_CODES:
        return _Status(OutcomeClass.BILLED_BAD, "bad_form")
    if words & _SETTING_CODES and not error.param.startswith(_PROMPT_FIELDS):
        return _Status(OutcomeClass.REJECTED, "unsupported", fatal=True)
    return None


def _wait(headers: Mapping[str, str], error: ErrorBody, now: float) -> float | None:
    """By the headers, else by the body (Gemini)."""
    asked = retry_after(headers, now)
    return error.wait if asked is None else asked


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds that the server asks us to wait: `retry-after-ms`, else `retry-after` as seconds or
    an HTTP date. None where it says nothing usable. A date is read by the server's own clock where
    it says what that shows: ours may be wrong by minutes."""
    for name, scale in _WAITS:
        try:
            seconds = float(headers.get(name, "")) / scale
        except ValueError:
            continue
        if 0 <= seconds < float("inf"):
            return seconds
    moment = _moment(headers.get("retry-after", ""))
    if moment is None:
        return None
    server = _moment(headers.get("date", ""))
    return max(0.0, moment - (now if server is None else server))


def _moment(date: str) -> float | None:
    """Seconds since 1970 of an HTTP date, or None where it is none."""
    try:
        return email.utils.parsedate_to_datetime(date).timestamp()
    except (ValueError, OverflowError):
        return None


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
    return rest != served and _DATED.match(rest) is not None


def _kept(headers: Sequence[tuple[bytes, bytes]], key: str) -> dict[str, str]:
    """The headers worth an audit: ids, dates, rates. Never cookies, never what we sent."""
    kept: dict[str, str] = {}
    for raw_name, raw_value in headers:
        name = raw_name.lower().decode("latin-1")
        if name in _KEPT_HEADERS or "ratelimit" in name or "tokenlimit" in name:
            value = _without(key, raw_value).decode("latin-1").strip()
            kept[name] = f"{kept[name]}, {value}" if name in kept else value
    return kept


def _unknown(kind: str, message: str) -> Failure:
    return Failure(OutcomeClass.UNKNOWN, kind, message)


def _refused(kind: str, message: str) -> Failure:
    return Failure(OutcomeClass.NOT_SENT, kind, message, fatal=True)
