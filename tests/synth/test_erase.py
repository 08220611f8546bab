"""After an erasure no byte of the content is left, and every other proof holds."""

import contextlib
import io
import os
import shutil
import signal
import subprocess
import sys
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import zstandard

from policy.log import parse_checkpoint
from policy.verify import check_inclusion
from synth.audit import findings
from synth.checkpoints import public_key
from synth.crash import Point
from synth.jobs import JobRow, JobState
from synth.proving import prove_row
from tests import fake_teacher as fake
from tests.command import environment, spiritsafe
from tests.fake_teacher import FakeTeacher
from tests.synth.parts import (
    MODEL,
    OFFERING,
    ask,
    asked,
    attempt_row,
    bench_of,
    call,
    opened,
    project,
    texts,
)

SECRET = "Zofia Wiśniewska-Okonkwo"
WHO = ("--by", "A. Jurist", "--because", "request 17")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rows that name a person in the request (p0003) or in the answer (p0005)."""
    home = tmp_path_factory.mktemp("erase")

    def script(index: int, request: fake.Json) -> fake.Action:
        asked_for = str(request["messages"])
        return fake.answer(f"Dear {SECRET}, yes" if "card 5 " in asked_for else "Fine")

    with FakeTeacher(script) as server:
        path = project(home, server.base_url, rows=12, sampling={"logprobs": 2})
        rows = texts(12)
        rows[3]["message"] = f"I am {SECRET}"
        (home / "prompts.jsonl").write_text("".join(_line(row) for row in rows))
        ask(path)
    spiritsafe("freeze", path)
    (home / "report.html").write_text(f"<p>{SECRET}</p>")
    (home / "prompts.jsonl").write_text("".join(_line(row) for n, row in enumerate(rows) if n != 3))
    return home


def _line(row: dict[str, str]) -> str:
    import json

    return json.dumps(row, ensure_ascii=False) + "\n"


@pytest.fixture
def home(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "home"))


def plain(data: bytes) -> Iterator[bytes]:
    """The bytes of a file, and of every zstd frame and deflate stream that begins anywhere."""
    yield data
    for magic in (b"\x28\xb5\x2f\xfd",):
        at = data.find(magic)
        while at >= 0:
            try:
                reader = zstandard.ZstdDecompressor().stream_reader(io.BytesIO(data[at:]))
                yield reader.read(1 << 20)
            except zstandard.ZstdError:
                pass
            at = data.find(magic, at + 1)
    for magic in (b"\x78\x9c", b"\x78\x01", b"\x1f\x8b"):
        at = data.find(magic)
        while at >= 0:
            with contextlib.suppress(zlib.error):
                yield zlib.decompressobj(wbits=47).decompress(data[at:], 1 << 20)
            at = data.find(magic, at + 1)


def holding(home: Path) -> set[str]:
    """Files in which the name is, plain, escaped or compressed; a part of it counts."""
    forms = [SECRET.encode(), b"Wi\\u015bniewska", b"Okonkwo", b"Zofia"]
    return {
        path.relative_to(home).as_posix()
        for path in home.rglob("*")
        if path.is_file()
        for part in plain(path.read_bytes())
        if any(form in part for form in forms)
    }


def found(home: Path) -> list[str]:
    with opened(home / "project.toml") as ledger:
        return [f"{one.object}: {one.problem}" for one in findings(ledger, home)]


def test_the_test_can_see_it(home: Path) -> None:
    assert {"ledger.duckdb", "report.html"} <= holding(home)
    assert any(name.startswith("datasets/bot/") for name in holding(home))


def test_no_byte_is_left_and_the_log_verifies(home: Path) -> None:
    path = home / "project.toml"
    done = spiritsafe("erase", path, "--subject", SECRET, *WHO)
    assert "dataset bot is tainted" in done.out
    assert {name.split("/")[0] for name in holding(home)} == {"datasets"}
    assert found(home) == []
    spiritsafe("freeze", path)
    again = [name for name in holding(home) if name.startswith("datasets/bot/")]
    assert again == []
    assert found(home) == []


def test_datasets_go_with_it_on_demand(home: Path) -> None:
    spiritsafe("erase", home / "project.toml", "--subject", SECRET, "--datasets", *WHO)
    assert holding(home) == set()
    assert found(home) == []
    spiritsafe("freeze", home / "project.toml")  # the withdrawn one is set aside, and known
    assert found(home) == []


def test_other_rows_are_proved_as_before(home: Path) -> None:
    path = home / "project.toml"
    with opened(path) as ledger:
        before = {name: prove_row(ledger, home, name, None)[1] for name in ("p0001", "p0002")}
    old = max((home / "checkpoints").glob("*.note"))
    spiritsafe("erase", path, "--subject", SECRET, *WHO)
    key = public_key(home)
    with opened(path) as ledger:
        for name, proofs in before.items():
            wrong, now = prove_row(ledger, home, name, old)
            assert (wrong, now) == ([], proofs)
            assert not any(check_inclusion(text, key) for text in proofs)
        wrong, gone = prove_row(ledger, home, "p0003", old)  # its leaves too
    assert wrong == []
    assert len(gone) >= 2
    spiritsafe("verify", "consistency", path, old)
    assert parse_checkpoint("\n".join(old.read_text().split("\n")[:3]) + "\n").size > 0


def test_an_auditor_who_knows_the_name_can_ask(home: Path) -> None:
    path = home / "project.toml"
    before = spiritsafe("audit", "erasure", path, SECRET, "--json", code=1).json["rows"]
    assert any(row["thing"] == "ledger" and row["state"] == "FOUND" for row in before)
    spiritsafe("erase", path, "--subject", SECRET, "--datasets", *WHO)
    after = spiritsafe("audit", "erasure", path, SECRET, "--json").json["rows"]
    assert {row["thing"] for row in after} >= {"erasure", "ledger", "dataset"}
    assert not [row for row in after if row["state"] == "FOUND"]
    others = spiritsafe("audit", "erasure", path, "Somebody Else", "--json").json["rows"]
    assert not [row for row in others if row["thing"] == "erasure"]


def test_an_erased_row_is_not_asked_again(home: Path) -> None:
    path = home / "project.toml"
    spiritsafe("erase", path, "--row", "p0001", *WHO)
    with FakeTeacher() as server:
        ask(path, f"teacher.base_url={server.base_url}")
        assert len(server.seen) == 10  # p0003 is not in the file, p0001 is taken down
    assert found(home) == []


def test_content_that_came_back_is_found(home: Path, tmp_path: Path) -> None:
    import duckdb

    path = home / "project.toml"
    kept = asked(path, "SELECT * FROM raw WHERE attempt IN"
                 " (SELECT id FROM attempt WHERE prompt_id = 'p0001')")[0]  # fmt: skip
    spiritsafe("erase", path, "--row", "p0001", *WHO)
    with duckdb.connect(str(home / "ledger.duckdb")) as connection:
        connection.execute("INSERT INTO raw VALUES (?, ?, ?, ?, ?, ?)", list(kept))
    assert any("erased it; it is there" in one for one in found(home))


POINTS = [Point.AFTER_MARK, Point.AFTER_COMMIT, Point.BEFORE_FORGET, Point.BEFORE_NOTE,
          Point.AFTER_NOTE, Point.BEFORE_CLOSE, Point.BEFORE_REWRITE, Point.BEFORE_SWAP,
          Point.AFTER_SWAP, Point.BEFORE_UNMARK]  # fmt: skip
KILLED = """
import os, signal, sys
from pathlib import Path
from synth.crash import Point
from synth.jobs import JobRow, JobState
from synth.erase import erase
from synth.reach import Target
from tests.synth.parts import bench_of
def passing(point):
    if point == Point(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)
