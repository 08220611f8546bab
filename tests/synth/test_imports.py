"""Rows from outside: the origin's terms decide, all or none come in, and all can be told apart."""

import json
import os
import subprocess
import sys
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow.parquet as parquet
import pytest

from policy.errors import BadInput, PolicyDenied
from policy.manifest import read_manifest
from policy.permit import Action
from synth.audit import findings
from synth.bodies import as_sent
from synth.gates import dataset_permit
from synth.imports import FORMATS, File
from synth.imports.step import Brought, Declared, import_step
from synth.steps import filter_step, freeze_step
from tests.command import environment, spiritsafe
from tests.synth.parts import ask, asked, bench_of, project
from tests.synth.validators import PYTHON

ORIGIN = "deepseek-api"
MODEL = "deepseek-chat"
DAY = date(2026, 6, 1)
GOLDEN = Path(__file__).parent.parent / "golden"
STAMP = 1780300000  # 2026-06-01
LOOSE = {"require": ["answered", "refusal", "duplicate"], "name": "bot"}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A project that asked nobody yet."""
    return project(tmp_path / "home", "http://127.0.0.1:9/v1", dataset=LOOSE)


def bring(path: Path, file: Path, kind: str, **said: Any) -> Brought:
    given = {"offering": ORIGIN, "by": "A. Person", **said}
    return import_step(bench_of(path), Declared(file, kind, **given))


def body(text: str = "Sure.", **more: Any) -> dict[str, Any]:
    message = {"role": "assistant", "content": text, "refusal": None, **more.pop("message", {})}
    return {
        "id": "chatcmpl-1", "object": "chat.completion", "created": STAMP, "model": MODEL,
        "choices": [{"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}],
        "usage": {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11}, **more,
    }  # fmt: skip


def asking(text: str) -> list[dict[str, str]]:
    return [{"role": "system", "content": "Be kind."}, {"role": "user", "content": text}]


def lines(path: Path, values: list[Any]) -> Path:
    path.write_text("".join(json.dumps(value) + "\n" for value in values))
    return path


def stored(tmp_path: Path, count: int = 30, **more: Any) -> Path:
    data = [body(f"Answer {n}", messages=asking(f"Question {n}?"), **more) for n in range(count)]
    file = tmp_path / "stored.json"
    file.write_text(json.dumps({"object": "list", "data": data, "has_more": False}))
    return file


def finetune(tmp_path: Path) -> Path:
    return lines(
        tmp_path / "tune.jsonl",
        [{"messages": [*asking(f"Q{n}"), {"role": "assistant", "content": f"A{n}", "weight": 1}]}
         for n in range(3)],
    )  # fmt: skip


def batch(tmp_path: Path) -> tuple[Path, Path]:
    """Two answers, a refusal by status and one that expired, as the API reference has them."""
    asked_ = lines(
        tmp_path / "in.jsonl",
        [{"custom_id": f"r{n}", "method": "POST", "url": "/v1/chat/completions",
          "body": {"model": MODEL, "messages": asking(f"Q{n}")}} for n in range(4)],
    )  # fmt: skip
    head = {"id": "batch_req_1", "error": None}
    done = {"status_code": 200, "request_id": "q", "body": body()}
    bad = {"status_code": 400, "request_id": "q", "body": {"error": {"message": "no"}}}
    late = {"code": "batch_expired", "message": "late"}
    said = lines(
        tmp_path / "out.jsonl",
        [
            {**head, "custom_id": "r1", "response": done},
            {**head, "custom_id": "r0", "response": done},
            {**head, "custom_id": "r2", "response": bad},
            {**head, "custom_id": "r3", "response": None, "error": late},
        ],
    )
    return said, asked_


def test_stored_completions_become_rows_of_declared_origin(path: Path, tmp_path: Path) -> None:
    brought = bring(path, stored(tmp_path), "openai-stored")
    assert (brought.rows, brought.known, brought.level) == (30, 0, "ALLOW")
    row = asked(path, "SELECT model, served_model, offering, format, place, declared_by, file,"
                      " prompt_tokens, name FROM imported ORDER BY seq LIMIT 1")[0]  # fmt: skip
    assert row[:6] == (MODEL, MODEL, ORIGIN, "openai-stored", "entry 1", "A. Person")
    assert row[6].startswith("sha256:")
    assert row[7:] == (9, "stored.json")
    assert asked(path, "SELECT kind, count(*) FROM leaf GROUP BY kind ORDER BY kind") == [
        ("decision", 1), ("import", 30),
    ]  # fmt: skip
    with bench_of(path).open() as ledger:
        assert findings(ledger, path.parent) == []


def test_it_is_no_attempt_and_no_money(path: Path, tmp_path: Path) -> None:
    bring(path, stored(tmp_path), "openai-stored")
    assert asked(path, "SELECT (SELECT count(*) FROM attempt), (SELECT count(*) FROM state)") == [
        (0, 0)
    ]
    shown = spiritsafe("show", path, "--json").json
    assert (shown["outcomes"], shown["committed_nano"]) == ([], 0)


def test_the_same_file_again_adds_nothing(path: Path, tmp_path: Path) -> None:
    file = stored(tmp_path)
    bring(path, file, "openai-stored")
    size = asked(path, "SELECT count(*) FROM leaf")
    again = bring(path, file, "openai-stored")
    assert (again.rows, again.known) == (0, 30)
    assert asked(path, "SELECT count(*) FROM leaf") == size
    more = bring(path, stored(tmp_path, 31), "openai-stored")  # a longer export of the same
    assert (more.rows, more.known) == (1, 30)


def test_the_same_answer_has_one_origin(path: Path, tmp_path: Path) -> None:
    """A second declaration must not wash the first."""
    bring(path, stored(tmp_path, 3), "openai-stored")
    with pytest.raises(BadInput, match=r"stored.json entry 1: .*one of deepseek-api"):
        bring(path, stored(tmp_path, 4), "openai-stored", offering="qwen3@self-host")
    assert asked(path, "SELECT count(*) FROM imported") == [(3,)]


@pytest.mark.parametrize(
    ("said", "match"),
    [
        ({"offering": "acme-nobody-knows"}, "acme-nobody-knows"),
        ({"offering": "claude-consumer"}, "claude-consumer"),
        ({"offering": "xai-enterprise"}, "xai-enterprise"),
        ({"purpose": "train_competing_general", "offering": "openai-api"}, "openai-api"),
    ],
)
def test_what_is_not_known_or_not_allowed_is_denied(
    said: dict[str, str], match: str, path: Path, tmp_path: Path
) -> None:
    with pytest.raises(PolicyDenied, match=match):
        bring(path, stored(tmp_path), "openai-stored", **said)
    assert not (path.parent / "ledger.duckdb").exists()


def test_without_a_day_no_terms_can_be_asked(path: Path, tmp_path: Path) -> None:
    file = finetune(tmp_path)
    with pytest.raises(PolicyDenied, match=r"tune.jsonl line 1: nobody says when"):
        bring(path, file, "openai-finetune", model=MODEL)
    assert not (path.parent / "ledger.duckdb").exists()
    assert bring(path, file, "openai-finetune", model=MODEL, collected_on=DAY).rows == 3
    with pytest.raises(BadInput, match="still to come"):
        bring(path, file, "openai-finetune", model=MODEL, collected_on=date(2126, 1, 1))


def test_the_terms_of_the_day_of_collection_bind(path: Path, tmp_path: Path) -> None:
    """Mistral's terms of 2024 banned what today's allow (facts: 2024-02-08 and 2026-08-05)."""
    file = finetune(tmp_path)
    said = {"offering": "mistral-api", "model": "mistral-large-latest",
            "purpose": "train_competing_general"}  # fmt: skip
    with pytest.raises(PolicyDenied):
        bring(path, file, "openai-finetune", collected_on=date(2024, 6, 1), **said)
    assert bring(path, file, "openai-finetune", collected_on=date(2026, 9, 1), **said).rows == 3


def test_a_batch_is_joined_with_its_requests(path: Path, tmp_path: Path) -> None:
    said, asked_ = batch(tmp_path)
    brought = bring(path, said, "openai-batch", requests=asked_)
    assert (brought.rows, brought.skipped) == (2, 2)
    found = asked(path, "SELECT r.form, r.body FROM imported i JOIN request r USING (key)"
                        " ORDER BY i.seq")  # fmt: skip
    assert json.loads(as_sent(*found[0]))["messages"][-1]["content"] == "Q1"
    with pytest.raises(BadInput, match="add --requests"):
        bring(path, said, "openai-batch")
    lines(asked_, [{"custom_id": "other", "body": {"messages": asking("x")}}])
    with pytest.raises(BadInput, match=r"out.jsonl line 1: custom_id 'r1' is not in in.jsonl"):
        bring(path, said, "openai-batch", requests=asked_)


@pytest.mark.parametrize("wrong", ["{", "[]", "{}", '{"messages": 3}', "null",
                                   '{"messages": [{"role": "user", "content": "a"}]}'])  # fmt: skip
def test_a_malformed_line_is_named_and_nothing_is_half_written(
    wrong: str, path: Path, tmp_path: Path
) -> None:
    file = finetune(tmp_path)
    file.write_text(file.read_text() + wrong + "\n")
    refused = spiritsafe("import", file, path, "--format", "openai-finetune", "--offering", ORIGIN,
                         "--by", "A", "--collected-on", DAY, code=2)  # fmt: skip
    assert "tune.jsonl line 4" in refused.err
    assert not (path.parent / "ledger.duckdb").exists()


def test_a_key_in_a_row_is_refused_unread(path: Path, tmp_path: Path) -> None:
    file = lines(tmp_path / "k.jsonl", [
        {"messages": [{"role": "user", "content": "use sk-proj-" + "a1B2" * 8},
                      {"role": "assistant", "content": "ok"}]}])  # fmt: skip
    with pytest.raises(BadInput, match=r"k.jsonl line 1: it holds what looks like a key") as error:
        bring(path, file, "openai-finetune", model=MODEL, collected_on=DAY)
    assert "a1B2a1B2" not in str(error.value)


def test_reasoning_is_kept_only_where_the_terms_list_it(path: Path, tmp_path: Path) -> None:
    thought = {"message": {"reasoning_content": "a secret thought"}}
    file = stored(tmp_path, 2, **thought)
    with pytest.raises(PolicyDenied):
        bring(path, file, "openai-stored", offering="mistral-api", features=("reasoning",))
    bring(path, file, "openai-stored")
    assert asked(path, "SELECT DISTINCT reasoning FROM completion") == [("",)]
    for stored_as in asked(path, "SELECT form, body FROM raw"):
        assert b"secret thought" not in as_sent(*stored_as)
    other = project(tmp_path / "other", "http://127.0.0.1:9/v1", dataset=LOOSE)
    bring(other, file, "openai-stored", features=("reasoning",))
    assert asked(other, "SELECT DISTINCT reasoning FROM completion") == [("a secret thought",)]


def test_nothing_of_the_account_is_kept(path: Path, tmp_path: Path) -> None:
    file = stored(tmp_path, 2, metadata={"user": "jane@example.com"}, request_id="req_9")
    bring(path, file, "openai-stored")
    for stored_as in asked(path, "SELECT form, body FROM raw"):
        assert b"jane@" not in as_sent(*stored_as)


def test_it_is_filtered_frozen_and_gated_like_any_other(path: Path, tmp_path: Path) -> None:
    bring(path, stored(tmp_path), "openai-stored")
    bench = bench_of(path)
    with bench.open() as ledger:
        frozen = freeze_step(bench, ledger, filter_step(bench, ledger))["bot"]
        again = freeze_step(bench, ledger, filter_step(bench, ledger))["bot"]
        assert findings(ledger, path.parent) == []
    assert again.digest == frozen.digest
    rows = parquet.read_table(frozen.folder / "train.parquet").to_pylist()
    assert len(rows) == frozen.rows["train"] > 10
    assert all(row["origin"].startswith("import:openai-stored:sha256:") for row in rows)
    assert rows[0]["prompt"][0]["role"] == "user"  # the teacher's instruction is not the student's
    teacher = read_manifest(frozen.folder)["teachers"][0]
    assert teacher["offering"] == ORIGIN
    assert teacher["imported"]["by"] == "A. Person"
    assert teacher["collected"] == [str(DAY), str(DAY)]
    assert "is the word of A. Person" in (frozen.folder / "README.md").read_text()
    assert dataset_permit(bench, frozen.folder, Action.TRAIN).decision.offering == ORIGIN
    worse = bench_of(path, "use.purpose='train_competing_image_model'")
    assert dataset_permit(worse, frozen.folder, Action.TRAIN).obligations


def test_a_project_may_leave_them_out(path: Path, tmp_path: Path) -> None:
    bring(path, stored(tmp_path), "openai-stored")
    bench = bench_of(path, "dataset.imported=false")
    with bench.open() as ledger:
        assert filter_step(bench, ledger).rows == []


def test_beside_our_own_rows_each_keeps_its_origin(tmp_path: Path) -> None:
    from tests.fake_teacher import FakeTeacher

    with FakeTeacher() as server:
        path = project(tmp_path / "home", server.base_url, rows=20, dataset=LOOSE)
        ask(path)
    bring(path, stored(tmp_path), "openai-stored")
    bench = bench_of(path)
    with bench.open() as ledger:
        frozen = freeze_step(bench, ledger, filter_step(bench, ledger))["bot"]
    teachers = read_manifest(frozen.folder)["teachers"]
    assert [(one["offering"], "imported" in one) for one in teachers] == [
        (ORIGIN, True), ("smollm2@self-host", False),
    ]  # fmt: skip
    own = [row for row in parquet.read_table(frozen.folder / "train.parquet").to_pylist()
           if not row["origin"]]  # fmt: skip
    assert own
    assert {row["offering"] for row in own} == {"smollm2@self-host"}


def test_an_imported_copy_of_a_held_out_message_never_trains(tmp_path: Path) -> None:
    path = project(tmp_path / "home", "http://127.0.0.1:9/v1", rows=40, dataset=LOOSE)
    from synth.bench import prompts_of

    held = [one for one in prompts_of(bench_of(path)) if one.split == "test"]
    file = lines(tmp_path / "copy.jsonl", [
        {"messages": [{"role": "user", "content": one.fields["message"]},
                      {"role": "assistant", "content": f"A {one.id}"}]}
        for one in held])  # fmt: skip
    bring(path, file, "openai-finetune", model=MODEL, collected_on=DAY)
    bench = bench_of(path)
    with bench.open() as ledger:
        assert {row.split for row in filter_step(bench, ledger).rows} == {"test"}


def test_audit_walks_back_to_the_file_and_the_person(path: Path, tmp_path: Path) -> None:
    bring(path, stored(tmp_path, 2), "openai-stored")
    ((name,),) = asked(path, "SELECT prompt_id FROM imported ORDER BY seq LIMIT 1")
    said = spiritsafe("audit", path, "--row", name).out
    assert "imported from stored.json, entry 1, on the word of A. Person" in said
    assert "Answer 0" in said


@pytest.mark.parametrize("column", ["offering", "file", "place", "declared_by", "terms_pin"])
def test_an_altered_declaration_is_found(column: str, path: Path, tmp_path: Path) -> None:
    import duckdb

    bring(path, stored(tmp_path, 3), "openai-stored")
    with duckdb.connect(str(path.parent / "ledger.duckdb")) as connection:
        connection.execute(f"UPDATE imported SET {column} = 'other' WHERE place = 'entry 2'")
    refused = spiritsafe("verify", path, code=5)
    assert "import import-" in refused.out


def test_llm_s_own_database_is_read(path: Path, tmp_path: Path) -> None:
    """Written by `llm` itself: a system prompt, and a conversation of two turns."""
    if not PYTHON.exists():
        pytest.skip("no .venv-validators: make servers")
    script = """
