"""One walk for all tests that look at its result: it takes minutes."""

from pathlib import Path

import pytest

from tests.command import Done, spiritsafe
from tests.walked import OPTIONS, kill_when


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project that was killed twice on its way, and finished."""
    home = tmp_path_factory.mktemp("story") / "bot"
    spiritsafe("init", home, "--template", "quickstart")
    log = home.parent / "killed.log"
    kill_when(home, log, lambda: "kept row 1" in log.read_text(), "during collect")
    kill_when(home, log, lambda: any(home.glob("runs/*/checkpoints/checkpoint-*")), "during train")
    return home


@pytest.fixture(scope="session")
def finished(home: Path) -> Done:
    return spiritsafe("run", home / "project.toml", *OPTIONS, "--json", code=None, timeout=800)
