"""Notices: what named people did to the record, as entries of the log. None is ever taken back.

    ledger.append_all([NoticeRow("takedown", "run", "sft", digest, "retrain_required", ...)])

A takedown, an erasure, a change of the policy. The newest notice about a thing says how it stands.
"""

import os
import pwd
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

TAKEDOWN, ERASE, POLICY, KEY_CHANGE = "takedown", "erase", "policy_change", "key_change"
MARK = "ledger.erasing"
"""A file beside the ledger while an erasure is unfinished."""
ERASED = (
    "SELECT name AS attempt, min(seq) AS seq FROM notice"
    " WHERE kind = 'erase' AND what = 'attempt' GROUP BY name"
)
"""Attempts whose content was erased, and the entry that says so."""


@dataclass(frozen=True, slots=True)
class NoticeRow:
    """One act by one named person, about one thing."""

    kind: ClassVar[str] = "notice"
    of: str
    """takedown, erase, policy_change or key_change."""
    what: str
    """offering, row, dataset, run, published, subject or a file of the policy."""
    name: str
    digest: str
    """Which dataset or run of that name; of a subject the salted commitment to who it is."""
    state: str
    at: int
    by: str
    because: str
    body: str
    """Canonical JSON: what it rests on."""

    def values(self, seq: int) -> tuple[Any, ...]:
        """The columns of table `notice`."""
        return (
            *(seq, self.of, self.what, self.name, self.digest, self.state, self.at),
            *(self.by, self.because, self.body),
        )


def notice_leaf(values: tuple[Any, ...]) -> Mapping[str, Any]:
    """The leaf of a row of table `notice`."""
    named = ("of", "what", "ref", "digest", "state", "at", "by", "because", "body")
    return dict(zip(named, values[1:], strict=True))


def account() -> str:
    """The account of this machine that acts; who answers for it is said beside."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # an account without a name, as in a container
        return str(os.getuid())
