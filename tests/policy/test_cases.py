import json
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from policy.cases import evaluate, evaluate_cases, read_cases
from policy.errors import BadInput
from policy.terms import Register

TODAY = date(2026, 11, 24)


def test_a_list_of_cases_gives_a_line_each(tmp_path: Path, register: Register) -> None:
    file = tmp_path / "cases.json"
    file.write_text('[{"id": "A", "off": "openai-api", "purpose": "evaluate"}, {"id": "B"}]')
    answers = list(evaluate_cases(read_cases(file), register, TODAY, where=str(file)))
    assert [(each["id"], each["level"]) for each in answers] == [("A", "ALLOW"), ("B", "DENY")]
    for each in answers:
        assert {"id", "level", "obligations", "reasons", "fix"} <= json.loads(
            json.dumps(each)
        ).keys()


def test_yaml_says_off_and_means_an_offering(tmp_path: Path, register: Register) -> None:
    pytest.importorskip("yaml")
    file = tmp_path / "cases.yaml"
    file.write_text(
        "- {id: Y, off: xai-enterprise, at: 2026-09-01, purpose: train_specialist_generative,\n"
        "   permission: {scope: [train_specialist_generative], valid: true}, want: ALLOW_WITH}\n"
    )
    (answer,) = evaluate_cases(read_cases(file), register, TODAY)
    assert answer["level"] == "ALLOW_WITH"


def test_a_case_from_a_yaml_reader_of_ones_own_is_understood(register: Register) -> None:
    case = {False: "openai-api", "at": TODAY, "purpose": "evaluate", "dist": "internal"}
    assert evaluate(case, register, TODAY, where="x")["level"] == "ALLOW"


def test_counts_of_rows_say_what_would_be_left(register: Register) -> None:
    case = {"off": ["deepseek-api x990", "anthropic-api x10"], "purpose": "train_specialist"}
    answer = evaluate(case, register, TODAY, where="x")
    assert answer["drop_blocking"] == {"rows": 990, "level": "ALLOW", "new_root": True}
    assert {"offering": "anthropic-api", "rows": 10}.items() <= answer["groups"][0].items()


@pytest.mark.parametrize(
    ("case", "said"),
    [
        (
            {"purpos": "evaluate"},
            'unknown field "purpos" (value \'evaluate\'). Did you mean "purpose"?',
        ),
        ({"purpose": "trian_general"}, 'purpose = "trian_general" is not known.'),
        ({"dist": "everyone"}, 'dist = "everyone" is not known'),
        ({"at": "yesterday"}, 'at = "yesterday" is no day'),
        ({"at": "2026-05-01", "now": "2026-04-01"}, "lies before the day of collection"),
        ({"off": [3]}, "holds 3, which names no offering"),
        ({"stage": "later"}, 'stage = "later" is no step'),
        (
            {"permission": {"scope": ["everything"]}},
            'permission: purposes[1] = "everything" cannot be used',
        ),
        ({"ack": 3}, "says neither that there is one nor its scope"),
        ({"name": ["a"]}, "name = ['a'] is not text"),
        ({"context": {"mau": "many"}}, 'holds "many", which is no number'),
    ],
    ids=str,
)
def test_a_case_that_is_not_understood_is_refused_by_name(
    register: Register, case: dict[str, Any], said: str
) -> None:
    with pytest.raises(BadInput) as caught:
        list(evaluate_cases([{"id": "T99", **case}], register, TODAY))
    assert str(caught.value).startswith("cases, case T99: ")
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.json", "{", "is not JSON"),
        ("a.json", '{"id": 1}', "is no list of cases"),
        ("a.yaml", "- {", "is not YAML"),
    ],
)
def test_a_file_that_holds_no_cases_is_refused(
    tmp_path: Path, name: str, text: str, said: str
) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(BadInput, match=said):
        read_cases(tmp_path / name)
    with pytest.raises(BadInput, match="cannot be read"):
        read_cases(tmp_path / "none.json")
