"""Batches end to end: the same rows as online at half the price, and every fault of a batch."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from policy.errors import BadInput, BudgetReached, PolicyDenied
from policy.guardrails import NO_RAILS
from synth.audit import findings
from synth.batching import api_of, parts
from synth.bench import Bench, calls_of, prompts_of
from synth.breaker import clear
from synth.guard import Guard
from synth.steps import Collected, collect_step, get_ready
from synth.stop import Stop
from tests.batch_servers import (
    ABSENT,
    CANCELED,
    CUT,
    DENIED,
    EXPIRED,
    LOST,
    BatchServer,
    Result,
    refused,
)
from tests.command import spiritsafe
from tests.dialect_servers import DialectTeacher
from tests.dialect_servers import answer as online_answer
from tests.synth.batching_parts import (
    APIS,
    LIMITS,
    PRICE,
    batch_project,
    classes,
    committed,
    states,
)
from tests.synth.parts import Time, ask, asked, bench_of, opened, project, said, teacher

every_api = pytest.mark.parametrize("api", APIS)
SAME = (
    "SELECT a.prompt_id, a.sample, o.class, o.prompt_tokens, o.completion_tokens, c.text,"
    " c.signal, c.finish_reason, c.reasoning"
    " FROM attempt a JOIN outcome o ON o.attempt = a.id LEFT JOIN completion c ON c.attempt = a.id"
    " ORDER BY 1, 2"
)


@every_api
def test_the_command_line_collects_in_batches(tmp_path: Path, api: str) -> None:
    with BatchServer(api, polls=2) as server:
        path = batch_project(tmp_path / "home", server)
        done = spiritsafe("collect", path, "--json")
        again = spiritsafe("collect", path, "--json")
        assert len(server.batches) == 1
    assert done.json["answers"] == done.json["sent"] == 12
    assert again.json["sent"] == 0
    assert again.json["already_there"] == 12
    assert server.billed.total() == 12
    assert max(server.billed.values()) == 1
    with opened(path) as ledger:
        assert findings(ledger, tmp_path / "home") == []


@pytest.mark.parametrize("api", ["openai", "mistral", "anthropic", "gemini"])
def test_the_rows_are_those_of_the_online_way_at_half_the_price(tmp_path: Path, api: str) -> None:
    dialect = "openai" if api == "mistral" else api
    sampling = {"logprobs": 3} if dialect == "openai" else {}
    with (
        BatchServer(api) as server,
        DialectTeacher(dialect, [online_answer(dialect)]) as online,
    ):
        batch = batch_project(tmp_path / "batch", server, sampling=sampling)
        plain = {name: value for name, value in LIMITS.items() if name != "batch"}
        single = project(
            tmp_path / "online", online.base_url, limits=plain, teacher=online.teacher,
            sampling={"seed": 0, **sampling},
        )  # fmt: skip
        ask(batch)
        ask(single)
    assert asked(batch, SAME) == asked(single, SAME)
    assert committed(batch) * 2 == pytest.approx(committed(single), abs=12)  # a rounding each
    assert committed(batch) > 0
    (source,) = {row[0] for row in asked(batch, "SELECT prices FROM attempt")}
    assert source == "own 1.0/2.0/1.0/1.0/0.5, 0.5 in a batch"


def test_a_batch_and_single_requests_are_the_same_requests(tmp_path: Path) -> None:
    """What a batch answered is not asked online, and the other way round."""
    with BatchServer("openai") as server:
        path = batch_project(tmp_path / "home", server)
        ask(path)
        collected = ask(path, "limits.batch=false")
    assert collected.plan.done == 12
    assert collected.summary.sent == 0


@every_api
def test_what_failed_without_a_bill_goes_into_the_next_batch(tmp_path: Path, api: str) -> None:
    results = {1: refused(429), 2: EXPIRED, 3: CANCELED, 4: refused(500), 5: refused(400)}
    with BatchServer(api, results=results) as server:
        path = batch_project(tmp_path / "home", server)
        collected = ask(path)
        again = ask(path)
    assert [len(batch.requests) for batch in server.batches] == [12, 4]
    assert classes(path) == {
        "ok": 11,
        "rejected bad_request": 1,
        "rejected canceled": 1,
        "rejected expired": 1,
        "rejected rate_limited": 1,
        "rejected server_error": 1,
    }
    assert collected.summary.failures == {"bad_request": 1}
    assert again.plan.refused == 1
    assert max(server.billed.values()) == 1
    assert asked(path, "SELECT sum(cost_nano) FROM outcome WHERE class <> 'ok'") == [(0,)]


@pytest.mark.parametrize(("api", "word"), [("openai", "expired"), ("mistral", "TIMEOUT_EXCEEDED")])
def test_an_expired_batch_still_has_what_was_paid_for(tmp_path: Path, api: str, word: str) -> None:
    results = {n: Result("absent", billed=False) for n in range(4)}
    with BatchServer(api, results=results, word=word) as server:
        path = batch_project(tmp_path / "home", server)
        ask(path)
    assert classes(path) == {"ok": 12, "rejected expired": 4}
    assert [len(batch.requests) for batch in server.batches] == [12, 4]
    assert max(server.billed.values()) == 1


def test_tries_bound_how_often_a_request_is_put_into_a_batch(tmp_path: Path) -> None:
    with BatchServer("openai", results=lambda *_: refused(503)) as server:
        path = batch_project(tmp_path / "home", server, rows=3, limits={"tries": 3})
        collected = ask(path)
    assert len(server.batches) == 3
    assert classes(path) == {"rejected overloaded": 9}
    assert collected.summary.failures == {"overloaded": 3}


@pytest.mark.parametrize("api", ["openai", "mistral", "anthropic"])
def test_odd_lines_are_reported_and_end_nothing(tmp_path: Path, api: str) -> None:
    with BatchServer(api) as server:
        path = batch_project(tmp_path / "home", server)
        line = json.dumps({"custom_id": "f" * 40 + "-1", "result": {"type": "expired"}})
        twice = json.dumps({"custom_id": custom_id(path), "result": {"type": "expired"}})
        server.extra_lines = [b"not JSON", line.encode(), b"", b'{"custom_id": 3}', twice.encode()]
        bench = bench_of(path)
        collected = ask_on(bench)
    (note,) = [row[0] for row in asked(path, "SELECT note FROM job WHERE state = 'settled'")]
    assert "2 malformed lines" in note
    assert "1 lines of requests that are not ours" in note
    assert "1 lines that came twice" in note
    assert note in said(bench)
    assert collected.summary.answers == 12
    assert classes(path) == {"ok": 12}


def custom_id(path: Path) -> str:
    bench = bench_of(path)
    return parts.custom_id(calls_of(bench, prompts_of(bench))[0].key, 1)


def ask_on(bench: Bench) -> Collected:
    with bench.open(create=True) as ledger:
        return asyncio.run(collect_step(bench, ledger, get_ready(bench), Stop()))


@pytest.mark.parametrize("api", ["openai", "mistral", "anthropic", "gemini"])
def test_a_file_that_is_cut_is_read_again_and_no_line_counts_twice(
    tmp_path: Path, api: str
) -> None:
    step = "poll" if api == "gemini" else "results"
    with BatchServer(api, faults={step: [CUT, CUT, 500]}) as server:
        path = batch_project(tmp_path / "home", server)
        ask(path)
    assert server.steps.count(step) >= 3
    assert classes(path) == {"ok": 12}
    assert len(asked(path, "SELECT * FROM outcome")) == 12


def test_a_file_that_stays_cut_leaves_the_rest_unknown(tmp_path: Path) -> None:
    with BatchServer("anthropic", faults={"results": [CUT] * 40}) as server:
        path = batch_project(tmp_path / "home", server)
        collected = ask(path)
        again = ask(path)
    lost = collected.summary.failures["no_line"]
    assert 0 < lost < 12
    assert classes(path) == {"ok": 12 - lost, "unknown no_line": lost}
    assert again.summary.sent == 0
    assert len(again.plan.held) == lost
    assert committed(path) > 0


@every_api
def test_a_request_without_a_line_is_unknown_and_keeps_its_reserve(
    tmp_path: Path, api: str
) -> None:
    with BatchServer(api, results={3: ABSENT}) as server:
        path = batch_project(tmp_path / "home", server)
        ask(path)
        ask(path)
    assert classes(path) == {"ok": 11, "unknown no_line": 1}
    assert len(server.batches) == 1
    ((held,),) = asked(path, "SELECT committed_nano FROM state WHERE class = 'unknown'")
    assert held > 0


@pytest.mark.parametrize("fault", [LOST, CUT])
@every_api
def test_a_reply_to_the_making_that_is_lost_is_found_again(
    tmp_path: Path, api: str, fault: str
) -> None:
    with BatchServer(api, faults={"create": [fault]}) as server:
        path = batch_project(tmp_path / "home", server)
        collected = ask(path)
    assert collected.summary.answers == 12
    assert len(server.batches) == 1
    assert max(server.billed.values()) == 1


def test_a_batch_of_somebody_else_is_not_taken_for_ours(tmp_path: Path) -> None:
    """Anthropic keeps no name: another project's batch of as many requests is in the list."""
    with BatchServer("anthropic") as server:
        other = batch_project(tmp_path / "other", server, sampling={"temperature": 0.5})
        ask(other)
        server.faults["create"] = [LOST]
        path = batch_project(tmp_path / "home", server)
        ask(path)
        assert [len(one.requests) for one in server.batches] == [12, 12]
    assert classes(path) == {"ok": 12}
    assert asked(path, "SELECT DISTINCT provider_id FROM job WHERE provider_id <> ''") == [
        ("batch_1",)
    ]


