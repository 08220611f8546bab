"""Who changed the policy or the caps, and when: noted in the log whenever a step first meets it.

    policy_changes(bench, ledger)       # entries for what differs from the last ones, else none

Guardrails, records, own terms, the register's entry and the project's [use] and [limits] are files
that people edit; nothing tells us when. So what is met is held against what was met last, and a
difference becomes an entry with the account that runs, before anything is done under it.
"""

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from policy.digest import canonical, digest, file_digest
from policy.guardrails import FILE
from synth.guard import rails_folder, rails_of
from synth.notices import POLICY, NoticeRow, account

if TYPE_CHECKING:
    from synth.bench import Bench
    from synth.ledger import Ledger


class Met(NamedTuple):
    """A part of the policy as it is now."""

    what: str
    name: str
    digest: str
    says: dict[str, Any]


def policy_changes(bench: "Bench", ledger: "Ledger") -> list[NoticeRow]:
    """Entries for what differs from the last entry about it."""
    last = {
        (what, name): found
        for what, name, found in ledger.rows(
            "SELECT what, name, digest FROM notice WHERE kind = ?"
            " QUALIFY row_number() OVER (PARTITION BY what, name ORDER BY seq DESC) = 1",
            [POLICY],
        )
    }
    met = list(_met(bench))
    there = {(one.what, one.name) for one in met}
    gone = [
        Met(*key, "", {})
        for key, found in last.items()
        if found and key not in there and key[0] != "register"  # another teacher is no change of it
    ]
    return [
        NoticeRow(
            POLICY, one.what, one.name, one.digest, "set" if one.digest else "removed",
            ledger.now(), account(), "", canonical(one.says).decode(),
        )
        for one in [*met, *gone]
        if last.get((one.what, one.name), "") != one.digest
    ]  # fmt: skip


def _met(bench: "Bench") -> Iterator[Met]:
    project, sections = bench.project, bench.project.sections
    teacher = sections.teacher
    yield _section("project", f"{project.path.name} [use]", sections.use)
    yield _section("project", f"{project.path.name} [limits]", sections.limits)
    if rails_folder(project.folder):
        yield _section("guardrails", FILE, rails_of(project.folder))
    for folder in ("records", "terms"):
        for path in sorted((project.folder / folder).glob("*.toml")):
            yield Met(folder, path.name, file_digest(path), {"bytes": path.stat().st_size})
    entry = bench.register.find(teacher.offering, bench.today)
    if entry is not None:
        yield Met("register", teacher.offering, entry.pin, {"entry": entry.label})


def _section(what: str, name: str, section: Any) -> Met:
    """The values that are not the section's own defaults; fractions as text, as a leaf wants."""
    says = json.loads(section.model_dump_json(exclude_defaults=True), parse_float=str)
    return Met(what, name, digest(says), says)
