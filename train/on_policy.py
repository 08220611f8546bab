"""The open model that scores what the student writes, and why no hosted one can.

On-policy distillation (Agarwal et al., 2024, "On-Policy Distillation of Language Models",
arXiv:2306.13649) needs the teacher's probability of every next token of a text that the *student*
wrote. A hosted chat API gives probabilities of what it wrote itself and takes no text to score, so
the teacher must be weights on this disk, with the student's own tokenizer.

    base = find_teacher(training, cache_dir, permit)
    demand_one_vocabulary(base, tokenizer, size)
    teacher = load_teacher(base, size)
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from policy.decision import BETWEEN
from policy.errors import BadInput, PolicyDenied
from policy.permit import Permit
from train.config import Student, Training
from train.students import PACKAGED, Base, find_base, load, shape_of, tokenizer_of

WHERE = "[training] teacher"


def find_teacher(training: Training, cache_dir: Path, permit: Permit) -> Base | None:
    """The teacher's weights, where the objective has one. Raises BadInput for a hosted teacher, and
    PolicyDenied where the permit does not cover the licence of these weights."""
    if "on_policy" not in training.objective:
        return None
    name = training.teacher
    if name not in PACKAGED and not Path(name).expanduser().exists():
        raise BadInput(
            "on_policy needs the teacher's weights on this disk: no hosted chat API scores text"
            " that it did not write",
            where=f"{WHERE} = {name!r}",
            fix=f"Use {', '.join(PACKAGED)}, a directory with safetensors or a .gguf file; for a"
            " hosted teacher train with top_k or sft.",
        )
    if training.teacher_offering not in permit.decision.offering.split(BETWEEN):
        raise PolicyDenied(
            f"the decision is about {permit.decision.offering} and not about"
            f" {training.teacher_offering}, whose weights would teach",
            where="[training] teacher_offering",
            fix="Train through the project, which decides about both.",
            decision=permit.decision,
        )
    return find_base(name, cache_dir)


def demand_one_vocabulary(base: Base, tokenizer: Any, size: int) -> None:
    """Raises BadInput unless the teacher has the student's vocabulary, id by id, and at least its
    `size` ids. No weight is read."""
    where = f"{WHERE} = {base.name!r}"
    if tokenizer_of(base).get_vocab() != tokenizer.get_vocab():
        raise BadInput(
            "has another tokenizer than the student, so its probabilities are of other tokens",
            where=where,
            fix="Use a teacher of the student's own family; across tokenizers train with alm.",
        )
    its_own = shape_of(base, Student()).vocab_size
    if its_own < size:
        raise BadInput(
            f"has {its_own} ids and the student {size}",
            where=where,
            fix="Use a teacher of the student's own family.",
        )


def load_teacher(base: Base, size: int) -> Any:
    """The teacher's model, with the `size` ids of the student's."""
    model, _ = load(base)
    if model.config.vocab_size > size:
        model.resize_token_embeddings(size)  # what is beyond the student's ids is padding
    return model.eval().requires_grad_(False)


@torch.no_grad()
def reverse_kl(
    student: Any, teacher: Any, prompts: Sequence[list[int]], answers: Sequence[list[int]]
) -> float:
    """Mean KL(student to teacher) a token, of answers that the student wrote."""
    total, tokens = 0.0, 0
    for prompt, answer in zip(prompts, answers, strict=True):
        ids = torch.tensor([[*prompt, *answer]], device=student.device)
        place = slice(len(prompt) - 1, ids.shape[1] - 1)
        ours = student(input_ids=ids).logits[0, place].float().log_softmax(-1)
        theirs = teacher(input_ids=ids).logits[0, place].float().log_softmax(-1)
        total += float((ours.exp() * (ours - theirs)).sum())
        tokens += len(answer)
    return total / max(tokens, 1)
