"""A frozen dataset is the same for the same ledger, whole in its test split, and never changed."""

import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from policy.errors import BadInput, PolicyDenied
from policy.manifest import check_files, read_manifest
from policy.permit import Action
from synth.audit import findings
from synth.bench import permit_for
from synth.config import Variant
from synth.freeze import Frozen, freeze, spells
from synth.logprobs import TokenLogprobs
from synth.steps import filter_step, freeze_step, order_of
from tests import fake_teacher as fake
from tests.fake_teacher import FakeTeacher
from tests.synth.parts import ask, asked, bench_of, project, texts

SPLITS = ("train", "validation", "test")
DATASET = {"label": "intent", "split": {"validation": 0.15, "test": 0.25}}


def frozen(path: Path, *overrides: str) -> dict[str, Frozen]:
    bench = bench_of(path, *overrides)
    with bench.open() as ledger:
        return freeze_step(bench, ledger, filter_step(bench, ledger))


def rows(path: Path, split: str, name: str = "bot") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = pq.read_table(
        path.parent / "datasets" / name / f"{split}.parquet"
    ).to_pylist()
    return found


def every(path: Path) -> list[dict[str, Any]]:
    return [row for split in SPLITS for row in rows(path, split)]


def some_bad(index: int, request: fake.Json) -> fake.Action:
    """Every third answer is cut off."""
    return fake.answer(f"Reply {index}", finish_reason="length" if index % 3 == 0 else "stop")


