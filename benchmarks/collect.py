"""What a request costs, everything stored, beside the clients that people use. One table.

    python benchmarks/collect.py [cpu] [logprobs] [latency] [durable] [memory]

Without words all but memory, about four minutes. Each client is a process of its own, the server
another (its CPU is never counted), and ratios are of one run: on a busy machine they hold where
milliseconds do not. Peers live in environments of their own (`make bench-peers`); one that is not
there is named and left out.
"""

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.teacher import body, teacher

HERE = Path(__file__).parent
PEERS = {
    "openai": "AsyncOpenAI, defaults",
    "openai_aiohttp": "AsyncOpenAI over aiohttp",
    "curator": "Curator",
    "litellm": "LiteLLM",
    "distilabel": "distilabel",
    "data_designer": "DataDesigner",
}
"""Name in clients.py -> name in the table. Ours stores each answer twice over; the first two and
LiteLLM store nothing."""
Found = Mapping[str, float]


def python_of(client: str) -> str | None:
    """The interpreter of a client's environment, or None where it is not installed."""
    if client in ("ours", "durable", "openai"):
        return sys.executable
    path = HERE.parent / f".venv-bench-{client.replace('_', '-')}" / "bin" / "python"
    return str(path) if path.exists() else None


def measured(client: str, url: str, requests: int, concurrency: int, *words: str) -> Found | None:
    """One client's line; None, and why, where it cannot run."""
    python = python_of(client)
    if python is None:
        print(f"  {client} is not installed here: `make bench-peers`", file=sys.stderr)
        return None
    command = [python, str(HERE / "clients.py"), client, url, str(requests), str(concurrency)]
    done = subprocess.run([*command, *words], capture_output=True, text=True, check=False)
    if done.returncode:
        print(f"  {client} failed: {done.stderr.strip()[-300:]}", file=sys.stderr)
        return None
    found: Found = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def cpu() -> None:
    """CPU a request at 64 and 512 in flight, against a server that answers at once."""
    rows: dict[str, dict[int, Found]] = {}
    with teacher(body()) as url:
        for client in ("ours", *PEERS):
            for concurrency in (64, 512):
                requests = {"ours": 6000, "openai": 3000}.get(client, 1024)
                if found := measured(client, url, requests, concurrency):
                    rows.setdefault(client, {})[concurrency] = found
    print("\nCPU ms a request, 1 KB prompts, 1.5 KB replies, a server that answers at once\n")
    print(f"{'client':<26}{'64':>7}{'512':>7}{'growth':>8}{'ours/64':>9}{'ours/512':>9}", end="")
    print(f"{'per s 64':>10}{'per s 512':>10}{'MB':>6}")
    mine = rows["ours"]
    for client, found in rows.items():
        if len(found) < 2:
            continue
        low, high = found[64]["cpu_ms"], found[512]["cpu_ms"]
        print(
            f"{PEERS.get(client, 'ours, stored'):<26}{low:>7.2f}{high:>7.2f}{high / low:>8.2f}"
            f"{mine[64]['cpu_ms'] / low:>9.2f}{mine[512]['cpu_ms'] / high:>9.2f}"
            f"{found[64]['per_second']:>10.0f}{found[512]['per_second']:>10.0f}"
            f"{found[512]['rss_mb']:>6.0f}"
        )


def logprobs() -> None:
    """A reply of 310 KB: 200 tokens with 20 logprobs each. Three rounds in turn, since a machine's
    speed changes from minute to minute."""
    reply = body(logprobs=True)
    rounds: list[tuple[float, float]] = []
    with teacher(reply) as url:
        for _ in range(3):
            mine = measured("ours", url, 1500, 64, "logprobs")
            other = measured("openai", url, 200, 64, "logprobs")
            if mine and other:
                rounds.append((mine["cpu_ms"], other["cpu_ms"]))
    size = f"{len(reply) / 1000:.0f} KB"
    print(f"\nCPU ms a reply of {size} with 20 logprobs on 200 tokens, 64 in flight")
    for mine_ms, other_ms in rounds:
        print(f"ours, decoded and stored {mine_ms:.1f}, AsyncOpenAI {other_ms:.1f}", end="")
        print(f", {mine_ms / other_ms:.3f} of it")


def latency() -> None:
    """A teacher that takes 500 ms: which share of the ideal rate is reached."""
    print("\nA teacher of 500 ms, requests a second and share of the ideal")
    with teacher(body(), delay_ms=500) as url:
        for client, requests, concurrency in (
            ("ours", 40_000, 512),
            ("openai", 2048, 512),
            ("ours", 40_000, 2000),
        ):
            ideal = concurrency / 0.5
            if found := measured(client, url, requests, concurrency):
                rate = found.get("collected_per_second", found["per_second"])
                print(
                    f"{client:<8}{concurrency:>5} in flight{rate:>7.0f}{rate / ideal:>7.0%}", end=""
                )
                print(f"  {found['cpu_ms']:.2f} ms of CPU, no error")


def durable() -> None:
    """Rows that are on the disk when their writer goes on."""
    print("\nDurable rows a second, and how long 99 of 100 waited for theirs")
    for concurrency in (64, 512):
        if found := measured("durable", "", 10_000, concurrency):
            print(
                f"{concurrency:>4} at once{found['per_second']:>8.0f}"
                f"{found['ack_p99_ms']:>8.0f} ms  {found['cpu_ms'] * 1000:.0f} us of CPU a row"
            )


def memory() -> None:
    """Peak memory, 20 samples a prompt."""
    print("\nPeak memory, 64 in flight, 20 samples a prompt")
    with teacher(body()) as url:
        for requests in (10_000, 50_000, 200_000):
            if found := measured("ours", url, requests, 64, "samples"):
                print(f"{found['answers']:>8.0f} requests{found['rss_mb']:>7.0f} MB", end="")
                print(f"  {found['cpu_ms']:.2f} ms of CPU a request")


PARTS = {part.__name__: part for part in (cpu, logprobs, latency, durable, memory)}


if __name__ == "__main__":
    for part in sys.argv[1:] or ["cpu", "logprobs", "latency", "durable"]:
        PARTS[part]()
