"""A key covers all that changes the answer and nothing else; nothing paid for is asked again."""

import json
from typing import Any

import pytest

from synth.config import Limits, Prompts, Split
from synth.ledger import Ledger
from synth.plan import Plan, plan, render, sort_out
from synth.prompts import Prompt
from tests.synth.parts import attempt_row, call, outcome_row, sampling, teacher

BASE = "http://127.0.0.1:9/v1"
USER = {"role": "user", "content": "é"}
SYSTEM = {"role": "system", "content": "S"}
PROMPT = Prompt("p1", "train", (SYSTEM, USER), (USER,), {"id": "p1"}, "")


def key_of(prompt: Prompt = PROMPT, sample: int = 0, base: str = BASE, **settings: Any) -> str:
    ask = {name: settings.pop(name) for name in ("model", "adapter") if name in settings}
    return render(teacher(**ask), sampling(**settings), prompt, sample, base).key


def changed(**fields: Any) -> Prompt:
    names = ("id", "split", "teacher", "student", "fields", "expected")
    return Prompt(**{name: getattr(PROMPT, name) for name in names} | fields)


@pytest.mark.parametrize(
    "other",
    [
        {"model": "another"},
        {"base": "http://127.0.0.1:8/v1"},
        {"sample": 1},
        {"sample": 1, "seed": None},
        {"temperature": 0.5},
        {"top_p": 0.9},
        {"max_tokens": 17},
        {"seed": 1},
        {"seed": None},
        {"logprobs": 5},
        {"schema": {"type": "object"}},
        {"extra": {"service_tier": "flex"}},
        {"prompt": changed(teacher=({"role": "system", "content": "T"}, PROMPT.teacher[1]))},
        {"prompt": changed(teacher=PROMPT.teacher[1:])},
    ],
)
def test_what_changes_the_answer_changes_the_key(other: dict[str, Any]) -> None:
    assert key_of(**other) != key_of()


@pytest.mark.parametrize(
    "other",
    [
        {},
        {"samples": 8},
        {"prompt": changed(id="p2", split="validation", expected="{}")},
        {"prompt": changed(student=({"role": "user", "content": "other"},))},
    ],
)
def test_what_does_not_change_the_answer_does_not_change_the_key(other: dict[str, Any]) -> None:
    assert key_of(**other) == key_of()


def test_samples_without_a_seed_have_keys_of_their_own() -> None:
    assert key_of(sample=0, seed=None) != key_of(sample=1, seed=None)


def test_the_body_is_sent_in_the_order_of_the_project_file() -> None:
    properties = {"zebra": {"type": "string"}, "apple": {"type": "string"}}
    wanted = sampling(schema={"type": "object", "properties": properties})
    body = render(teacher(), wanted, PROMPT, 0, BASE).body.decode()
    assert body.index("zebra") < body.index("apple")
    assert "é" in body


def test_the_estimate_is_never_below_one_token_a_byte() -> None:
    made = render(teacher(), sampling(), PROMPT, 0, BASE)
    assert made.prompt_tokens >= sum(len(m["content"].encode()) for m in PROMPT.teacher)


def test_first_samples_come_first_and_the_held_out_are_asked_once() -> None:
    prompts = [changed(id="a"), changed(id="b", split="test"), changed(id="c", split="validation")]
    calls = plan(teacher(), sampling(samples=3), prompts, BASE)
    order = [(one.prompt_id, one.sample) for one in calls]
    assert order == [("a", 0), ("b", 0), ("c", 0), ("a", 1), ("c", 1), ("a", 2), ("c", 2)]
    seeds = [json.loads(one.body)["seed"] for one in calls]
    assert seeds == [sample for _, sample in order]


def sorted_out(ledger: Ledger, history: list[tuple[str, str]], **limits: Any) -> Plan:
    """The plan for one call whose attempts ended like that; "" is an attempt with no outcome."""
    wanted = call()
    for number, (outcome, kind) in enumerate(history, 1):
        attempt = attempt_row(wanted, number)
        ledger.append_all([attempt])
        if outcome:
            ledger.append_all([outcome_row(attempt, outcome, kind)])
    return sort_out(ledger, [wanted], Limits.model_validate(limits))


LOST, LIMITED = ("unknown", "reset"), ("rejected", "rate_limited")
RESEND = {"on_unknown": "resend", "max_resends": 1}


@pytest.mark.parametrize(
    ("history", "limits", "place"),
    [
        ([], {}, "todo"),
        ([LIMITED], {}, "todo"),
        ([("not_sent", "no_connection")], {}, "todo"),
        ([("ok", "")], {}, "done"),
        ([LIMITED, ("ok", "")], {}, "done"),
        ([LOST, ("ok", "")], {}, "done"),
        ([("billed_bad", "bad_json")], {}, "unusable"),
        ([("billed_bad", "bad_json")], RESEND, "unusable"),
        ([("rejected", "bad_request")], {}, "refused"),
        ([LOST], {}, "held"),
        ([("", "")], {}, "held"),
        ([LIMITED, ("", "")], {}, "held"),
        ([LOST], {"max_resends": 5}, "held"),
        ([LOST], RESEND, "todo"),
        ([LOST, LOST], RESEND, "held"),
        ([("", "")], RESEND, "todo"),
    ],
)
def test_history_decides_what_is_sent(
    ledger: Ledger, history: list[tuple[str, str]], limits: dict[str, Any], place: str
) -> None:
    found = sorted_out(ledger, history, **limits)
    had = 0 if found.done else len(history)  # what is answered has no next attempt
    assert found.attempts.get(call().key, 0) == had
    counts = {"todo": len(found.todo), "done": found.done, "held": len(found.held),
              "unusable": found.unusable, "refused": found.refused}  # fmt: skip
    assert counts == {name: int(name == place) for name in counts}


def test_no_more_are_sent_again_than_allowed(ledger: Ledger) -> None:
    calls = [call(number) for number in range(6)]
    ledger.append_all([attempt_row(one) for one in calls])
    limits = Limits(on_unknown="resend", max_resends=2)
    found = sort_out(ledger, calls, limits)
    assert (len(found.todo), len(found.held)) == (2, 4)


def test_the_plan_names_no_key_and_no_home(ledger: Ledger) -> None:
    settings = Prompts(file="p.jsonl", licence="CC0-1.0")
    made = plan(teacher(api_key_env="MY_KEY"), sampling(), [PROMPT], BASE)
    assert b"MY_KEY" not in made[0].body
    assert settings.file.encode() not in made[0].body
    assert Split().salt.encode() not in made[0].body


def test_a_plan_keeps_no_bodies_and_says_the_same_each_time() -> None:
    prompts = [
        changed(id=str(number), teacher=({"role": "user", "content": f"Message {number}"},))
        for number in range(7)
    ]
    calls = plan(teacher(), sampling(samples=3), prompts, BASE)
    assert [call.key for call in calls] == [call.key for call in calls[:]]
    assert calls[2] == calls[2] == render(teacher(), sampling(), prompts[2], 0, BASE)
    assert calls[-1].sample == 2
    assert len({call.key for call in calls}) == len(calls)
