"""A project file means what it says, or is refused in one line that names the place."""

from pathlib import Path

import pytest

from policy.errors import BadInput
from synth.project import load
from tests.synth.parts import project

ROOT = Path(__file__).parents[2]
URL = "http://127.0.0.1:9/v1"


@pytest.mark.parametrize("path", sorted(ROOT.glob("configs/*.toml")), ids=lambda path: path.stem)
def test_every_shipped_config_parses(path: Path) -> None:
    assert load(path).sections.dataset.name


@pytest.mark.parametrize(
    ("section", "key", "meant"),
    [
        ("limits", "budget_us", "budget_usd"),
        ("teacher", "base_ur", "base_url"),
        ("sampling", "temprature", "temperature"),
        ("dataset", "requires", "require"),
    ],
)
def test_a_misspelt_key_is_refused_with_the_nearest_name(
    tmp_path: Path, section: str, key: str, meant: str
) -> None:
    path = project(tmp_path, URL, **{section: {key: 1}})
    with pytest.raises(BadInput, match=f'unknown key "{section}.{key}".*"{meant}"'):
        load(path)


@pytest.mark.parametrize(
    ("section", "values"),
    [
        ("teacher", {"base_url": ""}),
        ("limits", {"budget_usd": -1.0}),
        ("limits", {"concurrency": 0}),
        ("limits", {"tries": 0}),
        ("sampling", {"temperature": 3.0}),
        ("sampling", {"logprobs": 21}),
        ("sampling", {"extra": {"model": "another"}}),
        ("sampling", {"extra": {"n": 4}}),
        ("sampling", {"extra": {"max_completion_tokens": 9}}),
        ("sampling", {"tool_choice": "weather"}),
        ("sampling", {"tools": [{"name": "w"}, {"name": "w"}]}),
        ("sampling", {"tools": [{"name": "two words"}]}),
        ("teacher", {"api_version": "2024?x=1"}),
        ("teacher", {"adapter": "claude"}),
        ("dataset", {"name": "../elsewhere"}),
        ("dataset", {"name": "/tmp/x"}),
        ("dataset", {"variants": {"../x": {"source": "known"}}}),
        ("dataset", {"split": {"test": 1.0}}),
    ],
)
def test_a_value_that_cannot_be_used_is_refused(
    tmp_path: Path, section: str, values: dict[str, object]
) -> None:
    path = project(tmp_path, URL, **{section: values})
    with pytest.raises(BadInput) as raised:
        load(path)
    assert str(path) in str(raised.value)
    assert "\n" not in str(raised.value)


def test_set_overrides_a_value_as_toml_or_as_text(tmp_path: Path) -> None:
    path = project(tmp_path, URL)
    changes = ["limits.budget_usd=2", "teacher.model=other-model", "dataset.split.test=0.5"]
    sections = load(path, changes).sections
    assert sections.limits.budget_usd == 2
    assert sections.teacher.model == "other-model"
    assert sections.dataset.split.test == 0.5


@pytest.mark.parametrize("text", ["limits", "limits.budget_usd", "=2", "teacher.model.x=1"])
def test_an_override_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(BadInput, match="--set"):
        load(project(tmp_path, URL), [text])


def test_a_project_of_another_name_keeps_its_files_beside_it(tmp_path: Path) -> None:
    path = project(tmp_path, URL)
    other = path.rename(tmp_path / "bank.toml")
    assert load(other).ledger == tmp_path / "bank.safe" / "ledger.duckdb"


def test_the_student_s_base_is_part_of_the_use(tmp_path: Path) -> None:
    path = project(tmp_path, URL, student={"base": "smollm2"})
    assert load(path).sections.use.student_base == "smollm2"


def test_a_key_written_into_the_file_is_not_repeated(tmp_path: Path) -> None:
    path = project(tmp_path, URL, teacher={"api_key": "sk-canary-in-file"})
    with pytest.raises(BadInput) as raised:
        load(path)
    assert "canary" not in str(raised.value)