@every_api
def test_a_batch_that_no_list_has_after_a_while_was_not_made(tmp_path: Path, api: str) -> None:
    """The clock says that it was long ago; the provider's list does not have it."""
    with BatchServer(api) as server:
        server.faults["create"] = [502]  # not carried out
        path = batch_project(tmp_path / "home", server)
        late = iter(range(10**6))
        bench = bench_of(path)
        object.__setattr__(bench, "clock", lambda: time.time() + 100 * next(late))
        collected = ask_on(bench)
    assert collected.summary.answers == 12
    assert classes(path) == {"not_sent not_made": 12, "ok": 12}
    assert max(server.billed.values()) == 1


def test_without_a_list_a_lost_batch_stays_lost_and_is_held(tmp_path: Path) -> None:
    with BatchServer("openai", faults={"create": [LOST]}, unlisted=True) as server:
        path = batch_project(tmp_path / "home", server)
        collected = ask(path)
        again = ask(path)
        assert len(server.batches) == 1
        assert states(path)[-1] == "lost"
        assert classes(path) == {"unknown no_outcome": 12}
        assert len(again.plan.held) == 12
        assert collected.incomplete
        server.unlisted = False  # later the list can be read: it is found and read
        ask(path)
    assert classes(path) == {"ok": 12}
    assert max(server.billed.values()) == 1


