"""What a student may be called, where its teachers' terms have a say.

>>> named_after("ClinicBot-1B", "Llama"), named_after("acme/Llama-Clinic", "Llama")
('Llama-ClinicBot-1B', 'acme/Llama-Clinic')
"""

import re
from collections.abc import Iterable

from policy.clauses import Obligation


def begins_with(name: str, prefix: str) -> bool:
    """Whether the name, less the account before the slash, begins as asked."""
    bare = name.rsplit("/", 1)[-1]
    return re.sub(r"[-_ ]", "-", bare).startswith(re.sub(r"[-_ ]", "-", prefix))


def named_after(name: str, prefix: str) -> str:
    """The name with the beginning that is asked for, put there once."""
    if begins_with(name, prefix):
        return name
    account, slash, bare = name.rpartition("/")
    begin = prefix.replace(" ", "-")
    rest = re.sub(rf"^{re.escape(begin)}[-_ ]*", "", bare, flags=re.IGNORECASE)
    return f"{account}{slash}{begin}-{rest}"


def name_faults(name: str, duties: Iterable[Obligation]) -> list[tuple[Obligation, str, str]]:
    """(duty, what is wrong, what to do) for each duty that the name does not meet."""
    found = []
    for duty in duties:
        if duty.name_prefix and not begins_with(name, duty.name_prefix):
            found.append((duty, *_prefix_fault(name, duty.name_prefix)))
        held = [word for word in duty.name_without if word.lower() in name.lower()]
        if held:
            wrong = f'The name "{name}" holds "{held[0]}", which these terms reserve.'
            found.append((duty, wrong, f'Publish it under a name without "{held[0]}".'))
    return found


def _prefix_fault(name: str, prefix: str) -> tuple[str, str]:
    if not name:
        return (
            f'The name under which it will be published is not stated; it must begin "{prefix}".',
            f'State the name; it must begin with "{prefix}".',
        )
    return (
        f'The name must begin with "{prefix}"; "{name}" does not.',
        f"Publish it as {named_after(name, prefix)}.",
    )
