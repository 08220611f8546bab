"""One attempt against a real server that misbehaves: what is known afterwards, in one word.

The table is section 2.2 of the reliability facts; the count of billed requests is the server's.
"""

import asyncio
import gzip
import json
import socket
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest

from policy.errors import PolicyDenied
from policy.permit import Action
from synth.client import retry_after, send, served_wrongly
from synth.secrets import Key
from synth.teachers import ADAPTERS
from synth.transport import open_client
from synth.wire import Completion, Failure, OutcomeClass, Reply
from tests import fake_teacher as fake
from tests.fake_teacher import FakeTeacher, status
from tests.synth.parts import MODEL, call, completion, permit, sampling, self_signed

CANARY = "sk-canary-0123456789"
LIMIT = 1 << 20
NOW = 1_764_000_000.0
OK, BAD = OutcomeClass.OK, OutcomeClass.BILLED_BAD
REJECTED, UNKNOWN, NOT_SENT = OutcomeClass.REJECTED, OutcomeClass.UNKNOWN, OutcomeClass.NOT_SENT


def sent_to(base_url: str, folder: Path, *, action: Action = Action.COLLECT,
            deadline: float = 3.0, key: str = CANARY) -> Reply:  # fmt: skip
    async def main() -> Reply:
        client = open_client(base_url, Key(key), limit=LIMIT)
        try:
            allowed = permit(folder, action)
            return await send(client, ADAPTERS["openai"], call(), sampling(), allowed,
                              deadline=deadline, now=lambda: NOW)  # fmt: skip
        finally:
            await client.close()

    return asyncio.run(main())


def reply(action: fake.Action | Sequence[fake.Action], folder: Path, **given: Any) -> Reply:
    """What one send makes of one action; the server must have been asked once."""
    with FakeTeacher(action if isinstance(action, list) else [action]) as server:
        found = sent_to(server.base_url, folder, **given)
    assert len(server.seen) == 1
    assert server.seen[0].raw in (b"", call().body)
    return found


def failure(found: Reply) -> Failure:
    assert isinstance(found.result, Failure), found.result
    return found.result


def error(code: str) -> dict[str, Any]:
    return {"error": {"code": code, "message": "words that nobody should read"}}


SPEND = {"error": {"details": {"error_code": "enforced_spend_limit_reached"}}}
STATUSES = [
    (status(400), REJECTED, "bad_request", ""),
    (status(413), REJECTED, "bad_request", ""),
    (status(422), REJECTED, "bad_request", ""),
    (status(401), REJECTED, "bad_key", "fatal"),
    (status(402), REJECTED, "out_of_money", "fatal"),
    (status(403), REJECTED, "forbidden", "fatal"),
    (status(404, error("model_not_found")), REJECTED, "not_found", "fatal"),
    (status(429), REJECTED, "rate_limited", "retry"),
    (status(429, error("insufficient_quota")), REJECTED, "out_of_money", "fatal"),
    (status(429, error("credit_balance_exhausted")), REJECTED, "out_of_money", "fatal"),
    (status(400, error("billing_hard_limit_reached")), REJECTED, "out_of_money", "fatal"),
    (status(400, SPEND), REJECTED, "out_of_money", "fatal"),
    (status(503), REJECTED, "overloaded", "retry"),
    (status(529), REJECTED, "overloaded", "retry"),
    (status(408), UNKNOWN, "server_error", ""),
    (status(409), UNKNOWN, "server_error", ""),
    (status(500), UNKNOWN, "server_error", ""),
    (status(502), UNKNOWN, "server_error", ""),
    (status(504), UNKNOWN, "server_error", ""),
    (status(520), UNKNOWN, "server_error", ""),
    (status(524), UNKNOWN, "server_error", ""),
    (status(302, headers={"location": "/v1/x"}), REJECTED, "redirect", "fatal"),
    (status(304), REJECTED, "redirect", "fatal"),
    (fake.reset(), UNKNOWN, "readerror", ""),
    (fake.reset_unread(), UNKNOWN, "readerror", ""),
    (fake.truncated(), UNKNOWN, "remoteprotocolerror", ""),
    (fake.html(), BAD, "html", ""),
    (fake.bad_json(), BAD, "bad_json", ""),
    (fake.bad_utf8(), BAD, "bad_utf8", ""),
    (fake.error_in_200(), BAD, "error_in_200", ""),
    (fake.empty_choices(), BAD, "no_choices", ""),
    (fake.huge(), BAD, "too_large", ""),
    (fake.answer("nul \0"), BAD, "nul_in_text", ""),
    (status(429, "<html>busy</html>"), REJECTED, "rate_limited", "retry"),
    (status(401, "x" * 3_000_000), BAD, "too_large", ""),
    (status(204), UNKNOWN, "server_error", ""),
]  # fmt: skip


