"""Killed 50 times over 2,000 requests: what was paid twice, and what was paid and forgotten.

    python benchmarks/kills.py [REQUESTS] [KILLS] [SEED]

Ours is `spiritsafe collect`; the other is a careful user's script, the openai client with its
defaults, that saves each answer to SQLite as it arrives and on a new start asks for what is not
there. Both meet the same server script (10 % refused, 10 % billed and then reset) and the same
seeded instants of kill -9. The server counts what it bills. After each kill the ledger is opened
and verified, and after the last one both run to their end.
"""

import asyncio
import hashlib
import json
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import openai

from tests.command import SPIRITSAFE, environment
from tests.synth.killing import Kill, Outside, kill_loop, outside, schedule
from tests.synth.oracle import Oracle, journal_of
from tests.synth.parts import MODEL, PRICED, project, texts

CONCURRENCY = 8


@dataclass(frozen=True)
class Figures:
    """One client's row of the table."""

    client: str
    kills: int
    sent: int
    """Requests that reached the server."""
    billed: int
    twice: int
    """Prompts that were billed more than once."""
    again: int
    """Payments beyond the first, of all prompts."""
    absent: int
    """Payments that the client's own records do not know of."""
    answered: int
    held: int
    """Prompts whose outcome is unknown, listed and not asked again."""
    seconds: float


def ours(rows: int, kills: Sequence[Kill], folder: Path) -> Figures:
    with outside(folder / "billed.jsonl") as server:
        limits = {"concurrency": CONCURRENCY, **PRICED}
        path = project(folder / "home", server.base_url, rows=rows, limits=limits)
        oracle = Oracle(path, journal_of(server.log))
        command = [*SPIRITSAFE, "collect", str(path)]
        started = time.monotonic()
        killed = kill_loop(command, server, kills, log=folder / "said", after=oracle.holds)
        subprocess.run(command, env=environment(), capture_output=True, check=False)
        oracle.holds()
        oracle.is_complete(rows)
        held, absent = oracle.unknown(), oracle.absent()
        return figures("spiritsafe collect", killed, server, absent, rows - held, held, started)


def naive(rows: int, kills: Sequence[Kill], folder: Path) -> Figures:
    saved = folder / "answers.sqlite"
    with outside(folder / "billed.jsonl") as server:
        command = [sys.executable, __file__, "--naive", server.base_url, str(rows), str(saved)]
        started = time.monotonic()
        killed = kill_loop(command, server, kills, log=folder / "said")
        for _ in range(20):  # it gives up on a prompt after its retries, so it is run again
            subprocess.run(command, env=environment(), capture_output=True, check=False)
            with sqlite3.connect(saved) as file:
                answers = file.execute("SELECT count(*) FROM answer").fetchone()[0]
            if answers == rows:
                break
        absent = server.billed().total() - answers
        return figures("openai-python", killed, server, absent, answers, 0, started)


def figures(
    client: str, killed: int, server: Outside, absent: int, answered: int, held: int, since: float
) -> Figures:
    billed = server.billed()
    return Figures(
        client=client,
        kills=killed,
        sent=server.count(),
        billed=billed.total(),
        twice=sum(count > 1 for count in billed.values()),
        again=billed.total() - len(billed),
        absent=absent,
        answered=answered,
        held=held,
        seconds=time.monotonic() - since,
    )


async def naive_client(base_url: str, rows: int, saved: Path) -> None:
    """What a careful user writes: save each answer, skip what is saved."""
    file = sqlite3.connect(saved)
    file.execute("CREATE TABLE IF NOT EXISTS answer (id TEXT PRIMARY KEY, text TEXT)")
    done = {row[0] for row in file.execute("SELECT id FROM answer")}
    left = iter([row for row in texts(rows) if row["id"] not in done])
    client = openai.AsyncOpenAI(api_key="none", base_url=base_url)

    async def worker() -> None:
        for row in left:
            try:
                reply = await client.chat.completions.create(
                    model=MODEL,
                    messages=[{"role": "user", "content": row["message"]}],
                    max_tokens=16,
                )
            except openai.OpenAIError as error:
                print(error)
                continue
            values = (row["id"], reply.choices[0].message.content)
            file.execute("INSERT INTO answer VALUES (?, ?)", values)
            file.commit()

    await asyncio.gather(*(worker() for _ in range(CONCURRENCY)))


def main(rows: int, kills: int, seed: int) -> None:
    instants = schedule(seed, kills)
    named = hashlib.sha256(repr(instants).encode()).hexdigest()[:12]
    print(f"{rows} requests, {kills} kills, seed {seed}, schedule {named}")
    columns = ("kills", "sent", "billed", "twice", "again", "absent", "answered", "held", "seconds")
    print(f"{'client':<20}" + "".join(f"{name:>10}" for name in columns))
    for client in (ours, naive):
        with tempfile.TemporaryDirectory() as folder:
            row = vars(client(rows, instants, Path(folder)))
        cells = "".join(f"{row[name]:>10.0f}" for name in columns)
        print(f"{row['client']:<20}{cells}", flush=True)
        print(json.dumps({**row, "seconds": round(row["seconds"], 1)}), flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--naive"]:
        asyncio.run(naive_client(sys.argv[2], int(sys.argv[3]), Path(sys.argv[4])))
    else:
        given = [int(word) for word in sys.argv[1:]]
        main(*given, *(2000, 50, 1)[len(given) :])
