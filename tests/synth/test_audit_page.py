"""The audit as one page, in a real browser: any row is found and followed, and nothing leaves."""

import re
from pathlib import Path

import pytest

from policy.terms import load_register
from synth.audit_page import gather, html
from synth.audit_page.pieces import pack_rows
from synth.ledger import Ledger
from tests.browser import chromium, measured, needs_chromium
from tests.command import spiritsafe
from tests.fake_teacher import Action, FakeTeacher, Json, answer
from tests.synth.parts import project

HOSTILE = (
    "</script><script>document.title='owned'</script>"
    "<img src=http://leak.invalid/x onerror=\"document.title='owned'\">"
    "<a href='javascript:document.title=1'>x</a><svg onload=alert(1)>"
    "<link rel=stylesheet href=//leak.invalid/y>\u202egnorw\x1b[2J"
)


def hostile(index: int, request: Json) -> Action:
    return answer(HOSTILE)


@pytest.fixture
def audited(tmp_path: Path) -> Path:
    """A collected, judged and frozen project whose teacher writes markup; returns its TOML."""
    with FakeTeacher(hostile) as server:
        path = project(
            tmp_path,
            server.base_url,
            rows=6,
            prompts={"known": []},
        )
        spiritsafe("collect", path)
    spiritsafe("filter", path)
    spiritsafe("freeze", path)
    spiritsafe("audit", path, "--html")
    return path


def dom(page: Path, folder: Path, place: str = "") -> tuple[str, str]:
    """The page as the browser has it after its script ran, and what the browser said."""
    done = chromium(
        f"--user-data-dir={folder}/profile",
        f"--log-net-log={folder}/net.json",
        "--virtual-time-budget=5000",
        "--dump-dom",
        page.as_uri() + place,
    )
    return done.stdout, done.stderr


@needs_chromium
def test_a_row_is_found_and_followed_and_what_a_model_wrote_does_nothing(
    audited: Path, tmp_path: Path
) -> None:
    page = audited.parent / "audit.html"
    found, talk = dom(page, tmp_path, "#row=p0003")
    assert "1 row<" in found
    start = found.index('<ol class="walk">')
    lineage = found[start : found.index("</ol>", start)]
    for said in ("Seed", "p0003, sample 0", "My card 3 is", "ALLOW", "Request", "Answer"):
        assert said in lineage
    for said in ("✓ finish", 'href="#dataset-0"', "none learnt from it", "of the log"):
        assert said in lineage
    assert "&lt;img src=http://leak.invalid/x onerror=" in lineage
    assert "⟨U+202E⟩gnorw⟨U+001B⟩[2J" in lineage
    assert "<img" not in found
    assert "javascript:" not in re.sub(r"&lt;a href=.*?&gt;", "", found)
    assert "owned" not in found[: found.index("</title>")]
    assert "CONSOLE" not in talk


@needs_chromium
def test_nothing_leaves(audited: Path, tmp_path: Path) -> None:
    dom(audited.parent / "audit.html", tmp_path, "#row=p0001")
    log = (tmp_path / "net.json").read_text()
    assert "audit.html" in log
    assert "leak.invalid" not in log


@needs_chromium
@pytest.mark.parametrize(
    ("scheme", "ground"), [("1", "rgb(252, 252, 250)"), ("0", "rgb(20, 23, 26)")]
)
def test_it_reads_well_on_a_phone_in_light_and_in_dark(
    audited: Path, tmp_path: Path, scheme: str, ground: str
) -> None:
    page = (audited.parent / "audit.html").read_text()
    found, talk = measured(page, tmp_path, f"--blink-settings=preferredColorScheme={scheme}")
    assert found["width"] == 375
    assert found["ground"] == ground
    assert found["contrast"][0] >= 4.5, found["contrast"]
    assert "Content Security Policy" not in talk


def test_the_policy_of_the_page_allows_its_own_style_and_script_and_nothing_else(
    audited: Path,
) -> None:
    page = (audited.parent / "audit.html").read_text()
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)
    assert policy
    parts = dict(one.strip().split(" ", 1) for one in policy[1].split(";"))
    assert parts["default-src"] == "'none'"
    for kind in ("style-src", "script-src"):
        assert re.fullmatch(r"'sha256-[A-Za-z0-9+/=]{44}'", parts[kind])
    assert "http" not in policy[1]
    assert page.count("<script>") == 1
    assert (audited.parent / "audit.html").stat().st_mode & 0o777 == 0o600


def test_the_same_ledger_gives_the_same_page(audited: Path) -> None:
    first = (audited.parent / "audit.html").read_bytes()
    spiritsafe("audit", audited, "--html")
    assert (audited.parent / "audit.html").read_bytes() == first


def test_what_does_not_verify_stands_on_top_of_the_page(audited: Path) -> None:
    parquet = next((audited.parent / "datasets" / "bot").glob("train.parquet"))
    parquet.chmod(0o600)
    parquet.write_bytes(parquet.read_bytes()[:-1] + b"\0")
    done = spiritsafe("audit", audited, "--html", code=5)
    page = (audited.parent / "audit.html").read_text()
    assert "1 object does not verify" in page
    assert "train.parquet" in page
    assert "does not verify" in done.err or "do not verify" in done.err


def test_an_erased_row_is_named_and_its_words_are_gone(audited: Path, tmp_path: Path) -> None:
    spiritsafe("erase", audited, "--row", "p0002", "--by", "Ada", "--because", "asked to")
    spiritsafe("audit", audited, "--html", code=None)
    page = audited.parent / "audit.html"
    assert "tainted" in page.read_text()
    with Ledger.open(audited.parent / "ledger.duckdb", clock=lambda: 0.0) as ledger:
        rows = ledger.rows("SELECT count(*) FROM raw")
    assert rows == [(5,)]


def test_a_page_of_very_many_rows_leaves_out_what_was_said(audited: Path) -> None:
    home = audited.parent
    with Ledger.open(home / "ledger.duckdb", clock=lambda: 0.0) as ledger:
        few = pack_rows(ledger, home, [], [], most_with_text=5)
        all_ = pack_rows(ledger, home, [], [])
        page = html(
            gather(ledger, home, title="t", findings=[], register=load_register()), "2026-11-24"
        )
    assert (few.count, few.texts, all_.texts) == (6, False, True)
    assert sum(map(len, few.pieces)) < sum(map(len, all_.pieces))
    assert "too many" not in page
