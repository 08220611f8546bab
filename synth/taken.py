"""What a takedown leaves to work with: prompts that may be asked, answers that may be frozen."""

from collections.abc import Sequence

from policy.errors import PolicyDenied
from synth.filters import Candidate
from synth.ledger import Ledger
from synth.prompts import Prompt
from synth.takedown import CLEAN, states_of


def taken_out(ledger: Ledger, offering: str, prompts: Sequence[Prompt]) -> list[Prompt]:
    """The prompts that may be asked. Raises PolicyDenied where the offering was taken down."""
    states = states_of(ledger)
    if states.state("offering", offering) != CLEAN:
        raise PolicyDenied(
            "was taken down in this project, so nothing is sent to it",
            where=offering,
            fix="`spiritsafe takedown show` says by whom and why",
        )
    gone = states.of("row")
    return [prompt for prompt in prompts if prompt.id not in gone] if gone else list(prompts)


def without_rows(ledger: Ledger, prompts: list[Prompt]) -> list[Prompt]:
    """The prompts whose rows were not taken down."""
    gone = states_of(ledger).of("row")
    return [prompt for prompt in prompts if prompt.id not in gone] if gone else prompts


def lawful(ledger: Ledger, rows: list[Candidate]) -> list[Candidate]:
    """The completions of offerings that were not taken down."""
    gone = states_of(ledger).of("offering")
    if not gone:
        return rows
    bound = {
        attempt
        for (attempt,) in ledger.each(
            "SELECT id FROM asked WHERE offering IN (SELECT unnest(?::VARCHAR[]))", [sorted(gone)]
        )
    }
    return [row for row in rows if row.attempt not in bound]
