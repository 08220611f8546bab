"""What changed between two versions of an offering's terms, and for which uses it matters.

for change in diff(register.find("aws-bedrock/nova@2025-08-01", day), now): print(change.text)
"""

from collections.abc import Iterator
from typing import NamedTuple

from policy.clauses import Clause, Level, Rule
from policy.entry import Terms
from policy.rules import part_for
from policy.use import NOTHING_GIVEN, Distribution, Purpose, Use


class Change(NamedTuple):
    """One difference: what kind, of what, and from what to what."""

    kind: str
    """clause added, clause removed, clause changed, level raised, level lowered, or a field."""
    name: str
    before: str
    after: str

    @property
    def text(self) -> str:
        """One line."""
        return f"{self.kind}  {self.name}: {self.before or 'nothing'} -> {self.after or 'nothing'}"


def diff(before: Terms, after: Terms) -> tuple[Change, ...]:
    """Clauses, duties, levels and dates that differ, in that order."""
    return (
        *_clauses(before, after),
        *_obligations(before, after),
        *_levels(before, after),
        *_fields(before, after),
    )


def _clauses(before: Terms, after: Terms) -> Iterator[Change]:
    old = {clause.ref: clause for clause in before.clauses}
    new = {clause.ref: clause for clause in after.clauses}
    for ref in sorted(old.keys() | new.keys()):
        one, other = old.get(ref), new.get(ref)
        if one is None and other is not None:
            yield Change("clause added", ref, "", other.paraphrase)
        elif other is None and one is not None:
            yield Change("clause removed", ref, one.paraphrase, "")
        elif one and other and _moved(one, other):
            yield Change("clause changed", ref, one.paraphrase, other.paraphrase)


def _moved(one: Clause, other: Clause) -> bool:
    """By the digests of the texts where both were read, else by our own words."""
    if one.sha256_norm and other.sha256_norm:
        return one.sha256_norm != other.sha256_norm
    return one.paraphrase != other.paraphrase


def _obligations(before: Terms, after: Terms) -> Iterator[Change]:
    for name in sorted(before.obligations.keys() | after.obligations.keys()):
        one, other = before.obligations.get(name), after.obligations.get(name)
        if one is None and other is not None:
            yield Change("obligation added", name, "", other.text)
        elif other is None and one is not None:
            yield Change("obligation removed", name, one.text, "")


def _levels(before: Terms, after: Terms) -> Iterator[Change]:
    """For each purpose and distribution, where nothing else is said."""
    for purpose in Purpose:
        for distribution in Distribution:
            use = Use(purpose=purpose, distribution=distribution)
            one = part_for(use, before, NOTHING_GIVEN).level
            other = part_for(use, after, NOTHING_GIVEN).level
            if one != other:
                kind = "level raised" if other > one else "level lowered"
                yield Change(kind, f"{purpose}, {distribution}", one.name, other.name)
    for rule in _narrowed(after) - _narrowed(before):
        yield Change("condition added", _named(rule), "", Level(rule[1]).name)
    for rule in _narrowed(before) - _narrowed(after):
        yield Change("condition removed", _named(rule), Level(rule[1]).name, "")


def _narrowed(terms: Terms) -> set[tuple[str, int]]:
    return {(_condition(rule), int(rule.level)) for rule in terms.rules if rule.narrowing}


def _condition(rule: Rule) -> str:
    return f"{', '.join(rule.purposes)} where {rule.narrowing}"


def _named(rule: tuple[str, int]) -> str:
    return rule[0]


def _fields(before: Terms, after: Terms) -> Iterator[Change]:
    for name in ("version", "effective", "until", "entity", "product", "tier", "stage"):
        one, other = getattr(before, name), getattr(after, name)
        if one != other:
            yield Change(name, "entry", str(one or ""), str(other or ""))