def test_a_batch_that_its_provider_no_longer_knows_is_lost_until_it_is_seen_again(
    tmp_path: Path,
) -> None:
    with BatchServer("openai", faults={"poll": [404, 404, 404]}) as server:
        path = batch_project(tmp_path / "home", server)
        collected = ask(path)
        assert collected.summary.failures == {"lost_batch": 12}
        assert classes(path) == {"unknown no_outcome": 12}
        assert states(path)[-1] == "lost"
        ask(path)  # it is in the list again
    assert len(server.batches) == 1
    assert classes(path) == {"ok": 12}
    assert max(server.billed.values()) == 1


def test_a_redirect_takes_neither_requests_nor_key_elsewhere(tmp_path: Path) -> None:
    with BatchServer("openai", faults={"upload": [307]}) as server:
        path = batch_project(tmp_path / "home", server)
        with pytest.raises(BadInput, match="redirect"):
            ask(path)
    assert server.steps == ["upload"]
    assert classes(path) == {"rejected redirect": 12}


@pytest.mark.parametrize("api", ["openai", "gemini"])
def test_a_full_queue_of_the_provider_is_tried_again(tmp_path: Path, api: str) -> None:
    code = "token_limit_exceeded" if api == "openai" else "RESOURCE_EXHAUSTED"
    with BatchServer(api, failed=[code]) as server:
        path = batch_project(tmp_path / "home", server)
        ask(path)
    assert classes(path) == {"ok": 12, "rejected batch_queue_full": 12}


