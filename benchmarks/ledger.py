"""How long does a ledger of a million rows take to open, resume, verify, and answer each question?

python benchmarks/ledger.py [ROWS]

The rows go in by the ledger's own path (`append_all`): attempt, outcome with its completion of
about 200 tokens, and a verdict each, of three teachers on ten days. Then each thing is done once,
and its seconds stand beside what it must not pass, with the CPU seconds of all its processes: on a
machine that others use those tell more. Exit 1 if one does at full size.

First the size of SIZED rows, with and without logprobs of 5 candidates a token, against the same
rows as one zstd Parquet file of DuckDB's: request key and body, prompt id, completion text, reply
as received, its headers, and per token its bytes, logprob and candidates as lists.
"""

import io
import json
import os
import random
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
from rich.console import Console

from policy.decide import decide_offering
from policy.terms import load_register
from policy.use import Use
from synth.audit import findings
from synth.audits.basis import acks, permissions, policy_changes
from synth.audits.by_terms import rows_by_terms
from synth.audits.content import erasure
from synth.audits.lineage import lineage_of_row
from synth.audits.money import usage
from synth.audits.teachers import AsOf, forbidden_rows, served_mismatch, use_of
from synth.bench import Bench, prompts_of
from synth.checkpoints import checkpoint
from synth.display import Display
from synth.ledger import Ledger
from synth.logprobs import TokenLogprobs
from synth.plan import plan, sort_out
from synth.project import load
from synth.proving import prove_consistency, prove_row
from synth.reach import Target, plan_takedown
from synth.retention import retention
from synth.rows import AttemptRow, DecisionRow, OutcomeRow, VerdictRow
from synth.wire import Call, Completion, Usage

FULL, SIZED, AT_ONCE, DAY = 1_000_000, 100_000, 2000, 86_400_000
TEACHERS = ("smollm2@self-host", "openai-api", "deepseek-api")
MODELS = {"smollm2@self-host": "smollm2-135m", "openai-api": "gpt-4o-mini",
          "deepseek-api": "deepseek-chat"}  # fmt: skip
PROJECT = """
[use]
purpose = "train_specialist"
distribution = "internal"
[teacher]
offering = "smollm2@self-host"
model = "smollm2-135m"
base_url = "http://127.0.0.1:9/v1"
[prompts]
file = "prompts.jsonl"
licence = "CC0-1.0"
[dataset]
name = "bot"
"""


def main(rows: int) -> int:
    """Build, time, print."""
    for candidates in (0, 5):
        print(sized(min(rows, SIZED), candidates), flush=True)
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        (home / "project.toml").write_text(PROJECT)
        (home / "prompts.jsonl").write_text(
            "".join(json.dumps({"id": f"p{n}", "message": f"q {n}"}) + "\n" for n in range(rows))
        )
        bench = Bench(load(home / "project.toml"), Display(Console(file=io.StringIO())), {})
        began = time.perf_counter()
        build(bench, rows)
        size = (home / "ledger.duckdb").stat().st_size / 2**20
        print(f"{rows:,} rows built in {time.perf_counter() - began:.0f} s, {size:,.0f} MiB")
        missed = [name for name, seconds, most in timed(bench, rows) if seconds > most]
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"peak memory {peak:,.0f} MiB; over the limit: {', '.join(missed) or 'none'}")
    return 1 if missed and rows >= FULL else 0


def sized(rows: int, candidates: int) -> str:
    """The ledger of a completed run, beside the same rows as zstd Parquet: without the replies as
    received, which Parquet files of others do not keep, and with them."""
    rng = random.Random(1)
    words = [f"{rng.choice(('pay', 'card', 'limit'))}{n}" for n in range(3000)]
    with tempfile.TemporaryDirectory() as folder, duckdb.connect() as table:
        table.execute("CREATE TABLE rows (key VARCHAR, prompt VARCHAR, text VARCHAR,"
                      " tokens VARCHAR[], logprobs FLOAT[], reply VARCHAR)")  # fmt: skip
        path = Path(folder) / "ledger.duckdb"
        with Ledger.open(path, clock=time.time) as ledger:
            for first in range(0, rows, AT_ONCE):
                made = [exchange(n, rng, words, candidates)
                        for n in range(first, min(first + AT_ONCE, rows))]  # fmt: skip
                ledger.append_all(
                    [one for attempt, outcome, _ in made for one in (attempt, outcome)]
                )
                table.execute(
                    "INSERT INTO rows SELECT unnest($1::VARCHAR[]), unnest($2::VARCHAR[]),"
                    " unnest($3::VARCHAR[]), unnest($4::VARCHAR[][]), unnest($5::FLOAT[][]),"
                    " unnest($6::VARCHAR[])",
                    [list(column) for column in zip(*(row for _, _, row in made), strict=True)],
                )
        ours = path.stat().st_size / rows
        theirs = []
        for columns in ("* EXCLUDE reply", "*"):
            file = Path(folder) / "rows.parquet"
            table.execute(f"COPY (SELECT {columns} FROM rows) TO '{file}' (COMPRESSION zstd)")
            theirs.append(file.stat().st_size / rows)
    return (
        f"{rows:,} rows, {candidates} candidates a token: {ours:,.0f} bytes a row;"
        f" {ours / theirs[0]:.2f} times key, prompt, text and logprobs as Parquet"
        f" ({theirs[0]:,.0f}), {ours / theirs[1]:.2f} times those and the reply ({theirs[1]:,.0f})"
    )


