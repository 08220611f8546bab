"""How far a takedown or an erasure reaches: rows, datasets, runs, published, students of students.

    plan_takedown(ledger, home, Target(offering="openai-api"))      # [Effect(...), ...]

A dataset is reached by what its manifest and its Parquet say; a run by the dataset that its
manifest names, by digest; a dataset that a student taught by the digest of that student's run.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from policy.errors import BadInput
from policy.manifest import read_manifest
from synth.formats import read_columns
from synth.ledger import Ledger
from synth.search import attempts_holding, holds
from synth.takedown import RETRAIN, TAINTED, WITHDRAWN, Effect

PLACES = {"dataset": "datasets", "run": "runs", "published": "published"}
SPLITS = ("train", "validation", "test", "rejected")


@dataclass(frozen=True, slots=True)
class Target:
    """What is to be taken down or erased: one of these."""

    offering: str = ""
    rows: tuple[str, ...] = ()
    """Ids of prompts."""
    subject: str = ""
    """A text by which a person is known; every row that holds it, in request or answer."""
    attempts: tuple[str, ...] = ()
    """Single requests, whose prompts may be asked again: what a retention limit ends."""

    def __post_init__(self) -> None:
        if sum(map(bool, (self.offering, self.rows, self.subject, self.attempts))) != 1:
            raise BadInput("say one of --offering, --row and --subject")

    @property
    def words(self) -> str:
        """The same for people; a subject is not repeated."""
        if self.rows:
            return f"row {self.rows[0]}" if len(self.rows) == 1 else f"{len(self.rows)} rows"
        return self.offering or ("one subject" if self.subject else "a retention limit")


def plan_takedown(ledger: Ledger, home: Path, target: Target) -> list[Effect]:
    """Everything that the target reaches, from rows to the students of students."""
    rows = rows_of(ledger, target)
    effects = [Effect("row", name, "", WITHDRAWN, target.words, n) for name, n in rows]
    if target.offering:
        why = "its terms or its permission"
        effects = [Effect("offering", target.offering, "", WITHDRAWN, why)]
    held = _holder(target, {name for name, _ in rows}, _keys(ledger, target))
    return effects + list(spread(home, held))


def rows_of(ledger: Ledger, target: Target) -> list[tuple[str, int]]:
    """(prompt id, answers) of the rows that are meant; of an offering all of them are."""
    if target.offering or target.attempts:
        return []
    found = {name: count for name, count, _ in _rows(ledger, target)}
    return list((dict.fromkeys(target.rows, 0) | found).items())


def attempts_of(ledger: Ledger, target: Target) -> list[str]:
    """Every attempt of the rows that are meant, with those of the same request."""
    return [one for _, _, ids in _rows(ledger, target) for one in ids]


def _rows(ledger: Ledger, target: Target) -> list[tuple[str, int, list[str]]]:
    """(prompt id, answers, attempts) of the rows that a row or a subject names."""
    first: list[str] = list(target.attempts)
    if target.rows:
        first = _ids(ledger, "prompt_id", target.rows)
    elif target.subject:
        first = attempts_holding(ledger, target.subject)
    rows = ledger.rows(
        "SELECT prompt_id, count(*) FILTER (class = 'ok'), list(id ORDER BY seq) FROM"
        " (SELECT prompt_id, class, id, seq, key FROM state"
        "  UNION ALL SELECT prompt_id, 'ok', id, seq, key FROM imported)"
        " WHERE key IN (SELECT key FROM asked WHERE id IN (SELECT unnest(?::VARCHAR[])))"
        " GROUP BY prompt_id ORDER BY prompt_id",
        [first],
    )
    return [(str(name), int(count), list(ids)) for name, count, ids in rows]


def _ids(ledger: Ledger, column: str, values: Sequence[str]) -> list[str]:
    where = f"WHERE {column} IN (SELECT unnest(?::VARCHAR[]))"
    return [one for (one,) in ledger.rows(f"SELECT id FROM asked {where}", [list(values)])]  # noqa: S608


def _keys(ledger: Ledger, target: Target) -> set[str]:
    """Keys of the single requests that are meant."""
    found = ledger.rows(
        "SELECT key FROM asked WHERE id IN (SELECT unnest(?::VARCHAR[]))", [list(target.attempts)]
    )
    return {key for (key,) in found}


Held = Callable[[Path, dict[str, Any]], int]


def _holder(target: Target, names: set[str], keys: set[str]) -> Held:
    """How many rows of the target a dataset holds."""

    def held(folder: Path, manifest: dict[str, Any]) -> int:
        if target.offering:
            teachers = manifest.get("teachers") or []
            return sum(int(t["rows"]) for t in teachers if _names(t["offering"], target.offering))
        return sum(
            row.id in names
            or row.key in keys
            or bool(target.subject and holds(row.text, target.subject))
            for row in dataset_rows(folder)
        )

    return held


def _names(offering: str, target: str) -> bool:
    """Whether an offering is the target, or a student of it: what binds a teacher binds it."""
    parts = offering.replace("student-of(", " ").replace(")", " ").replace(",", " ").split()
    return offering == target or target in parts


class FrozenRow(NamedTuple):
    """A row of a frozen dataset."""

    id: str
    key: str
    text: str
    """All of its text."""


def dataset_rows(folder: Path) -> Iterator[FrozenRow]:
    """Every row of a frozen dataset."""
    for split in SPLITS:
        path = folder / f"{split}.parquet"
        if path.is_file():
            for name, key, *texts in read_columns(
                path, ("id", "key", "prompt", "completion", "reasoning", "expected")
            ):
                yield FrozenRow(str(name), str(key), " ".join(_strings(texts)))


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from _strings(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _strings(inner)


def spread(home: Path, held: Held) -> Iterator[Effect]:
    """Datasets that hold a row, and what was made of them, to the last generation."""
    folders = {what: _finished(home / place) for what, place in PLACES.items()}
    tainted: dict[str, str] = {}
    waiting = [("dataset", *one) for one in folders["dataset"]]
    for what, folder, manifest in waiting:
        if count := held(folder, manifest):
            yield _effect(what, folder, manifest, TAINTED, f"holds {count} of its rows", count)
            tainted[str(manifest["digest"])] = f"{what} {folder.name}"
    grown = bool(tainted)
    while grown:
        grown = False
        for effect in _made_of(folders, tainted):
            tainted[effect.digest] = f"{effect.what} {effect.name}"
            grown = True
            yield effect


def _made_of(
    folders: dict[str, list[tuple[Path, dict[str, Any]]]], tainted: dict[str, str]
) -> list[Effect]:
    """One generation on: what names a tainted thing in its manifest and is not yet listed."""
    found = []
    for what, listed in folders.items():
        for folder, manifest in listed:
            source = next((tainted[one] for one in sources_of(manifest) if one in tainted), "")
            if source and str(manifest["digest"]) not in tainted:
                state = RETRAIN if what == "run" else TAINTED
                why = {"dataset": "taught by", "run": "trained on", "published": "made of"}[what]
                found.append(_effect(what, folder, manifest, state, f"{why} {source}"))
    return found


def sources_of(manifest: dict[str, Any]) -> Iterator[str]:
    """Digests of the manifests that one was made from."""
    for name in ("dataset", "run", "derived_from"):
        source = manifest.get(name)
        if isinstance(source, dict) and source.get("digest"):
            yield str(source["digest"])
    for teacher in manifest.get("teachers") or []:
        if isinstance(teacher, dict) and teacher.get("run"):
            yield str(teacher["run"])


def _effect(
    what: str, folder: Path, manifest: dict[str, Any], state: str, why: str, rows: int = 0
) -> Effect:
    return Effect(what, folder.name, str(manifest["digest"]), state, why, rows)


def _finished(folder: Path) -> list[tuple[Path, dict[str, Any]]]:
    if not folder.is_dir():
        return []
    return [
        (one, read_manifest(one))
        for one in sorted(folder.iterdir())
        if one.name[0] != "." and (one / "manifest.json").is_file()
    ]