def test_a_batch_that_is_refused_stops_the_run_and_is_asked_again_by_the_next(
    tmp_path: Path,
) -> None:
    with BatchServer("openai", failed=["invalid_json_line"]) as server:
        path = batch_project(tmp_path / "home", server)
        with pytest.raises(BadInput, match="invalid_json_line"):
            ask(path)
        assert classes(path) == {"rejected batch_refused": 12}
        ask(path)
    assert classes(path) == {"ok": 12, "rejected batch_refused": 12}


@pytest.mark.parametrize("step", ["upload", "create", "poll", "results"])
def test_a_refused_key_stops_the_run(tmp_path: Path, step: str) -> None:
    with BatchServer("openai", faults={step: [DENIED]}) as server:
        path = batch_project(tmp_path / "home", server)
        with pytest.raises(BadInput, match="key was refused"):
            ask(path)
        billed = server.billed.total()
        if step in ("upload", "create"):
            assert classes(path) == {"rejected bad_key": 12}
            with pytest.raises(PolicyDenied):
                ask(path)
            assert billed == 0
        else:
            assert classes(path) == {"pending in_batch": 12}
            with pytest.raises(PolicyDenied, match="bad_key: 401"):
                ask(path)
            resumed(path)
            ask(path)
            assert classes(path) == {"ok": 12}
            with opened(path) as ledger:
                assert findings(ledger, tmp_path / "home") == []


@pytest.mark.parametrize("where", ["[limits]", "guardrails.toml"])
def test_a_cap_a_day_holds_before_the_upload_and_in_the_next_run(
    tmp_path: Path, where: str
) -> None:
    limits = {"requests_per_day": 5} if where == "[limits]" else {}
    with BatchServer("openai") as server:
        path = batch_project(tmp_path / "home", server, limits=limits)
        if where == "guardrails.toml":
            rails = '[offerings."*"]\nhard = { requests_per_day = 5 }\n'
            (tmp_path / "home" / "guardrails.toml").write_text(rails)
        for _ in range(2):
            with pytest.raises(BudgetReached, match="requests_per_day"):
                ask(path)
            assert [len(one.requests) for one in server.batches] == [5]
            assert server.steps.count("upload") == 1
    assert classes(path) == {"ok": 5}


def test_a_batch_counts_on_the_day_it_was_made(tmp_path: Path) -> None:
    with BatchServer("openai", polls=2) as server:
        path = batch_project(tmp_path / "home", server, limits={"requests_per_day": 12})
        stopped_after_making(path, server)
        bench = bench_of(path)
        object.__setattr__(bench, "clock", lambda: time.time() + 86_400)
        with bench.open() as ledger:
            guard = Guard.of(NO_RAILS, bench.project.sections.teacher.offering, ledger, print)
            assert (guard.requests, guard.tokens) == (0, 0)
            ready = get_ready(bench)
            assert asyncio.run(collect_step(bench, ledger, ready, Stop())).summary.answers == 12
            guard = Guard.of(NO_RAILS, bench.project.sections.teacher.offering, ledger, print)
            assert (guard.requests, guard.tokens) == (0, 0)


def test_the_answers_of_a_batch_are_events_as_those_online(tmp_path: Path) -> None:
    with BatchServer("anthropic", results={0: refused(400), 1: ABSENT}) as server:
        path = batch_project(tmp_path / "home", server)
        done = spiritsafe("collect", path, "--events", tmp_path / "events", code=1)
    events = [json.loads(line) for line in (tmp_path / "events").read_text().splitlines()]
    kinds = Counter(one["event_name"].rpartition(".")[2] for one in events)
    assert kinds == {"start": 1, "answer": 10, "failure": 1, "hold": 1, "checkpoint": 1, "end": 1}
    named = {
        one["attributes"]["spiritsafe.attempt.id"]
        for one in events
        if "spiritsafe.attempt.id" in one["attributes"]
    }
    assert named == {row[0] for row in asked(path, "SELECT id FROM attempt")}
    assert "kept row 1" in done.err
    assert "in batches" in done.err + done.out


