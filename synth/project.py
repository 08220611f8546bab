"""A project: one TOML file, and the directory where its ledger, datasets and runs lie.

    project = load(Path("my-bot/project.toml"), ["limits.budget_usd=2"])
    project.home        # my-bot/ for project.toml; NAME.safe/ beside any other NAME.toml

The student's sections belong to the other room; they are handed over as they stand.
"""

import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field

from policy.config import Section, load_toml, parse
from policy.errors import BadInput
from policy.use import Use
from synth.config import Dataset, Filters, Limits, Prompts, Sampling, Teacher
from synth.teachers import ADAPTERS

_OVERRIDE = re.compile(r"([a-z_]+(?:\.[A-Za-z0-9_-]+)+)=(.*)", re.DOTALL)


class Sections(Section):
    """The whole file."""

    use: Use = Field(default_factory=Use)
    """What the student is for, and who gets it."""
    teacher: Teacher
    """The model that answers."""
    sampling: Sampling = Field(default_factory=Sampling)
    """How it decodes."""
    prompts: Prompts
    """What it is asked."""
    limits: Limits = Field(default_factory=Limits)
    """How fast, and for how much."""
    filters: Filters = Field(default_factory=Filters)
    """Parameters of the quality filters."""
    dataset: Dataset
    """What is frozen."""
    student: dict[str, Any] = Field(default_factory=dict)
    """The model that learns (train/config.py)."""
    training: dict[str, Any] = Field(default_factory=dict)
    """How it learns (train/config.py)."""
    arms: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """Runs to compare: name -> dataset and objective (train/config.py)."""
    evaluation: dict[str, Any] = Field(default_factory=dict)
    """How it is judged (train/config.py)."""


@dataclass(frozen=True, slots=True)
class Project:
    """A read project file and its places."""

    path: Path
    sections: Sections

    @property
    def name(self) -> str:
        """What people call it: its dataset's name."""
        return self.sections.dataset.name

    @property
    def folder(self) -> Path:
        """Where the file lies; paths in it start here."""
        return self.path.parent

    @property
    def home(self) -> Path:
        """Where everything that a run writes lies."""
        if self.path.stem == "project":
            return self.folder
        return self.folder / f"{self.path.stem}.safe"

    @property
    def ledger(self) -> Path:
        """The ledger file."""
        return self.home / "ledger.duckdb"

    @property
    def datasets(self) -> Path:
        """Frozen datasets."""
        return self.home / "datasets"

    @property
    def runs(self) -> Path:
        """Finished and unfinished runs."""
        return self.home / "runs"

    @property
    def cache(self) -> Path:
        """Converted weights; safe to delete."""
        return self.home / "cache"


def load(path: Path, overrides: Sequence[str] = ()) -> Project:
    """Read a project file, or that of a folder. Raises BadInput naming file, key, value and what to
    do."""
    path = path / "project.toml" if path.is_dir() else path
    data = load_toml(path)
    for text in overrides:
        _override(data, text)
    sections = parse(Sections, data, where=str(path))
    if lack := ADAPTERS[sections.teacher.adapter].lacks(sections.teacher, sections.sampling):
        raise BadInput(lack.why, where=f"{path} {lack.key}", fix=lack.fix)
    if not sections.use.student_base and sections.student.get("base"):
        use = sections.use.model_copy(update={"student_base": str(sections.student["base"])})
        sections = sections.model_copy(update={"use": use})
    return Project(path, sections)


def _override(data: dict[str, Any], text: str) -> None:
    """`a.b=value`: the value as TOML, or as plain text where it is not."""
    match = _OVERRIDE.fullmatch(text)
    if match is None:
        raise BadInput(f"{text!r} is not section.key=value", where="--set")
    *parents, last = match.group(1).split(".")
    table: Any = data
    for name in parents:
        table = table.setdefault(name, {})
        if not isinstance(table, dict):
            raise BadInput(f"{name!r} is a value, not a table", where=f"--set {text}")
    try:
        table[last] = tomllib.loads(f"value = {match.group(2)}")["value"]
    except tomllib.TOMLDecodeError:
        table[last] = match.group(2)
