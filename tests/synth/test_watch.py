"""What people see of a collection, and what machines are told: no prompt, no answer and no key."""

import json
import os
import pty
import re
import struct
import subprocess
import termios
from contextlib import suppress
from fcntl import ioctl
from pathlib import Path
from typing import Any

import pytest

from synth.advice import ADVICE, COMMONEST, WIDTH, advice, failure_lines
from synth.collect import Event
from synth.rates import InForce, Rates
from tests import fake_teacher as fake
from tests.command import SPIRITSAFE, Done, environment, spiritsafe, start
from tests.fake_teacher import FakeTeacher, answer, status
from tests.synth.parts import MODEL, PRICED, call, completion, project
from tests.synth.test_faults import FAULTS

CANARY = "canary 7f3a9c51d2"
KEY = "sk-canary-7f3a9c51d2"
ECHO = f"you said {CANARY} with {KEY}"


def mixed(index: int, request: fake.Json) -> fake.Action:
    """Of ten requests: one refused, one lost, one useless, one in words that repeat the prompt."""
    actions = {1: status(429, headers={"retry-after-ms": "5"}), 3: fake.reset(), 5: fake.html()}
    return actions.get(index % 10, answer("a fine answer"))


def events_of(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def collected(home: Path, script: fake.Script, *options: str | Path, rows: int = 30) -> Done:
    with FakeTeacher(script) as server:
        path = project(home, server.base_url, rows=rows, limits={"concurrency": 1, **PRICED})
        return spiritsafe("collect", path, *options, code=None)


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """The events of one mixed run."""
    home = tmp_path_factory.mktemp("told")
    collected(home, mixed, "--events", home / "run.jsonl")
    return events_of((home / "run.jsonl").read_text())


def named(told: list[dict[str, Any]], name: str) -> list[dict[str, Any]]:
    return [one["attributes"] for one in told if one["event_name"] == f"spiritsafe.collect.{name}"]


def test_a_run_begins_with_start_and_ends_with_its_totals(told: list[dict[str, Any]]) -> None:
    assert told[0]["event_name"] == "spiritsafe.collect.start"
    end = named(told, "end")[0]
    assert told[-1]["event_name"] == "spiritsafe.collect.end"
    assert named(told, "start")[0]["spiritsafe.requests.todo"] == 30
    assert len(named(told, "checkpoint")) == 1
    assert end["spiritsafe.answers"] == len(named(told, "answer"))
    assert end["spiritsafe.answers"] == end["spiritsafe.kept"] + end["spiritsafe.held_out"]
    counted = {"answer", "failure", "hold", "retry"}
    sent = sum(one["event_name"].rpartition(".")[2] in counted for one in told)
    assert end["spiritsafe.requests.sent"] == sent
    assert sum(end["spiritsafe.failures"].values()) == 30 - end["spiritsafe.answers"]
    used = sum(one["gen_ai.usage.output_tokens"] for one in named(told, "answer"))
    assert end["gen_ai.usage.output_tokens"] == used


def test_events_speak_opentelemetry(told: list[dict[str, Any]]) -> None:
    """Names of the semantic conventions; ours are under one name of our own."""
    spaces = ("gen_ai.", "server.", "http.response.", "error.type", "spiritsafe.")
    for one in told:
        assert one.keys() == {"timestamp", "severity_text", "event_name", "attributes"}
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", one["timestamp"])
        assert all(name.startswith(spaces) for name in one["attributes"])
        assert one["attributes"]["gen_ai.request.model"] == MODEL
        assert one["attributes"]["server.address"] == "127.0.0.1"
    first = named(told, "answer")[0]
    assert first["gen_ai.response.finish_reasons"] == ["stop"]
    assert first["http.response.status_code"] == 200
    assert named(told, "retry")[0]["error.type"] == "rate_limited"
    assert named(told, "retry")[0]["http.response.status_code"] == 429
    assert named(told, "retry")[0]["spiritsafe.retry.after"] == 0.005
    assert named(told, "failure")[0]["error.type"] == "html"


def test_a_hold_says_what_is_reserved(told: list[dict[str, Any]]) -> None:
    held = named(told, "hold")
    assert held
    for one in held:
        assert (one["error.type"], one["spiritsafe.outcome"]) == ("readerror", "unknown")
        assert one["spiritsafe.reserve.usd"] > 0
        assert "spiritsafe.cost.usd" not in one


ECHOES = [
    answer(ECHO),
    answer("a", extra={"model": CANARY, "id": ECHO}),
    answer("a", finish_reason=CANARY),
    answer("a", headers={"x-request-id": ECHO}),
    fake.raw(json.dumps({"error": ECHO}).encode()),
    status(400, {"error": {"message": ECHO, "code": CANARY, "type": CANARY}}),
    status(500, ECHO),
]


@pytest.mark.parametrize("action", ECHOES)
def test_no_prompt_no_answer_and_no_key_is_in_the_log(tmp_path: Path, action: fake.Action) -> None:
    log = tmp_path / "run.jsonl"
    with FakeTeacher([action]) as server:
        path = project(tmp_path, server.base_url, teacher={"api_key_env": "TEACHER_KEY"})
        rows = [{"id": f"p{n} {CANARY}", "message": f"{CANARY} {n}", "intent": "x"} for n in "ab"]
        (tmp_path / "prompts.jsonl").write_text("\n".join(map(json.dumps, rows)))
        spiritsafe("collect", path, "--events", log, env={"TEACHER_KEY": KEY}, code=None)
    assert len(server.seen) == 2
    assert len(log.read_text().splitlines()) == 5
    assert "7f3a9c51d2" not in log.read_text()


def test_events_may_go_to_standard_output_alone(tmp_path: Path) -> None:
    done = collected(tmp_path, [answer()], "--events", "-", rows=3)
    assert [one["event_name"].rpartition(".")[2] for one in events_of(done.out)] == [
        "start", "answer", "answer", "answer", "checkpoint", "end",
    ]  # fmt: skip
    assert "3 requests" in done.err


def test_two_kinds_of_json_are_not_mixed(tmp_path: Path) -> None:
    done = collected(tmp_path, [answer()], "--events", "-", "--json", rows=3)
    assert done.code == 2
    assert not (tmp_path / "ledger.duckdb").exists()


def test_a_second_run_adds_to_the_log(tmp_path: Path) -> None:
    log = tmp_path / "run.jsonl"
    with FakeTeacher() as server:
        path = project(tmp_path, server.base_url, rows=3)
        for _ in range(2):
            spiritsafe("collect", path, "--events", log)
    names = [one["event_name"].rpartition(".")[2] for one in events_of(log.read_text())]
    assert names[-2:] == ["start", "end"]
    assert names.count("answer") == 3


@pytest.mark.parametrize("target", ["/dev/full", "/no/such/folder/run.jsonl"])
def test_a_log_that_cannot_be_written_costs_no_answer(tmp_path: Path, target: str) -> None:
    """Where it cannot even be opened, nothing is sent."""
    with FakeTeacher() as server:
        path = project(tmp_path, server.base_url, rows=3)
        done = spiritsafe("collect", path, "--events", target, code=None)
    if target == "/dev/full":
        assert (done.code, server.billed) == (0, 3)
        assert done.err.count("event log cannot be written") == 1
    else:
        assert (done.code, server.billed) == (2, 0)


def test_a_stopped_run_says_why_in_its_last_event(tmp_path: Path) -> None:
    log = tmp_path / "run.jsonl"
    done = collected(tmp_path, [answer(), status(401)], "--events", log)
    assert done.code == 2
    assert events_of(log.read_text())[-1]["attributes"]["error.type"] == "BadInput"
    assert "failed: 1\n" in done.err
    assert "-> check the variable named in [teacher] api_key_env" in done.err


def test_an_interrupted_run_shows_its_report(tmp_path: Path) -> None:
    with FakeTeacher([answer(delay=0.1)]) as server:
        path = project(tmp_path, server.base_url, rows=90)
        child = start("collect", path, "--events", tmp_path / "ev", cwd=tmp_path,
                      log=tmp_path / "said")  # fmt: skip
        while len(server.seen) < 5:
            pass
        child.terminate()
        assert child.wait(timeout=20) == 130
    assert "tokens in" in (tmp_path / "said").read_text()
    assert events_of((tmp_path / "ev").read_text())[-1]["attributes"]["error.type"] == "interrupted"


# ---- the screen


def on_a_terminal(command: list[str], columns: int) -> str:
    """Everything that a terminal of that width was told."""
    ours, theirs = pty.openpty()
    ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 30, columns, 0, 0))
    env = {**environment(), "TERM": "xterm-256color"}
    env.pop("COLUMNS", None)
    child = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=env)
    os.close(theirs)
    told = b""
    with suppress(OSError):  # the end of a pseudo-terminal
        while piece := os.read(ours, 1 << 16):
            told += piece
    child.wait()
    os.close(ours)
    return told.decode()


