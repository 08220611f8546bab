"""How long does a ledger of a million rows take to open, resume, verify, and answer each question?

python benchmarks/ledger.py [ROWS]

The rows go in by the ledger's own path (`append_all`): attempt, outcome with its completion of
about 200 tokens, and a verdict each, of three teachers on ten days. Then each thing is done once,
in one process, and its seconds stand beside what it must not pass. Exit 1 if one does at full size.
"""

import io
import json
import random
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

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
from synth.plan import plan, sort_out
from synth.project import load
from synth.proving import prove_consistency, prove_row
from synth.reach import Target, plan_takedown
from synth.retention import retention
from synth.rows import AttemptRow, DecisionRow, OutcomeRow, VerdictRow
from synth.wire import Completion, Usage

FULL, AT_ONCE, DAY = 1_000_000, 2000, 86_400_000
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
        yield clocked("verify", lambda: check(ledger, home), 60.0)


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
        "audit erasure": lambda: erasure(bench, ledger, "Jane Doe"),
    }


def check(ledger: Ledger, home: Path) -> None:
    """Everything holds, or this is no benchmark."""
    found = findings(ledger, home)
    assert not found, found[:3]


def clocked(name: str, question: Callable[[], object], most: float) -> tuple[str, float, float]:
    """One thing, once."""
    began = time.perf_counter()
    question()
    return shown(name, time.perf_counter() - began, most)


def shown(name: str, seconds: float, most: float) -> tuple[str, float, float]:
    """A line of the table."""
    print(f"{name:<30} {seconds:8.2f} s   at most {most:.0f}", flush=True)
    return name, seconds, most


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else FULL))
