"""A project in every dialect against a server that speaks it: collects, stores, resumes."""

import json
from pathlib import Path
from typing import Any

import pytest
from pyarrow.parquet import read_table

from policy.errors import BadInput, BudgetReached
from synth.bodies import as_sent
from tests import fake_teacher as fake
from tests.command import spiritsafe
from tests.dialect_servers import KEY_HEADERS, PATHS, DialectTeacher, answer
from tests.synth.parts import ask, asked, opened, project

KEY = "sk-dialect-1f2e3d4c"
ENV = {"TEACHER_KEY": KEY}
OTHERS = ["azure", "responses", "anthropic", "gemini"]
PNG = bytes.fromhex("89504e470d0a1a0a")


def project_of(folder: Path, server: DialectTeacher, **sections: Any) -> Path:
    teacher = {**server.teacher, "api_key_env": "TEACHER_KEY", **sections.pop("teacher", {})}
    return project(folder, server.base_url, teacher=teacher, **sections)


@pytest.mark.parametrize("dialect", OTHERS)
def test_a_project_collects_stores_resumes_and_verifies(tmp_path: Path, dialect: str) -> None:
    with DialectTeacher(dialect, api_key=KEY) as server:
        path = project_of(tmp_path, server)
        first = spiritsafe("collect", path, "--json", env=ENV).json
        again = spiritsafe("collect", path, "--json", env=ENV).json
    assert (first["answers"], again["sent"]) == (12, 0)
    assert server.billed == 12
    rows = asked(path, "SELECT text, finish_reason FROM completion")
    assert set(rows) == {("A short answer.", "stop")}
    spiritsafe("filter", path)
    spiritsafe("freeze", path)
    assert spiritsafe("verify", path).code == 0


@pytest.mark.parametrize("dialect", OTHERS)
def test_usage_is_stored_as_billed_in_one_way_of_counting(tmp_path: Path, dialect: str) -> None:
    with DialectTeacher(dialect, api_key=KEY) as server:
        path = project_of(tmp_path, server, rows=1)
        ask(path, environment=ENV)
        counted = len(json.dumps(server.seen[-1].body)) // 8 + 40
    columns = "prompt_tokens, completion_tokens, cached_tokens, reasoning_tokens"
    ((prompt, completion, cached, reasoning),) = asked(path, f"SELECT {columns} FROM outcome")
    if dialect == "azure":
        assert (completion, reasoning) == (3, 0)
        return
    assert (prompt, completion, cached) == (counted, 5, 40)
    assert reasoning == (3 if dialect == "gemini" else 0)


@pytest.mark.parametrize("dialect", ["openai", *OTHERS])
def test_the_key_arrives_in_one_header_and_nothing_else_is_added(
    tmp_path: Path, dialect: str
) -> None:
    with DialectTeacher(dialect, api_key=KEY) as server:
        ask(project_of(tmp_path, server, rows=2), environment=ENV)
    for seen in server.seen:
        holders = {name for name, value in seen.headers.items() if KEY in value}
        assert holders == {KEY_HEADERS.get(dialect, "authorization")}
        assert KEY not in seen.path + seen.raw.decode()
        assert seen.path == "".join(PATHS[dialect])
        common = {"host", "accept", "connection", "content-type", "content-length"}
        common |= {"user-agent", "accept-encoding", *holders}
        assert set(seen.headers) - common == (
            {"anthropic-version"} if dialect == "anthropic" else set()
        )


@pytest.mark.parametrize("dialect", OTHERS)
def test_no_redirect_takes_the_key_along(tmp_path: Path, dialect: str) -> None:
    with DialectTeacher("openai") as other:
        away = fake.redirect(f"{other.base_url}/elsewhere")
        with (
            DialectTeacher(dialect, [away], api_key=KEY) as server,
            pytest.raises(BadInput, match="redirect"),
        ):
            ask(project_of(tmp_path, server), environment=ENV)
    assert len(server.seen) >= 1
    assert other.seen == []


@pytest.mark.parametrize("dialect", OTHERS)
def test_a_wrong_key_stops_the_run_at_once(tmp_path: Path, dialect: str) -> None:
    with DialectTeacher(dialect, api_key="sk-another-one") as server:
        path = project_of(tmp_path, server, limits={"concurrency": 1})
        with pytest.raises(BadInput, match="the key was refused"):
            ask(path, environment=ENV)
    assert (len(server.seen), server.billed) == (1, 0)


@pytest.mark.parametrize("dialect", OTHERS)
def test_another_model_than_asked_is_no_completion(tmp_path: Path, dialect: str) -> None:
    with DialectTeacher(dialect, [answer(dialect, model="another-9b")]) as server:
        path = project_of(tmp_path, server, rows=2)
        ask(path, environment=ENV)
    kinds = asked(path, "SELECT kind, served_model FROM outcome")
    assert kinds == [("served_other_model", "another-9b")] * 2


