"""Stopping a collection: because a person asked, or because the next request would fail as well.

stop = Stop()
stop.interrupted = True      # nothing more is sent; what is in flight is still settled
"""

import asyncio
from collections.abc import Awaitable

from policy.errors import BadInput, BudgetReached, PolicyDenied, SpiritSafeError
from synth.config import Teacher
from synth.wire import Failure


class Stop:
    """Asks a collection to send nothing more; the first reason counts."""

    def __init__(self) -> None:
        self.error: SpiritSafeError | None = None
        self._interrupted = False
        self._asked = asyncio.Event()

    @property
    def asked(self) -> bool:
        """Whether nothing more may be sent."""
        return self._asked.is_set()

    @property
    def interrupted(self) -> bool:
        """Whether a person asked."""
        return self._interrupted

    @interrupted.setter
    def interrupted(self, value: bool) -> None:
        self._interrupted = value
        if value:
            self._asked.set()

    def fail(self, error: SpiritSafeError) -> None:
        """Stop because of a fault."""
        self.error = self.error or error
        self._asked.set()

    async def sleep(self, sleep: Awaitable[None]) -> None:
        """Sleep; whoever stops the run wakes every sleeper."""
        sleeping = asyncio.ensure_future(sleep)
        stopped = asyncio.ensure_future(self.wait())
        try:
            await asyncio.wait({sleeping, stopped}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            sleeping.cancel()
            stopped.cancel()

    async def wait(self) -> None:
        """Return when nothing more may be sent."""
        await self._asked.wait()


def fatal_error(failure: Failure, teacher: Teacher) -> SpiritSafeError:
    """The one line that a user gets when the teacher will refuse everything."""
    where = f"teacher {teacher.model}"
    match failure.kind:
        case "bad_key":
            fix = f"check {teacher.api_key_env or 'whether the server wants a key (api_key_env)'}"
            return BadInput(
                f"the key was refused ({failure.message})",
                where=where,
                fix=f"{fix}. It goes on with another key, or after `spiritsafe resume`",
            )
        case "not_found":
            return BadInput(
                f"no such model or path ({failure.message})",
                where=where,
                fix="check [teacher] model and base_url",
            )
        case "proxy":
            return BadInput(
                failure.message,
                where="[teacher] proxy",
                fix="check proxy and proxy_auth_env, or ask whoever keeps the proxy; nothing was"
                " sent, and it goes on from here",
            )
        case "out_of_money":
            return BudgetReached(
                f"the provider says that the account has no credit left ({failure.message})",
                where=where,
                fix="top it up and run again: it goes on from here",
            )
        case "asked_to_wait":
            return BadInput(
                f"the server refuses for now ({failure.message})",
                where=where,
                fix="run again after that: it goes on from here",
            )
        case "daily_limit":
            return BudgetReached(
                f"the provider's quota of the day is used up ({failure.message})",
                where=where,
                fix="run again tomorrow: it goes on from here",
            )
        case "unsupported":
            return BadInput(
                f"the model does not take a setting ({failure.message})",
                where=where,
                fix="change it under [sampling], or max_tokens_field under [teacher]",
            )
        case "forbidden" | "policy":
            return PolicyDenied(
                f"the provider forbids it ({failure.message})",
                where=where,
                fix="ask the provider why; it goes on after `spiritsafe resume PROJECT --by NAME"
                " --because TEXT`, and is never retried around",
            )
        case _:
            return BadInput(f"{failure.kind}: {failure.message}", where=where, fix="see [teacher]")
