"""Promises about the source itself."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from policy.permit import Permit

ROOT = Path(__file__).parent.parent
ROOMS = ("policy", "synth", "train")
GATED = {
    "synth/client.py": "send",
    "synth/collect.py": "collect",
    "synth/batching/channel.py": "submit",
    "synth/batching/engine.py": "collect_batches",
    "synth/freeze.py": "freeze",
    "synth/drop.py": "_write",
    "synth/publish.py": "_write",
    "train/run.py": "train",
    "train/evaluate.py": "evaluate",
    "train/data.py": "open_dataset",
}
"""Every function that sends, freezes, trains or judges."""


def sources() -> Iterator[tuple[str, ast.Module]]:
    for room in ROOMS:
        for path in sorted((ROOT / room).rglob("*.py")):
            yield path.relative_to(ROOT).as_posix(), ast.parse(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize(("module", "name"), GATED.items())
def test_what_could_break_a_promise_takes_a_permit(module: str, name: str) -> None:
    tree = ast.parse((ROOT / module).read_text(encoding="utf-8"))
    functions = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name == name
    ]
    assert len(functions) == 1
    arguments = functions[0].args
    names = [one.arg for one in (*arguments.args, *arguments.kwonlyargs)]
    assert "permit" in names
    assert "must_be" in ast.unparse(functions[0])


def test_only_require_makes_a_permit() -> None:
    with pytest.raises(TypeError):
        Permit()
    makers = [name for name, tree in sources() if "_SEAL" in ast.unparse(tree)]
    assert makers == ["policy/permit.py"]


def test_only_one_module_reads_the_environment() -> None:
    """And the front door hands it over."""
    readers = {name for name, tree in sources() if "os.environ" in ast.unparse(tree)}
    assert readers <= {"synth/secrets.py", "synth/cli.py", "train/quiet.py"}


def test_only_two_modules_open_duckdb() -> None:
    openers = {name for name, tree in sources() if "duckdb.connect" in ast.unparse(tree)}
    assert openers == {"synth/database.py", "synth/formats.py"}


def test_sockets_open_in_two_places() -> None:
    """One for requests, one for the files of batches."""
    openers = {
        name
        for name, tree in sources()
        if any(
            word in ast.unparse(tree)
            for word in ("AsyncHTTPTransport", "httpx2.AsyncClient(", "httpx2.get(")
        )
    }
    assert openers == {"synth/transport.py", "synth/batching/channel.py"}


def test_every_module_and_public_function_says_why() -> None:
    silent = []
    for name, tree in sources():
        if tree.body and not ast.get_docstring(tree):
            silent.append(name)
        for node in tree.body:
            public = isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name[0] != "_"
            if public and not ast.get_docstring(node):
                silent.append(f"{name}: {node.name}")
    assert silent == []


def test_nothing_is_trusted_from_a_model_file() -> None:
    text = "".join(ast.unparse(tree) for _, tree in sources())
    assert "trust_remote_code=True" not in text
    assert "import pickle" not in text
    assert "torch.load(" not in text