def resumed(path: Path) -> None:
    bench = bench_of(path)
    offering = bench.project.sections.teacher.offering
    with bench.open() as ledger:
        home = bench.project.home
        clear(ledger, home, offering, "Ada", "the key was mended, as they said", bench.today)


def test_a_second_refusal_of_a_question_needs_a_second_look(tmp_path: Path) -> None:
    with BatchServer("openai", faults={"poll": [DENIED, DENIED]}) as server:
        path = batch_project(tmp_path / "home", server)
        for _ in range(2):
            with pytest.raises(BadInput, match="key was refused"):
                ask(path)
            with pytest.raises(PolicyDenied):
                ask(path)
            resumed(path)
        ask(path)
    assert classes(path) == {"ok": 12}
    assert len(server.batches) == 1


@pytest.mark.parametrize("step", ["upload", "create", "poll", "results"])
def test_a_busy_provider_is_asked_again(tmp_path: Path, step: str) -> None:
    with BatchServer("openai", faults={step: [429, 503]}) as server:
        path = batch_project(tmp_path / "home", server)
        ask(path)
    assert classes(path) == {"ok": 12}
    assert len(server.batches) == 1


@pytest.mark.parametrize("api", APIS)
def test_a_key_leaves_in_the_dialect_s_header_and_is_never_stored(tmp_path: Path, api: str) -> None:
    key = "sk-canary-0123456789"
    script = {0: Result(text=f"your key is {key}")}
    with BatchServer(api, api_key=key, results=script) as server:
        path = batch_project(tmp_path / "home", server, teacher={"api_key_env": "K"})
        ask(path, environment={"K": key})
    assert classes(path) == {"ok": 12}
    for file in (tmp_path / "home").rglob("*"):
        assert not file.is_file() or key.encode() not in file.read_bytes(), file
    assert asked(path, "SELECT count(*) FROM completion WHERE text LIKE '%[key]%'") == [(1,)]


def test_the_wait_that_a_provider_asks_for_is_kept(tmp_path: Path) -> None:
    with BatchServer("openai", faults={"poll": [429]}, retry_after="1.5") as server:
        ask(batch_project(tmp_path / "home", server))
    first, second = [at for step, at in zip(server.steps, server.times, strict=True)
                     if step == "poll"]  # fmt: skip
    assert second - first >= 1.5


def test_waits_between_questions_grow(tmp_path: Path) -> None:
    with BatchServer("openai", polls=6) as server:
        ask(batch_project(tmp_path / "home", server))
    at = [at for step, at in zip(server.steps, server.times, strict=True) if step == "poll"]
    assert at[-1] - at[-2] > 1.5 * (at[1] - at[0])


def test_a_larger_collection_is_split_by_count_and_by_money(tmp_path: Path) -> None:
    with BatchServer("openai") as server:
        path = batch_project(tmp_path / "home", server, rows=25, limits={"batch_requests": 10})
        ask(path)
        assert sorted(len(one.requests) for one in server.batches) == [5, 10, 10]
    ((reserve,),) = asked(path, "SELECT max(reserve_nano) FROM attempt")
    with BatchServer("openai") as server:
        budget = reserve * 8.5 / 10**9
        path = batch_project(tmp_path / "poor", server, rows=20, limits={"budget_usd": budget})
        ask(path)
    assert len(server.batches) > 1
    assert max(len(one.requests) for one in server.batches) <= 8
    assert classes(path) == {"ok": 20}
    assert server.billed.total() == 20


def test_spent_and_reserved_never_pass_the_cap(tmp_path: Path) -> None:
    with BatchServer("openai") as server:
        path = batch_project(tmp_path / "home", server, rows=40, limits={"budget_usd": 0.00015})
        with pytest.raises(BudgetReached):
            ask(path)
    assert committed(path) <= 150_000
    assert 0 < server.billed.total() < 40
    ended = "SELECT o.seq, o.cost_nano - a.reserve_nano FROM outcome o JOIN attempt a"
    held = 0
    for _, change in asked(path, "SELECT seq, reserve_nano FROM attempt UNION ALL"
                           f" ({ended} ON a.id = o.attempt) ORDER BY 1"):  # fmt: skip
        held += change
        assert held <= 150_000


