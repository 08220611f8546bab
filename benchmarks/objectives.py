"""What an objective costs: `top_k` beside `sft` through one kernel, the naive way, and TRL's own.

    python benchmarks/objectives.py            # four minutes or so on two cores

Each cell is a process of its own; the cells of one table run in turns, so that a busy machine
slows all of them. CPU seconds and wall seconds are the least of the rounds; memory is the highest
resident size above what the process held before, so the gradients of head and states count.
benchmarks/steps.py times whole training steps.

- one pass: hidden states and a head of SmolLM2's width, `--tokens` positions, forward, backward;
- naive: the same losses from all the logits by torch's own functions;
- TRL: `trl.kernels.ChunkedLogProbFunction`, what its SFTTrainer runs.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

WIDTH, TOP = 576, 20
CELLS = ("sft", "top_k", "naive sft", "naive top_k", "TRL sft")
VOCABULARIES = (49_152, 151_936)


def main() -> None:
    options = read_options()
    if options.cell:
        print(json.dumps(measure(options.cell, options.vocabulary, options.tokens)))
        return
    for vocabulary in VOCABULARIES:
        found = in_turns(CELLS, vocabulary, options.tokens, options.rounds)
        show(vocabulary, options.tokens, found)


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--tokens", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cell", choices=CELLS)
    parser.add_argument("--vocabulary", type=int, default=VOCABULARIES[0])
    return parser.parse_args()


def in_turns(
    cells: tuple[str, ...], vocabulary: int, tokens: int, rounds: int
) -> dict[str, dict[str, float]]:
    """The least of each figure over the rounds."""
    best: dict[str, dict[str, float]] = {}
    for _ in range(rounds):
        for cell in cells:
            found = run_cell(cell, vocabulary, tokens)
            known = best.setdefault(cell, found)
            best[cell] = {key: min(known[key], found[key]) for key in found}
    return best


def run_cell(cell: str, vocabulary: int, tokens: int) -> dict[str, float]:
    shape = ("--vocabulary", str(vocabulary), "--tokens", str(tokens))
    command = [sys.executable, __file__, "--cell", cell, *shape]
    # so that freed memory goes back at once and the peak is that of what is in use
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": "1000000", "GOMP_SPINCOUNT": "0"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def measure(cell: str, vocabulary: int, tokens: int) -> dict[str, float]:
    """One forward and backward pass after a small one that warms everything up."""
    import torch

    torch.manual_seed(0)
    hidden = torch.randn(tokens, WIDTH).requires_grad_()
    weight = torch.randn(vocabulary, WIDTH).mul_(WIDTH**-0.5).requires_grad_()
    ids = torch.randint(vocabulary // TOP, (tokens, TOP)) * TOP + torch.arange(TOP)
    logprobs = torch.randn(tokens, TOP).log_softmax(-1) - 0.1
    labels = ids[:, 0].clone()
    labels[::20] = (labels[::20] + 1) % vocabulary
    loss = losses()[cell]

    def run(n: int) -> torch.Tensor:
        return loss(hidden[:n], weight, labels[:n], ids[:n], logprobs[:n])

    run(8).backward()
    hidden.grad = weight.grad = None
    before = memory("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak so far is forgotten: man 5 proc
    cpu, wall = time.process_time(), time.perf_counter()
    run(tokens).backward()
    return {
        "cpu": time.process_time() - cpu,
        "wall": time.perf_counter() - wall,
        "MiB": memory("VmHWM") - before,
    }


def memory(name: str) -> float:
    """MiB of this process, now (VmRSS) or at most (VmHWM)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    (line,) = (each for each in lines if each.startswith(name))
    return int(line.split()[1]) / 1024


def losses() -> dict[str, Callable[..., Any]]:
    """By cell: (hidden, weight, labels, ids, logprobs) to the loss."""
    import torch
    from torch.nn.functional import cross_entropy

    from train.kernel import Head, support_scores
    from train.objectives import Positions, mix, support

    def ours(name: str) -> Callable[..., Any]:
        def loss(hidden, weight, labels, ids, logprobs):  # type: ignore[no-untyped-def]
            kept = ids if name == "top_k" else torch.full_like(ids[:, :1], -1)
            scores = support_scores(hidden, Head(weight), support(labels, kept))
            return mix(
                Positions(scores, labels, kept, logprobs[:, : kept.shape[1]]), {name: 1.0}
            ).value

        return loss

    def naive_top_k(hidden, weight, labels, ids, logprobs):  # type: ignore[no-untyped-def]
        log_q = (hidden @ weight.T).log_softmax(-1)
        p, top = logprobs.exp(), log_q.gather(-1, ids)
        tail = log_q.scatter(-1, ids, -torch.inf).logsumexp(-1)
        p_tail = 1 - p.sum(-1)
        buckets = (p * (logprobs - top)).sum(-1) + p_tail * (p_tail.log() - tail)
        outside = ~ids.eq(labels[:, None]).any(-1)
        surprise = tail - log_q.gather(-1, labels[:, None]).squeeze(-1)
        return (buckets + outside * surprise).sum()

    def trl(hidden, weight, labels, ids, logprobs):  # type: ignore[no-untyped-def]
        from trl.kernels import ChunkedLogProbFunction

        tiles = 1.0, 32_768, None, 1.0, ("log_probs",)  # as its SFTTrainer calls it
        return -ChunkedLogProbFunction.apply(hidden, weight, None, labels, *tiles)[0].sum()

    def naive_sft(hidden, weight, labels, ids, logprobs):  # type: ignore[no-untyped-def]
        return cross_entropy(hidden @ weight.T, labels, reduction="sum")

    return {
        "sft": ours("sft"),
        "top_k": ours("top_k"),
        "naive sft": naive_sft,
        "naive top_k": naive_top_k,
        "TRL sft": trl,
    }


def show(vocabulary: int, tokens: int, found: dict[str, dict[str, float]]) -> None:
    print(f"\nV = {vocabulary:,}, {tokens} positions, H = {WIDTH}, k = {TOP}, fp32")
    print("| pass | CPU s | wall s | MiB | CPU / sft | wall / sft | MiB / sft |")
    print("|---|--:|--:|--:|--:|--:|--:|")
    base = found["sft"]
    for cell, each in found.items():
        ratios = " | ".join(f"{each[key] / base[key]:.2f}" for key in ("cpu", "wall", "MiB"))
        figures = f"{each['cpu']:.2f} | {each['wall']:.2f} | {each['MiB']:.0f}"
        print(f"| {cell} | {figures} | {ratios} |")
    share = found["top_k"]["MiB"] / found["naive top_k"]["MiB"]
    print(f"top_k takes {share:.2f} of the naive pass's memory")


if __name__ == "__main__":
    main()
