"""Before a student or a dataset leaves the house: does it carry what the terms ask for?

    for problem in publishing_problems(decision, register.obligation, leaving):
        print(problem.duty, problem.text, problem.fix)

The duties are data of the register: a name's beginning, a sentence on the card, a file beside it,
a licence to mention. What a program cannot see, such as an agreement with each recipient, must be
stated on the card, so that somebody has thought of it.
"""

from collections.abc import Callable, Iterator, Mapping
from fnmatch import fnmatchcase
from typing import NamedTuple

from policy.clauses import Level, Obligation
from policy.decision import Decision
from policy.names import name_faults


class Leaving(NamedTuple):
    """What is about to be published."""

    name: str
    """The name it will have."""
    card: str
    """The text of its card."""
    licence: Mapping[str, str]
    """The card's licence fields: license, license_name, license_link."""
    notices: tuple[str, ...]
    """The files that come with it."""


class Problem(NamedTuple):
    """A duty that is not met, and what meets it."""

    duty: str
    text: str
    fix: str


def publishing_problems(
    decision: Decision, obligation: Callable[[str], Obligation | None], leaving: Leaving
) -> list[Problem]:
    """What stands against publishing; nothing where every duty is met."""
    problems = []
    if decision.level >= Level.NEEDS_ACK:
        problems.append(Problem("decision", decision.reasons[0].text, decision.fix))
    for name in decision.obligations:
        duty = obligation(name)
        if duty is None:
            problems.append(
                Problem(
                    name, "No register entry explains this duty.", "Keep the register complete."
                )
            )
            continue
        problems += [Problem(name, text, fix) for text, fix in _unmet(name, duty, leaving)]
    return problems


def _unmet(name: str, duty: Obligation, leaving: Leaving) -> Iterator[tuple[str, str]]:
    for _, wrong, fix in name_faults(leaving.name, [duty]):
        yield wrong, fix
    card = leaving.card.lower()
    if duty.card_text and not any(text.lower() in card for text in duty.card_text):
        wanted = " or ".join(f'"{text}"' for text in duty.card_text)
        yield f"The card does not say {wanted}.", f"Add {wanted} to the card."
    for pattern in duty.notice_files:
        if not any(_is_file(held, pattern) for held in leaving.notices):
            file = pattern.rstrip("*")
            yield f'There is no file "{file}".', f'{duty.text} Put the file "{file}" beside it.'
    fields = " ".join(str(value) for value in leaving.licence.values()).lower()
    if duty.licence and duty.licence not in fields:
        yield (
            f'The licence fields do not mention "{duty.licence}".',
            f'Set license_name and license_link so that they name "{duty.licence}".',
        )
    seen = duty.name_prefix or duty.name_without or duty.card_text or duty.notice_files
    if not seen and not duty.licence and name not in leaving.card and duty.text not in leaving.card:
        yield f"The card does not pass on the duty {name}.", f'Write on the card: "{duty.text}"'


def _is_file(held: str, pattern: str) -> bool:
    return fnmatchcase(held.rsplit("/", 1)[-1].lower(), pattern.lower())