@pytest.mark.parametrize("columns", [80, 120])
def test_the_live_display_shows_all_and_fits(tmp_path: Path, columns: int) -> None:
    with FakeTeacher(lambda i, r: mixed(i, r)) as server:
        limits = {"concurrency": 2, **PRICED}
        path = project(tmp_path, server.base_url, rows=60, limits=limits)
        told = on_a_terminal([*SPIRITSAFE, "collect", str(path)], columns)
    lines = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "\n", told).replace("\r", "\n").split("\n")
    screen = "\n".join(lines)
    for shown in (r"collect", r"60/60", r"/s", r"eta",
                  r"\d+ kept, \d+ held out, \d+ tried again", r"\d+ failed \(.*readerror \d+",
                  r"tokens/s in, \d+ out, \$0\.\d+, \$[\d.]+ an hour",
                  r"limit 2 at once, \d+% used"):  # fmt: skip
        assert re.search(shown, screen), shown
    moving = [
        line for line in lines if "tokens/s" in line or " kept, " in line or "at once" in line
    ]
    assert moving
    assert max(map(len, moving)) <= columns


def test_a_terminal_of_40_columns_shows_count_and_time_left_whole(tmp_path: Path) -> None:
    with FakeTeacher([answer(delay=0.02)]) as server:
        path = project(tmp_path, server.base_url, rows=60, limits={"concurrency": 2})
        told = on_a_terminal([*SPIRITSAFE, "collect", str(path)], 40)
    drawn = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", told).replace("\r", "\n").split("\n")
    bars = [line for line in drawn if " collect " in line and "eta" in line]
    assert bars
    assert all(re.search(r"collect +\d+/60 +eta [\d:-]+$", line.rstrip()) for line in bars), bars