def test_another_model_s_answer_is_no_completion(tmp_path: Path) -> None:
    with BatchServer("anthropic", results={2: Result(model="claude-other")}) as server:
        path = batch_project(tmp_path / "home", server)
        ask(path)
    assert classes(path) == {"billed_bad served_other_model": 1, "ok": 11}


def test_reasoning_is_withheld_from_a_line_too(tmp_path: Path) -> None:
    with BatchServer("openai", results={0: Result(text="<think>secret plan</think>Fine.")}) as one:
        path = batch_project(tmp_path / "home", one)
        collected = ask(path)
    assert collected.summary.withheld == 1
    assert asked(path, "SELECT text, reasoning FROM completion WHERE text = 'Fine.'") == [
        ("Fine.", "")
    ]
    for file in (tmp_path / "home").rglob("*"):
        assert not file.is_file() or b"secret plan" not in file.read_bytes(), file


def test_a_line_that_is_too_long_is_cut_and_counts_as_billed(tmp_path: Path) -> None:
    results = {1: Result(text="x" * 200_000)}
    with BatchServer("anthropic", results=results) as server:
        path = batch_project(tmp_path / "home", server, limits={"max_response_bytes": 20_000})
        ask(path)
    assert classes(path) == {"billed_bad too_large": 1, "ok": 11}


def test_surrogates_and_broken_numbers_in_lines_do_no_harm(tmp_path: Path) -> None:
    with BatchServer("openai", results={0: Result(text="lone \ud800 one")}) as server:
        path = batch_project(tmp_path / "home", server)
        ask(path)
    assert classes(path) == {"ok": 12}
    assert asked(path, "SELECT text FROM completion WHERE repaired") == [("lone \ufffd one",)]


def test_show_lists_what_is_open_and_check_estimates_at_the_batch_price(tmp_path: Path) -> None:
    with BatchServer("openai", polls=10**9) as server:
        path = batch_project(tmp_path / "home", server)
        whole = spiritsafe("check", path, "--set", "limits.batch=false", "--json").json
        half = spiritsafe("check", path, "--json").json
        stopped_after(path, server, "poll")
        shown = spiritsafe("show", path)
        values = spiritsafe("show", path, "--json").json
    assert half["estimate"]["usd"] * 2 == pytest.approx(whole["estimate"]["usd"], rel=0.01)
    (batch,) = values["batches"]
    assert (batch["provider_id"], batch["state"], batch["word"]) == (
        "batch_0", "created", "in_progress",
    )  # fmt: skip
    assert batch["requests"] == 12
    assert values["unknown"] == []
    assert "batch_0  created in_progress  12 requests" in shown.out


def stopped_after(path: Path, server: BatchServer, step: str, *overrides: str) -> None:
    """Collect until the server sees a step two times more, then interrupt as a person does."""
    bench, stop, before = bench_of(path, *overrides), Stop(), server.steps.count(step)

    async def main() -> None:
        task = asyncio.create_task(collect_step(bench, ledger, get_ready(bench), stop))
        while server.steps.count(step) < before + 2:
            await asyncio.sleep(0.01)
        stop.interrupted = True
        await task

    with bench.open(create=True) as ledger:
        asyncio.run(main())


def test_without_batch_an_open_one_is_looked_at_once_and_the_rest_goes_online(
    tmp_path: Path,
) -> None:
    with BatchServer("openai", polls=2) as server:
        path = batch_project(tmp_path / "home", server)
        stopped_after_making(path, server)
        first = ask(path, "limits.batch=false")
        assert len(first.plan.pending) == 12
        assert first.incomplete
        assert first.summary.sent == 0
        second = ask(path, "limits.batch=false")
    assert second.summary.answers == 12
    assert classes(path) == {"ok": 12}
    (source,) = {row[0] for row in asked(path, "SELECT prices FROM attempt")}
    assert "batch" in source
    assert committed(path) == sum(row[0] for row in asked(path, "SELECT cost_nano FROM outcome"))


