"""Filters that compare completions with each other."""

from collections import Counter, defaultdict
from collections.abc import Sequence

from synth.config import Filters
from synth.filters.content import json_object
from synth.filters.record import Candidate, Verdict


def duplicate(candidates: Sequence[Candidate], settings: Filters) -> list[Verdict]:
    """Drops a later sample of the same prompt that says the same, spaces and case aside.

    Different prompts may share an answer (a classifier's must); only repetition within one
    prompt weighs it twice. The lowest sample index stays.
    """
    first: dict[tuple[str, str], str] = {}
    for candidate in sorted(candidates, key=lambda c: (c.prompt_id, c.sample)):
        first.setdefault((candidate.prompt_id, _plain(candidate.text)), candidate.attempt)
    kept = set(first.values())
    return [
        Verdict(c.attempt, c.attempt in kept, "" if c.attempt in kept else "same as another sample")
        for c in candidates
    ]


def agreement(candidates: Sequence[Candidate], settings: Filters) -> list[Verdict]:
    """Keeps the answers that agree with the majority of their prompt's samples on one field.

    Self-consistency without a known answer (Wang et al. 2022, arXiv 2203.11171). A tie is no
    majority, and a single sample agrees with nobody. The score is the winner's share.
    """
    votes: dict[str, Counter[str]] = defaultdict(Counter)
    said = {c.attempt: _vote(c, settings.agreement_field) for c in candidates}
    for candidate in candidates:
        votes[candidate.prompt_id][said[candidate.attempt]] += 1
    return [_agrees(c, said[c.attempt], votes[c.prompt_id], settings) for c in candidates]


def _agrees(candidate: Candidate, vote: str, votes: Counter[str], settings: Filters) -> Verdict:
    total = votes.total()
    ranked = votes.most_common(2)
    winner, count = ranked[0]
    score = f"{count}/{total}"
    if total < 2:
        return Verdict(candidate.attempt, False, "only one sample", score)
    if len(ranked) > 1 and ranked[1][1] == count:
        return Verdict(candidate.attempt, False, "tie", score)
    if count / total < settings.agreement_share:
        return Verdict(candidate.attempt, False, "no majority", score)
    if not vote or vote != winner:
        return Verdict(candidate.attempt, False, "in the minority", score)
    return Verdict(candidate.attempt, True, "", score)


def _vote(candidate: Candidate, field: str) -> str:
    value = json_object(candidate.text)
    return str(value.get(field, "")) if value else ""


def _plain(text: str) -> str:
    return " ".join(text.lower().split())
