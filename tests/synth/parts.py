"""What these tests are made of: a small project on disk, one request's rows, a told clock."""

from __future__ import annotations

import asyncio
import io
import json
import ssl
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from rich.console import Console

from policy.permit import Action, Permit
from synth.bench import Bench, permit_for
from synth.config import Sampling, Teacher
from synth.display import Display
from synth.ledger import Ledger
from synth.logprobs import TokenLogprobs
from synth.plan import request_key
from synth.project import load
from synth.rows import AttemptRow, OutcomeRow
from synth.steps import Collected, collect_step, get_ready
from synth.stop import Stop
from synth.wire import Call, Completion, Usage

OFFERING = "smollm2@self-host"
MODEL = "smollm2-135m"
WORDS = ("lost", "found", "blocked", "frozen", "late", "early", "paid", "owed")
SECTIONS: dict[str, dict[str, Any]] = {
    "use": {"purpose": "train_specialist", "distribution": "internal"},
    "teacher": {"offering": OFFERING, "model": MODEL},
    "sampling": {"max_tokens": 16},
    "prompts": {"file": "prompts.jsonl", "licence": "CC0-1.0", "known": ["intent"]},
    "limits": {"concurrency": 4, "deadline_seconds": 5},
    "dataset": {"name": "bot"},
}
PRICED = {"price": {"input": 1.0, "output": 2.0}, "budget_usd": 1.0}


def project(folder: Path, base_url: str, *, rows: int = 12, **sections: Mapping[str, Any]) -> Path:
    """A project of `rows` prompts whose teacher answers at `base_url`; returns its TOML."""
    folder.mkdir(parents=True, exist_ok=True)
    given = {**SECTIONS, "teacher": {**SECTIONS["teacher"], "base_url": base_url}}
    tables = {
        name: {**given.get(name, {}), **sections.get(name, {})}
        for name in (*given, *(set(sections) - set(given)))
    }
    lines = [
        line
        for name, table in tables.items()
        for line in (f"[{name}]", *(f"{key} = {toml(value)}" for key, value in table.items()))
    ]
    (folder / "project.toml").write_text("\n".join(lines) + "\n")
    (folder / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in texts(rows)))
    return folder / "project.toml"


def texts(rows: int) -> list[dict[str, str]]:
    return [
        {"id": f"p{n:04}", "message": f"My card {n} is {WORDS[n % 8]}", "intent": WORDS[n % 4]}
        for n in range(rows)
    ]


def toml(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{json.dumps(k)} = {toml(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    return json.dumps(value)


def bench_of(path: Path, *overrides: str, environment: Mapping[str, str] | None = None) -> Bench:
    display = Display(Console(file=io.StringIO(), width=200))
    return Bench(load(path, overrides), display, environment or {})


def said(bench: Bench) -> str:
    """What the display showed."""
    file = bench.display.console.file
    assert isinstance(file, io.StringIO)
    return file.getvalue()


def ask(path: Path, *overrides: str, environment: Mapping[str, str] | None = None) -> Collected:
    """One whole collection, in this process."""
    bench = bench_of(path, *overrides, environment=environment)
    with bench.open(create=True) as ledger:
        return asyncio.run(collect_step(bench, ledger, get_ready(bench), Stop()))


def opened(path: Path) -> Ledger:
    """The ledger of a project file; the caller closes it."""
    return Ledger.open(path.parent / "ledger.duckdb", clock=time.time, create=False)


def asked(path: Path, sql: str) -> list[tuple[Any, ...]]:
    """The rows of a query on a project's ledger."""
    with opened(path) as ledger:
        return ledger.rows(sql)


def permit(folder: Path, action: Action = Action.COLLECT) -> Permit:
    return permit_for(bench_of(project(folder, "http://127.0.0.1:9/v1")), action)


def teacher(**settings: Any) -> Teacher:
    given = {"offering": OFFERING, "model": MODEL, "base_url": "http://127.0.0.1:9/v1"}
    return Teacher.model_validate({**given, **settings})


def sampling(**settings: Any) -> Sampling:
    return Sampling.model_validate({"max_tokens": 16, **settings})


def call(number: int = 0, body: bytes = b"") -> Call:
    sent = (
        body
        or json.dumps(
            {"model": MODEL, "messages": [{"role": "user", "content": f"message {number}"}]}
        ).encode()
    )
    key = request_key("http://127.0.0.1:9/v1", "/chat/completions", sent, 0)
    return Call("/chat/completions", sent, key, f"p{number:04}", 0, "train", 40)


def attempt_row(of: Call, number: int = 1, reserve: int = 100) -> AttemptRow:
    return AttemptRow(
        id=f"{of.key[7:31]}.{number}", at=1, call=of, base="http://127.0.0.1:9/v1",
        offering=OFFERING, model=MODEL, decision="sha256:d", terms_pin="sha256:t",
        prices="own", reserve_nano=reserve,
    )  # fmt: skip


def outcome_row(attempt: AttemptRow, outcome: str = "ok", kind: str = "") -> OutcomeRow:
    return OutcomeRow(
        attempt=attempt.id, key=attempt.call.key, at=2, outcome=outcome, failure=kind, message="",
        status=200, served_model=MODEL, provider_request_id="r1", prompt_tokens=3,
        completion_tokens=2, cached_tokens=0, reasoning_tokens=0, estimated=False, cost_nano=7,
        milliseconds=5, completion=completion() if outcome == "ok" else None, raw=b'{"a": 1}',
        headers={"date": "today"}, salt=b"s" * 16,
    )  # fmt: skip


def completion(text: str = "All good", **fields: Any) -> Completion:
    signal = TokenLogprobs.of(
        token_bytes=(text.encode(),), token_logprobs=(-0.5,),
        top_bytes=((text.encode(), b"No"),), top_logprobs=((-0.5, -1.25),), top_ids=((),),
    )  # fmt: skip
    return Completion(text, "stop", Usage(3, 2), MODEL, **{"logprobs": signal, **fields})


def self_signed(folder: Path) -> ssl.SSLContext:
    """TLS for 127.0.0.1 that nobody vouches for."""
    private = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    day = datetime.now(UTC)
    made = x509.CertificateBuilder(
        name, name, private.public_key(), x509.random_serial_number(),
        day - timedelta(days=1), day + timedelta(days=1),
    ).sign(private, hashes.SHA256())  # fmt: skip
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / "server.pem").write_bytes(pem + made.public_bytes(Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem")
    return context


class Time:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        until = self.now + seconds
        await asyncio.sleep(0)
        self.now = max(self.now, until)