erase(bench_of(Path(sys.argv[1])), Target(subject=sys.argv[3]), "A. Jurist", "request 17",
      datasets=True, passing=passing)
"""


@pytest.mark.parametrize("point", POINTS)
def test_killed_anywhere_it_is_ended_by_running_it_again(home: Path, point: Point) -> None:
    path = home / "project.toml"
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, str(path), str(point), SECRET],
        env=environment(), check=False, timeout=120, cwd=os.getcwd(),
    )  # fmt: skip
    assert killed.returncode == -signal.SIGKILL
    assert (home / "ledger.erasing").exists()
    assert any("begun and not ended" in one for one in found(home))
    spiritsafe("erase", path, "--subject", SECRET, "--datasets", *WHO)
    assert not (home / "ledger.erasing").exists()
    assert holding(home) == set()
    assert found(home) == []


def test_what_is_past_its_limit_is_erased_where_the_project_says_so(home: Path) -> None:
    path = home / "project.toml"
    bench = bench_of(path, "dataset.retention_days=1")
    late = bench.clock() + 3 * 86400
    from synth.bench import Bench

    tomorrow = Bench(bench.project, bench.display, {}, clock=lambda: late)
    with tomorrow.open() as ledger:
        assert ledger.one("SELECT count(*) FROM completion")[0] == 12
    project_says = bench_of(path, "dataset.retention_days=1", 'dataset.retention="erase"').project
    with Bench(project_says, bench.display, {}, clock=lambda: late).open() as ledger:
        assert ledger.one("SELECT count(*) FROM completion")[0] == 0
        assert findings(ledger, home) == []
    assert {name.split("/")[0] for name in holding(home)} <= {"datasets"}


def test_what_a_provider_still_works_on_is_not_erased_yet(home: Path) -> None:
    path = home / "project.toml"
    with opened(path) as ledger:
        row = attempt_row(replace(call(), prompt_id="p0001"))
        job = JobRow("b1", 1, JobState.INTENDED, "openai", "http://127.0.0.1:9/v1", OFFERING, MODEL,
                     attempts=(row.id,))  # fmt: skip
        ledger.append_all([row, job])
    done = spiritsafe("erase", path, "--row", "p0001", *WHO, code=2)
    assert "1 of these requests are in a batch at the provider" in done.err
    assert asked(path, "SELECT count(*) FROM notice WHERE kind = 'erase'") == [(0,)]


def test_an_evaluation_that_repeats_it_is_named(home: Path) -> None:
    path = home / "project.toml"
    (home / "runs" / "sft").mkdir(parents=True)
    (home / "runs" / "sft" / "evaluation.json").write_text(f'{{"text": "{SECRET}"}}')
    rows = spiritsafe("audit", "erasure", path, SECRET, "--json", code=1).json["rows"]
    assert "runs/sft/evaluation.json" in {row["name"] for row in rows if row["thing"] == "file"}
    done = spiritsafe("erase", path, "--subject", SECRET, *WHO)
    assert "left: runs/sft/evaluation.json repeats it" in done.out
