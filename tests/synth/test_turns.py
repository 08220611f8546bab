"""Conversations and pictures: read as they stand, or refused with the line that is wrong."""

import json
from pathlib import Path
from typing import Any

import pytest

from policy.errors import BadInput
from synth.config import Prompts, Split
from synth.prompts import Prompt, load
from synth.turns import pictures_of, split_data_url, words_of

PICTURES = {
    "a.png": (b"\x89PNG\r\n\x1a\n" + b"0" * 8, "image/png"),
    "a.jpg": (b"\xff\xd8\xff\xe0" + b"0" * 8, "image/jpeg"),
    "a.gif": (b"GIF89a" + b"0" * 8, "image/gif"),
    "a.webp": (b"RIFF0000WEBPVP8 ", "image/webp"),
}
CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
USER = {"role": "user", "content": "Hi"}


def rows(folder: Path, *given: dict[str, Any], **settings: Any) -> list[Prompt]:
    (folder / "p.jsonl").write_text("".join(json.dumps(row) + "\n" for row in given))
    wanted = Prompts.model_validate({"file": "p.jsonl", "licence": "CC0-1.0", **settings})
    return load(wanted, Split(), folder)


def turns(folder: Path, *messages: Any, **settings: Any) -> Prompt:
    (prompt,) = rows(folder, {"id": "a", "turns": list(messages)}, turns="turns", **settings)
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
    (prompt,) = rows(tmp_path, row, images=["photo", "second", "third"])
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
    given = [
        {"id": str(n), "turns": [{"role": "user", "content": f"q{n % 20}"}]} for n in range(40)
    ]
    sides = {}
    for prompt in rows(tmp_path, *given, turns="turns"):
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
