"""Collecting: each answer is asked for once, paid for once, and known for ever.

What was billed is what the server counted, not what the client believes.
"""

import asyncio
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from policy.errors import BadInput, BudgetReached, PolicyDenied, SpiritSafeError
from synth.ledger import spent_nano
from tests import fake_teacher as fake
from tests.command import spiritsafe
from tests.fake_teacher import FakeTeacher, status
from tests.synth.parts import PRICED, ask, asked, opened, project

REASONS = {"error": {"code": "insufficient_quota", "message": "no credit"}}


def lost(path: Path) -> set[tuple[str, int]]:
    """(attempt, reserve kept) of every unknown outcome, as `show` lists it."""
    shown = spiritsafe("show", path, "--json").json
    return {(one["attempt"], one["reserve_nano"]) for one in shown["unknown"]}


def test_everything_is_answered_and_the_second_run_sends_nothing(tmp_path: Path) -> None:
    with FakeTeacher() as server:
        path = project(tmp_path, server.base_url, rows=30, sampling={"samples": 2})
        first = spiritsafe("collect", path, "--json").json
        again = spiritsafe("collect", path, "--json").json
    assert first["answers"] == first["requests"] == server.billed
    assert max(server.counts.values()) == 1
    assert (again["sent"], again["already_there"]) == (0, first["requests"])
    held_out = asked(path, "SELECT count(*) FROM attempt WHERE split = 'test' AND sample > 0")
    assert held_out == [(0,)]


def test_a_changed_instruction_asks_again_and_a_comment_does_not(tmp_path: Path) -> None:
    with FakeTeacher() as server:
        path = project(tmp_path, server.base_url)
        ask(path)
        path.write_text("# a remark\n" + path.read_text() + "\n# another\n")
        assert ask(path, "limits.concurrency=2", "dataset.name=other").summary.sent == 0
        assert ask(path, "prompts.student_system=Short").summary.sent == 0
        assert ask(path, "prompts.system=Be kind").summary.sent == 12
    assert server.billed == 24


def test_a_storm_bills_nothing_twice_and_every_lost_outcome_is_listed(tmp_path: Path) -> None:
    with FakeTeacher(fake.storm) as server:
        path = project(tmp_path, server.base_url, rows=80, limits={"concurrency": 8, **PRICED})
        collected = ask(path)
        assert ask(path).summary.sent == 0
    resets = sum(seen.billed for seen in server.seen) - collected.summary.answers
    assert max(server.counts.values()) == 1
    assert len(server.counts) == 80
    unknown = lost(path)
    assert len(unknown) == resets > 0
    assert all(reserve > 0 for _, reserve in unknown)
    with opened(path) as ledger:
        billed = ledger.one("SELECT sum(cost_nano) FROM outcome WHERE class = 'ok'")[0]
        assert spent_nano(ledger) == billed + sum(reserve for _, reserve in unknown)


def test_what_is_lost_is_sent_again_only_as_often_as_allowed(tmp_path: Path) -> None:
    resend = ("limits.on_unknown=resend", "limits.max_resends=3")
    with FakeTeacher(lambda index, _: fake.reset() if index < 12 else fake.answer()) as server:
        path = project(tmp_path, server.base_url)
        assert ask(path).summary.answers == 0
        assert len(ask(path).plan.held) == 12
        assert ask(path, *resend).summary.answers == 3
        assert ask(path, *resend).summary.sent == 0
    assert sorted(server.counts.values()) == [1] * 9 + [2] * 3


def running_total(path: Path) -> list[int]:
    """Billed and reserved nano-dollars after each entry of the log."""
    rows = asked(path, """
        SELECT seq, reserve_nano FROM attempt UNION ALL
        SELECT o.seq, CASE class WHEN 'unknown' THEN 0 ELSE cost_nano - reserve_nano END
        FROM outcome o JOIN attempt a ON a.id = o.attempt ORDER BY 1""")  # fmt: skip
    total = 0
    return [total := total + change for _, change in rows]