import sys, llm, sqlite_utils
from llm.migrations import migrate
class Model(llm.Model):
    model_id = "deepseek-chat"
    can_stream = False
    def execute(self, prompt, stream, response, conversation=None):
        response.response_json = {"id": "x", "model": "deepseek-chat"}
        yield f"Answer to {prompt.prompt}"
database = sqlite_utils.Database(sys.argv[1]); migrate(database)
one = Model().prompt("Hi?", system="Be short"); one.text(); one.log_to_db(database)
talk = Model().conversation()
for text in ("One", "Two"):
    said = talk.prompt(text); said.text(); said.log_to_db(database)
"""
    file = tmp_path / "logs.db"
    outside = {**environment(), "PYTHONPATH": "", "LLM_USER_PATH": str(tmp_path)}
    subprocess.run([PYTHON, "-c", script, file], check=True, timeout=120, env=outside)
    rows = FORMATS["llm"](File(file))
    assert [[m["content"] for m in row.messages] for row in rows] == [
        ["Be short", "Hi?"], ["One"], ["One", "Answer to One", "Two"],
    ]  # fmt: skip
    assert [row.completion.text for row in rows] == [
        "Answer to Hi?", "Answer to One", "Answer to Two",
    ]  # fmt: skip
    assert rows[0].completion.served_model == MODEL
    assert bring(path, file, "llm").rows == 3


def test_an_older_database_of_llm_is_read_too(tmp_path: Path) -> None:
    """The table `responses` as llm 0.2x made it."""
    import sqlite3

    with sqlite3.connect(tmp_path / "logs.db") as old:
        columns = "id, model, prompt, system, response, response_json, conversation_id"
        old.execute(f"CREATE TABLE responses ({columns}, datetime_utc)")
        for n, (prompt, answer) in enumerate([("One", "1"), ("Two", "2")]):
            old.execute("INSERT INTO responses VALUES (?,?,?,?,?,?,?,?)",
                        (f"r{n}", MODEL, prompt, "Be short" if n == 0 else None, answer, None, "c",
                         "2026-06-01T10:00:00"))  # fmt: skip
    rows = FORMATS["llm"](File(tmp_path / "logs.db"))
    assert [[m["content"] for m in row.messages] for row in rows] == [
        ["Be short", "One"], ["Be short", "One", "1", "Two"],
    ]  # fmt: skip
    (tmp_path / "no.db").write_text("text, not SQLite")
    with pytest.raises(BadInput, match="no SQLite file"):
        FORMATS["llm"](File(tmp_path / "no.db"))


def test_what_the_datasets_library_writes_is_read(path: Path, tmp_path: Path) -> None:
    """Parquet, JSON Lines and save_to_disk, by the library itself."""
    script = """
