"""Conversations and pictures: read as they stand, or refused with the line that is wrong."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policy.errors import BadInput
from synth.config import Prompts, Sampling, Split
from synth.prompts import Prompt, load
from synth.teachers import ADAPTERS
from synth.turns import Message, pictures_of, read_turns, split_data_url, words_of
from tests.synth.parts import teacher

PICTURES = {
    "a.png": (b"\x89PNG\r\n\x1a\n" + b"0" * 8, "image/png"),
    "a.jpg": (b"\xff\xd8\xff\xe0" + b"0" * 8, "image/jpeg"),
    "a.gif": (b"GIF89a" + b"0" * 8, "image/gif"),
    "a.webp": (b"RIFF0000WEBPVP8 ", "image/webp"),
}
CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
USER = {"role": "user", "content": "Hi"}


def rows(folder: Path, *lines: dict[str, Any], **fields: Any) -> list[Prompt]:
    (folder / "p.jsonl").write_text("".join(json.dumps(row) + "\n" for row in lines))
    wanted = Prompts.model_validate({"file": "p.jsonl", "licence": "CC0-1.0", **fields})
    return load(wanted, Split(), folder)


def turns(folder: Path, *messages: Any, **fields: Any) -> Prompt:
    (prompt,) = rows(folder, {"id": "a", "turns": list(messages)}, turns="turns", **fields)
    return prompt


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_of_a_file_becomes_a_data_url(tmp_path: Path, name: str) -> None:
    data, kind = PICTURES[name]
    (tmp_path / name).write_bytes(data)
    row = {"id": "a", "message": "What?", "photo": name}
    (prompt,) = rows(tmp_path, row, images=["photo"])
    picture, text = prompt.teacher[0]["content"]
    split = split_data_url(picture["image_url"]["url"])
    assert split is not None
    assert split[0] == kind
    assert text == {"type": "text", "text": "What?"}
    assert prompt.student == ({"role": "user", "content": "What?"},)
    assert pictures_of(prompt.teacher) == 1


@pytest.mark.parametrize("address", ["https://example.com/a.png", "data:image/png;base64,AAAA"])
def test_an_address_is_passed_through(tmp_path: Path, address: str) -> None:
    row = {"id": "a", "message": "What?", "photo": address, "second": ""}
    (prompt,) = rows(tmp_path, row, images=["photo", "second"])
    assert prompt.teacher[0]["content"][0]["image_url"] == {"url": address}


@pytest.mark.parametrize(
    ("data", "says"),
    [(None, "cannot be read"), (b"plain text", "no PNG, JPEG, GIF or WebP")],
)
def test_a_picture_that_is_none_is_named(tmp_path: Path, data: bytes | None, says: str) -> None:
    if data is not None:
        (tmp_path / "a.png").write_bytes(data)
    with pytest.raises(BadInput, match=rf"p\.jsonl line 1.*{says}"):
        rows(tmp_path, {"id": "a", "message": "m", "photo": "a.png"}, images=["photo"])


def test_a_conversation_stands_between_instruction_and_answer(tmp_path: Path) -> None:
    said = [USER, {"role": "assistant", "content": "Yes?"}, {"role": "user", "content": "Lost."}]
    prompt = turns(tmp_path, {"role": "system", "content": "Row's own."}, *said, system="Be brief.")
    assert prompt.teacher[0] == {"role": "system", "content": "Be brief."}
    assert list(prompt.teacher[2:]) == said
    assert list(prompt.student) == said


def test_calls_and_their_results_are_kept_and_counted(tmp_path: Path) -> None:
    assistant = {"role": "assistant", "content": None, "tool_calls": [CALL]}
    result = {"role": "tool", "tool_call_id": "c1", "content": "12"}
    prompt = turns(tmp_path, USER, assistant, result)
    assert list(prompt.teacher) == [USER, assistant, result]
    assert '"name": "f"' in words_of(assistant)


def test_two_rows_of_one_conversation_stand_on_one_side(tmp_path: Path) -> None:
    lines = [
        {"id": str(n), "turns": [{"role": "user", "content": f"q{n % 20}"}]} for n in range(40)
    ]
    sides = {}
    for prompt in rows(tmp_path, *lines, turns="turns"):
        sides.setdefault(prompt.teacher[0]["content"], set()).add(prompt.split)
    assert all(len(found) == 1 for found in sides.values())
    assert len(set.union(*sides.values())) > 1


@pytest.mark.parametrize(
    ("messages", "says"),
    [
        ([], "no list"),
        (["Hi"], "turn 1.*no turn of a known role"),
        ([{"role": "robot", "content": "Hi"}], "turn 1.*known role.*system, developer, user"),
        ([USER, {"role": "assistant", "content": "Yes"}], "last turn is not the user's"),
        ([{"role": "user"}], "turn 1.*no content"),
        ([{"role": "user", "content": "Hi", "name": "x"}], "name: not a key"),
        ([{"role": "user", "content": ["Hi"]}], "neither text nor a picture"),
        ([{"role": "user", "content": [{"type": "text", "text": 3}]}], "neither text"),
        ([{"role": "user", "content": [{"type": "input_audio"}]}], "neither text nor a picture"),
        ([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "file:///etc"}}]}],
         "neither text nor a picture"),
        ([{"role": "tool", "content": "12"}], "needs tool_call_id"),
        ([{"role": "assistant", "tool_calls": [{"id": 3}]}, USER], "call is not understood"),
        ([{"role": "assistant", "tool_calls": [
            {**CALL, "function": {"name": "f", "arguments": "[1]"}}]}, USER], "no JSON object"),
        ([{"role": "user", "content": "\ud800"}], "lone surrogate"),
    ],
)  # fmt: skip
def test_a_turn_that_no_provider_takes_is_refused(
    tmp_path: Path, messages: list[Any], says: str
) -> None:
    with pytest.raises(BadInput, match=rf"p\.jsonl line 1.*{says}"):
        turns(tmp_path, *messages)


def test_a_table_holds_no_conversation(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("id,turns\na,hello\n")
    wanted = Prompts(file="p.csv", licence="CC0-1.0", turns="turns")
    with pytest.raises(BadInput, match=r"p\.csv line 2.*the turns are no list"):
        load(wanted, Split(), tmp_path)


PARTS = st.one_of(
    st.builds(lambda text: {"type": "text", "text": text}, st.text(max_size=9)),
    st.builds(
        lambda address: {"type": "image_url", "image_url": {"url": address}},
        st.sampled_from(["https://a.example/b.png", "data:image/png;base64,AAAA"]),
    ),
)
CONTENT = st.text(max_size=9) | st.lists(PARTS, max_size=3)
TURNS = st.lists(
    st.one_of(
        st.builds(
            lambda role, content: {"role": role, "content": content},
            st.sampled_from(["system", "developer", "user", "assistant"]), CONTENT,
        ),
        st.builds(
            lambda content: {"role": "assistant", "content": content, "tool_calls": [CALL]},
            st.none() | CONTENT,
        ),
        st.builds(
            lambda content: {"role": "tool", "tool_call_id": "c1", "content": content}, CONTENT
        ),
    ),
    max_size=6,
)  # fmt: skip


@pytest.mark.parametrize("adapter", sorted(ADAPTERS))
@given(turns=TURNS)
@settings(deadline=None)
def test_every_conversation_that_is_taken_can_be_said_in_every_dialect(
    adapter: str, turns: list[Message]
) -> None:
    messages = read_turns([*turns, USER], "row")
    before = json.dumps(messages)
    wanted = Sampling.model_validate({"tools": [{"name": "f"}], "schema": {"type": "object"}})
    asked = teacher(adapter=adapter, api_version="v1")
    body = ADAPTERS[adapter].build(asked, wanted, messages, 0)
    said = json.dumps(body, ensure_ascii=False)
    assert "Hi" in said
    assert json.dumps(messages) == before
    for text in (part["text"] for turn in turns for part in listed(turn["content"])):
        assert json.dumps(text, ensure_ascii=False)[1:-1] in said


def listed(content: Any) -> list[dict[str, Any]]:
    parts = content if isinstance(content, list) else [{"type": "text", "text": content or ""}]
    return [part for part in parts if part["type"] == "text"]
