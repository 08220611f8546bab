"""One walk for all tests that look at its result: it takes minutes."""

from pathlib import Path

import pytest

from tests.command import Done, spiritsafe
from tests.walked import OPTIONS, kill_when

WALKED = ("test_docs.py", "test_story.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Two processes share the tests file by file, and one of them makes the walk."""
    for item in items:
        group = "walk" if item.path.name in WALKED else item.path.stem
        item.add_marker(pytest.mark.xdist_group(group))


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
