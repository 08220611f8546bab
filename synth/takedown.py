"""Takedown: what must go, and everything that was made of it: datasets, students, their students.

    effects = plan_takedown(ledger, home, Target(offering="openai-api"))      # synth/reach.py
    apply_takedown(ledger, home, effects, by="A. Jurist", because="permission withdrawn")

A row or an offering is withdrawn: its rows enter no dataset any more. A dataset that holds such a
row is tainted, a run trained on it must be trained again (retrain_required), what was published of
it is tainted, and so is what a tainted student taught. Each state is an entry of the log with who
said so and why; a later entry (`clean`) may say otherwise, none is removed. What is not clean is
refused as input of train, evaluate, publish and export, and as a teacher.

The states are also written to `takedowns.json`, by which a machine without the ledger, or another
project whose teacher is one of these students, knows them. The log is what counts.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from policy.digest import canonical
from policy.errors import BadInput, PolicyDenied, SpiritSafeError
from policy.files import write_whole
from policy.manifest import read_manifest
from synth.ledger import Ledger
from synth.notices import TAKEDOWN, NoticeRow, account

CLEAN, TAINTED, RETRAIN, WITHDRAWN = "clean", "tainted", "retrain_required", "withdrawn"
STATES = (CLEAN, TAINTED, RETRAIN, WITHDRAWN)
FILE = "takedowns.json"


@dataclass(frozen=True, slots=True)
class Effect:
    """What becomes of one thing."""

    what: str
    name: str
    digest: str
    state: str
    why: str
    rows: int = 0
    """Rows of the target that it holds, where that can be counted."""


@dataclass(frozen=True, slots=True)
class States:
    """How things stand, by the newest entry about each."""

    known: dict[tuple[str, str, str], str] = field(default_factory=dict)

    def state(self, what: str, name: str, digest: str = "") -> str:
        """Clean where nothing else was ever said."""
        return self.known.get((what, name, digest), CLEAN)

    def of(self, what: str) -> set[str]:
        """Names of the things of a kind that are not clean."""
        return {name for (kind, name, _), state in self.known.items()
                if kind == what and state != CLEAN}  # fmt: skip

    def of_digest(self, digest: str) -> str:
        """How whatever has this manifest stands, under whichever name."""
        found = [state for (_, _, one), state in self.known.items() if one == digest]
        return max(found, key=STATES.index, default=CLEAN)

    def is_withdrawn(self, what: str, folder: Path) -> bool:
        """Whether a directory was withdrawn, so that its files may be gone."""
        try:
            digest = str(read_manifest(folder).get("digest"))
        except SpiritSafeError:
            return False
        return self.state(what, folder.name.removesuffix(f".{digest[7:19]}"), digest) == WITHDRAWN


def states_of(ledger: Ledger) -> States:
    """From the log."""
    rows = ledger.rows("SELECT what, name, digest, state FROM standing ORDER BY seq")
    return States({(what, name, digest): state for what, name, digest, state in rows})


def states_at(home: Path) -> States:
    """From the file, where the ledger is not at hand."""
    try:
        listed = json.loads((home / FILE).read_text(encoding="utf-8"))["states"]
        return States({(o["what"], o["name"], o["digest"]): o["state"] for o in listed})
    except FileNotFoundError:
        return States()
    except (ValueError, KeyError, TypeError) as error:
        raise BadInput(
            f"cannot be read: {error}", where=str(home / FILE), fix="copy it from the ledger's side"
        ) from error


def refuse_unclean(states: States, folder: Path, verb: str) -> None:
    """Raise PolicyDenied where a dataset, run or published student is not clean."""
    manifest = read_manifest(folder)
    state = states.of_digest(str(manifest.get("digest")))
    if state != CLEAN:
        raise PolicyDenied(
            f"is {state} by a takedown, so {verb} is refused",
            where=f"{folder.parent.name}/{folder.name}",
            fix="freeze again without the rows and train anew; `spiritsafe takedown show` says why",
        )


def apply_takedown(
    ledger: Ledger, home: Path, effects: Sequence[Effect], by: str, because: str
) -> list[Effect]:
    """Enter what is not in the log yet; returns that. Applying twice changes nothing."""
    rows, fresh = notices(ledger, effects, by, because)
    ledger.append_all(rows)
    write_states(home, states_of(ledger))
    return fresh


def notices(
    ledger: Ledger, effects: Sequence[Effect], by: str, because: str
) -> tuple[list[NoticeRow], list[Effect]]:
    """The entries of effects that change something."""
    if not (by.strip() and because.strip()):
        raise BadInput("a takedown has a person and a reason", where="--by, --because")
    states, now = states_of(ledger), ledger.now()
    fresh = [one for one in effects if states.state(one.what, one.name, one.digest) != one.state]
    rows = [
        NoticeRow(
            TAKEDOWN, one.what, one.name, one.digest, one.state, now, by, because,
            canonical({"why": one.why, "rows": one.rows, "account": account()}).decode(),
        )
        for one in fresh
    ]  # fmt: skip
    return rows, fresh


def declare_clean(ledger: Ledger, names: Iterable[str]) -> list[Effect]:
    """The effects that lift what stands on these names; who and why is said when they apply."""
    wanted = set(names)
    states = states_of(ledger)
    found = [
        Effect(what, name, digest, CLEAN, "declared clean")
        for (what, name, digest), state in states.known.items()
        if name in wanted and state != CLEAN
    ]
    if not found:
        raise BadInput("nothing of that name is taken down", fix="see `spiritsafe takedown show`")
    return found


def write_states(home: Path, states: States) -> None:
    """The file beside the ledger; sorted, so that the same log gives the same bytes."""
    listed = [
        {"what": what, "name": name, "digest": digest, "state": state}
        for (what, name, digest), state in sorted(states.known.items())
    ]
    text = json.dumps({"states": listed}, indent=1, ensure_ascii=False) + "\n"
    write_whole(home / FILE, text.encode())