@pytest.mark.parametrize(("action", "outcome", "kind", "then"), STATUSES, ids=lambda v: str(v)[:20])
def test_every_fault_has_its_class(
    tmp_path: Path, action: fake.Action, outcome: OutcomeClass, kind: str, then: str
) -> None:
    found = failure(reply(action, tmp_path))
    assert (found.outcome, found.kind) == (outcome, kind)
    assert (found.retry, found.fatal) == (then == "retry", then == "fatal")
    assert "\n" not in found.message


def test_what_may_be_billed_is_never_sent_again_by_itself() -> None:
    """The property behind the table: a retry only where no money can have moved."""
    for action, outcome, _, then in STATUSES:
        if then == "retry":
            assert outcome is REJECTED, action
            assert not action.billed


@pytest.mark.parametrize("said", ["\x1b[2J\ud800\u202e\n\0", {"a": 1}, None, [7]])
def test_the_words_of_an_error_cannot_drive_a_terminal(tmp_path: Path, said: Any) -> None:
    found = failure(reply(status(400, {"error": {"message": said, "code": said}}), tmp_path))
    assert found.message.isprintable()
    assert failure(reply(status(400, json.dumps(said)), tmp_path)).message.isprintable()


def test_an_answer_is_an_answer(tmp_path: Path) -> None:
    found = reply(fake.answer("Hello", headers={"x-request-id": "r7", "set-cookie": "a"}), tmp_path)
    assert isinstance(found.result, Completion)
    assert (found.result.text, found.result.provider_request_id) == ("Hello", "r7")
    assert json.loads(found.raw)["choices"][0]["message"]["content"] == "Hello"
    assert set(found.headers) == {"x-request-id"}


@pytest.mark.parametrize("action", [fake.drip("a" * 200, pause=0.02), fake.hang()])
def test_the_deadline_is_wall_clock(tmp_path: Path, action: fake.Action) -> None:
    started = time.monotonic()
    found = failure(reply(action, tmp_path, deadline=0.4))
    assert (found.outcome, found.kind) == (UNKNOWN, "deadline")
    assert time.monotonic() - started < 2


