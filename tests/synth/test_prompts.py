"""Rows of a file become prompts, or one line says which row does not and why."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy.errors import BadInput
from synth.config import Prompts, Split
from synth.prompts import Prompt, load, side

SPLIT = Split()


def settings(**fields: Any) -> Prompts:
    return Prompts.model_validate({"file": "p.jsonl", "licence": "CC0-1.0", **fields})


def read(folder: Path, data: str | bytes, **fields: Any) -> list[Prompt]:
    wanted = settings(**fields)
    (folder / wanted.file).write_bytes(data if isinstance(data, bytes) else data.encode())
    return load(wanted, SPLIT, folder)


def test_a_row_is_rendered_for_the_teacher_and_for_the_student(tmp_path: Path) -> None:
    (prompt,) = read(
        tmp_path,
        '{"id": "a", "message": "Hi", "intent": "greet"}\n',
        system='Answer {"intent": …} for {{ intent }}',
        examples=[{"user": "U", "assistant": "A"}],
        student_system="Be brief",
        known=["intent"],
    )
    assert [m["role"] for m in prompt.teacher] == ["system", "user", "assistant", "user"]
    assert prompt.teacher[0]["content"] == 'Answer {"intent": …} for greet'
    assert [m["content"] for m in prompt.student] == ["Be brief", "Hi"]
    assert prompt.expected == '{"intent":"greet"}'


def test_csv_and_json_lines_say_the_same(tmp_path: Path) -> None:
    lines = read(tmp_path, '{"id": "a", "message": "one, \\"two\\"\\nthree"}\n')
    table = read(tmp_path, 'id,message\na,"one, ""two""\nthree"\n', file="p.csv")
    assert lines == table


def test_a_byte_order_mark_and_blank_lines_are_no_content(tmp_path: Path) -> None:
    (prompt,) = read(tmp_path, b'\xef\xbb\xbf{"id": "a", "message": "m"}\n\n  \n')
    assert prompt.id == "a"


def test_a_picture_column_that_no_row_has_is_refused(tmp_path: Path) -> None:
    rows = '{"id": "a", "message": "m", "photo": ""}\n{"id": "b", "message": "m"}\n'
    assert len(read(tmp_path, rows, images=["photo"])) == 2
    with pytest.raises(BadInput, match=r"'foto'.*first row has id, message, photo"):
        read(tmp_path, rows, images=["foto"])


def test_numbers_and_booleans_are_text(tmp_path: Path) -> None:
    (prompt,) = read(tmp_path, '{"id": 7, "message": true, "n": 1.5}\n')
    assert (prompt.id, prompt.fields["message"], prompt.fields["n"]) == ("7", "true", "1.5")


def test_a_value_is_not_a_template(tmp_path: Path) -> None:
    (prompt,) = read(tmp_path, '{"id": "a", "message": "{{id}} {{secret}}"}\n')
    assert prompt.teacher[-1]["content"] == "{{id}} {{secret}}"


def test_limit_takes_the_first_rows(tmp_path: Path) -> None:
    rows = "".join(json.dumps({"id": n, "message": f"m{n}"}) + "\n" for n in range(5))
    assert [p.id for p in read(tmp_path, rows, limit=2)] == ["0", "1"]


GOOD = '{"id": "a", "message": "m"}\n'


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ("", "no prompt"),
        (GOOD + "{broken\n", "line 2.*not JSON"),
        (GOOD + "[1]\n", "line 2.*list, not an object"),
        (GOOD + GOOD, "line 2.*stands on line 1"),
        (GOOD + '{"message": "m"}\n', "line 2.*no value for 'id'"),
        (GOOD + '{"id": "", "message": "m"}\n', "line 2.*no value for 'id'"),
        (GOOD + '{"id": "b"}\n', r"line 2.*\{\{message\}\}"),
        (GOOD + '{"id": "b", "message": null}\n', "line 2.*null, not text"),
        (GOOD + '{"id": "b", "message": ["m"]}\n', "line 2.*list, not text"),
        (GOOD + '{"id": "b", "message": "\\ud800"}\n', "line 2.*lone surrogate"),
        (GOOD + '{"id": "b", "message": ' + "[" * 100_000 + "\n", "line 2.*not JSON"),
        (GOOD + '{"id": "b", "message": NaN}\n', "line 2"),
        (b'{"id": "a", "message": "caf\xe9"}\n', "not UTF-8"),
    ],
)
def test_a_broken_row_is_named(tmp_path: Path, data: str | bytes, says: str) -> None:
    with pytest.raises(BadInput, match=says) as raised:
        read(tmp_path, data)
    assert "p.jsonl" in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ("id,message\na,b,c\n", "line 2.*2 columns"),
        ("id,message\na\n", "line 2.*2 columns"),
        ('id,message\na,"b\n', "not CSV"),
    ],
)
def test_a_broken_table_is_named(tmp_path: Path, data: str, says: str) -> None:
    with pytest.raises(BadInput, match=says):
        read(tmp_path, data, file="p.csv")


def test_a_missing_file_and_an_unknown_kind_are_said(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no such file"):
        load(settings(), SPLIT, tmp_path)
    with pytest.raises(BadInput, match=r"jsonl or \.csv"):
        load(settings(file="p.yaml"), SPLIT, tmp_path)


def test_a_folder_in_place_of_the_file_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "p.jsonl").mkdir()
    with pytest.raises(BadInput):
        load(settings(), SPLIT, tmp_path)


@given(message=st.text(min_size=1))
def test_spaces_and_capitals_change_no_side(message: str) -> None:
    assert side(f"  {message.lower()}\n", SPLIT) == side(message, SPLIT)


def test_the_side_depends_on_what_the_student_reads_alone(tmp_path: Path) -> None:
    rows = [{"id": n, "message": f"m{n % 40}", "label": n} for n in range(200)]
    found = read(tmp_path, "".join(json.dumps(row) + "\n" for row in rows))
    assert len({(one.fields["message"], one.split) for one in found}) == 40
    assert {one.split for one in found} >= {"train", "test"}


def test_the_shares_are_about_what_was_asked_for() -> None:
    sides = [side(f"message {n}", SPLIT) for n in range(4000)]
    assert 0.17 < sides.count("test") / 4000 < 0.23
    assert 0.03 < sides.count("validation") / 4000 < 0.07


def test_adding_rows_moves_none(tmp_path: Path) -> None:
    rows = [json.dumps({"id": n, "message": f"m{n}"}) + "\n" for n in range(200)]
    few = {p.id: p.split for p in read(tmp_path, "".join(rows[:100]))}
    many = {p.id: p.split for p in read(tmp_path, "".join(reversed(rows)))}
    assert few.items() <= many.items()


def test_the_salt_moves_them_all() -> None:
    texts = [f"message {n}" for n in range(300)]
    one = [side(text, SPLIT) for text in texts]
    assert one != [side(text, Split(salt="another")) for text in texts]
