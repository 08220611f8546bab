"""CPU a request, everything included, beside the openai client with its defaults. One run.

    python benchmarks/collect.py [REQUESTS]

Ours: policy, budget, two durable ledger rows a request, parsing, the Merkle log. The other: the
typed call, nothing stored. The server is a process of its own and its CPU is not counted.
"""

import asyncio
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path

import openai

from policy.decide import decide
from policy.guardrails import NO_RAILS
from policy.permit import Action, require
from policy.terms import load_register
from policy.use import Use
from synth.collect import Collection, collect
from synth.config import Limits, Sampling, Teacher
from synth.guard import Guard
from synth.ledger import Ledger
from synth.pacing import Budget
from synth.plan import plan, sort_out
from synth.pricing import Price
from synth.prompts import Prompt
from synth.secrets import Key
from synth.stop import Stop
from synth.transport import open_client

DAY = date(2026, 11, 24)


def cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def measured(work: Callable[[], None], requests: int) -> tuple[float, float]:
    """(CPU ms a request, requests a second)."""
    started, burnt = time.monotonic(), cpu()
    work()
    return (cpu() - burnt) * 1000 / requests, requests / (time.monotonic() - started)


def ours(base_url: str, requests: int, concurrency: int) -> None:
    teacher = Teacher(offering="smollm2@self-host", model="gpt-4o-mini", base_url=base_url)
    sampling, limits = Sampling(max_tokens=16), Limits(concurrency=concurrency)
    prompts = [
        Prompt(
            str(n),
            "train",
            ({"role": "user", "content": "Classify the message. " * 45 + f" message {n}"},),
            (),
            {},
            "",
        )
        for n in range(requests)
    ]
    terms = load_register().find(teacher.offering, DAY)
    use = Use(purpose="train_specialist", distribution="internal")
    permit = require(decide(use, terms, DAY, offering=teacher.offering), Action.COLLECT)

    async def run(ledger: Ledger) -> None:
        work = sort_out(ledger, plan(teacher, sampling, prompts, base_url), limits)
        client = open_client(base_url, Key("none"), limit=2**20)
        collection = Collection(
            teacher=teacher,
            sampling=sampling,
            limits=limits,
            plan=work,
            ledger=ledger,
            client=client,
            base=base_url,
            price=Price("m", "free"),
            budget=Budget(None, 0),
            guard=Guard(NO_RAILS, teacher.offering, print),
            on_event=lambda event: None,
            clock=time.time,
            monotonic=time.monotonic,
            chance=random.Random(0),
        )
        summary = await collect(collection, permit, Stop())
        assert summary.answers == requests, summary
        await client.close()

    with (
        tempfile.TemporaryDirectory() as folder,
        Ledger.open(Path(folder, "ledger.duckdb"), clock=time.time) as ledger,
    ):
        asyncio.run(run(ledger))


def theirs(base_url: str, requests: int, concurrency: int) -> None:
    async def run() -> None:
        left = iter(range(requests))
        async with openai.AsyncOpenAI(api_key="none", base_url=base_url) as client:

            async def worker() -> None:
                for n in left:
                    await client.chat.completions.create(
                        model="gpt-4o-mini",
                        messages=[
                            {
                                "role": "user",
                                "content": "Classify the message. " * 45 + f" message {n}",
                            }
                        ],
                        max_tokens=16,
                    )

            await asyncio.gather(*(worker() for _ in range(concurrency)))

    asyncio.run(run())


def main(requests: int) -> None:
    command = [sys.executable, "-m", "tests.fake_teacher", "--script", "plain"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout
        base_url = server.stdout.readline().strip()
        print(f"{'in flight':>9}  {'ours ms':>8}  {'openai ms':>9}  {'ratio':>6}  {'ours/s':>7}")
        for concurrency in (64, 512):
            mine, rate = measured(lambda c=concurrency: ours(base_url, requests, c), requests)
            other, _ = measured(lambda c=concurrency: theirs(base_url, requests, c), requests)
            row = (
                f"{concurrency:>9}  {mine:>8.2f}  {other:>9.2f}  {mine / other:>6.2f}  {rate:>7.0f}"
            )
            print(row)
            print(json.dumps({"in_flight": concurrency, "ratio": round(mine / other, 3)}))
    finally:
        server.terminate()
        server.wait()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 2000)
