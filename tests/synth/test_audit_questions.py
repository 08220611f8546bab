"""Each question of an auditor is answered from a ledger that real collections made."""

import json
import re
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from policy.errors import BadInput
from policy.records import Record, record_text
from policy.terms import SHIPPED
from synth.audits.answer import WIDTH, Answer, screen
from synth.audits.money import read_export
from synth.audits.teachers import AsOf, forbidden_rows, same_model, use_of
from synth.steps import filter_step, freeze_step
from tests import fake_teacher as fake
from tests.command import spiritsafe
from tests.fake_teacher import FakeTeacher
from tests.synth.parts import PRICED, ask, asked, bench_of, opened, project

LAW = {"purpose": "train_specialist", "distribution": "internal"}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two teachers: one of one's own, one hosted that forbids training; one row of four was served
    by another model than was asked for."""
    home = tmp_path_factory.mktemp("questions")

    def script(index: int, request: fake.Json) -> fake.Action:
        return fake.answer(model="another-7b") if index == 2 else fake.answer()

    with FakeTeacher() as server:
        path = project(home, server.base_url, rows=8, use={"distribution": "internal"})
        ask(path)
        bench = bench_of(path)
        with bench.open() as ledger:
            freeze_step(bench, ledger, filter_step(bench, ledger))
    (home / "more.jsonl").write_text(
        "".join(f'{{"id": "m{n}", "message": "More {n}", "intent": "late"}}\n' for n in range(4))
    )
    entry = (SHIPPED / "openai-api.toml").read_text()
    (home / "terms").mkdir()  # the same words of a provider that answers on the loopback
    (home / "terms" / "openai-api.toml").write_text(
        re.sub(r"^hosts = .*$", 'hosts = ["127.0.0.1"]', entry, flags=re.MULTILINE)
    )
    with FakeTeacher(script) as server:
        ask(path, f"teacher.base_url={server.base_url}", "teacher.offering=openai-api",
            "teacher.model=gpt-4o-mini", "use.purpose=evaluate", "limits.budget_usd=1",
            "limits.concurrency=1", "limits.price={input = 1.0, output = 2.0}",
            "prompts.file=more.jsonl")  # fmt: skip
    return home


def audited(home: Path, *words: str, code: int = 0) -> dict[str, object]:
    first, *rest = words
    done = spiritsafe("audit", first, home / "project.toml", *rest, "--json", code=code)
    return dict(done.json)


def test_rows_whose_terms_forbid_a_purpose_are_named(home: Path) -> None:
    found = audited(home, "rows", "--forbids", "train_specialist", "--as-of", "now")
    rows = found["rows"]
    assert isinstance(rows, list)
    assert sorted(name for row in rows for name in row["ids"]) == ["m0#0", "m1#0", "m3#0"]
    assert {row["offering"] for row in rows} == {"openai-api"}
    lines = spiritsafe("audit", "rows", home / "project.toml", "--forbids", "train_specialist",
                       "--ids").out.split()  # fmt: skip
    assert lines == ["m0#0", "m1#0", "m3#0"]


def test_terms_of_another_day_give_another_answer(home: Path) -> None:
    """Before its terms were in force nothing was reviewed, so everything is denied."""
    bench = bench_of(home / "project.toml")
    use = use_of(bench, "train_specialist", "")
    with bench.open() as ledger:
        early = forbidden_rows(bench, ledger, use, AsOf("2001-01-01"))
        now = forbidden_rows(bench, ledger, use, AsOf("now"))
    assert sum(row["rows"] for row in early.rows) == 11
    assert sum(row["rows"] for row in now.rows) == 3
    with pytest.raises(BadInput, match="is no date"):
        AsOf("yesterday").day(date(2026, 1, 1), date(2026, 1, 1))


def test_a_row_of_another_model_is_named(home: Path) -> None:
    found = audited(home, "rows", "--served-mismatch")
    rows = found["rows"]
    assert isinstance(rows, list)
    named = {row["served"]: row["ids"] for row in rows if row["asked"] == "gpt-4o-mini"}
    assert named["another-7b"] == ["m2#0"]


@pytest.mark.parametrize(
    ("asked_for", "served", "same"),
    [("gpt-4o", "gpt-4o-2024-08-06", True), ("gpt-4o", "gpt-4o-mini", False),
     ("claude-x-latest", "claude-x", True), ("gemini-2", "models/gemini-2", True),
     ("a", "b", False), ("gpt-4", "", False)],
)  # fmt: skip
def test_a_dated_snapshot_is_the_model(asked_for: str, served: str, same: bool) -> None:
    assert same_model(asked_for, served) is same


def test_the_basis_of_a_dataset_is_text_date_and_section(home: Path) -> None:
    rows = audited(home, "basis", "bot")["rows"]
    assert isinstance(rows, list)
    assert rows[0]["clause"]
    assert rows[0]["document"]
    assert rows[0]["terms_pin"].startswith("sha256:")
    assert rows[0]["rows"] == 8


def test_usage_is_what_was_sent(home: Path) -> None:
    rows = audited(home, "usage", "--by", "offering,day")["rows"]
    assert isinstance(rows, list)
    assert {row["offering"]: row["requests"] for row in rows} == {
        "smollm2@self-host": 8, "openai-api": 4,
    }  # fmt: skip
    spent = asked(home / "project.toml", "SELECT sum(committed_nano)::BIGINT FROM state")[0][0]
    assert sum(row["nano"] for row in rows) == spent


def test_a_passed_cap_is_said(home: Path) -> None:
    rails = home / "guardrails.toml"
    rails.write_text('[offerings."*"]\nhard = {requests_per_day = 5}\n')
    try:
        rows = audited(home, "usage", code=1)["rows"]
    finally:
        rails.unlink()
    assert isinstance(rows, list)
    assert [row["offering"] for row in rows if row["over"]] == ["smollm2@self-host"]


def export(home: Path, requests: int) -> Path:
    (last,) = asked(home / "project.toml", "SELECT max(at_ms) FROM attempt")
    day = datetime.fromtimestamp(last[0] / 1000, UTC).date()
    sums = asked(home / "project.toml", "SELECT sum(prompt_tokens)::BIGINT,"
                 " sum(completion_tokens)::BIGINT FROM outcome o JOIN attempt a ON a.id = o.attempt"
                 " WHERE a.offering = 'openai-api'")[0]  # fmt: skip
    start = int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp())
    result = {"object": "organization.usage.completions.result", "input_tokens": sums[0],
              "output_tokens": sums[1], "num_model_requests": requests,
              "model": "gpt-4o-mini-2024-07-18"}  # fmt: skip
    bucket = {"object": "bucket", "start_time": start, "end_time": start + 86400}
    page = {"object": "page", "data": [{**bucket, "results": [result]}]}
    path = home / "usage.json"
    path.write_text(json.dumps(page))
    return path


@pytest.mark.parametrize(("requests", "code"), [(4, 0), (9, 1)])
def test_the_log_is_held_against_the_provider_s_usage(home: Path, requests: int, code: int) -> None:
    path = export(home, requests)
    found = audited(home, "reconcile", str(path), "--offering", "openai-api", code=code)
    (row,) = found["rows"]  # type: ignore[misc]
    assert row["differs"] == ("requests" if code else "")
    path.unlink()


def test_exports_of_other_providers_are_read(tmp_path: Path) -> None:
    path = tmp_path / "anthropic.csv"
    path.write_text(
        "usage_date_utc,model_version,api_key,usage_input_tokens_no_cache,"
        "usage_input_tokens_cache_read,usage_output_tokens\n2026-11-20,claude-x,k,10,5,7\n"
    )
    (line,) = read_export(path, {})
    assert (line.day, line.model, line.tokens_in, line.tokens_out) == (
        "2026-11-20",
        "claude-x",
        15,
        7,
    )
    path.write_text('{"startTime": "2026-11-20T23:30:00-02:00", "model": "m", "spend": 0.5,'
                    ' "prompt_tokens": 3, "completion_tokens": 4}\n')  # fmt: skip
    (line,) = read_export(path, {})
    assert (line.day, line.usd, line.tokens_in) == ("2026-11-21", 0.5, 3)
    path.write_text("when;what\n")
    with pytest.raises(BadInput, match="holds no line"):
        read_export(path, {})
    path.write_text("Datum,kosten\n2026-11-20,1.5\n")
    with pytest.raises(BadInput, match="no column says the day"):
        read_export(path, {})
    (line,) = read_export(path, {"day": "Datum", "usd": "kosten"})
    assert line.usd == 1.5


def test_who_acknowledged_what_and_until_when(home: Path) -> None:
    assert audited(home, "acks")["rows"] == []
    record = Record.model_validate(
        {"kind": "acknowledgement", "offering": "openai-api", "by": "A. Jurist",
         "on": date(2026, 1, 1), "expires": date(2026, 12, 1), "purposes": ["train_specialist"],
         "distributions": ["internal"], "reason": "A support bot competes with nobody.",
         "document": "note.pdf", "document_sha256": "sha256:" + "0" * 64}
    )  # fmt: skip
    folder = home / "records"
    folder.mkdir()
    (folder / "acknowledgement-openai-api.toml").write_text(record_text(record))
    (row,) = audited(home, "acks")["rows"]  # type: ignore[misc]
    assert (row["by"], row["expires"]) == ("A. Jurist", "2026-12-01")
    (own,) = audited(home, "permissions")["rows"]  # type: ignore[misc]
    assert (own["kind"], own["rows"]) == ("own terms", 3)
    (folder / "acknowledgement-openai-api.toml").unlink()
    folder.rmdir()


def test_a_change_of_the_policy_is_in_the_log(home: Path) -> None:
    rows = audited(home, "policy-changes")["rows"]
    assert isinstance(rows, list)
    changed = [row for row in rows if row["state"] == "changed"]
    assert [row["name"] for row in changed] == ["project.toml [use]", "project.toml [limits]"]
    assert changed[0]["says"]["purpose"] == "evaluate"
    assert all(row["account"] for row in rows)


def test_what_filters_found_and_what_became_of_it(tmp_path: Path) -> None:
    def script(index: int, request: fake.Json) -> fake.Action:
        return fake.answer("I cannot help with that." if index % 3 == 0 else "Fine")

    with FakeTeacher(script) as server:
        path = project(tmp_path, server.base_url, rows=12, dataset={"require": ["refusal"]})
        ask(path)
    spiritsafe("freeze", path)
    rows = audited(tmp_path, "findings")["rows"]
    assert isinstance(rows, list)
    assert sum(row["rows"] for row in rows) == 4
    assert {row["became"] for row in rows} <= {"left out", "in test"}


def test_a_retention_limit_is_counted_in_days(tmp_path: Path) -> None:
    with FakeTeacher() as server:
        path = project(tmp_path, server.base_url, rows=3)
        ask(path)
    late = ["--set", "dataset.retention_days=0"]
    assert spiritsafe("audit", "retention", path, "--json").json["rows"] == []
    (row,) = spiritsafe("audit", "retention", path, *late, "--json").json["rows"]
    assert (row["rows"], row["limit_days"], row["state"]) == (3, 0, "kept")


def test_a_table_fits_eighty_columns(home: Path) -> None:
    for question in (["usage"], ["basis"], ["policy-changes"], ["permissions"], ["acks"],
                     ["rows", "--forbids", "publish_dataset"],
                     ["rows", "--served-mismatch"]):  # fmt: skip
        out = spiritsafe("audit", question[0], home / "project.toml", *question[1:]).out
        table = out.split("\n\n")[1] if "\n\n" in out else out
        assert all(len(line) <= WIDTH for line in table.splitlines()), out


def test_what_a_model_wrote_cannot_drive_the_terminal() -> None:
    shown = screen(Answer("q", ("a",), [{"a": "\x1b[31mred\nnext"}]))
    assert "\x1b" not in shown
    assert "red next" in shown


def test_nothing_is_answered_without_a_ledger(tmp_path: Path) -> None:
    path = project(tmp_path, "http://127.0.0.1:9/v1")
    assert "there is no ledger yet" in spiritsafe("audit", "usage", path, code=2).err
    assert PRICED
    assert not (tmp_path / "ledger.duckdb").exists()
    with pytest.raises(BadInput):
        opened(path)
