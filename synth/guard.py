"""The organisation's guardrails at the moment of sending: allow-list, kill switch, caps, scan.

    guard = Guard.of(rails, offering, ledger, now)
    guard.admit(reserve_nano, tokens)      # BudgetReached above a hard cap, before anything is sent

`guardrails.toml` lies beside the project file or one directory above, where one file serves many
projects: its caps are counted over all of them, from their ledgers, so that they outlive a restart.
"""

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

from policy.guardrails import (
    FILE,
    NO_RAILS,
    UNITS,
    Asked,
    Guardrails,
    check_asked,
    check_caps,
    check_prompt,
    must_scan,
    read_guardrails,
)
from policy.terms import Terms
from policy.use import Use
from synth.config import Teacher
from synth.ledger import Ledger
from synth.prompts import Prompt
from synth.turns import words_of
from synth.usage import BOOK, NOTHING, Book, Line, total

DAY_MS = 86_400_000


def rails_folder(folder: Path) -> Path | None:
    """Where the organisation's file lies: beside the project file or one directory above."""
    places = (folder, folder.resolve().parent)
    return next((place for place in places if (place / FILE).is_file()), None)


def rails_of(folder: Path) -> Guardrails:
    """The organisation's rails, or none where no file says any."""
    place = rails_folder(folder)
    return NO_RAILS if place is None else read_guardrails(place / FILE)


def check_use(rails: Guardrails, use: Use, teacher: Teacher, terms: Terms | None) -> None:
    """Raise PolicyDenied where the organisation does not allow this use of this teacher."""
    asked = Asked(
        use.organisation, teacher.offering, teacher.model, use.purpose, proxy=bool(teacher.proxy)
    )
    check_asked(rails, asked, terms)


def check_prompts(
    rails: Guardrails, offering: str, terms: Terms | None, prompts: Iterable[Prompt]
) -> None:
    """Scan what would be sent, where the rails or the terms ask for it. Raises PolicyDenied."""
    if not must_scan(rails, offering, terms):
        return
    for prompt in prompts:
        for message in prompt.teacher:
            check_prompt(words_of(message), offering, terms)


class Guard:
    """What a day's caps leave, counted as requests go out: over all projects below one file."""

    def __init__(
        self,
        rails: Guardrails,
        offering: str,
        warn: Callable[[str], None],
        *,
        clock: Callable[[], float] = time.time,
        own: str = "",
        line: Line = NOTHING,
        book: Book | None = None,
    ) -> None:
        self._rails = rails
        self._offering = offering
        self._warn = warn
        self._clock = clock
        self._own = own
        self._line = line
        self._book = book
        self._day = self._today()
        self._in_flight = 0
        self._of_yesterday = 0
        self._warned = ""

    @classmethod
    def of(
        cls,
        rails: Guardrails,
        offering: str,
        ledger: Ledger,
        warn: Callable[[str], None],
        *,
        folder: Path | None = None,
        waiting: Mapping[str, int] = MappingProxyType({}),
    ) -> "Guard":
        """Start from what the ledger says was used since midnight, UTC. `folder` is where the
        organisation's file lies: its other projects count there. `waiting` are the tokens that
        requests without an outcome reserve, by their key: the ledger keeps their money only."""
        guard = cls(
            rails,
            offering,
            warn,
            clock=lambda: ledger.now() / 1000,
            own=ledger.id,
            line=_used_today(ledger, offering, waiting),
            book=Book(folder / BOOK) if folder and _capped(rails, offering) else None,
        )
        guard._change(NOTHING)  # as the ledger has it, whatever a crash left in the book
        return guard

    @property
    def requests(self) -> int:
        """What this project sent to the offering today."""
        return self._line.requests

    @property
    def tokens(self) -> int:
        """The tokens of that, reserves included."""
        return self._line.tokens

    def close(self) -> None:
        """Release the organisation's book."""
        if self._book:
            self._book.close()

    def admit(self, reserve_nano: int, tokens: int) -> None:
        """Count one request before it is sent, at its reserve. Raises BudgetReached."""
        self._turn_the_page()
        soft = self._change(Line(1, tokens, reserve_nano, 1), check=True)
        self._in_flight += 1
        if soft and soft.split(" ")[0] != self._warned:
            self._warned = soft.split(" ")[0]
            self._warn(f"soft cap of {FILE}: {soft}")

    def settle(
        self,
        reserve_nano: int,
        billed_nano: int,
        reserved: int,
        used: int,
        *,
        sent_ms: int | None = None,
    ) -> None:
        """Replace a reserve by what was used. One of yesterday changes nothing today; `sent_ms` is
        when it was sent, where that may be days ago."""
        self._turn_the_page()
        if sent_ms is not None:
            if sent_ms // DAY_MS != self._day:
                return
        elif self._of_yesterday:
            self._of_yesterday -= 1
            return
        else:
            self._in_flight -= 1
        self._change(Line(0, used - reserved, billed_nano - reserve_nano, 0))

    def _change(self, more: Line, *, check: bool = False) -> str:
        """Add to this project's line, if the caps allow it; the soft cap that is passed."""
        if self._book is None:
            line = total((self._line, more))
            soft = check_caps(self._rails, self._offering, line.used) if check else ""
            self._line = line
            return soft
        with self._others() as others:
            line = total([self._line, more])
            soft = ""
            if check:
                soft = check_caps(self._rails, self._offering, total([line, *others]).used)
            self._line = line
        return soft

    @contextlib.contextmanager
    def _others(self) -> Iterator[list[Line]]:
        """What other projects used; after it, this project's line is in the book."""
        if self._book is None:
            yield []
            return
        with self._book.page(self._day, self._offering) as page:
            yield [line for name, line in page.items() if name != self._own]
            page[self._own] = self._line

    def _turn_the_page(self) -> None:
        if (today := self._today()) != self._day:
            self._day, self._line, self._warned = today, NOTHING, ""
            self._of_yesterday, self._in_flight = self._of_yesterday + self._in_flight, 0

    def _today(self) -> int:
        return int(self._clock() * 1000) // DAY_MS


def _used_today(ledger: Ledger, offering: str, waiting: Mapping[str, int]) -> Line:
    midnight = ledger.now() // DAY_MS * DAY_MS
    used = ledger.one(
        "SELECT count(*), COALESCE(sum(o.prompt_tokens + o.completion_tokens), 0)::BIGINT,"
        " COALESCE(sum(s.committed_nano), 0)::BIGINT, count(*) FILTER (s.class = 'ok')"
        " FROM state s LEFT JOIN outcome o ON o.attempt = s.id"
        " WHERE s.offering = ? AND s.at_ms >= ?",
        [offering, midnight],
    )
    line = Line(*map(int, used))
    if not waiting:
        return line
    keys = ledger.each(
        "SELECT key FROM state"
        " WHERE offering = ? AND at_ms >= ? AND class IN ('pending', 'unknown')",
        [offering, midnight],
    )
    return line._replace(tokens=line.tokens + sum(waiting.get(key, 0) for (key,) in keys))


def _capped(rails: Guardrails, offering: str) -> bool:
    found = rails.of(offering)
    caps = (found.hard, found.soft) if found else ()
    return any(getattr(one, unit) is not None for one in caps for unit in UNITS)
