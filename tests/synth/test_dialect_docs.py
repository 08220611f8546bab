"""The guide to teachers: its examples load, and their addresses are the register's own."""

import re
import tomllib
from pathlib import Path
from typing import Any, get_args

import pytest

from policy.terms import load_register
from synth.config import Sampling, Teacher
from synth.teachers import ADAPTERS
from synth.transport import check_base_url
from tests.command import spiritsafe
from tests.synth.parts import project

GUIDES = Path(__file__).parents[2] / "docs" / "guides"
GUIDE = (GUIDES / "teachers.md").read_text(encoding="utf-8")
EXAMPLES = [tomllib.loads(text) for text in re.findall(r"```toml\n(.*?)```", GUIDE, re.DOTALL)]
TEACHERS = [one["teacher"] for one in EXAMPLES if "teacher" in one]


@pytest.mark.parametrize("given", TEACHERS, ids=lambda one: f"{one['adapter']} {one['offering']}")
def test_an_example_loads_and_its_address_is_the_offering_s_own(given: dict[str, Any]) -> None:
    teacher = Teacher.model_validate(given)
    check_base_url(teacher.base_url, teacher.offering, load_register().offering_of_host)
    assert ADAPTERS[teacher.adapter].lacks(teacher, Sampling()) is None


def test_every_adapter_has_its_row_and_every_remote_one_its_example() -> None:
    names = set(get_args(Teacher.model_fields["adapter"].annotation))
    assert names == set(ADAPTERS)
    assert set(re.findall(r"^\| `([a-z]+)` \|", GUIDE, re.MULTILINE)) == names
    assert {one["adapter"] for one in TEACHERS} == names - {"local"}


def test_the_tools_of_the_guide_are_read_as_they_stand() -> None:
    (given,) = [one["sampling"] for one in EXAMPLES if "sampling" in one]
    (tool,) = Sampling.model_validate(given).tools
    assert tool.parameters["properties"] == {"city": {"type": "string"}}


def test_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", GUIDE):
        assert (GUIDES / target).exists(), target


@pytest.mark.parametrize("offering", ["anthropic-api", "gemini-api", "vertex", "azure-openai"])
def test_check_shows_what_the_register_decides(tmp_path: Path, offering: str) -> None:
    given = next(one for one in TEACHERS if one["offering"] == offering)
    path = project(tmp_path, given["base_url"], teacher=given, limits={"budget_usd": 1.0})
    done = spiritsafe("check", path, "--json", code=3)
    decision = done.json["decision"]
    register = load_register()
    assert decision["level"] in ("DENY", "NEEDS_ACK", "NEEDS_PERMISSION")
    assert offering in str(decision)
    assert any(entry.id == offering for entry in register.all())


def test_a_date_without_quotes_is_a_version() -> None:
    given = next(one for one in TEACHERS if one["adapter"] == "azure")
    bare = tomllib.loads("api_version = 2024-10-21")
    teacher = Teacher.model_validate({**given, **bare})
    assert "api-version=2024-10-21" in ADAPTERS["azure"].path(teacher)