Exchange = tuple[AttemptRow, OutcomeRow, tuple[Any, ...]]


def exchange(n: int, rng: random.Random, words: list[str], candidates: int) -> Exchange:
    """One request with its reply of 200 tokens, and the same as a row of a table."""
    tokens = [f" {one}" for one in rng.choices(words, k=200)]
    text, prompt = "".join(tokens), " ".join(rng.choices(words, k=30))
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": prompt}]}).encode()
    found = [[-abs(rng.gauss(0, 2)) for _ in range(candidates)] for _ in tokens if candidates]
    tops = [[f" {one}" for one in rng.choices(words, k=candidates)] for _ in found]
    signal = TokenLogprobs.of(
        token_bytes=tuple(one.encode() for one in tokens) if candidates else (),
        token_logprobs=tuple(one[0] for one in found),
        top_bytes=tuple(tuple(one.encode() for one in row) for row in tops),
        top_logprobs=tuple(map(tuple, found)),
    )
    said = [
        {"token": token, "logprob": row[0], "bytes": list(token.encode()),
         "top_logprobs": [{"token": one, "logprob": value, "bytes": list(one.encode())}
                          for one, value in zip(names, row, strict=True)]}
        for token, row, names in zip(tokens, found, tops, strict=False)
    ]  # fmt: skip
    reply = json.dumps({
        "id": f"chatcmpl-{rng.randbytes(12).hex()}", "object": "chat.completion", "model": "m",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text},
                     "logprobs": {"content": said} if said else None, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 60, "completion_tokens": 200, "total_tokens": 260},
    })  # fmt: skip
    call = Call(
        "/chat/completions", body, "sha256:" + rng.randbytes(32).hex(), f"p{n}", 0, "train", 60
    )
    attempt = AttemptRow(f"{call.key[7:31]}.1", 1764000000000 + n, call, "http://127.0.0.1:9/v1",
                         "openai-api", "m", "sha256:d", "sha256:t", "own", 100)  # fmt: skip
    completion = Completion(text, "stop", Usage(60, 200), "m", logprobs=signal)
    outcome = OutcomeRow(
        attempt.id, call.key, attempt.at + 900, "ok", "", "", 200, "m", f"req_{n}", 60, 200, 0, 0,
        False, 70, 900, completion, reply.encode(), {"date": "today"}, rng.randbytes(16),
    )  # fmt: skip
    flat = [token for pair in zip(tokens, tops, strict=False) for token in (pair[0], *pair[1])]
    values = [value for row in found for value in row]
    return attempt, outcome, (call.key, body.decode(), text, flat, values, reply)