def test_the_budget_is_never_passed(tmp_path: Path) -> None:
    cap = 2_000_000
    limits = {**PRICED, "budget_usd": cap / 10**9, "concurrency": 32}
    with FakeTeacher(lambda i, _: fake.reset() if i % 9 == 8 else fake.answer(delay=0.005)) as it:
        path = project(tmp_path, it.base_url, rows=200, limits=limits)
        with pytest.raises(BudgetReached, match="budget_usd"):
            ask(path)
        sent = len(it.seen)
        with pytest.raises(BudgetReached):
            ask(path)
    assert len(it.seen) == sent
    assert 0.8 * cap < max(running_total(path)) <= cap


def test_a_priced_teacher_without_a_budget_is_not_asked(tmp_path: Path) -> None:
    with FakeTeacher() as server:
        path = project(tmp_path, server.base_url, limits={"price": PRICED["price"]})
        with pytest.raises(BadInput, match="budget_usd"):
            ask(path)
    assert server.seen == []


STOPS: list[tuple[fake.Action, type[SpiritSafeError], str]] = [
    (status(401), BadInput, "key was refused"),
    (status(404, {"error": {"code": "model_not_found"}}), BadInput, "no such model"),
    (status(429, REASONS), BudgetReached, "no credit left"),
    (status(403), PolicyDenied, "forbids it"),
    (status(429, headers={"retry-after": "86400"}), BadInput, "wait 86400 s"),
    (fake.redirect("http://127.0.0.1:9/"), BadInput, "redirect"),
]


@pytest.mark.parametrize(("action", "error", "says"), STOPS, ids=lambda one: str(one)[:16])
def test_what_would_refuse_everything_stops_the_run(
    tmp_path: Path, action: fake.Action, error: type[SpiritSafeError], says: str
) -> None:
    with FakeTeacher([fake.answer(), fake.answer(), action]) as server:
        path = project(tmp_path, server.base_url, rows=60)
        with pytest.raises(error, match=says) as raised:
            ask(path)
        assert len(server.seen) <= 2 + 4  # what was in flight, at a concurrency of 4
    assert "\n" not in str(raised.value)
    assert len(asked(path, "SELECT * FROM completion")) == 2


