"""How close to a provider's limits, with how many refusals, beside other clients. One run, one
table.

    python benchmarks/limits.py [--seconds 60] [--peers]

The server (tests/rate_server.py) enforces 3,000 requests or 500,000 tokens a minute by token
bucket with a burst of 10 seconds and counts by itself. "allowed" is the share of what its bucket
let through in the whole run, the burst included; "second half" the share of the bare rate after
half the run. Without headers it says neither limits nor Retry-After: the rate is found in the
first half, and each run is twice as long. Last, a server that refuses a fifth of all at random.

Peers: openai-python with ten retries, and Curator in an environment of its own (`make
bench-peers`), with its own prompts and its defaults; it is stopped when the time is over, so what
it would lose in the end is not known.
"""

import argparse
import asyncio
import itertools
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
import urllib.request
from datetime import date
from pathlib import Path
from typing import Any

import openai

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.collect import python_of
from policy.decide import decide
from policy.guardrails import NO_RAILS
from policy.permit import Action, require
from policy.terms import load_register
from policy.use import Use
from synth.collect import Collection, collect
from synth.config import Limits, Sampling, Teacher
from synth.guard import Guard
from synth.ledger import Ledger
from synth.limiter import Limiter, Used
from synth.pacing import Budget
from synth.plan import plan, sort_out
from synth.pricing import Price
from synth.prompts import Prompt
from synth.rate_headers import parse
from synth.secrets import Key
from synth.stop import Stop
from synth.transport import open_client
from tests.rate_server import RateServer

DAY = date(2026, 11, 24)
MOST = 500
Counts = dict[str, int | None]
TEXT = "word " * 48  # about 60 tokens
LIMITS = {"3,000 requests": {"requests": 3000.0}, "500,000 tokens": {"tokens": 500_000.0}}


def cpu() -> float:
    """Of this process and of the clients that it has run; the server still runs."""
    who = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return sum(used.ru_utime + used.ru_stime for used in map(resource.getrusage, who))


def ours(base_url: str, concurrency: int, seconds: float, most: int | None = None) -> Counts:
    teacher = Teacher(offering="smollm2@self-host", model="m", base_url=base_url)
    sampling, limits = Sampling(max_tokens=MOST), Limits(concurrency=concurrency)
    prompts = [
        Prompt(str(n), "train", ({"role": "user", "content": f"{n} {TEXT}"},), (), {}, "")
        for n in range(most or int(seconds * 60) + 1000)
    ]
    terms = load_register().find(teacher.offering, DAY)
    use = Use(purpose="train_specialist", distribution="internal")
    permit = require(decide(use, terms, DAY, offering=teacher.offering), Action.COLLECT)

    async def run(ledger: Ledger) -> Counts:
        work = sort_out(ledger, plan(teacher, sampling, prompts, base_url), limits)
        client = open_client(base_url, Key("none"), limit=2**20)
        stop = Stop()
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
        asyncio.get_running_loop().call_later(seconds, lambda: setattr(stop, "interrupted", True))
        summary = await collect(collection, permit, stop)
        await client.close()
        return {"answers": summary.answers, "lost": sum(summary.failures.values())}

    with (
        tempfile.TemporaryDirectory() as folder,
        Ledger.open(Path(folder, "ledger.duckdb"), clock=time.time) as ledger,
    ):
        return asyncio.run(run(ledger))


def naive(base_url: str, concurrency: int, seconds: float) -> Counts:
    """openai-python as the documentation shows it, with more retries than its default."""
    counts: Counts = {"answers": 0, "lost": 0}

    async def run() -> None:
        ends, numbers = time.monotonic() + seconds, itertools.count()
        async with openai.AsyncOpenAI(api_key="none", base_url=base_url, max_retries=10) as client:

            async def worker() -> None:
                while time.monotonic() < ends:
                    text = f"{next(numbers)} {TEXT}"
                    try:
                        await client.chat.completions.create(
                            model="m",
                            messages=[{"role": "user", "content": text}],
                            max_tokens=MOST,
                        )
                        counts["answers"] += 1
                    except openai.OpenAIError:
                        counts["lost"] += 1

            tasks = [asyncio.create_task(worker()) for _ in range(concurrency)]
            await asyncio.wait(tasks, timeout=seconds + 5)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run(run())
    return counts