def build(bench: Bench, rows: int) -> None:
    """The ledger, by its own path."""
    rng, register = random.Random(0), load_register()
    words = ["card", "payment", "refund", "account", "transfer", "limit", "branch", "letter"]
    project = bench.project
    with Ledger.open(project.ledger, clock=time.time) as ledger:
        decided = {one: decide_offering(Use(), register, one, bench.today) for one in TEACHERS}
        ledger.append_all(
            [DecisionRow(one.digest, 1, one.model_dump_json()) for one in decided.values()]
        )
        calls = plan(project.sections.teacher, project.sections.sampling, prompts_of(bench),
                     "http://127.0.0.1:9/v1")  # fmt: skip
        batch: list[AttemptRow | OutcomeRow | VerdictRow] = []
        for n in range(rows):
            offering, call = TEACHERS[n % 3], calls[n]
            at = ledger.now() - n % 10 * DAY
            attempt = AttemptRow(
                f"{call.key[7:31]}.1", at, call, "http://127.0.0.1:9/v1", offering,
                MODELS[offering], decided[offering].digest, decided[offering].terms_pin, "own", 100,
            )  # fmt: skip
            text = " ".join(rng.choices(words, k=160)) + f" {n}"
            served = MODELS[offering] if n % 1000 else "another-model"
            batch += [
                attempt,
                OutcomeRow(
                    attempt.id, call.key, at, "ok", "", "", 200, served, f"r{n}", 30, 200, 0, 0,
                    False, 70, 5, Completion(text, "stop", Usage(30, 200), served),
                    json.dumps({"id": f"r{n}", "text": text}).encode(), {"date": "today"},
                    rng.randbytes(16),
                ),
                VerdictRow(attempt.id, (("finish", "sha256:f", n % 50 > 0, "length", ""),)),
            ]  # fmt: skip
            if len(batch) >= AT_ONCE * 3:
                ledger.append_all(batch)
                batch = []
        ledger.append_all(batch)
        checkpoint(ledger, project.home)


def timed(bench: Bench, rows: int) -> Iterator[tuple[str, float, float]]:
    """(what, seconds, the most it may take) of everything."""
    project, home = bench.project, bench.project.home
    began = time.perf_counter()
    ledger = Ledger.open(project.ledger, clock=time.time, create=False)
    yield shown("open", time.perf_counter() - began, 2.0)
    with ledger:
        prompts = prompts_of(bench)
        calls = plan(project.sections.teacher, project.sections.sampling, prompts,
                     "http://127.0.0.1:9/v1")  # fmt: skip
        yield clocked("resume", lambda: sort_out(ledger, calls, project.sections.limits), 5.0)
        for name, question in questions(bench, ledger).items():
            yield clocked(name, question, 3.0)
        note = max((home / "checkpoints").glob("*.note"))
        middle = f"p{rows // 2}"
        yield clocked("verify row", lambda: prove_row(ledger, home, middle, note), 3.0)
        yield clocked("verify consistency", lambda: prove_consistency(ledger, home, note), 3.0)
        yield clocked("verify", lambda: verified(ledger, home), 60.0)


def questions(bench: Bench, ledger: Ledger) -> dict[str, Callable[[], object]]:
    """Each question that is put to the ledger."""
    use, home = use_of(bench, "train_specialist", ""), bench.project.home
    return {
        "audit rows, at collection": lambda: forbidden_rows(bench, ledger, use, AsOf()),
        "audit rows, now": lambda: forbidden_rows(bench, ledger, use, AsOf("now")),
        "audit rows --served-mismatch": lambda: served_mismatch(ledger),
        "audit usage": lambda: usage(bench, ledger, ("offering", "day")),
        "audit --terms": lambda: rows_by_terms(ledger, bench.register, bench.today),
        "audit --row": lambda: lineage_of_row(ledger, "p7"),
        "audit acks": lambda: acks(bench, ledger, None),
        "audit permissions": lambda: permissions(bench, ledger),
        "audit policy-changes": lambda: policy_changes(ledger),
        "audit retention": lambda: retention(bench, ledger),
        "takedown plan --offering": lambda: plan_takedown(ledger, home, Target("openai-api")),
        "takedown plan --row": lambda: plan_takedown(ledger, home, Target(rows=("p7",))),
        "audit erasure": lambda: searched(bench, ledger),
    }


def searched(bench: Bench, ledger: Ledger) -> None:
    """As `spiritsafe audit erasure` does it."""
    ledger.only_read()
    erasure(bench, ledger, "Jane Doe")


def check(ledger: Ledger, home: Path) -> None:
    """Everything holds, or this is no benchmark."""
    found = findings(ledger, home)
    assert not found, found[:3]


def verified(ledger: Ledger, home: Path) -> None:
    """As `spiritsafe verify` does it: the file is shared with one process for each core."""
    ledger.only_read()
    check(ledger, home)


def clocked(name: str, question: Callable[[], object], most: float) -> tuple[str, float, float]:
    """One thing, once."""
    began, used = time.perf_counter(), cpu()
    question()
    return shown(name, time.perf_counter() - began, most, cpu() - used)


def cpu() -> float:
    """Seconds of all cores that this process and those that it waited for used."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def shown(name: str, seconds: float, most: float, used: float = 0) -> tuple[str, float, float]:
    """A line of the table."""
    print(f"{name:<30} {seconds:8.2f} s   at most {most:.0f}   CPU {used:.2f} s", flush=True)
    return name, seconds, most


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else FULL))
