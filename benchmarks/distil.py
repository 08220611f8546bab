"""Which loss teaches best on real weights: half of SmolLM2-135M taught by the whole of it.

    GOMP_SPINCOUNT=0 python benchmarks/distil.py --folder /tmp/distil    # half an hour, two cores
    python benchmarks/distil.py --folder /tmp/distil --table  # the table of what is done so far
    python benchmarks/distil.py --folder /tmp/started --start 200 --rate 3e-4

The teacher continues the openings of letters, at T = 1 and at T = 0.7, and its top 20 logprobs are
kept as an API gives them: of the distribution itself, before temperature. Each seed has rows and an
order of its own. Every loss gets the same rows, steps and rate; all weights but the embeddings
learn. What counts is the full KL to the teacher, over the whole vocabulary, on continuations at
T = 1 of openings that nobody trained on. A run that is done is not done again.

A student that has just lost half of its layers has everything to learn, and every loss teaches it
that; what a loss gets wrong for good shows in one that already speaks. So with --start all go on
from the same student, which `sft` taught for that many steps on rows of its own.

The losses that are not ours are written out below, with who uses them.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from train.config import TAIL
from train.kernel import Head, support_scores
from train.objectives import Positions, Settings, mix, support
from train.students import find_base, keep_layers, load

TOP, SEEDS = 20, (0, 1, 2)
TEMPERATURES = (1.0, 0.7)
WIDTH = {2: 12.706, 3: 4.303}  # Student's t at 95 %, by the number of seeds

OPENINGS = (
    *("Dear customer, thank you for writing about", "We are sorry to hear of your trouble with"),
    *("Here is what you can do about", "Our team has looked into the question of"),
    *("Please note the following about", "There are three things to know about"),
    *("Many of our customers ask us about", "To answer your question about"),
)
TOPICS = (
    *("your new card", "a lost card", "a late delivery", "the exchange rate", "your invoice"),
    *("a cancelled order", "your password", "a refund", "the opening hours", "your subscription"),
    *("a damaged parcel", "the warranty", "your account", "a wrong address", "the app"),
    *("a second payment", "your booking", "the new prices", "a missing part", "the contract"),
)
HELD_OUT = 4  # topics kept for judging


class Rows(NamedTuple):
    """Continuations of one length: R rows of L tokens after prompts padded on the left to P."""

    input_ids: Tensor  # [R, P + L]
    mask: Tensor  # [R, P + L] 0 on padding and after the end of the text
    top_ids: Tensor  # [R, L, K]
    top_logprobs: Tensor  # [R, L, K]

    def take(self, rows: list[int]) -> Rows:
        return Rows(*(each[rows] for each in self))


def main() -> None:
    options = read_options()
    options.folder.mkdir(parents=True, exist_ok=True)
    if not options.table:
        run_all(options)
    show(results(options.folder))


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--folder", type=Path, required=True, help="rows and results")
    parser.add_argument("--cache", type=Path, help="where the weights are unpacked")
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--steps", type=int, default=48)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--length", type=int, default=24, help="tokens of a continuation")
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--start", type=int, default=0, help="steps of sft that all go on from")
    parser.add_argument("--start-rate", type=float, default=1e-3)
    parser.add_argument("--temperature", type=float, nargs="*", default=TEMPERATURES)
    parser.add_argument("--layers", type=int, default=15)
    parser.add_argument("--only", nargs="*", choices=sorted(LOSSES), default=list(LOSSES))
    return parser.parse_args()


def run_all(options: argparse.Namespace) -> None:
    base = find_base("smollm2", options.cache or options.folder / "cache")
    teacher, tokenizer = load(base)
    teacher.eval()
    make = partial(rows_at, options.folder, teacher, tokenizer, options.length)
    held_out = make(1.0, "held-out", 64)
    truth = hidden_states(teacher, held_out)
    start = options.folder / "start.safetensors"
    if options.start and not start.is_file():
        rows = make(1.0, "start", options.start * options.batch)
        model = teach(cut(load(base)[0], options), rows, "sft", 0, options, options.start_rate)
        print(f"the start: {full_kl(model, teacher, held_out, truth):.3f}", flush=True)
        save_file({n: p.detach() for n, p in model.named_parameters() if p.requires_grad}, start)
    for temperature in options.temperature:
        for seed in SEEDS:
            rows = make(temperature, seed, options.steps * options.batch)
            for name in options.only:
                if (temperature, seed, name) in results(options.folder):
                    continue
                begun = time.process_time()
                model = cut(load(base)[0], options)
                if options.start:
                    model.load_state_dict(load_file(start), strict=False)
                teach(model, rows, name, seed, options, options.rate)
                kl = full_kl(model, teacher, held_out, truth)
                record(options.folder, temperature, seed, name, kl, time.process_time() - begun)


# --- rows -------------------------------------------------------------------------------------


def rows_at(
    folder: Path,
    teacher: Any,
    tokenizer: Any,
    length: int,
    temperature: float,
    name: int | str,
    count: int,
) -> Rows:
    """Rows of a seed, for the start, or for judging ("held-out"); written once."""
    path = folder / f"rows-{temperature}-{name}.safetensors"
    if not path.is_file():
        topics = TOPICS[-HELD_OUT:] if name == "held-out" else TOPICS[:-HELD_OUT]
        prompts = [f"{opening} {topic}" for opening in OPENINGS for topic in topics]
        chance = random.Random(f"{temperature}/{name}")
        chosen = [prompts[n % len(prompts)] for n in range(count)]
        chance.shuffle(chosen)
        torch.manual_seed(chance.randrange(2**31))
        parts = [
            written(teacher, tokenizer, chosen[n : n + 64], temperature, length)
            for n in range(0, count, 64)
        ]
        width = max(part.input_ids.shape[1] for part in parts)
        parts = [widened(part, width) for part in parts]
        whole = Rows(*(torch.cat(each) for each in zip(*parts, strict=True)))
        save_file(whole._asdict(), path)
    return Rows(**load_file(path))


def widened(rows: Rows, width: int) -> Rows:
    more = (width - rows.input_ids.shape[1], 0)
    pad = torch.nn.functional.pad
    return rows._replace(input_ids=pad(rows.input_ids, more), mask=pad(rows.mask, more))


@torch.no_grad()
def written(teacher: Any, tokenizer: Any, prompts: list[str], heat: float, length: int) -> Rows:
    """Continuations sampled at temperature `heat`, and the teacher's top 20 at each token."""
    tokens = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in prompts]
    width = max(len(each) for each in tokens)
    ids = torch.tensor([[0] * (width - len(each)) + each for each in tokens])
    mask = torch.tensor([[0] * (width - len(each)) + [1] * len(each) for each in tokens])
    alive, found, cache, fed = torch.ones(len(ids), 1, dtype=torch.long), [], None, ids
    for _ in range(length):
        places = (mask.cumsum(-1) - 1).clamp(min=0)[:, -fed.shape[1] :]
        out = teacher(
            input_ids=fed,
            attention_mask=mask.clamp(max=1),
            position_ids=places,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        logprobs, cache = out.logits[:, -1].float().log_softmax(-1), out.past_key_values
        found.append(logprobs.topk(TOP))
        fed = torch.multinomial((logprobs / heat).softmax(-1), 1)
        ids, mask = torch.cat([ids, fed], -1), torch.cat([mask, torch.ones_like(fed)], -1)
        alive = torch.cat([alive, alive[:, -1:] * fed.ne(tokenizer.eos_token_id)], -1)
    mask[:, width:] = alive[:, :-1]  # the end of the text is trained, what follows it is not
    values, indices = (
        torch.stack([getattr(t, n) for t in found], 1) for n in ("values", "indices")
    )
    return Rows(ids, mask, indices, values)


# --- teaching ---------------------------------------------------------------------------------


def cut(model: Any, options: argparse.Namespace) -> Any:
    """A student cut from the teacher."""
    keep_layers(model, options.layers)
    model.get_input_embeddings().weight.requires_grad_(False)
    return model


def teach(
    model: Any, rows: Rows, name: str, seed: int, options: argparse.Namespace, rate: float
) -> Any:
    """A student after its steps, one for each batch of rows."""
    torch.manual_seed(seed)
    learning = [each for each in model.parameters() if each.requires_grad]
    optimiser = torch.optim.AdamW(learning, lr=rate, weight_decay=0.0, fused=True)
    steps = len(rows.input_ids) // options.batch
    for step, batch in enumerate(batches(rows, options.batch, seed)):
        optimiser.param_groups[0]["lr"] = rate * pace(step, steps)
        positions = look(model, batch)
        loss = LOSSES[name](positions) / len(positions.labels)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(learning, 1.0)
        optimiser.step()
        optimiser.zero_grad()
    return model.eval()


def pace(step: int, steps: int) -> float:
    """Up over a twentieth of the steps, then down to nothing."""
    warm = max(1, steps // 20)
    return min((step + 1) / warm, (steps - step) / (steps - warm + 1))


def batches(rows: Rows, size: int, seed: int) -> Iterator[Rows]:
    order = list(range(len(rows.input_ids)))
    random.Random(seed).shuffle(order)
    for n in range(0, len(order) - size + 1, size):
        yield rows.take(order[n : n + size])


def look(model: Any, rows: Rows) -> Positions:
    """What the student says of the stored candidates, where text is trained."""
    length = rows.top_ids.shape[1]
    trained = rows.mask[:, -length:].bool()
    labels = rows.input_ids[:, -length:][trained]
    top_ids, top_logprobs = rows.top_ids[trained], rows.top_logprobs[trained]
    hidden = states(model, rows)[:, -length:][trained]
    head = Head(model.get_output_embeddings().weight)
    scores = support_scores(hidden, head, support(labels, top_ids))
    return Positions(scores, labels, top_ids, top_logprobs)


def states(model: Any, rows: Rows) -> Tensor:
    """Hidden states that predict each token but the first."""
    mask = rows.mask[:, :-1]
    places = (mask.cumsum(-1) - 1).clamp(min=0)
    out = model.base_model(
        input_ids=rows.input_ids[:, :-1], attention_mask=mask, position_ids=places, use_cache=False
    )
    found: Tensor = out.last_hidden_state
    return found


# --- losses -----------------------------------------------------------------------------------


def ours(name: str, tail_weight: float = TAIL) -> Callable[[Positions], Tensor]:
    return lambda positions: mix(positions, {name: 1.0}, Settings(tail_weight)).value


def theirs(distance: Callable[[Positions], Tensor]) -> Callable[[Positions], Tensor]:
    return lambda positions: distance(positions).sum()


def renormalised(positions: Positions) -> Tensor:
    """[N] Both sides over the candidates alone: ms-swift, SDFT, TRL with add_tail=False."""
    log_p = positions.top_logprobs.log_softmax(-1)
    log_q = positions.scores.chosen[:, 1:].log_softmax(-1)
    return (log_p.exp() * (log_p - log_q)).sum(-1)


def zero_tail(positions: Positions) -> Tensor:
    """[N] The teacher over the candidates alone, the student over everything: DistillKit's `zero`,
    Tinker, axolotl; verl's truncated sum has the same optimum."""
    chosen, rest, _ = positions.scores
    log_p = positions.top_logprobs.log_softmax(-1)
    log_q = chosen[:, 1:] - torch.cat([chosen, rest[:, None]], -1).logsumexp(-1, keepdim=True)
    return (log_p.exp() * (log_p - log_q)).sum(-1)


LOSSES: dict[str, Callable[[Positions], Tensor]] = {
    "top_k": ours("top_k"),
    "whole_tail": ours("top_k", 1.0),
    "sft": ours("sft"),
    "bucket": ours("top_k", 0.0),
    "renormalised": theirs(renormalised),
    "zero_tail": theirs(zero_tail),
}


# --- judging ----------------------------------------------------------------------------------


@torch.no_grad()
def hidden_states(model: Any, rows: Rows) -> Tensor:
    """[N, H] at the positions that are judged."""
    length = rows.top_ids.shape[1]
    parts = [
        rows.take(list(range(n, min(n + 16, len(rows.mask))))) for n in range(0, len(rows.mask), 16)
    ]
    return torch.cat(
        [states(model, part)[:, -length:][part.mask[:, -length:].bool()] for part in parts]
    )


@torch.no_grad()
def full_kl(student: Any, teacher: Any, rows: Rows, truth: Tensor) -> float:
    """Mean KL(teacher, student) over the whole vocabulary."""
    own, total = hidden_states(student, rows), 0.0
    for n in range(0, len(own), 128):
        log_q = student.get_output_embeddings()(own[n : n + 128]).log_softmax(-1)
        log_p = teacher.get_output_embeddings()(truth[n : n + 128]).log_softmax(-1)
        total += float((log_p.exp() * (log_p - log_q)).sum())
    return total / len(own)


# --- results ----------------------------------------------------------------------------------

Found = dict[tuple[float, int, str], float]


def record(
    folder: Path, temperature: float, seed: int, name: str, kl: float, seconds: float
) -> None:
    line = {"temperature": temperature, "seed": seed, "loss": name, "kl": kl, "cpu": seconds}
    with (folder / "results.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")
    print(json.dumps(line), flush=True)


def results(folder: Path) -> Found:
    path = folder / "results.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    rows = [json.loads(line) for line in lines]
    return {(row["temperature"], row["seed"], row["loss"]): row["kl"] for row in rows}


def show(found: Found) -> None:
    print("\n| T of the text | loss | held-out KL | above top_k, 95 % paired | seeds |")
    print("|--:|---|--:|--:|--:|")
    for temperature in TEMPERATURES:
        for name in LOSSES:
            seeds = [s for s in SEEDS if (temperature, s, name) in found]
            if not seeds:
                continue
            mean = statistics.mean(found[temperature, s, name] for s in seeds)
            gap = above(found, temperature, name)
            print(f"| {temperature} | {name} | {mean:.3f} | {gap} | {len(seeds)} |")


def above(found: Found, temperature: float, name: str) -> str:
    """How far a loss ends above `top_k`, seed by seed."""
    gaps = [
        found[temperature, s, name] - found[temperature, s, "top_k"]
        for s in SEEDS
        if {(temperature, s, name), (temperature, s, "top_k")} <= found.keys()
    ]
    if name == "top_k" or len(gaps) < 2:
        return "–"
    mean, spread = statistics.mean(gaps), statistics.stdev(gaps)
    half = WIDTH[len(gaps)] * spread / len(gaps) ** 0.5
    return f"{mean:+.3f} [{mean - half:+.3f}, {mean + half:+.3f}]"


if __name__ == "__main__":
    main()