def curator(base_url: str, concurrency: int, seconds: float) -> Counts:
    """Curator finds the limits by itself, until the server has seen it for so many seconds."""
    python = python_of("curator")
    if python is None:
        raise FileNotFoundError("make bench-peers")
    script = Path(__file__).parent / "clients.py"
    requests = str(int(90 * (10 + seconds)))
    command = [python, str(script), "curator", base_url, requests, str(concurrency), "paced"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while process.poll() is None and counted(base_url)["seconds"] < seconds:
            time.sleep(0.5)
        process.kill()
    return {"answers": counted(base_url)["admitted"], "lost": None}


def counted(base_url: str) -> dict[str, Any]:
    """What the server has seen so far."""
    with urllib.request.urlopen(base_url.replace("/v1", "/stats"), timeout=30) as reply:
        found: dict[str, Any] = json.load(reply)
    return found


def at_random(chance: float, wanted: int, seconds: float) -> str:
    """Answers a second from a server that refuses by chance, as a share of what it would answer."""
    with RateServer(chance=chance, headers=False, retry_after=False, latency=(0.4, 0.6)) as server:
        counts = ours(server.base_url, wanted, seconds, int(seconds * wanted * 3))
        times = server.stats()["times"]
    later = sum(seconds / 3 <= one < seconds for one in times) / (seconds * 2 / 3)
    able = (1 - chance) * wanted / 0.5
    return f"{later:.0f} a second, {100 * later / able:.0f}% of {able:.0f}, {counts['lost']} lost"


def cell(client: Any, limit: dict[str, float], headers: bool, wanted: int, seconds: float) -> str:
    with RateServer(**limit, headers=headers, retry_after=headers) as server:
        burnt = cpu()
        counts = client(server.base_url, wanted, seconds)
        burnt = cpu() - burnt
        stats = server.stats()
    half = seconds / 2
    later = [one for one in stats["times"] if half <= one < seconds]
    refused = [one for one in stats["refusals"] if half <= one < seconds]
    # The stop drains what is in flight; the allowance is counted until the stop.
    until = sum(one < seconds for one in stats["times"])
    rate = (limit["requests"] / 60) if "requests" in limit else by_tokens(limit, stats)
    allowed = rate * (10 + seconds)
    return (
        f"{100 * until / allowed:>7.1f}%  {100 * len(later) / (rate * half):>10.1f}%"
        f"  {1000 * stats['refused'] / max(1, stats['admitted']):>9.2f}"
        f"  {1000 * len(refused) / max(1, len(later)):>11.2f}"
        f"  {'?' if counts['lost'] is None else counts['lost']:>5}  {stats['peak']:>5}"
        f"  {1000 * burnt / max(1, stats['admitted']):>7.2f}"
    )


def by_tokens(limit: dict[str, float], stats: dict[str, Any]) -> float:
    """Requests a second that a token limit allows, at what they really used."""
    used = (stats["prompt_tokens"] + stats["completion_tokens"]) / max(1, stats["admitted"])
    return limit["tokens"] / 60 / used


def admit_and_settle(flying: int = 512, requests: int = 20_000) -> tuple[float, float]:
    """CPU microseconds of (admission, settlement) with both limits stated and 512 in flight."""
    limiter = Limiter(Limits(concurrency=flying), random.Random(0))
    out, now, spent = [], 1.0, [0.0, 0.0]
    headers = {
        "x-ratelimit-limit-requests": "30000000",
        "x-ratelimit-remaining-requests": "5000000",
        "x-ratelimit-reset-requests": "1ms",
        "x-ratelimit-limit-tokens": "30000000000",
        "x-ratelimit-remaining-tokens": "5000000000",
        "x-ratelimit-reset-tokens": "1ms",
        "date": "Tue, 24 Nov 2026 11:00:00 GMT",
    }
    for number in range(requests):
        started = time.process_time()
        ticket = limiter.ticket(240, MOST)
        if number == 0 or limiter.wait(ticket, now) == 0:
            limiter.take(ticket, now)
            out.append(ticket)
        spent[0] += time.process_time() - started
        now += 0.001
        if number == 0 or len(out) >= flying:
            started = time.process_time()
            limiter.answered(out.pop(0), now, parse(headers, 1.795e9), Used(60, 300))
            spent[1] += time.process_time() - started
    return 1e6 * spent[0] / requests, 1e6 * spent[1] / (requests - flying)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--peers", action="store_true", help="openai-python, Curator too")
    parser.add_argument("--only", default="", help="one limit, by its first letters")
    given = parser.parse_args()
    admit, settle = admit_and_settle()
    print(f"CPU of a turn at 512 in flight: {admit:.1f} us to admit, {settle:.1f} us to settle")
    print(
        f"{'limit':<15} {'headers':<8}{'wanted':>6}  {'client':<8}"
        f"{'allowed':>8}  {'second half':>11}"
        f"  {'429/1000':>9}  {'second half':>11}  {'lost':>5}  {'peak':>5}  {'CPU ms':>7}"
    )
    clients: list[tuple[str, Any]] = [("ours", ours)]
    if given.peers:
        clients += [("openai", naive), ("curator", curator)]
    for (name, limit), headers, wanted in itertools.product(
        LIMITS.items(), (True, False), (64, 512)
    ):
        if not name.startswith(given.only):
            continue
        for who, client in clients:
            seconds = given.seconds if headers else 2 * given.seconds
            try:
                line = cell(client, limit, headers, wanted, seconds)
            except FileNotFoundError as missing:
                line = f"  not installed: {missing}"
            print(
                f"{name:<15} {'yes' if headers else 'no':<8}{wanted:>6}  {who:<8}{line}", flush=True
            )
    for wanted in (64, 512):
        print(f"a fifth refused at random, {wanted}: {at_random(0.2, wanted, given.seconds / 2)}")


if __name__ == "__main__":
    main()
