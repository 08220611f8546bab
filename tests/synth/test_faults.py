"""Every fault of one answer: what is known afterwards, who pays, whether it is asked again, and how
the run ends. The rows are the failure table of docs/reliability.md.

Three prompts, one at a time; the second meets the fault. The server is real and counts what it
bills. Then the fault ends and the project is collected again.
"""

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any, Literal

import pytest

from policy.errors import SpiritSafeError
from synth.audit import findings
from synth.breaker import KINDS
from synth.steps import filter_step
from synth.wire import OutcomeClass
from tests import fake_teacher as fake
from tests.command import spiritsafe
from tests.fake_teacher import Action, FakeTeacher, answer, raw, status
from tests.synth.parts import PRICED, ask, asked, bench_of, opened, project

DOCUMENT = Path(__file__).parents[2].joinpath("docs", "reliability.md").read_text(encoding="utf-8")
OK, BAD = OutcomeClass.OK, OutcomeClass.BILLED_BAD
REJECTED, UNKNOWN, NOT_SENT = OutcomeClass.REJECTED, OutcomeClass.UNKNOWN, OutcomeClass.NOT_SENT
TRIES = 2
LIMIT = 1 << 20

Money = Literal["kept", "released", "usage", "reserve"]
"""The reserve is kept against the cap; or given back; or replaced by the provider's usage; or
taken as the price, where a paid answer names no usable usage."""
Then = Literal["held", "unusable", "refused", "again", "done"]
"""What the next run does with the request."""


@dataclass(frozen=True)
class Fault:
    """One row of the table."""

    name: str
    action: Action
    outcome: OutcomeClass
    kind: str
    money: Money
    then: Then
    code: int = 1
    sent: int = 1

    def __str__(self) -> str:
        return self.name.replace(" ", "_")


def body(**fields: Any) -> Action:
    """An answer with other fields."""
    return answer(extra=fields)


def usage(prompt: Any, completion: Any) -> Action:
    return answer(usage={"prompt_tokens": prompt, "completion_tokens": completion})


def error(code: str) -> dict[str, Any]:
    return {"error": {"code": code, "message": "words"}}


def choice(**message: Any) -> Action:
    return body(choices=[{"index": 0, "finish_reason": "stop", "message": message}])


def html(code: int) -> Action:
    return status(code, "<html><title>Bad gateway</title></html>")


