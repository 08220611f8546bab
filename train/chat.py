"""Talk to a student on the terminal: one line, one answer, no memory between them.

chat(Path("runs/sft"), "", "{message}", sys.stdin, sys.stdout)
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, TextIO

import torch

from train.data import Reader
from train.evaluate import trained
from train.quiet import quiet
from train.students import load
from train.threads import threads

PLACE = re.compile(r"\{\w+\}")
LEAVE = {"/exit", "/quit"}


def chat(
    run_dir: Path,
    system: str,
    template: str,
    source: TextIO,
    target: TextIO,
    *,
    max_new_tokens: int = 128,
) -> int:
    """Answer each line as the student was taught to; returns how many were answered."""
    candidate = trained(run_dir)
    assert candidate.base is not None
    answered = 0
    with quiet(), threads(0):
        model, tokenizer = load(candidate.base)
        reader = Reader(tokenizer)
        while line := _ask(source, target):
            if line.strip() in LEAVE:
                break
            if line.strip():
                _answer(
                    model, reader, messages(system, template, line.strip()), target, max_new_tokens
                )
                answered += 1
    return answered


def messages(system: str, template: str, text: str) -> list[dict[str, str]]:
    """The student's prompt: the system message if there is one, and the template filled."""
    content = PLACE.sub(lambda _: text, template, count=1) if PLACE.search(template) else text
    opening = [{"role": "system", "content": system}] if system else []
    return [*opening, {"role": "user", "content": content}]


def _ask(source: TextIO, target: TextIO) -> str:
    target.write("> ")
    target.flush()
    return source.readline()


@torch.no_grad()
def _answer(
    model: Any, reader: Reader, prompt: list[dict[str, str]], target: TextIO, limit: int
) -> None:
    """Write the words as they come."""
    from transformers import TextStreamer

    class Stream(TextStreamer):  # type: ignore[misc]
        """Transformers writes to stdout; this writes where we are told."""

        def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
            target.write(text + ("\n" if stream_end else ""))
            target.flush()

    ids = torch.tensor(reader.ids([reader.prompt_text(prompt)]))
    model.generate(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        max_new_tokens=limit,
        do_sample=False,
        eos_token_id=[reader.end_of_turn],
        pad_token_id=reader.tokenizer.pad_token_id,
        streamer=Stream(reader.tokenizer, skip_prompt=True, skip_special_tokens=True),
    )
