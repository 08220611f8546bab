"""Cancelling a batch: what it did is fetched and paid, the rest is free, and the log says who."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import time
from pathlib import Path

import pytest

from synth.audit import findings
from synth.steps import collect_step, get_ready
from synth.stop import Stop
from tests.batch_servers import DENIED, LOST, BatchServer
from tests.command import spiritsafe, start
from tests.synth.batching_parts import APIS, batch_project, classes, committed, states
from tests.synth.parts import ask, asked, bench_of, opened

WHO = ("--by", "A. Jurist", "--because", "The wrong instruction.")
NOTES = "SELECT note FROM job WHERE note LIKE 'cancelled by %'"


def left_open(path: Path, server: BatchServer) -> None:
    """Collect until the batch was asked for twice, then stop as a person does."""
    bench, stop, before = bench_of(path), Stop(), server.steps.count("poll")

    async def main() -> None:
        task = asyncio.create_task(collect_step(bench, ledger, get_ready(bench), stop))
        while server.steps.count("poll") < before + 2:
            await asyncio.sleep(0.01)
        stop.interrupted = True
        await task

    with bench.open(create=True) as ledger:
        asyncio.run(main())


@pytest.mark.parametrize("api", APIS)
def test_what_it_did_is_fetched_and_paid_and_the_rest_is_free(tmp_path: Path, api: str) -> None:
    with BatchServer(api, polls=10**9, done_when_cancelled=5) as server:
        path = batch_project(tmp_path / "home", server)
        left_open(path, server)
        done = spiritsafe("batch", "cancel", path, *WHO)
        assert "5 answered" in done.out
        assert "is being cancelled" in done.err
        unbegun = "canceled" if api == "anthropic" else "expired"
        assert classes(path) == {"ok": 5, f"rejected {unbegun}": 7}
        assert asked(path, NOTES) == [("cancelled by A. Jurist: The wrong instruction.",)]
        assert states(path)[-1] == "settled"
        assert server.steps.count("create") == 1
        paid = committed(path)
        assert asked(path, "SELECT sum(cost_nano)::BIGINT FROM outcome WHERE class='ok'") == [
            (paid,)
        ]
        assert spiritsafe("batch", "list", path).out == "no batch is open\n"
        server.polls = 1
        ask(path)  # the rest is asked by the next collection, and nothing twice
    assert [len(one.requests) for one in server.batches] == [12, 7]
    assert max(server.billed.values()) == 1
    assert server.billed.total() == 12
    with opened(path) as ledger:
        assert findings(ledger, tmp_path / "home") == []


def test_results_that_a_cancelled_batch_of_gemini_withholds_are_held(tmp_path: Path) -> None:
    """It says that five were answered, and shows four: one is billed, nobody knows which."""
    with BatchServer("gemini", polls=10**9, done_when_cancelled=5) as server:
        path = batch_project(tmp_path / "home", server)
        left_open(path, server)
        server.on = lambda step: (
            [batch.results.pop() for batch in server.batches if len(batch.results) == 5] and None
        )
        shown = server._shown

        def five(batch: object) -> object:
            told = shown(batch)  # type: ignore[arg-type]
            if told["done"]:
                told["metadata"]["batchStats"]["successfulRequestCount"] = "5"
            return told

        server._shown = five  # type: ignore[assignment,method-assign]
        spiritsafe("batch", "cancel", path, *WHO)
    found = classes(path)
    assert found.keys() == {"ok", "unknown no_line"}
    assert sum(found.values()) == 12


def test_one_of_several_is_chosen_by_either_name(tmp_path: Path) -> None:
    with BatchServer("openai", polls=10**9) as server:
        path = batch_project(tmp_path / "home", server, limits={"batch_requests": 6})
        left_open(path, server)
        listed = spiritsafe("batch", "list", path, "--json").json
        assert [one["provider_id"] for one in listed] == ["batch_0", "batch_1"]
        spiritsafe("batch", "cancel", path, "--id", "batch_1", *WHO)
        spiritsafe("batch", "cancel", path, "--id", "nobody", *WHO, code=2)
        (left,) = spiritsafe("batch", "list", path, "--json").json
        assert (left["provider_id"], left["cancelled"]) == ("batch_0", "")
        spiritsafe("batch", "cancel", path, "--id", left["batch"], *WHO)
        assert spiritsafe("batch", "cancel", path, *WHO).err == "no batch is open\n"
    assert classes(path) == {"rejected expired": 12}
    assert committed(path) == 0


def test_one_that_has_just_ended_is_fetched_as_if_it_were_not_cancelled(tmp_path: Path) -> None:
    with BatchServer("openai", polls=10**9) as server:
        path = batch_project(tmp_path / "home", server)
        left_open(path, server)
        server._work(server.batches[0])
        spiritsafe("batch", "cancel", path, *WHO)
    assert classes(path) == {"ok": 12}
    assert server.steps.count("cancel") == 1


@pytest.mark.parametrize("fault", [LOST, 429, 503])
def test_a_question_that_is_lost_or_refused_for_now_is_put_again(
    tmp_path: Path, fault: str | int
) -> None:
    with BatchServer("anthropic", polls=10**9, faults={"cancel": [fault]}) as server:
        path = batch_project(tmp_path / "home", server)
        left_open(path, server)
        spiritsafe("batch", "cancel", path, *WHO)
    assert server.steps.count("cancel") == 2
    assert classes(path) == {"rejected canceled": 12}


def test_one_that_cannot_be_cancelled_goes_on(tmp_path: Path) -> None:
    with BatchServer("openai", polls=10**9, faults={"cancel": [405]}) as server:
        path = batch_project(tmp_path / "home", server)
        left_open(path, server)
        done = spiritsafe("batch", "cancel", path, *WHO, code=1)
        assert "goes on: it could not be cancelled (405" in done.err
        assert classes(path) == {"pending in_batch": 12}
        listed = spiritsafe("batch", "list", path).out
        assert "cancelled by A. Jurist: The wrong instruction., 20" in listed
        server.faults["cancel"] = [DENIED]
        refused = spiritsafe("batch", "cancel", path, *WHO, code=2)
        assert "the key was refused" in refused.err
        assert classes(path) == {"pending in_batch": 12}


def test_who_may_no_longer_collect_may_still_cancel(tmp_path: Path) -> None:
    """The organisation stopped the offering: the batch is stopped, its results wait."""
    with BatchServer("openai", polls=10**9, done_when_cancelled=3) as server:
        path = batch_project(tmp_path / "home", server)
        left_open(path, server)
        (tmp_path / "home" / "guardrails.toml").write_text("stopped = true\n")
        spiritsafe("batch", "cancel", path, *WHO, code=3)
        assert server.batches[0].cancelled
        assert classes(path) == {"pending in_batch": 12}
        (tmp_path / "home" / "guardrails.toml").unlink()
        server.polls = 1
        ask(path)
    assert classes(path) == {"ok": 12, "rejected expired": 9}
    assert max(server.billed.values()) == 1


def test_a_batch_whose_id_was_lost_is_looked_for_and_cancelled(tmp_path: Path) -> None:
    with BatchServer("openai", polls=10**9) as server:
        path = batch_project(tmp_path / "home", server)
        killed_in_making(path, server, tmp_path)
        spiritsafe("batch", "cancel", path, *WHO)
    assert server.batches[0].cancelled
    assert classes(path) == {"rejected expired": 12}


def killed_in_making(
    path: Path, server: BatchServer, folder: Path, step: str = "created", state: str = "creating"
) -> None:
    """A collection that is killed: as it stands, when its batch exists and its id has not come
    back."""
    child: list[subprocess.Popen[bytes]] = []

    def kill(at: str) -> None:
        if at == step:
            while not child:
                time.sleep(0.01)
            child[0].kill()
            child[0].wait()

    server.on = kill
    child.append(start("collect", path, cwd=folder, log=folder / "log"))
    assert child[0].wait(60) == -signal.SIGKILL
    server.on = lambda step: None
    assert states(path)[-1] == state


def test_a_file_that_was_never_made_a_batch_needs_no_question(tmp_path: Path) -> None:
    with BatchServer("openai") as server:
        path = batch_project(tmp_path / "home", server)
        killed_in_making(path, server, tmp_path, step="upload", state="intended")
        spiritsafe("batch", "cancel", path, *WHO)
        assert "cancel" not in server.steps
        assert classes(path) == {"not_sent not_made": 12}
        assert committed(path) == 0
        ask(path)
    assert server.billed.total() == 12


@pytest.mark.parametrize("api", APIS)
def test_a_kill_in_the_middle_of_cancelling_forgets_neither_who_nor_what(
    tmp_path: Path, api: str
) -> None:
    with BatchServer(api, polls=10**9, done_when_cancelled=4) as server:
        path = batch_project(tmp_path / "home", server)
        left_open(path, server)
        child: list[subprocess.Popen[bytes]] = []

        def kill(step: str) -> None:
            if step == "cancel":
                while not child:
                    time.sleep(0.01)
                child[0].kill()
                child[0].wait()

        server.on = kill
        child.append(start("batch", "cancel", path, *WHO, cwd=tmp_path, log=tmp_path / "log"))
        assert child[0].wait(60) == -signal.SIGKILL
        server.on, server.polls = lambda step: None, 1
        assert asked(path, NOTES) == [("cancelled by A. Jurist: The wrong instruction.",)]
        ask(path)
        with opened(path) as ledger:
            assert findings(ledger, tmp_path / "home") == []
    assert classes(path)["ok"] == 12
    assert max(server.billed.values()) == 1
