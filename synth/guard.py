"""The organisation's guardrails at the moment of sending: allow-list, kill switch, caps, scan.

    guard = Guard.of(rails, offering, ledger, now)
    guard.admit(reserve_nano, tokens)      # BudgetReached above a hard cap, before anything is sent

`guardrails.toml` lies beside the project file or one directory above, where one file serves many
projects. Usage is counted from the ledger, so caps outlive a restart.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from policy.guardrails import (
    FILE,
    NO_RAILS,
    Asked,
    Guardrails,
    Used,
    check_asked,
    check_caps,
    check_prompt,
    must_scan,
    read_guardrails,
)
from policy.terms import Terms
from policy.use import Use
from synth.ledger import Ledger
from synth.prompts import Prompt
from synth.turns import words_of

DAY_MS = 86_400_000


def rails_folder(folder: Path) -> Path | None:
    """Where the organisation's file lies: beside the project file or one directory above."""
    places = (folder, folder.resolve().parent)
    return next((place for place in places if (place / FILE).is_file()), None)


def rails_of(folder: Path) -> Guardrails:
    """The organisation's rails, or none where no file says any."""
    place = rails_folder(folder)
    return NO_RAILS if place is None else read_guardrails(place / FILE)


def check_use(rails: Guardrails, use: Use, offering: str, model: str, terms: Terms | None) -> None:
    """Raise PolicyDenied where the organisation does not allow this use of this offering."""
    check_asked(rails, Asked(use.organisation, offering, model, use.purpose), terms)


def check_prompts(
    rails: Guardrails, offering: str, terms: Terms | None, prompts: Iterable[Prompt]
) -> None:
    """Scan what would be sent, where the rails or the terms ask for it. Raises PolicyDenied."""
    if not must_scan(rails, offering, terms):
        return
    for prompt in prompts:
        for message in prompt.teacher:
            check_prompt(words_of(message), offering, terms)


@dataclass(slots=True)
class Guard:
    """What a day's caps leave, counted as requests go out."""

    rails: Guardrails
    offering: str
    warn: Callable[[str], None]
    requests: int = 0
    tokens: int = 0
    nano: int = 0
    rows: int = 0
    warned: str = ""

    @classmethod
    def of(
        cls, rails: Guardrails, offering: str, ledger: Ledger, warn: Callable[[str], None]
    ) -> "Guard":
        """Start from what the ledger says was used since midnight, UTC."""
        midnight = ledger.now() // DAY_MS * DAY_MS
        used = ledger.one(
            "SELECT count(*), COALESCE(sum(o.prompt_tokens + o.completion_tokens), 0)::BIGINT,"
            " COALESCE(sum(s.committed_nano), 0)::BIGINT, count(*) FILTER (s.class = 'ok')"
            " FROM state s LEFT JOIN outcome o ON o.attempt = s.id"
            " WHERE s.offering = ? AND s.at_ms >= ?",
            [offering, midnight],
        )
        requests, tokens, nano, rows = (int(value) for value in used)
        return cls(rails, offering, warn, requests, tokens, nano, rows)

    def admit(self, reserve_nano: int, tokens: int) -> None:
        """Count one request before it is sent, at its reserve. Raises BudgetReached."""
        used = Used(
            self.requests + 1,
            self.tokens + tokens,
            (self.nano + reserve_nano) / 10**9,
            self.rows + 1,
        )
        soft = check_caps(self.rails, self.offering, used)
        if soft and soft.split(" ")[0] != self.warned:
            self.warned = soft.split(" ")[0]
            self.warn(f"soft cap of {FILE}: {soft}")
        self.requests += 1
        self.tokens += tokens
        self.nano += reserve_nano
        self.rows += 1

    def settle(self, reserve_nano: int, billed_nano: int, reserved: int, used: int) -> None:
        """Replace a reserve by what was used."""
        self.nano += billed_nano - reserve_nano
        self.tokens += used - reserved