SOON = {"retry-after-ms": "5"}
SPEND = {"error": {"type": "error", "details": {"error_code": "enforced_spend_limit_reached"}}}
TOMORROW = format_datetime(datetime.now(UTC) + timedelta(days=1), usegmt=True)
DIGITS = b'{"model": "smollm2-135m", "choices": [{"message": {"content": "a"}}], "x": %s}'
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
WHOLE = json.dumps(
    {
        "model": "smollm2-135m",
        "choices": [{"message": {"content": "a"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 1},
    }
).encode()

LOST = [
    Fault("reset after the request", fake.reset(), UNKNOWN, "readerror", "kept", "held"),
    Fault("kept connection closed as we write", fake.reset_unread(), UNKNOWN, "readerror", "kept",
          "held"),
    Fault("silence after the request", fake.hang(), UNKNOWN, "deadline", "kept", "held"),
    Fault("silence in the headers", fake.hang("half_head"), UNKNOWN, "deadline", "kept", "held"),
    Fault("silence in the body", fake.hang("half_body"), UNKNOWN, "deadline", "kept", "held"),
    Fault("slow drip", fake.drip("a" * 400, pause=0.02), UNKNOWN, "deadline", "kept", "held"),
    Fault("truncated body", fake.truncated(), UNKNOWN, "remoteprotocolerror", "kept", "held"),
    Fault("500", status(500), UNKNOWN, "server_error", "kept", "held"),
    Fault("500 that was billed", status(500, billed=True), UNKNOWN, "server_error", "kept", "held"),
    Fault("502 with a page", html(502), UNKNOWN, "server_error", "kept", "held"),
    Fault("504", status(504), UNKNOWN, "server_error", "kept", "held"),
    Fault("520 of a proxy", status(520), UNKNOWN, "server_error", "kept", "held"),
    Fault("524 of a proxy", status(524), UNKNOWN, "server_error", "kept", "held"),
    Fault("408", status(408), UNKNOWN, "server_error", "kept", "held"),
    Fault("409", status(409), UNKNOWN, "server_error", "kept", "held"),
    Fault("204", fake.wire(b"HTTP/1.1 204 No Content\r\n\r\n"), UNKNOWN, "server_error", "kept",
          "held"),
    Fault("no HTTP", fake.wire(b"SSH-2.0-OpenSSH\r\n"), UNKNOWN, "remoteprotocolerror", "kept",
          "held"),
    Fault("broken chunk", fake.wire(HEAD + b"transfer-encoding: chunked\r\n\r\nzz\r\n"), UNKNOWN,
          "remoteprotocolerror", "kept", "held"),
    Fault("gzip that is none", Action(body=lambda _: WHOLE, headers={"content-encoding": "gzip"}),
          UNKNOWN, "decodingerror", "kept", "held"),
]  # fmt: skip

REFUSED = [
    Fault("429 with retry-after", status(429, headers=SOON), REJECTED, "rate_limited", "released",
          "again", sent=TRIES),
    Fault("429 without", status(429), REJECTED, "rate_limited", "released", "again", sent=TRIES),
    Fault("429 until tomorrow", status(429, headers={"retry-after": TOMORROW}), REJECTED,
          "asked_to_wait", "released", "again", code=2),
    Fault("429 insufficient_quota", status(429, error("insufficient_quota")), REJECTED,
          "out_of_money", "released", "again", code=4),
    Fault("429 credit_balance_exhausted", status(429, error("credit_balance_exhausted")), REJECTED,
          "out_of_money", "released", "again", code=4),
    Fault("400 spend limit (Anthropic)", status(400, SPEND), REJECTED, "out_of_money", "released",
          "again", code=4),
    Fault("402", status(402), REJECTED, "out_of_money", "released", "again", code=4),
    Fault("503", status(503, headers=SOON), REJECTED, "overloaded", "released", "again",
          sent=TRIES),
    Fault("529", status(529, headers=SOON), REJECTED, "overloaded", "released", "again",
          sent=TRIES),
    Fault("400", status(400), REJECTED, "bad_request", "released", "refused"),
    Fault("413", status(413), REJECTED, "bad_request", "released", "refused"),
    Fault("422", status(422), REJECTED, "bad_request", "released", "refused"),
    Fault("401 revoked in mid-run", status(401), REJECTED, "bad_key", "released", "again", code=2),
    Fault("403", status(403), REJECTED, "forbidden", "released", "again", code=3),
    Fault("404 model withdrawn in mid-run", status(404, error("model_not_found")), REJECTED,
          "not_found", "released", "again", code=2),
    *(Fault(f"{code} redirect", fake.redirect("http://127.0.0.1:9/", code), REJECTED, "redirect",
            "released", "again", code=2) for code in (301, 302, 303, 307, 308)),
]  # fmt: skip

USELESS = [
    Fault("JSON cut short", fake.bad_json(), BAD, "bad_json", "reserve", "unusable"),
    Fault("empty body", raw(b""), BAD, "bad_json", "reserve", "unusable"),
    Fault("a stream nobody asked for", raw(b'data: {"choices": []}\n\n'), BAD, "bad_json",
          "reserve", "unusable"),
    Fault("a list", raw(b"[]"), BAD, "bad_shape", "reserve", "unusable"),
    Fault("nested too deeply", raw(b"[" * 100_000), BAD, "bad_json", "reserve", "unusable"),
    Fault("bad UTF-8", fake.bad_utf8(), BAD, "bad_utf8", "reserve", "unusable"),
    Fault("a page instead of JSON", fake.html(), BAD, "html", "reserve", "unusable"),
    Fault("200 with an error inside", fake.error_in_200(), BAD, "error_in_200", "reserve",
          "unusable"),
    Fault("no choices", fake.empty_choices(), BAD, "no_choices", "usage", "unusable"),
    Fault("choices null", body(choices=None), BAD, "no_choices", "usage", "unusable"),
    Fault("empty content", answer(""), BAD, "empty", "usage", "unusable"),
    Fault("content null", choice(content=None), BAD, "empty", "usage", "unusable"),
    Fault("another model", fake.wrong_model(), BAD, "served_other_model", "usage", "unusable"),
    Fault("NUL in the text", answer("a\0b"), BAD, "nul_in_text", "usage", "unusable"),
    Fault("NaN", raw(DIGITS % b"NaN"), BAD, "bad_json", "reserve", "unusable"),
    Fault("Infinity", raw(DIGITS % b"-Infinity"), BAD, "bad_json", "reserve", "unusable"),
    Fault("5,000 digits", raw(DIGITS % (b"9" * 5000)), BAD, "bad_json", "reserve", "unusable"),
    Fault("usage NaN", usage(float("nan"), 1), BAD, "bad_json", "reserve", "unusable"),
    Fault("100 MB", fake.huge(), BAD, "too_large", "reserve", "unusable"),
    Fault("a gzip bomb", fake.gzip_bomb(50_000_000), BAD, "too_large", "reserve", "unusable"),
    Fault("400 with 3 MB of words", status(400, "x" * 3_000_000), BAD, "too_large", "reserve",
          "unusable"),
]  # fmt: skip

ANSWERED = [
    Fault("length", answer(finish_reason="length"), OK, "", "usage", "done", code=0),
    Fault("content_filter", answer(finish_reason="content_filter"), OK, "", "usage", "done",
          code=0),
    Fault("refusal", choice(content=None, refusal="No."), OK, "", "usage", "done", code=0),
    Fault("lone surrogate", answer("a\ud800b"), OK, "", "usage", "done", code=0),
    Fault("bidi and ANSI", answer("a\u202eb\x1b[31m"), OK, "", "usage", "done", code=0),
    Fault("1e400", raw(DIGITS % b"1e400"), OK, "", "reserve", "done", code=0),
    Fault("usage missing", answer(usage=None), OK, "", "reserve", "done", code=0),
    Fault("usage -1", usage(-1, -1), OK, "", "reserve", "done", code=0),
    Fault("usage in words", usage("3", "4"), OK, "", "reserve", "done", code=0),
    Fault("usage true", usage(True, True), OK, "", "reserve", "done", code=0),
    Fault("usage 1e400", raw(WHOLE.replace(b": 3", b": 1e400")), OK, "", "reserve", "done", code=0),
    Fault("usage beyond belief", usage(2**40, 1), OK, "", "reserve", "done", code=0),
    Fault("connection closed without a word", answer(close=True), OK, "", "usage", "done", code=0),
    Fault("HTTP/1.0 without a length",
          fake.wire(b"HTTP/1.0 200 OK\r\n\r\n" + WHOLE), OK, "", "usage", "done", code=0),
    Fault("103 before the answer",
          fake.wire(b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n" + HEAD
                    + b"content-length: %d\r\n\r\n" % len(WHOLE) + WHOLE),
          OK, "", "usage", "done", code=0),
]  # fmt: skip

FAULTS = [*LOST, *REFUSED, *USELESS, *ANSWERED]


def table_row(fault: Fault) -> str:
    """The row as docs/reliability.md has it."""
    again = {"again": "yes", "done": "-"}.get(fault.then, f"no, {fault.then}")
    tries = "tries" if fault.sent > 1 else "1"
    cells = (fault.name, f"`{fault.outcome}`", f"`{fault.kind}`" if fault.kind else "-",
             fault.money, tries, again, str(fault.code))  # fmt: skip
    return f"| {' | '.join(cells)} |"


def run(path: Path) -> int:
    """One collection; the exit code that the command line would end with."""
    try:
        return int(ask(path).incomplete)
    except SpiritSafeError as stopped:
        return int(stopped.exit_code) if str(stopped).isprintable() else -1


def whole(path: Path) -> None:
    """What `verify` says."""
    with opened(path) as ledger:
        assert findings(ledger, path.parent) == []


def attempts(path: Path, prompt: str) -> list[tuple[Any, ...]]:
    """(class, kind, committed, reserve, price by usage) of each attempt at one prompt."""
    return asked(path, f"""
        SELECT s.class, s.kind, s.committed_nano, s.reserve_nano,
               CASE WHEN estimated THEN NULL ELSE 1000 * prompt_tokens + 2000 * completion_tokens
               END FROM state s LEFT JOIN outcome o ON o.attempt = s.id
        WHERE s.prompt_id = '{prompt}' ORDER BY s.seq""")  # fmt: skip


def money(fault: Fault, reserve: int, used: int | None) -> int | None:
    """What one attempt may have committed of the budget."""
    return {"kept": reserve, "released": 0, "reserve": reserve, "usage": used}[fault.money]


@pytest.mark.parametrize("fault", FAULTS, ids=str)
def test_a_fault_ends_as_the_table_says(tmp_path: Path, fault: Fault) -> None:
    over = False

    def script(index: int, request: fake.Json) -> Action:
        faulty = "card 1 " in request["messages"][-1]["content"] and not over
        return fault.action if faulty else answer()

    limits = {"concurrency": 1, "deadline_seconds": 0.5, "tries": TRIES,
              "max_response_bytes": LIMIT, **PRICED}  # fmt: skip
    unread = (1,) if fault.action.send == "reset_unread" else ()
    with FakeTeacher(script, unread=unread) as server:
        path = project(tmp_path, server.base_url, rows=3, limits=limits)
        assert run(path) == fault.code
        whole(path)
        found = attempts(path, "p0001")
        assert [one[:2] for one in found] == [(fault.outcome, fault.kind)] * fault.sent
        for _, _, committed, reserve, used in found:
            assert committed == money(fault, reserve, used)
        over, before = True, len(server.seen)
        if fault.kind in KINDS:
            assert run(path) == 3
            assert len(server.seen) == before
            spiritsafe("resume", path, "--by", "J. Doe", "--because", "The provider was asked.")
        run(path)
        again = [seen for seen in server.seen[before:] if b"card 1 " in seen.raw]
    assert len(again) == (fault.then == "again")
    whole(path)
    answered = asked(path, "SELECT prompt_id FROM completion JOIN attempt ON id = attempt"
                           " ORDER BY ALL")  # fmt: skip
    others = {"p0000", "p0002"} | ({"p0001"} if fault.then in ("again", "done") else set())
    assert [prompt for (prompt,) in answered] == sorted(others)
    assert fault.then in ("again",) or len(server.counts) in (2, 3)
    assert max(server.counts.values()) == 1


@pytest.mark.parametrize("fault", [f for f in FAULTS if f.code > 1], ids=str)
def test_what_would_meet_everybody_stops_the_run_at_once(tmp_path: Path, fault: Fault) -> None:
    with FakeTeacher([answer(), fault.action]) as server:
        path = project(tmp_path, server.base_url, rows=9, limits={"concurrency": 1, **PRICED})
        assert run(path) == fault.code
    assert len(server.seen) == 2


@pytest.mark.parametrize("fault", [f for f in FAULTS if f.outcome in (UNKNOWN, BAD)], ids=str)
def test_no_row_asks_again_where_money_may_have_moved(fault: Fault) -> None:
    assert fault.sent == 1
    assert fault.then != "again"
    assert fault.money != "released"


def test_a_second_answer_behind_the_first_is_nobody_s(tmp_path: Path) -> None:
    """A surplus reply left on a kept connection must not answer the next prompt."""
    other = WHOLE.replace(b'"a"', b'"not yours"')
    twice = b"".join(
        HEAD + b"content-length: %d\r\n\r\n" % len(one) + one for one in (WHOLE, other)
    )
    pytest.importorskip("synth.connection", reason="httpx2 itself hands it to the next request")
    with FakeTeacher([fake.wire(twice, close=False), answer("mine")]) as server:
        path = project(tmp_path, server.base_url, rows=4, limits={"concurrency": 1})
        run(path)
    assert asked(path, "SELECT text FROM completion ORDER BY 1") == [("a",), *[("mine",)] * 3]


@pytest.mark.parametrize(
    ("action", "filter_name"),
    [
        (answer(finish_reason="length"), "finish"),
        (answer(finish_reason="content_filter"), "finish"),
        (choice(content=None, refusal="No."), "refusal"),
    ],
)
def test_what_was_paid_and_is_no_example_trains_nobody(
    tmp_path: Path, action: Action, filter_name: str
) -> None:
    with FakeTeacher([action]) as server:
        path = project(tmp_path, server.base_url, rows=6)
        ask(path)
    bench = bench_of(path)
    with bench.open() as ledger:
        verdicts = filter_step(bench, ledger).found[filter_name]
        assert verdicts
        assert not any(verdict.keep for verdict in verdicts.values())


@pytest.mark.parametrize("fault", FAULTS, ids=str)
def test_the_document_has_the_row(fault: Fault) -> None:
    assert table_row(fault) in DOCUMENT
