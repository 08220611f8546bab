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
    "synth/imports/step.py": "import_rows",
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


Function = ast.FunctionDef | ast.AsyncFunctionDef


@pytest.mark.parametrize(("module", "name"), GATED.items())
def test_what_could_break_a_promise_takes_a_permit(module: str, name: str) -> None:
    tree = ast.parse((ROOT / module).read_text(encoding="utf-8"))
    functions = [node for node in functions_of(tree) if node.name == name]
    assert len(functions) == 1
    assert is_gated(functions[0])


def functions_of(tree: ast.Module) -> list[Function]:
    return [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]


def is_gated(function: Function) -> bool:
    """Whether it must be given a permit, and holds it to account before it does anything else."""
    arguments = function.args
    optional = arguments.args[len(arguments.args) - len(arguments.defaults) :]
    names = {one.arg for one in arguments.args} - {one.arg for one in optional}
    names |= {
        one.arg
        for one, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
        if default is None
    }
    first = function.body[1 if ast.get_docstring(function) else 0]
    return "permit" in names and ast.unparse(first).startswith("Permit.must_be(permit, ")


RISKY = {"exchange", "deliver", "post", "write_parquet", "copytree", "teach", "write_student"}
"""What sends, freezes, publishes or trains in the end, whoever asks for it."""


def called_by(function: Function) -> set[str]:
    calls = (node.func for node in ast.walk(function) if isinstance(node, ast.Call))
    return {getattr(call, "attr", getattr(call, "id", "")) for call in calls}


def test_every_way_to_a_risky_call_leads_past_a_permit() -> None:
    """From each risky call up through its callers: the way ends at a gate, or it is a leak."""
    functions = [
        (name, each, called_by(each))
        for name, tree in sources()
        for each in functions_of(tree)
        if each.name[:2] != "__"
    ]
    leaks, seen = set(), set()
    waiting = [(name, each) for name, each, called in functions if called & RISKY]
    assert {name for name, _ in waiting} >= {
        "synth/client.py", "synth/batching/channel.py", "synth/freeze.py", "synth/drop.py",
        "synth/publish.py", "train/run.py",
    }  # fmt: skip
    while waiting:
        module, function = waiting.pop()
        if (module, function.name) in seen or is_gated(function):
            continue
        seen.add((module, function.name))
        callers = [(name, each) for name, each, called in functions if function.name in called]
        waiting += callers
        if not callers:
            leaks.add(f"{module}: {function.name}")
    assert leaks == set()


def test_only_require_makes_a_permit() -> None:
    with pytest.raises(TypeError):
        Permit()
    makers = [name for name, tree in sources() if "_seal" in ast.unparse(tree)]
    assert makers == ["policy/permit.py"]


def test_only_one_module_reads_the_environment() -> None:
    """And the front door hands it over."""
    readers = {name for name, tree in sources() if "os.environ" in ast.unparse(tree)}
    assert readers <= {"synth/secrets.py", "synth/cli.py", "train/quiet.py"}


def test_only_two_modules_open_duckdb() -> None:
    openers = {name for name, tree in sources() if "duckdb.connect" in ast.unparse(tree)}
    assert openers == {"synth/database.py", "synth/formats.py"}


WAYS_OUT = (
    *("create_connection(", "open_connection(", "HTTPTransport(", "httpx2.get(", "urlopen("),
    *("httpx2.AsyncClient(", "httpx2.Client("),
)


def test_sockets_open_in_two_places() -> None:
    """One for requests, one for the files of batches."""
    openers = {
        name for name, tree in sources() if any(way in ast.unparse(tree) for way in WAYS_OUT)
    }
    assert openers == {"synth/connection.py", "synth/batching/channel.py"}


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


def imported(tree: ast.Module) -> set[str]:
    """Full names of what a module imports, wherever in it."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {one.name for one in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{one.name}" for one in node.names}
    return names


def test_trl_stands_behind_its_adapter_and_nothing_experimental_is_imported() -> None:
    users = {
        name
        for name, tree in sources()
        if any(one.split(".")[0] == "trl" for one in imported(tree))
    }
    assert users <= {"train/trainer.py", "train/stable_trainers.py"}
    assert not [
        name
        for name, tree in sources()
        if any(one.startswith("trl.experimental") for one in imported(tree))
    ]


def test_nothing_is_trusted_from_a_model_file() -> None:
    text = "".join(ast.unparse(tree) for _, tree in sources())
    assert "trust_remote_code=True" not in text
    assert "import pickle" not in text
    assert "torch.load(" not in text
