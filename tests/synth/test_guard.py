"""The organisation's guardrails hold at the moment of sending, and outlive a restart."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from policy.errors import BudgetReached
from policy.guardrails import Caps, Guardrails, OfferingRails
from synth.guard import Guard
from synth.usage import BOOK
from tests.command import spiritsafe
from tests.fake_teacher import FakeTeacher, slow
from tests.synth.parts import project

PRICES = {"price": {"input": 10.0, "output": 10.0}, "budget_usd": 100.0}


def rails(folder: Path, text: str) -> None:
    (folder / "guardrails.toml").write_text(text)


def test_an_offering_that_is_not_on_the_list_is_refused(tmp_path: Path) -> None:
    with FakeTeacher() as server:
        path = project(tmp_path, server.base_url)
        rails(tmp_path, '[offerings.deepseek-api]\nmodels = ["deepseek-chat"]\n')
        done = spiritsafe("collect", path, code=3)
    assert "is not on the organisation's list: deepseek-api" in done.err
    assert server.billed == 0


def test_the_kill_switch_stops_an_offering(tmp_path: Path) -> None:
    with FakeTeacher() as server:
        path = project(tmp_path, server.base_url)
        rails(tmp_path, '[offerings."*"]\nstopped = true\nstopped_because = "a leak"\n')
        assert "is stopped: a leak" in spiritsafe("collect", path, code=3).err
    assert server.billed == 0


def test_a_hard_cap_a_day_holds_also_in_the_next_run(tmp_path: Path) -> None:
    with FakeTeacher() as server:
        path = project(tmp_path, server.base_url, rows=12)
        rails(tmp_path, '[offerings."*"]\nhard = { requests_per_day = 5 }\n')
        spiritsafe("collect", path, code=4)
        assert "requests_per_day = 5 would be passed" in spiritsafe("collect", path, code=4).err
    assert server.billed == 5


def test_money_a_day_is_reserved_before_sending(tmp_path: Path) -> None:
    with FakeTeacher() as server:
        path = project(tmp_path, server.base_url, rows=40, limits={**PRICES, "concurrency": 16})
        rails(tmp_path, '[offerings."*"]\nhard = { usd_per_day = 0.003 }\n')
        spiritsafe("collect", path, code=4)
    shown = spiritsafe("show", path, "--json").json
    assert shown["committed_nano"] <= 3_000_000


def test_a_soft_cap_warns_once_and_goes_on(tmp_path: Path) -> None:
    with FakeTeacher() as server:
        path = project(tmp_path, server.base_url, rows=12)
        rails(tmp_path, '[offerings."*"]\nsoft = { requests_per_day = 5 }\n')
        done = spiritsafe("collect", path)
    assert done.err.count("soft cap of guardrails.toml: requests_per_day") == 1
    assert server.billed == 12


def test_personal_data_is_not_sent_where_the_rails_scan(tmp_path: Path) -> None:
    with FakeTeacher() as server:
        path = project(tmp_path, server.base_url)
        prompts = tmp_path / "prompts.jsonl"
        text = prompts.read_text().replace("My card 3", "I am jane.doe@example.com, card 3")
        prompts.write_text(text)
        rails(tmp_path, '[offerings."*"]\nscan = true\n')
        done = spiritsafe("collect", path, code=3)
    assert "jane.doe" not in done.err
    assert server.billed == 0


def test_one_file_serves_the_projects_below_it(tmp_path: Path) -> None:
    with FakeTeacher() as server:
        path = project(tmp_path / "bot", server.base_url)
        rails(tmp_path, "stopped = true\n")
        assert "everything is stopped" in spiritsafe("collect", path, code=3).err


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[offerings."*"]\nhrad = { requests_per_day = 5 }\n', 'Did you mean "hard"?'),
        ("offerings = 3\n", "guardrails.toml"),
    ],
)
def test_a_malformed_file_is_one_line(tmp_path: Path, text: str, said: str) -> None:
    path = project(tmp_path, "http://127.0.0.1:9/v1")
    rails(tmp_path, text)
    done = spiritsafe("collect", path, code=2)
    assert said in done.err
    assert len(done.err.splitlines()) == 1


def test_a_cap_is_the_organisations_over_all_its_projects(tmp_path: Path) -> None:
    rails(tmp_path, '[offerings."*"]\nhard = { requests_per_day = 20 }\n')
    with FakeTeacher() as server:
        one = project(tmp_path / "one", server.base_url, rows=12)
        two = project(tmp_path / "two", server.base_url, rows=12)
        spiritsafe("collect", one)
        done = spiritsafe("collect", two, code=4)
        assert "requests_per_day = 20 would be passed: 21" in done.err
        assert server.billed == 20
        spiritsafe("collect", two, code=4)
    assert server.billed == 20


def test_two_projects_at_once_stay_below_one_cap(tmp_path: Path) -> None:
    rails(tmp_path, '[offerings."*"]\nhard = { requests_per_day = 30 }\n')
    with FakeTeacher(slow) as server:
        paths = [project(tmp_path / name, server.base_url, rows=40) for name in ("one", "two")]
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda path: spiritsafe("collect", path, code=4), paths))
    assert server.billed == 30


def test_a_crash_leaves_nothing_wrong_in_the_book(tmp_path: Path) -> None:
    rails(tmp_path, '[offerings."*"]\nhard = { requests_per_day = 20 }\n')
    with FakeTeacher() as server:
        path = project(tmp_path / "one", server.base_url, rows=12)
        spiritsafe("collect", path)
        book = tmp_path / BOOK
        book.write_text(book.read_text().replace("[12,", "[20,"))
        path.write_text(path.read_text().replace("max_tokens = 16", "max_tokens = 17"))
        spiritsafe("collect", path, code=4)
    assert server.billed == 20


def test_a_damaged_book_is_one_line(tmp_path: Path) -> None:
    rails(tmp_path, '[offerings."*"]\nhard = { requests_per_day = 20 }\n')
    (tmp_path / BOOK).write_text('{"day": 1, "offerings": [3]}')
    with FakeTeacher() as server:
        path = project(tmp_path / "one", server.base_url)
        done = spiritsafe("collect", path, code=2)
    assert BOOK in done.err
    assert len(done.err.splitlines()) == 1


def test_at_midnight_a_new_page_begins() -> None:
    now, found = [86_000.0], Guardrails(offerings={"*": OfferingRails(hard=Caps(rows_per_day=2))})
    guard = Guard(found, "any", print, clock=lambda: now[0])
    guard.admit(0, 10)
    guard.admit(0, 10)
    with pytest.raises(BudgetReached):
        guard.admit(0, 10)
    now[0] = 86_500.0
    guard.settle(0, 0, 10, 5)
    guard.settle(0, 0, 10, 5)
    guard.admit(0, 10)
    guard.settle(0, 0, 10, 5)
    guard.admit(0, 10)
    with pytest.raises(BudgetReached):
        guard.admit(0, 10)
