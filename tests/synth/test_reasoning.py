"""Reasoning is stored only where the terms list it as output and the project asks for it."""

import json
from pathlib import Path
from typing import Any

import pytest

from synth.formats import read_parquet
from synth.reasoning import without_reasoning
from synth.steps import filter_step, freeze_step
from synth.teachers.openai import parse
from synth.wire import Completion, Failure, Reply
from tests.command import spiritsafe
from tests.fake_teacher import FakeTeacher, raw
from tests.synth.parts import ask, asked, bench_of, project, sampling

SECRET = "first I weigh the odds"


def body(**message: Any) -> bytes:
    given = {"role": "assistant", "content": "lost", **message}
    reply = {
        "id": "r1",
        "model": "smollm2-135m",
        "choices": [{"index": 0, "message": given, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 9, "completion_tokens": 5, "total_tokens": 14},
    }
    return json.dumps(reply).encode()


THOUGHTS = {
    "DeepSeek": body(reasoning_content=SECRET),
    "OpenRouter": body(
        reasoning=SECRET, reasoning_details=[{"type": "reasoning.text", "text": SECRET}]
    ),
    "inline": body(content=f"<think>{SECRET}</think>lost"),
    "escaped": body(content=f"<think>{SECRET}</think>lost").replace(b"<", b"\\u003c"),
    "cut off": body(content="", reasoning_content=SECRET),
    "Mistral": body(
        content=[
            {"type": "thinking", "thinking": [{"type": "text", "text": SECRET}]},
            {"type": "text", "text": "lost"},
        ]
    ),
    "Anthropic": json.dumps(
        {"content": [{"type": "thinking", "thinking": SECRET, "signature": "c2ln"}]}
    ).encode(),
    "Gemini": json.dumps({"parts": [{"text": SECRET, "thought": True}]}).encode(),
    "Responses": json.dumps(
        {"output": [{"type": "reasoning", "summary": [{"type": "summary_text", "text": SECRET}]}]}
    ).encode(),
}


@pytest.mark.parametrize("name", THOUGHTS)
def test_nothing_of_a_thought_is_left(name: str) -> None:
    given = Reply(parse(THOUGHTS[name], sampling(), {}), THOUGHTS[name])
    left = without_reasoning(given)
    assert SECRET not in json.dumps(json.loads(left.raw))
    assert b"withheld" in left.raw
    if isinstance(left.result, Completion):
        assert (left.result.text, left.result.reasoning) == ("lost", "")
    else:
        assert isinstance(given.result, Failure)


def test_the_probabilities_of_inline_thoughts_go_too() -> None:
    data = tokens("odd")
    data["choices"][0]["message"]["content"] = "<think>odd</think>lost"
    given = json.dumps(data).encode()
    left = without_reasoning(Reply(parse(given, sampling(), {}), given))
    assert isinstance(left.result, Completion)
    assert not left.result.logprobs.token_bytes
    assert b"111" not in left.raw


@pytest.mark.parametrize("name", [name for name in THOUGHTS if name != "escaped"])
@pytest.mark.parametrize("wide", [1, 100])
def test_white_space_hides_none(name: str, wide: int) -> None:
    spread = json.dumps(json.loads(THOUGHTS[name]), indent=2, separators=(",", " " * wide + ": "))
    left = without_reasoning(Reply(parse(b"{}", sampling(), {}), spread.encode()))
    assert SECRET not in json.dumps(json.loads(left.raw))


def tokens(text: str) -> dict[str, Any]:
    """A reply with one token, spelled as given."""
    data: dict[str, Any] = json.loads(body())
    token = {"token": text, "bytes": list(text.encode()), "logprob": -0.1, "top_logprobs": []}
    data["choices"][0]["logprobs"] = {"content": [token]}
    return data


def long_tokens(texts: list[str], **more: Any) -> dict[str, Any]:
    """A reply of 40 KB that is read in layers; the first token has more fields."""
    data = tokens("lost")
    given = [
        tokens(text)["choices"][0]["logprobs"]["content"][0] for text in [*texts, *["x"] * 400]
    ]
    data["choices"][0]["logprobs"]["content"] = [given[0] | more, *given[1:]]
    return data


@pytest.mark.parametrize("place", ["message", "before", "behind", "token"])
def test_a_thought_beside_many_logprobs_is_found(place: str) -> None:
    data = long_tokens(["lost"], **({"reasoning": SECRET} if place == "token" else {}))
    (choice,) = data["choices"]
    if place == "message":
        choice["message"]["reasoning_content"] = SECRET
    elif place != "token":
        thought = {"reasoning_content": SECRET}
        data = thought | data if place == "before" else data | thought
    given = json.dumps(data).encode()
    left = without_reasoning(Reply(parse(given, sampling(), {}), given))
    assert SECRET.encode() not in left.raw


def test_a_thought_that_only_the_tokens_spell_takes_them_with_it() -> None:
    given = json.dumps(long_tokens(["<think>", "odd", "</think>", "lost"])).encode()
    left = without_reasoning(Reply(parse(given, sampling(), {}), given))
    assert isinstance(left.result, Completion)
    assert not left.result.logprobs.token_bytes
    assert b"111" not in left.raw


@pytest.mark.parametrize(
    "plain",
    [
        body(),
        json.dumps(long_tokens(["thinking", '"reasoning": '])).encode(),
        body(reasoning_content=None),
        body(reasoning="", reasoning_details=[]),
        body(content="I am thinking of reasoning"),
        json.dumps(tokens("thinking")).encode(),
        json.dumps(tokens('"reasoning": ')).encode(),
        b"not json <think>",
        b"\xff\xfe",
    ],
)
def test_a_reply_without_thoughts_is_kept_as_received(plain: bytes) -> None:
    given = Reply(parse(plain, sampling(), {}), plain)
    assert without_reasoning(given) is given


def test_by_default_no_byte_of_it_is_stored(tmp_path: Path) -> None:
    with FakeTeacher([raw(THOUGHTS["DeepSeek"])]) as server:
        path = project(tmp_path, server.base_url, rows=3)
        done = spiritsafe("collect", path)
    assert "reasoning came with 3 replies and was not kept" in done.out
    assert asked(path, "SELECT DISTINCT reasoning FROM completion") == [("",)]
    spiritsafe("verify", path)


def test_where_the_terms_list_it_and_the_project_asks_it_is_kept(tmp_path: Path) -> None:
    with FakeTeacher([raw(THOUGHTS["DeepSeek"])]) as server:
        path = project(tmp_path, server.base_url, rows=3, teacher={"features": ["reasoning"]})
        spiritsafe("collect", path)
    assert asked(path, "SELECT DISTINCT reasoning FROM completion") == [(SECRET,)]


def test_a_dataset_holds_it_only_where_it_was_decided_about(tmp_path: Path) -> None:
    with FakeTeacher([raw(THOUGHTS["DeepSeek"])]) as server:
        path = project(tmp_path, server.base_url, rows=3, teacher={"features": ["reasoning"]},
                       dataset={"split": {"validation": 0.0, "test": 0.0}})  # fmt: skip
        ask(path)
    for features, kept in (('["reasoning"]', SECRET), ("[]", "")):
        bench = bench_of(path, f"teacher.features={features}", "dataset.require=[]")
        with bench.open() as ledger:
            frozen = freeze_step(bench, ledger, filter_step(bench, ledger))["bot"]
        rows = read_parquet(frozen.folder / "train.parquet")
        assert {row["reasoning"] for row in rows} == {kept}


def test_where_the_organisation_has_not_turned_it_on_it_is_refused(tmp_path: Path) -> None:
    (tmp_path / "guardrails.toml").write_text('[offerings."*"]\n')
    with FakeTeacher([raw(THOUGHTS["DeepSeek"])]) as server:
        path = project(tmp_path, server.base_url, rows=3, teacher={"features": ["reasoning"]})
        done = spiritsafe("collect", path, code=3)
    assert "reasoning is off" in done.err
    assert server.billed == 0


def test_where_the_terms_do_not_list_it_it_is_refused(tmp_path: Path) -> None:
    spiritsafe("init", tmp_path / "bot", "--template", "email-summaries")
    path = tmp_path / "bot" / "project.toml"
    text = path.read_text().replace("[teacher]", '[teacher]\nfeatures = ["reasoning"]')
    path.write_text(text)
    done = spiritsafe("collect", path, env={"MISTRAL_API_KEY": "sk-0123456789"}, code=3)
    assert "answers that used reasoning" in " ".join(done.err.split())