import sys, datasets
rows = [{"prompt": f"Q{n}", "completion": f"A{n}", "model": "deepseek-chat"} for n in range(3)]
found = datasets.Dataset.from_list(rows)
found.to_parquet(sys.argv[1] + "/a.parquet"); found.to_json(sys.argv[1] + "/a.jsonl")
found.save_to_disk(sys.argv[1] + "/disk")
chat = [{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho"}]}]
datasets.DatasetDict(train=datasets.Dataset.from_list(chat)).save_to_disk(sys.argv[1] + "/chat")
"""
    offline = {"HF_HOME": str(tmp_path / "hf"), "HF_HUB_OFFLINE": "1", "PATH": os.environ["PATH"]}
    subprocess.run([sys.executable, "-c", script, tmp_path], env=offline, check=True, timeout=120)
    for name in ("a.parquet", "a.jsonl", "disk"):
        rows = FORMATS["huggingface"](File(tmp_path / name))
        assert [(r.messages[0]["content"], r.completion.text) for r in rows] == [
            (f"Q{n}", f"A{n}") for n in range(3)
        ]
    (chat,) = FORMATS["huggingface"](File(tmp_path / "chat", model=MODEL))
    assert chat.completion.text == "Ho"
    assert bring(path, tmp_path / "a.parquet", "huggingface", collected_on=DAY).rows == 3
    assert bring(path, tmp_path / "disk", "huggingface", collected_on=DAY).known == 3


def test_instructions_keep_their_lines(tmp_path: Path) -> None:
    row = {"instruction": "Sum up:\n- a", "input": "one\ntwo", "output": "1\n2", "model": MODEL}
    (found,) = FORMATS["huggingface"](File(lines(tmp_path / "a.jsonl", [row])))
    assert found.messages[0]["content"] == "Sum up:\n- a\n\none\ntwo"
    assert (found.completion.text, found.model) == ("1\n2", MODEL)


def test_a_table_without_known_columns_is_refused(tmp_path: Path) -> None:
    file = lines(tmp_path / "a.jsonl", [{"question": "a", "reply": "b"}])
    with pytest.raises(BadInput, match=r"line 1: its columns are none of the known ones: question"):
        FORMATS["huggingface"](File(file))
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 nothing")
    with pytest.raises(BadInput, match=r"bad.parquet"):
        FORMATS["huggingface"](File(tmp_path / "bad.parquet"))


def test_the_lines_that_litellm_writes_itself_are_read() -> None:
    """Made by litellm 1.106.2 with a callback and mocked replies (tests/golden/README.md)."""
    file = File(GOLDEN / "litellm" / "log.jsonl")
    rows = FORMATS["litellm"](file)
    assert file.skipped == 1
    assert [(row.messages[-1]["content"], row.completion.text) for row in rows] == [
        ("Q0", "A0"), ("Q1", "A1"),
    ]  # fmt: skip
    assert {(row.model, row.completion.served_model) for row in rows} == {(MODEL, MODEL)}
    assert all(row.completion.finish_reason == "stop" and row.collected_ms for row in rows)


def test_a_redacted_log_holds_no_answers(tmp_path: Path) -> None:
    hidden = spend(0, messages="redacted-by-litellm", response=body("redacted-by-litellm"))
    with pytest.raises(BadInput, match=r"l.jsonl line 1: its words were redacted"):
        FORMATS["litellm"](File(lines(tmp_path / "l.jsonl", [hidden])))


def spend(n: int, **more: Any) -> dict[str, Any]:
    """A line of LiteLLM's log, cut to the keys that are read and one that must not be kept."""
    return {
        "id": f"chatcmpl-{n}", "call_type": "acompletion", "status": "success", "model": MODEL,
        "startTime": float(STAMP + n), "endTime": float(STAMP + n + 1),
        "messages": asking(f"Q{n}"), "response": body(f"A{n}"),
        "metadata": {"user_api_key_hash": "88dc28d0f030c55ed4ab77ed8faf098196cb1c05"}, **more,
    }  # fmt: skip


def test_litellm_s_log_is_read(path: Path, tmp_path: Path) -> None:
    """The standard logging payload, and the spend log's text columns; failures are left out."""
    text = {"messages": "{}", "startTime": "2026-06-01 10:00:00.000",
            "proxy_server_request": json.dumps({"messages": asking("Q9")}),
            "response": json.dumps(body("A9"))}  # fmt: skip
    file = lines(tmp_path / "l.jsonl", [spend(0), spend(1, status="failure"), spend(2, **text)])
    brought = bring(path, file, "litellm")
    assert (brought.rows, brought.skipped, brought.collected) == (2, 1, (str(DAY), str(DAY)))
    assert asked(path, "SELECT place FROM imported ORDER BY seq") == [("line 1",), ("line 3",)]
    for stored_as in asked(path, "SELECT form, body FROM raw"):
        assert b"88dc28d0f030" not in as_sent(*stored_as)


def test_the_command_says_what_came_in_and_what_the_filters_will_miss(
    path: Path, tmp_path: Path
) -> None:
    command = ("import", finetune(tmp_path), path, "--format", "openai-finetune", "--offering",
               ORIGIN, "--by", "A. Person", "--collected-on", DAY, "--model", MODEL)  # fmt: skip
    done = spiritsafe(*command)
    assert done.out.startswith(f"3 rows imported as {ORIGIN} (ALLOW), collected {DAY} to {DAY}")
    assert "the filter `finish` drops them" in done.err
    assert "the filter `served` drops them" in done.err
    assert spiritsafe(*command, "--json").json["known"] == 3


ODD: list[Any] = [None, 3, -1, 1e12, True, "", "x", [], {}, [None], {"role": 1}, "\ud800", [[]]]


def mangled(value: Any) -> list[Any]:
    """The value with one part of it, at any depth, replaced by something odd or taken away."""
    found = list(ODD)
    if isinstance(value, dict):
        for key in value:
            found.append({k: v for k, v in value.items() if k != key})
            found += [{**value, key: other} for other in mangled(value[key])]
    if isinstance(value, list):
        for place in range(len(value)):
            found.append(value[:place] + value[place + 1 :])
            found += [[*value[:place], one, *value[place + 1 :]] for one in mangled(value[place])]
    return found


@pytest.mark.parametrize(
    ("kind", "good"),
    [
        ("openai-stored", body(messages=asking("Q"))),
        ("openai-finetune", {"messages": [*asking("Q"), {"role": "assistant", "content": "A"}]}),
        ("openai-batch", {"custom_id": "r0", "error": None,
                          "response": {"status_code": 200, "body": body()}}),
        ("huggingface", {"prompt": "Q", "completion": [{"role": "assistant", "content": "A"}]}),
        ("huggingface", {"instruction": "Q", "input": "x", "output": "A", "created": STAMP}),
        ("litellm", {"status": "success", "messages": asking("Q"), "response": body(),
                     "startTime": float(STAMP)}),
    ],
)  # fmt: skip
def test_whatever_stands_in_a_line_it_is_a_row_or_one_refusal(
    kind: str, good: Any, path: Path, tmp_path: Path
) -> None:
    requests = lines(
        tmp_path / "in.jsonl", [{"custom_id": "r0", "body": {"messages": asking("Q")}}]
    )
    file, rows, refused = tmp_path / "odd.jsonl", 0, []
    for value in mangled(good):
        lines(file, [good, value])
        try:
            rows += len(FORMATS[kind](File(file, requests=requests))) - 1
        except BadInput as error:
            refused.append(str(error))
    assert [one for one in refused if "odd.jsonl line 2" not in one] == []
    assert rows > 0
    assert len(refused) > 20


@pytest.mark.parametrize(
    "said", [{"by": "  "}, {"by": "42"}, {"purpose": "train_everything"}, {"path": "nowhere.jsonl"}]
)
def test_a_declaration_that_cannot_be_is_refused(
    said: dict[str, str], path: Path, tmp_path: Path
) -> None:
    file = tmp_path / said.pop("path", "tune.jsonl")
    finetune(tmp_path)
    with pytest.raises(BadInput):
        bring(path, file, "openai-finetune", model=MODEL, collected_on=DAY, **said)


def test_the_guides_name_every_format() -> None:
    from synth.cli_exports import export
    from synth.cli_imports import NAMES

    guides = Path(__file__).parent.parent.parent / "docs" / "guides"
    assert set(NAMES) == set(FORMATS)
    for guide, names in (("import.md", NAMES), ("exports.md", [*export.commands])):
        text = (guides / guide).read_text(encoding="utf-8")
        assert [name for name in names if f"`{name}" not in text and f" {name} " not in text] == []
