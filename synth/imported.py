"""Rows that came from outside: what the ledger and the log hold of each, and on whose word.

An imported row is no attempt of ours: it is not counted, not billed and never sent again. Its leaf
names the file by its digest, the place in it, who declared where it came from, and when.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from policy.digest import commit
from synth.wire import Completion

NAMES = (
    *("", "ref", "key", "at", "collected", "prompt_id", "offering", "model", "served_model"),
    *("features", "decision", "terms_pin", "file", "name", "format", "place", "by"),
    *("prompt_tokens", "completion_tokens", "content", "raw"),
)
"""The columns of table `imported`, as a leaf names them; `seq` is the leaf's own."""


@dataclass(frozen=True, slots=True)
class ImportRow:
    """One answer that somebody else's program collected, with its prompt."""

    kind: ClassVar[str] = "import"
    id: str
    key: str
    at: int
    collected: int
    prompt_id: str
    offering: str
    model: str
    features: str
    decision: str
    terms_pin: str
    file: str
    name: str
    format: str
    place: str
    by: str
    base: str
    body: bytes
    completion: Completion
    raw: bytes
    salt: bytes

    def values(self, seq: int, content: bytes, raw: tuple[bytes, ...]) -> tuple[Any, ...]:
        """The columns of table `imported`, given what is committed to."""
        usage = self.completion.usage
        return (
            *(seq, self.id, self.key, self.at, self.collected, self.prompt_id, self.offering),
            *(self.model, self.completion.served_model, self.features, self.decision),
            *(self.terms_pin, self.file, self.name, self.format, self.place, self.by),
            *(usage.prompt_tokens, usage.completion_tokens),
            *(commit(self.salt, content), commit(self.salt, *raw)),
        )


def import_leaf(values: tuple[Any, ...]) -> Mapping[str, Any]:
    """The leaf of a row of table `imported`."""
    return {name: value for name, value in zip(NAMES, values, strict=True) if name}