@pytest.mark.parametrize(
    ("settings", "code", "says"),
    [
        ({"api_key": "sk-right-key"}, 2, "the key was refused"),
        ({"models": ("other",)}, 2, "no such model"),
        ({"script": [status(429, REASONS)]}, 4, "no credit left"),
    ],
)
def test_the_command_says_so_in_one_line(
    tmp_path: Path, settings: dict[str, Any], code: int, says: str
) -> None:
    with FakeTeacher(**settings) as server:
        path = project(tmp_path, server.base_url, rows=40, teacher={"api_key_env": "TEACHER_KEY"})
        done = spiritsafe("collect", path, env={"TEACHER_KEY": "sk-wrong-key"}, code=code)
    errors = [line for line in done.err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert says in errors[0]
    assert len(server.seen) <= 4
    assert "Traceback" not in done.err
    assert done.out == ""


@pytest.mark.parametrize("action", [fake.reset(), fake.wrong_model(), fake.html(), status(500)])
def test_a_server_that_only_fails_is_left_alone(tmp_path: Path, action: fake.Action) -> None:
    with FakeTeacher([action]) as server:
        path = project(tmp_path, server.base_url, rows=100)
        with pytest.raises(BadInput, match="failed in a row"):
            ask(path)
    assert len(server.seen) <= 20 + 4


def test_another_model_s_words_are_no_completion(tmp_path: Path) -> None:
    with FakeTeacher([fake.wrong_model("cheaper")]) as server:
        path = project(tmp_path, server.base_url, rows=3, limits=PRICED)
        assert ask(path).summary.failures == {"served_other_model": 3}
        assert ask(path).plan.unusable == 3
    assert asked(path, "SELECT * FROM completion") == []
    stored = asked(path, "SELECT served_model, cost_nano > 0, octet_length(body) > 0 FROM outcome "
                         "JOIN raw USING (attempt)")  # fmt: skip
    assert stored == [("cheaper", True, True)] * 3


def test_nobody_goes_while_the_server_wants_quiet(tmp_path: Path) -> None:
    quiet = status(429, headers={"retry-after-ms": "600"})
    with FakeTeacher(lambda index, _: quiet if index == 4 else fake.answer()) as server:
        ask(project(tmp_path, server.base_url, rows=30))
    refused = next(seen.at for seen in server.seen if seen.index == 4)
    inside = [seen for seen in server.seen if refused + 0.1 < seen.at < refused + 0.6]
    assert inside == []
    assert max(server.counts.values()) == 1
    assert server.billed == 30


def test_a_refusal_for_good_is_not_asked_again(tmp_path: Path) -> None:
    with FakeTeacher(lambda index, _: status(400) if index == 0 else fake.answer()) as server:
        path = project(tmp_path, server.base_url, rows=5)
        assert ask(path).summary.failures == {"bad_request": 1}
        assert ask(path).plan.refused == 1
    assert len(server.seen) == 5


def test_what_a_server_dropped_is_counted(tmp_path: Path) -> None:
    with FakeTeacher([fake.answer(logprobs=False)]) as server:
        path = project(tmp_path, server.base_url, rows=4, sampling={"logprobs": 5})
        done = spiritsafe("collect", path)
    assert "said yes to logprobs and did not do it in 4 of 4 answers" in done.out


@pytest.mark.parametrize("odd", ["model", "id", "system_fingerprint", "service_tier", "choices"])
def test_text_that_no_file_takes_stops_nothing(tmp_path: Path, odd: str) -> None:
    bad: Any = "a\ud800\0"
    if odd == "choices":
        bad = [{"finish_reason": bad, "message": {"content": "a", "tool_calls": [bad]}}]
    answers: Callable[[int, Any], fake.Action] = lambda index, _: (  # noqa: E731
        fake.answer(extra={odd: bad}) if index % 2 else fake.answer()
    )
    with FakeTeacher(answers) as server:
        path = project(tmp_path, server.base_url, rows=6)
        ask(path)
        assert ask(path).summary.sent == 0
    assert len(asked(path, "SELECT * FROM raw")) == 6


def test_an_outcome_is_durable_before_the_next_attempt_at_it(tmp_path: Path) -> None:
    refused = status(429, headers={"retry-after-ms": "1"})
    with FakeTeacher([refused, refused, fake.answer()]) as server:
        path = project(tmp_path, server.base_url, rows=1, limits={"concurrency": 1})
        ask(path)
    order = asked(path, "SELECT kind FROM leaf WHERE kind <> 'notice' ORDER BY seq")
    assert [kind for (kind,) in order] == ["decision", *["attempt", "outcome"] * 3]
    assert len(server.seen) == 3


def test_tries_are_bounded(tmp_path: Path) -> None:
    with FakeTeacher([status(429, headers={"retry-after-ms": "1"})]) as server:
        path = project(tmp_path, server.base_url, rows=2, limits={"tries": 3})
        assert ask(path).summary.failures == {"rate_limited": 2}
    assert len(server.seen) == 6


def test_a_thousand_in_flight_cost_no_more_than_they_wait(tmp_path: Path) -> None:
    with FakeTeacher([fake.answer(delay=0.5)]) as server:
        path = project(tmp_path, server.base_url, rows=250, limits={"concurrency": 250})
        started = time.monotonic()
        assert asyncio.run(asyncio.to_thread(ask, path)).summary.answers == 250
    assert time.monotonic() - started < 10


def test_two_rows_with_the_same_text_are_two_attempts(tmp_path: Path) -> None:
    with FakeTeacher() as server:
        path = project(tmp_path, server.base_url, rows=3)
        rows = [{"id": f"p{n}", "message": "the same", "intent": "lost"} for n in range(6)]
        (tmp_path / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        assert ask(path, "limits.concurrency=1").summary.answers == 6
    assert len(asked(path, "SELECT DISTINCT id FROM attempt")) == 6
