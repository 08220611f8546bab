"""Answers that a filter of quality dropped, for those who learn from the difference.

    rejected(order.candidates, order.found, ("served", "verify"), room={"p7": 2})

They are a split of their own where `[dataset] rejected = true` asks for it: same columns, terms and
decisions as the rows that were kept, since to learn what not to say is to learn from it too.
"""

from collections.abc import Collection, Mapping, Sequence

from synth.filters import Candidate
from synth.filters.apply import Found

REJECTED = "rejected"
"""The split's name."""
NO_WORSE = frozenset({"answered", "served", "finish", "duplicate"})
"""Filters whose drop is no judgement of the answer: another model, a cut, the same words again."""


def rejected(
    candidates: Sequence[Candidate],
    found: Found,
    required: Collection[str],
    room: Mapping[str, int],
) -> list[Candidate]:
    """The dropped answers to train and validation prompts, at most `room` a prompt, in the order of
    samples."""
    left, chosen = dict(room), []
    for candidate in sorted(candidates, key=lambda c: (c.prompt_id, c.sample)):
        if candidate.split == "test" or not left.get(candidate.prompt_id):
            continue
        dropped = {name for name in required if not found[name][candidate.attempt].keep}
        if dropped and not dropped & NO_WORSE:
            left[candidate.prompt_id] -= 1
            chosen.append(candidate)
    return chosen
