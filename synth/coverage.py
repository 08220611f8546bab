"""What is left of each class: filters that verify drop whole classes in silence."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from synth.filters import Candidate
from synth.prompts import Prompt


def coverage(
    label: str,
    prompts: Sequence[Prompt],
    candidates: Sequence[Candidate],
    kept: Sequence[dict[str, Any]],
) -> list[dict[str, Any]]:
    """Per value of the label column: prompts asked, answers, kept rows and prompts with one."""
    if not label:
        return []
    named = {p.id: p.fields.get(label, "") for p in prompts if p.split == "train" and p.fields}
    asked = Counter(named.values())
    answers = Counter(named[c.prompt_id] for c in candidates if c.prompt_id in named)
    ours = [row["id"] for row in kept if row["id"] in named]  # what was imported has no columns
    rows = Counter(named[one] for one in ours)
    with_one = Counter(named[one] for one in set(ours))
    return [
        {
            "label": name,
            "asked": asked[name],
            "answered": answers[name],
            "kept": rows[name],
            "messages_kept": with_one[name],
        }
        for name in sorted(asked)
    ]
