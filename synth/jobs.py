"""A batch at a provider, as the ledger knows it: a row for each change of its state, each a leaf.

intended   its attempts are durable, nothing was sent
uploaded   the file of its requests is at the provider
creating   durable before the call that makes it: from here on it may exist, and be billed
created    the provider's id is known; `word` is the provider's own for its state
settled    every attempt has its outcome
dropped    it is certain that nothing was made; its attempts say why
lost       nobody can tell whether it was made: its attempts are held as unknown
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar

from policy.digest import digest

COLUMNS = (
    *("seq", "id", "at_ms", "state", "api", "base", "offering", "model", "provider_id", "file"),
    *("word", "requests", "attempts", "note"),
)


class JobState(StrEnum):
    """How far a batch has come."""

    INTENDED = "intended"
    UPLOADED = "uploaded"
    CREATING = "creating"
    CREATED = "created"
    SETTLED = "settled"
    DROPPED = "dropped"
    LOST = "lost"


@dataclass(frozen=True, slots=True)
class JobRow:
    """One change of a batch's state."""

    kind: ClassVar[str] = "job"
    id: str
    """Ours; the provider keeps it too, where its API has room for a name."""
    at: int
    state: JobState
    api: str
    base: str
    offering: str
    model: str
    provider_id: str = ""
    file: str = ""
    """The uploaded requests, by the provider's id."""
    word: str = ""
    requests: int = 0
    attempts: tuple[str, ...] = ()
    """Named once, when it is intended."""
    note: str = ""

    def values(self, seq: int) -> tuple[Any, ...]:
        """The columns of table `job`."""
        return (
            *(seq, self.id, self.at, str(self.state), self.api, self.base, self.offering),
            *(self.model, self.provider_id, self.file, self.word, self.requests),
            *(list(self.attempts), self.note),
        )


def job_leaf(values: tuple[Any, ...]) -> Mapping[str, Any]:
    """The leaf of a row of table `job`: all of it, the attempts by their digest."""
    fields = dict(zip(COLUMNS, values, strict=True))
    del fields["seq"]
    fields |= {"ref": fields.pop("id"), "attempts": digest(list(fields["attempts"]))}
    return {"at": fields.pop("at_ms"), **fields}