def test_plain_lines_say_the_same(tmp_path: Path) -> None:
    done = collected(tmp_path, mixed)
    last = [line for line in done.err.splitlines() if line.startswith("collect: ")][-1]
    for shown in (r"30/30 in \d+ s \(\d+\.\d/s\)", r"\d+ kept, \d+ held out",
                  r"failed \(", "tokens/s", r"limit 1 at once, \d+% used"):  # fmt: skip
        assert re.search(shown, last), shown
    assert "\x1b" not in done.err


def test_the_result_names_the_failures_with_what_to_do(tmp_path: Path) -> None:
    done = collected(tmp_path, mixed)
    assert re.search(r"failed: \d+ in 2 ways\n +\d+  (html|readerror): .+\n +-> ", done.out)
    assert re.search(r"\d+ tokens in, \d+ out, \$0\.\d+ in \d+\.\d s", done.out)
    assert re.search(
        r"\d+ requests a minute, \d+ tried again; limit 1 at once, \d+% used", done.out
    )


# ---- advice


@pytest.mark.parametrize("kind", sorted({fault.kind for fault in FAULTS if fault.kind} - {"tls"}))
def test_every_kind_of_the_fault_table_has_its_advice(kind: str) -> None:
    assert kind in ADVICE
    assert len(advice(kind)) <= WIDTH


def test_only_the_commonest_failures_are_listed() -> None:
    lines = failure_lines({f"kind{n:02}": n for n in range(1, 15)}, {"kind14": "the words"})
    assert lines[0] == "failed: 105 in 14 ways"
    assert lines[1] == "     14  kind14: the words"
    assert len(lines) == 1 + 2 * COMMONEST + 1
    assert lines[-1].endswith("and 4 rarer kinds")
    assert failure_lines({}, {}) == []


# ---- rates


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_a_rate_is_of_the_last_half_minute(clock: Clock) -> None:
    rates = Rates(clock)
    for _ in range(100):  # ten a second for ten seconds, then nothing
        clock.now += 0.1
        rates.add(Event("answer", call(), completion(), "a", 0.5, 7, 7))
    assert rates.a_second("requests") == pytest.approx(10)
    assert rates.a_second("busy") == pytest.approx(5)
    assert rates.a_second("completion_tokens") == pytest.approx(20)
    assert rates.a_second("nano") == pytest.approx(70)
    clock.now += 50
    assert rates.a_second("requests") == 0
    assert rates.mean("requests") == pytest.approx(100 / 60)


def test_a_limit_is_said_with_its_use() -> None:
    assert str(InForce("3,000 requests a minute, told by the server", 0.971)) == (
        "3,000 requests a minute, told by the server, 97% used"
    )
    assert str(InForce("8 at once")) == "8 at once"
