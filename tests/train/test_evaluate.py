"""Candidates judged on held-out prompts, and what a run directory then says."""

from __future__ import annotations

import io
import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from policy.errors import BadInput, PolicyDenied, VerificationFailed
from policy.permit import Action, Permit
from policy.verify import verify_run
from tests.train.parts import TeacherRow, build_model, message, permit, write_dataset
from train.chat import chat, messages
from train.config import Evaluation, Student, Training
from train.data import Reader
from train.evaluate import TEACHER, compare, evaluate, json_field, trained, untrained
from train.generate import answer
from train.run import Run, train

SETTINGS = Evaluation(max_new_tokens=24, resamples=500)


@pytest.fixture(scope="module")
def run(dataset_dir: Path, base_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    training = Training(
        objective={"sft": 1.0},
        max_steps=150,
        batch_size=8,
        learning_rate=5e-3,
        save_steps=500,
        threads=1,
    )
    folder = tmp_path_factory.mktemp("judged")
    return train(
        dataset_dir,
        Student(base=str(base_dir)),
        training,
        permit(Action.TRAIN),
        folder / "sft",
        cache_dir=folder / "cache",
    )


@pytest.fixture(scope="module")
def judged(run: Run, dataset_dir: Path) -> dict[str, Any]:
    return evaluate(trained(run.path), dataset_dir, SETTINGS, permit(Action.EVALUATE), out=run.path)


@pytest.fixture(scope="module")
def before(
    base_dir: Path,
    dataset_dir: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("before")
    candidate = untrained(Student(base=str(base_dir)), folder)
    return evaluate(candidate, dataset_dir, SETTINGS, permit(Action.EVALUATE), out=folder)


def test_training_is_seen_in_every_metric(judged: dict[str, Any], before: dict[str, Any]) -> None:
    assert before["metrics"]["exact_match"]["value"] == 0
    assert judged["metrics"]["exact_match"]["value"] > 0.5
    assert judged["metrics"]["valid"]["value"] == 1
    assert judged["metrics"]["kl"]["value"] < before["metrics"]["kl"]["value"]
    assert judged["metrics"]["completion_tokens"] < before["metrics"]["completion_tokens"]


def test_the_difference_is_paired_and_excludes_zero(
    judged: dict[str, Any], before: dict[str, Any]
) -> None:
    better = compare(judged, before, "exact_match", resamples=500)
    assert better["rows"] == 12
    assert better["low"] > 0
    assert compare(judged, before, "kl", resamples=500)["high"] < 0
    assert compare(judged, judged, "exact_match", resamples=500)["value"] == 0


def test_the_teacher_is_judged_by_its_stored_answers(
    dataset_dir: Path, may_evaluate: Permit
) -> None:
    found = evaluate(TEACHER, dataset_dir, SETTINGS, may_evaluate)
    assert found["metrics"]["exact_match"]["value"] == 1
    assert found["metrics"]["prompt_tokens"] == 300
    assert "kl" not in found["metrics"]


def test_a_held_out_prompt_counts_once_and_unanswered_ones_are_wrong(
    tokenizer: Any, tmp_path: Path, may_evaluate: Permit
) -> None:
    rows = [
        TeacherRow(0, tokenizer).columns(),
        TeacherRow(0, tokenizer, {"sample": 1}).columns(),
        TeacherRow(1, tokenizer, {"answered": False}).columns(),
        TeacherRow(2, tokenizer, {"expected": None}).columns(),
    ]
    folder = write_dataset(
        tmp_path / "few", {"train": rows[:1], "validation": rows[:1], "test": rows}
    )
    found = evaluate(TEACHER, folder, SETTINGS, may_evaluate)
    assert [p["correct"] for p in found["predictions"]] == [True, False, None]
    assert found["metrics"]["exact_match"]["value"] == 0.5


def test_the_run_directory_verifies_after_it_was_judged(
    run: Run, judged: dict[str, Any], dataset_dir: Path
) -> None:
    assert verify_run(run.path, dataset_dir.parent) == []
    assert json.loads((run.path / "evaluation.json").read_text()) == judged
    card = (run.path / "README.md").read_text()
    assert f"| exact match | {judged['metrics']['exact_match']['value']:.3f} |" in card


def test_the_same_inputs_are_not_judged_twice(
    run: Run, judged: dict[str, Any], dataset_dir: Path, may_evaluate: Permit
) -> None:
    calls: list[int] = []
    again = evaluate(
        trained(run.path),
        dataset_dir,
        SETTINGS,
        may_evaluate,
        out=run.path,
        on_row=lambda done, total: calls.append(done),
    )
    assert again == judged
    assert calls == []


def test_killed_before_the_manifest_it_is_settled_by_the_next_call(
    run: Run, judged: dict[str, Any], dataset_dir: Path, may_evaluate: Permit
) -> None:
    manifest = (run.path / "manifest.json").read_text()
    (run.path / "README.md").write_text("half a car")
    assert verify_run(run.path) != []
    assert evaluate(trained(run.path), dataset_dir, SETTINGS, may_evaluate, out=run.path) == judged
    assert verify_run(run.path) == []
    assert (run.path / "manifest.json").read_text() == manifest


def test_the_kl_is_that_of_a_forward_pass_over_one_row(
    run: Run, judged: dict[str, Any], tokenizer: Any
) -> None:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(run.student)
    row = TeacherRow(36, tokenizer).columns()
    text = tokenizer.apply_chat_template(row["prompt"], tokenize=False, add_generation_prompt=True)
    start = tokenizer(text)["input_ids"]
    ids = tokenizer(row["completion"][0]["content"])["input_ids"] + [tokenizer.eos_token_id]
    q = model(input_ids=torch.tensor([start + ids])).logits[0, len(start) - 1 : -1].log_softmax(-1)
    total = 0.0
    for place, token in enumerate(ids):
        known = {token: 0.7, tokenizer.convert_tokens_to_ids("e"): 0.05}
        card = tokenizer(" card", add_special_tokens=False)["input_ids"]
        if len(card) == 1:
            known[card[0]] = 0.1
        rest = 1 - sum(known.values())
        tail = sum(v for i, v in enumerate(q[place].exp().tolist()) if i not in known)
        total += sum(p * (math.log(p) - q[place, i].item()) for i, p in known.items())
        total += rest * (math.log(rest) - math.log(tail))
    assert judged["predictions"][0]["kl"] == pytest.approx(total, abs=1e-2)


def test_batched_greedy_answers_are_those_of_one_prompt_at_a_time(tokenizer: Any) -> None:
    model, reader = build_model(len(tokenizer)).eval(), Reader(tokenizer)
    prompts = [[{"role": "user", "content": message(n) * (1 + n % 2)}] for n in range(5)]
    together = answer(model, reader, prompts, max_new_tokens=8, batch_size=5)
    apart = [answer(model, reader, [p], max_new_tokens=8, batch_size=1)[0] for p in prompts]
    assert together == apart


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ('{"intent": "a", "reply": "b"}', "a"),
        ('{"reply": "b"}', None),
        ("intent: a", None),
        ('{"intent": "a"', None),
        ("[1]", None),
        ("", None),
        ("[" * 100_000, None),
    ],
)
def test_only_a_json_object_with_the_field_is_valid(text: str, field: str | None) -> None:
    assert json_field(text, "intent") == field


def test_metrics_that_share_no_row_are_not_compared(judged: dict[str, Any]) -> None:
    with pytest.raises(BadInput, match="share no row"):
        compare(judged, {**judged, "predictions": []})


def test_an_altered_student_is_not_judged(run: Run, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(run.path, tmp_path / "copy"))
    (copy / "student" / "config.json").write_text("{}")
    with pytest.raises(VerificationFailed, match=r"student/config\.json"):
        trained(copy)


def test_without_a_permit_to_evaluate_nothing_is_read(dataset_dir: Path, may_train: Permit) -> None:
    with pytest.raises(PolicyDenied):
        evaluate(TEACHER, dataset_dir, SETTINGS, may_train)


def test_a_chat_answers_each_line_as_the_student_was_taught(run: Run) -> None:
    target = io.StringIO()
    source = io.StringIO(f"{message(1)}\n\n{message(2)}\n/exit\n{message(0)}\n")
    assert chat(run.path, "", "{message}", source, target) == 2
    assert target.getvalue().count('{"intent": "') == 2


def test_a_chat_fills_the_template_and_keeps_braces_of_the_user() -> None:
    asked = messages("Be brief.", "Message: {message}", "what is {this}?")
    assert asked == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Message: what is {this}?"},
    ]