def test_gemini_waits_as_long_as_the_body_says(tmp_path: Path) -> None:
    info = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "0.3s"}
    error = {"code": 429, "status": "RESOURCE_EXHAUSTED", "details": [info]}
    script = [fake.status(429, {"error": error}), answer("gemini")]
    with DialectTeacher("gemini", script) as server:
        path = project_of(tmp_path, server, rows=1)
        ask(path, environment=ENV)
    refused, answered = server.seen
    assert 0.3 <= answered.at - refused.at < 2
    assert asked(path, "SELECT count(*) FROM completion") == [(1,)]


def test_gemini_s_used_up_day_stops_the_run(tmp_path: Path) -> None:
    quota = {"violations": [{"quotaId": "GenerateRequestsPerDayPerProjectPerModel"}]}
    error = {"code": 429, "status": "RESOURCE_EXHAUSTED", "details": [quota]}
    with DialectTeacher("gemini", [fake.status(429, {"error": error})]) as server:
        path = project_of(tmp_path, server, limits={"concurrency": 1})
        with pytest.raises(BudgetReached, match=r"quota of the day.*run again tomorrow"):
            ask(path, environment=ENV)
    assert len(server.seen) == 1


def test_one_filtered_prompt_fails_alone_and_is_not_sent_again(tmp_path: Path) -> None:
    error = {"code": "invalid_prompt", "type": "invalid_request_error", "message": "flagged"}
    script = [fake.status(400, {"error": error}), answer("responses")]
    with DialectTeacher("responses", script) as server:
        path = project_of(tmp_path, server, rows=4)
        ask(path, environment=ENV)
        again = ask(path, environment=ENV)
    assert asked(path, "SELECT count(*) FROM outcome WHERE kind = 'content_filter'") == [(1,)]
    assert asked(path, "SELECT count(*) FROM completion") == [(3,)]
    assert (again.summary.sent, again.plan.refused) == (0, 1)


def test_a_conversation_with_a_picture_goes_out_whole(tmp_path: Path) -> None:
    turns = [
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "Yes?"},
        {"role": "user", "content": [
            {"type": "text", "text": "What is it?"},
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]},
    ]  # fmt: skip
    with DialectTeacher("anthropic") as server:
        path = project_of(
            tmp_path, server, prompts={"turns": "turns", "system": "Be brief.", "known": []}
        )
        row = {"id": "a", "turns": turns}
        (tmp_path / "prompts.jsonl").write_text(json.dumps(row) + "\n")
        ask(path, environment=ENV)
        spiritsafe("filter", path)
        spiritsafe("freeze", path, "--set", "dataset.split.test=0",
                   "--set", "dataset.split.validation=0")  # fmt: skip
    body = server.seen[0].body
    assert body["system"] == "Be brief."
    assert [turn["role"] for turn in body["messages"]] == ["user", "assistant", "user"]
    assert body["messages"][2]["content"][1]["source"]["data"] == "AAAA"
    (row,) = read_table(tmp_path / "datasets" / "bot" / "train.parquet").to_pylist()
    assert row["prompt"][-1] == {"role": "user", "content": "What is it?"}


def test_a_picture_of_a_column_is_sent_and_counts_in_the_reserve(tmp_path: Path) -> None:
    with DialectTeacher("gemini") as server:
        path = project_of(tmp_path, server, prompts={"images": ["photo"], "known": []})
        (tmp_path / "a.png").write_bytes(PNG)
        rows = [{"id": "a", "message": "What?", "photo": "a.png"}, {"id": "b", "message": "And?"}]
        (tmp_path / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        ask(path, "teacher.image_tokens=500", "limits.price={input=1.0, output=1.0}",
            "limits.budget_usd=1", "limits.concurrency=1", environment=ENV)  # fmt: skip
    parts = [part for seen in server.seen for part in seen.body["contents"][0]["parts"]]
    assert [part["inlineData"]["mimeType"] for part in parts if "inlineData" in part] == [
        "image/png"
    ]
    reserves = sorted(row[0] for row in asked(path, "SELECT reserve_nano FROM attempt"))
    assert reserves[1] - reserves[0] == (500 + 1) * 1000  # one letter more, and the picture


def test_the_stored_request_is_the_one_that_arrived(tmp_path: Path) -> None:
    with DialectTeacher("anthropic") as server:
        path = project_of(tmp_path, server, rows=1)
        ask(path, environment=ENV)
    with opened(path) as ledger:
        (stored,) = ledger.rows("SELECT form, body FROM request")
    assert as_sent(*stored) == server.seen[0].raw
