"""Greedy answers of a student, many prompts at once, with the KV cache.

answer(model, reader, [[{"role": "user", "content": "my card is lost"}]],
       max_new_tokens=64, batch_size=16)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch

from train.data import Reader


class Answer(NamedTuple):
    """What the student wrote, and what it cost to ask."""

    text: str
    prompt_tokens: int
    completion_tokens: int


@torch.no_grad()
def answer(
    model: Any,
    reader: Reader,
    prompts: Sequence[Sequence[Any]],
    *,
    max_new_tokens: int,
    batch_size: int,
    on_row: Callable[[int, int], None] | None = None,
) -> list[Answer]:
    """One answer a prompt, in the order of the prompts; equal lengths are batched together."""
    ids = reader.ids([reader.prompt_text(prompt) for prompt in prompts])
    order = sorted(range(len(ids)), key=lambda n: len(ids[n]))
    found: dict[int, Answer] = {}
    for start in range(0, len(order), batch_size):
        batch = order[start : start + batch_size]
        written = greedy(model, reader, [ids[n] for n in batch], max_new_tokens)
        for n, tokens in zip(batch, written, strict=True):
            text = reader.tokenizer.decode(tokens, skip_special_tokens=True)
            found[n] = Answer(text, len(ids[n]), len(tokens))
        if on_row:
            on_row(len(found), len(order))
    return [found[n] for n in range(len(ids))]


def greedy(model: Any, reader: Reader, ids: list[list[int]], limit: int) -> list[list[int]]:
    """New tokens of each row, up to and with its end of turn."""
    width = max(map(len, ids))
    pad = reader.tokenizer.pad_token_id
    inputs = torch.tensor([[pad] * (width - len(row)) + row for row in ids], device=model.device)
    mask = torch.tensor(
        [[0] * (width - len(row)) + [1] * len(row) for row in ids], device=model.device
    )
    stops = sorted({reader.end_of_turn, reader.tokenizer.eos_token_id} - {None})
    out = model.generate(
        input_ids=inputs,
        attention_mask=mask,
        max_new_tokens=limit,
        do_sample=False,
        use_cache=True,
        eos_token_id=stops,
        pad_token_id=pad,
    )
    return [_until(row, stops) for row in out[:, width:].tolist()]


def _until(tokens: list[int], stops: Sequence[int]) -> list[int]:
    ends = [n for n, token in enumerate(tokens) if token in stops]
    return tokens[: ends[0] + 1] if ends else tokens