@pytest.fixture(scope="module")
def collected(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with 40 rows collected, a third of them cut off, with logprobs."""
    with FakeTeacher(some_bad) as server:
        path = project(tmp_path_factory.mktemp("collected"), server.base_url, rows=40,
                       dataset=DATASET, sampling={"samples": 2, "logprobs": 3})  # fmt: skip
        ask(path)
    return path


@pytest.fixture
def path(tmp_path: Path, collected: Path) -> Path:
    """A copy of it."""
    shutil.copytree(collected.parent, tmp_path / "home")
    return tmp_path / "home" / "project.toml"


def test_the_same_ledger_gives_the_same_digest(path: Path) -> None:
    first = frozen(path)["bot"]
    files = {name: (first.folder / name).read_bytes() for name in ("train.parquet", "README.md")}
    again = frozen(path)["bot"]
    assert (first.fresh, again.fresh) == (True, False)
    assert again.digest == first.digest
    elsewhere = frozen(path, "dataset.name=other")["other"]
    assert (elsewhere.folder / "train.parquet").read_bytes() == files["train.parquet"]
    assert asked(path, "SELECT count(*) FROM receipt") == [(2,)]


def test_another_day_gives_the_same_digest(path: Path) -> None:
    first = frozen(path)["bot"].digest
    (path.parent / "datasets" / "bot").rename(path.parent / "aside")
    later = bench_of(path)
    object.__setattr__(later, "clock", lambda: 1_796_000_000.0)
    with later.open() as ledger:
        assert freeze_step(later, ledger, filter_step(later, ledger))["bot"].digest == first


def test_the_manifest_covers_every_file(path: Path) -> None:
    folder = frozen(path)["bot"].folder
    manifest = read_manifest(folder)
    assert check_files(folder, manifest) == []
    assert {f"{split}.parquet" for split in SPLITS} < manifest["files"].keys()
    assert manifest["teachers"][0]["offering"] == "smollm2@self-host"
    assert not list(folder.parent.glob(".*"))


def test_datasets_reads_it_as_it_lies(path: Path, tmp_path: Path) -> None:
    from datasets import load_dataset

    folder = frozen(path)["bot"].folder
    files = {split: str(folder / f"{split}.parquet") for split in SPLITS}
    loaded = load_dataset("parquet", data_files=files, cache_dir=str(tmp_path / "cache"))
    assert {split: len(loaded[split]) for split in SPLITS} == frozen(path)["bot"].rows
    row = loaded["train"][0]
    assert row["completion"][0]["role"] == "assistant"
    assert row["prompt"][-1] == {"role": "user", "content": row["prompt"][-1]["content"]}


def test_the_test_split_is_never_filtered(path: Path) -> None:
    frozen(path, 'dataset.require=["finish"]')
    held_out = {row["id"]: row for row in rows(path, "test")}
    wanted = asked(path, "SELECT DISTINCT prompt_id FROM attempt WHERE split = 'test'")
    assert held_out.keys() == {one for (one,) in wanted}
    cut = asked(path, "SELECT count(*) FROM attempt a JOIN completion c ON c.attempt = a.id"
                      " WHERE finish_reason = 'length' AND split = 'test'")  # fmt: skip
    assert cut[0][0] > 0
    assert all(row["answered"] and row["sample"] == 0 for row in held_out.values())


def test_the_other_splits_hold_only_what_passes(path: Path) -> None:
    frozen(path, 'dataset.require=["finish"]')
    passing = asked(
        path,
        "SELECT a.key FROM completion JOIN attempt a ON id = attempt WHERE finish_reason = 'stop'",
    )
    learned = [row["key"] for split in ("train", "validation") for row in rows(path, split)]
    assert learned
    assert set(learned) <= {key for (key,) in passing}


def test_a_held_out_prompt_that_got_no_answer_is_there(tmp_path: Path) -> None:
    with FakeTeacher(lambda i, _: fake.answer() if i % 4 else fake.bad_json()) as server:
        path = project(tmp_path / "home", server.base_url, rows=40, dataset=DATASET)
        ask(path)
    frozen(path)
    silent = [row for row in rows(path, "test") if not row["answered"]]
    assert silent
    assert all(row["completion"] == [{"role": "assistant", "content": ""}] for row in silent)


def test_more_rows_move_none_to_another_side(path: Path) -> None:
    before = (
        {row["id"]: split for split in SPLITS for row in rows(path, split)} if frozen(path) else {}
    )
    more = "".join(json.dumps(row) + "\n" for row in texts(120))
    (path.parent / "prompts.jsonl").write_text(more)
    with FakeTeacher() as server:
        moved = path.read_text().replace(bench_of(path).project.sections.teacher.base_url,
                                         server.base_url)  # fmt: skip
        path.write_text(moved)
        ask(path, "limits.concurrency=32")
    frozen(path)
    after = {row["id"]: split for split in SPLITS for row in rows(path, split)}
    assert all(after.get(one, split) == split for one, split in before.items())


def test_the_same_text_never_stands_on_two_sides(tmp_path: Path) -> None:
    with FakeTeacher() as server:
        path = project(tmp_path / "home", server.base_url, dataset=DATASET)
        twice = [{"id": f"q{n}", "message": f" MESSAGE  {n % 40}" if n > 39 else f"message {n}",
                  "intent": "lost"} for n in range(80)]  # fmt: skip
        (path.parent / "prompts.jsonl").write_text("".join(json.dumps(r) + "\n" for r in twice))
        ask(path)
    frozen(path)
    sides: dict[str, set[str]] = {}
    for split in SPLITS:
        for row in rows(path, split):
            text = " ".join(row["prompt"][-1]["content"].lower().split())
            sides.setdefault(text, set()).add(split)
    assert len(sides) == 40
    assert {len(found) for found in sides.values()} == {1}


def test_a_row_names_its_request_its_leaf_and_its_decision(path: Path) -> None:
    frozen(path)
    leaves = dict(
        asked(path, "SELECT o.seq, a.key FROM outcome o JOIN attempt a ON a.id = attempt")
    )
    decisions = {one for (one,) in asked(path, "SELECT digest FROM decision")}
    for row in every(path):
        assert leaves[row["leaf"]] == row["key"]
        assert row["decision"] in decisions
        assert row["served_model"] == "smollm2-135m"
        assert json.loads(row["expected"])["intent"]


def test_tokens_that_spell_the_text_are_signal(path: Path) -> None:
    frozen(path)
    row = rows(path, "train")[0]
    assert row["signal"]
    assert b"".join(row["token_bytes"]).decode() == row["completion"][0]["content"]
    assert [len(one) for one in row["top_bytes"]] == [3] * len(row["token_bytes"])
    assert read_manifest(path.parent / "datasets" / "bot")["signal"]["rows"] > 0


@pytest.mark.parametrize(
    ("tokens", "text", "usable"),
    [
        ((b"a", b" b"), "a b", True),
        ((b"a", b" b"), "a b ", False),
        ((b"a",), "a b", False),
        ((), "", False),
        ((), "a", False),
        ((b"\xc3", b"\xa9"), "é", True),
    ],
)
def test_signal_means_that_the_tokens_spell_the_text(
    tokens: tuple[bytes, ...], text: str, usable: bool
) -> None:
    assert spells(TokenLogprobs.of(token_bytes=tokens), text) is usable


def test_tokens_of_another_text_are_kept_and_not_used(tmp_path: Path) -> None:
    def stripped(index: int, request: fake.Json) -> fake.Action:
        body = json.loads(fake.answer(" {} trailing").body(request))
        body["choices"][0]["message"]["content"] = "{}"
        return fake.raw(json.dumps(body).encode())

    with FakeTeacher(stripped) as server:
        path = project(tmp_path / "home", server.base_url, sampling={"logprobs": 2})
        ask(path)
    frozen(path)
    assert {(row["signal"], bool(row["token_bytes"])) for row in every(path)} == {(False, True)}


def test_the_control_teaches_the_known_answers_alone(path: Path) -> None:
    frozen(path, 'dataset.variants.known.source="known"', 'filters.verify.intent="intent"')
    known = {row["id"]: row["intent"] for row in texts(40)}
    for row in rows(path, "train", "known"):
        assert json.loads(row["completion"][0]["content"]) == {"intent": known[row["id"]]}
        assert (row["offering"], row["signal"]) == ("known-answers", False)


def test_coverage_names_a_class_that_vanished(tmp_path: Path) -> None:
    def no_lost(index: int, request: fake.Json) -> fake.Action:
        gone = request["messages"][-1]["content"].endswith(("lost", "late"))
        return fake.answer("Hello", finish_reason="length" if gone else "stop")

    with FakeTeacher(no_lost) as server:
        path = project(tmp_path / "home", server.base_url, rows=40, dataset={"label": "intent"})
        ask(path)
    frozen(path)
    coverage = read_manifest(path.parent / "datasets" / "bot")["coverage"]
    gone = {row["label"] for row in coverage if row["asked"] and not row["kept"]}
    assert gone == {"lost"}


def test_a_dataset_never_changes(path: Path) -> None:
    first = frozen(path)["bot"]
    second = frozen(path, 'dataset.require=["finish", "refusal"]')["bot"]
    assert second.digest != first.digest
    aside = path.parent / "datasets" / f"bot.{first.digest[7:19]}"
    assert read_manifest(aside)["digest"] == first.digest


def test_nothing_that_passes_is_said(path: Path) -> None:
    with pytest.raises(BadInput, match="no training row"):
        frozen(path, 'dataset.require=["verify"]', 'filters.verify.intent="intent"')
    assert not (path.parent / "datasets" / "bot").exists()


def test_a_permit_to_collect_does_not_freeze(path: Path) -> None:
    bench = bench_of(path)
    with bench.open() as ledger:
        order = order_of(bench, ledger, filter_step(bench, ledger), "bot", Variant(), "")
        with pytest.raises(PolicyDenied):
            freeze(order, permit_for(bench, Action.COLLECT))
    assert not (path.parent / "datasets" / "bot").exists()


def test_a_dataset_frozen_anew_and_back_is_the_one_that_the_log_names(path: Path) -> None:
    first = frozen(path)["bot"].digest
    assert frozen(path, "dataset.keep='first'")["bot"].digest != first
    assert frozen(path)["bot"].digest == first
    with bench_of(path).open() as ledger:
        assert findings(ledger, path.parent) == []