def stopped_after_making(path: Path, server: BatchServer) -> None:
    bench, stop = bench_of(path, "limits.batch_poll_seconds=60"), Stop()

    async def main() -> None:
        task = asyncio.create_task(collect_step(bench, ledger, get_ready(bench), stop))
        while not server.batches:
            await asyncio.sleep(0.01)
        stop.interrupted = True
        await task

    with bench.open(create=True) as ledger:
        asyncio.run(main())


def test_a_teacher_served_here_has_no_batches(tmp_path: Path) -> None:
    assert api_of(teacher(offering="mistral-api")) == "mistral"
    assert api_of(teacher(offering="groq")) == "groq"
    assert api_of(teacher(adapter="anthropic")) == "anthropic"
    with pytest.raises(BadInput, match="no batch API"):
        api_of(teacher(adapter="local", base_url=""))
    with pytest.raises(BadInput, match="does not go with"):
        api_of(teacher(adapter="gemini", batch_api="openai"))
    assert PRICE["batch"] == 0.5


def test_tokens_of_an_open_batch_count_against_the_day_after_a_restart(tmp_path: Path) -> None:
    """The cap leaves room for one batch of six. While it is open no run makes another one."""
    bench = bench_of(project(tmp_path / "probe", "http://127.0.0.1:9/v1"))
    room = sum(call.prompt_tokens + 16 for call in calls_of(bench, prompts_of(bench))[:6]) + 20
    limits = {"batch_requests": 6, "tokens_per_day": room}
    with BatchServer("openai", polls=8) as server:
        path = batch_project(tmp_path / "home", server, limits=limits)
        stopped_after_making(path, server)
        assert len(server.batches) == 1
        stopped_after(path, server, "poll")
        assert len(server.batches) == 1
        ask(path)  # now it ends, for less than it reserved, and the rest fits bit by bit
    assert sum(len(one.requests) for one in server.batches) == 12
    assert classes(path) == {"ok": 12}
    bench = bench_of(path)
    with bench.open() as ledger:
        guard = Guard.of(NO_RAILS, bench.project.sections.teacher.offering, ledger, print)
        used = ledger.one("SELECT sum(prompt_tokens + completion_tokens)::BIGINT FROM outcome")
        assert (guard.requests, guard.tokens) == (12, used[0])


def test_money_of_an_open_batch_counts_against_the_cap_after_a_restart(tmp_path: Path) -> None:
    with BatchServer("openai", polls=10**9) as server:
        path = batch_project(tmp_path / "home", server, limits={"batch_requests": 6})
        stopped_after_making(path, server)
        reserved, made = committed(path), len(server.batches)
        cap = f"limits.budget_usd={reserved * 1.1 / 10**9:.12f}"
        stopped_after(path, server, "poll", cap)
        assert len(server.batches) == made
    assert committed(path) == reserved


@pytest.mark.parametrize("api", ["openai", "mistral", "gemini"])
def test_a_list_that_names_our_batches_is_believed_when_read_twice(
    tmp_path: Path, api: str
) -> None:
    """Half a minute instead of a quarter of an hour: our name for it would stand there."""
    with BatchServer(api, faults={"create": [502]}) as server:  # not carried out
        path = batch_project(tmp_path / "home", server)
        waited = asked_in_told_time(path)
    assert classes(path) == {"not_sent not_made": 12, "ok": 12}
    assert server.steps.count("list") == 2
    assert 30 <= waited < 60
    assert max(server.billed.values()) == 1


def test_a_list_without_names_is_believed_after_a_quarter_of_an_hour(tmp_path: Path) -> None:
    with BatchServer("anthropic", faults={"create": [502]}) as server:
        path = batch_project(tmp_path / "home", server, limits={"batch_poll_seconds": 60})
        assert asked_in_told_time(path) > 900
    assert classes(path) == {"not_sent not_made": 12, "ok": 12}
    assert max(server.billed.values()) == 1


def asked_in_told_time(path: Path) -> float:
    """A collection whose sleeps take no time; returns the seconds that it slept."""
    told, began = Time(), time.time()
    bench = replace(bench_of(path), clock=lambda: began + told(), monotonic=told, sleep=told.sleep)
    ask_on(bench)
    return told()