def test_a_closed_port_proves_that_nothing_was_sent(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    found = failure(sent_to(f"http://127.0.0.1:{port}/v1", tmp_path))
    assert (found.outcome, found.kind, found.retry) == (NOT_SENT, "no_connection", True)


def test_a_certificate_of_nobody_gets_no_request(tmp_path: Path) -> None:
    with FakeTeacher(tls=self_signed(tmp_path)) as server:
        found = failure(sent_to(server.base_url, tmp_path))
    assert (found.outcome, found.kind, found.fatal) == (NOT_SENT, "tls", True)
    assert server.seen == []


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_a_redirect_takes_neither_prompt_nor_key_elsewhere(tmp_path: Path, code: int) -> None:
    with FakeTeacher() as other:
        away = status(code, headers={"location": other.base_url + "/chat/completions"})
        found = failure(reply(away, tmp_path))
    assert (found.outcome, found.kind, found.fatal) == (REJECTED, "redirect", True)
    assert other.seen == []


def test_a_huge_reply_is_cut_and_what_was_read_is_kept(tmp_path: Path) -> None:
    found = reply(fake.huge(50_000_000), tmp_path)
    assert failure(found).kind == "too_large"
    assert LIMIT - 200_000 < len(found.raw) <= LIMIT


def test_a_compressed_reply_is_capped_after_it_grew(tmp_path: Path) -> None:
    bomb = gzip.compress(b" " * 40_000_000)
    assert len(bomb) < LIMIT
    packed = fake.Action(body=lambda _: bomb, headers={"content-encoding": "gzip"})
    assert failure(reply(packed, tmp_path)).kind == "too_large"


def test_a_compressed_answer_is_read(tmp_path: Path) -> None:
    plain = fake.answer("Hello")
    packed = fake.Action(body=lambda request: gzip.compress(plain.body(request)),
                         headers={"content-encoding": "gzip"})  # fmt: skip
    assert isinstance(reply(packed, tmp_path).result, Completion)


@pytest.mark.parametrize("where", ["message", "text", "header"])
def test_a_server_that_repeats_the_key_does_not_get_it_stored(tmp_path: Path, where: str) -> None:
    said = f"Incorrect API key provided: {CANARY}."
    actions = {
        "message": status(401, {"error": {"message": said}}),
        "text": fake.answer(said),
        "header": fake.answer("a", headers={"x-request-id": said}),
    }
    found = reply(actions[where], tmp_path)
    assert CANARY not in f"{found.raw!r} {found.result} {found.headers}"


def http_date(later: float) -> str:
    return format_datetime(datetime.fromtimestamp(NOW + later, UTC), usegmt=True)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after-ms": "250"}, 0.25),
        ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
        ({"retry-after": "7"}, 7.0),
        ({"llm_provider-retry-after": "4"}, 4.0),
        ({"retry-after": "0"}, 0.0),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": http_date(30)}, 30),
        ({"retry-after": http_date(-30)}, 0),
        ({"retry-after": "Mon, 99 Foo 2026 00:00:00 GMT"}, None),
        ({"retry-after": http_date(90), "date": http_date(60)}, 30),
        ({"retry-after": http_date(-90), "date": http_date(-100)}, 10),
        ({"retry-after": http_date(30), "date": "yesterday"}, 30),
    ],
)  # fmt: skip
def test_retry_after_is_read_in_all_its_forms(headers: dict[str, str], seconds: float) -> None:
    assert retry_after(headers, NOW) == seconds


def test_a_wait_longer_than_a_run_stops_the_run(tmp_path: Path) -> None:
    found = failure(reply(status(429, headers={"retry-after": "86400"}), tmp_path))
    assert (found.outcome, found.retry, found.fatal) == (REJECTED, False, True)


def test_the_environment_changes_nothing_on_the_wire(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with FakeTeacher() as server, FakeTeacher() as other:
        before = sent_to(server.base_url, tmp_path)
        hijack = {"OPENAI_CUSTOM_HEADERS": "Authorization: Bearer stolen\nx-evil: 1",
                  "OPENAI_BASE_URL": other.base_url, "OPENAI_API_KEY": "sk-other",
                  "OPENAI_ORG_ID": "org-1", "OPENAI_PROJECT_ID": "proj-1",
                  "SSLKEYLOGFILE": str(tmp_path / "tls"), "NO_PROXY": ""}  # fmt: skip
        proxies = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy"),
                                other.base_url)  # fmt: skip
        for name, value in (hijack | proxies).items():
            monkeypatch.setenv(name, value)
        after = sent_to(server.base_url, tmp_path)
    assert isinstance(before.result, Completion)
    assert isinstance(after.result, Completion)
    assert other.seen == []
    assert server.seen[0].headers == server.seen[1].headers
    assert server.seen[0].raw == server.seen[1].raw


def test_a_permit_for_something_else_sends_nothing(tmp_path: Path) -> None:
    with FakeTeacher() as server, pytest.raises(PolicyDenied):
        sent_to(server.base_url, tmp_path, action=Action.FREEZE)
    assert server.seen == []


@pytest.mark.parametrize(
    ("served", "wrongly"),
    [
        (MODEL, False), ("", False), (f"{MODEL}-2024-07-18", False), (f"org/{MODEL}", False),
        (f"{MODEL}@20250101", False), ("alias", False), (f"{MODEL}-001", False),
        (f"{MODEL}-1", True),
        ("another-model", True), (f"{MODEL}-mini", True), (f"{MODEL}x", True), (f"a{MODEL}", True),
    ],
)  # fmt: skip
def test_another_model_is_another_answer(served: str, wrongly: bool) -> None:
    answer = completion()
    answer = Completion(answer.text, "stop", answer.usage, served)
    assert served_wrongly(answer, MODEL, ("alias",)) is wrongly
