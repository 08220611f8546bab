"""The register: what each offering's terms say, as facts with a clause, a document and a reviewer.

The unit is the offering, not the model: the same weights reach people under different contracts.
One TOML file holds one version of one offering's terms; history is kept, never edited in place.
Texts are not copied: an entry holds our own paraphrase, the place to read it, and who read it when.

    >>> load_register().find("deepseek-api", date(2026, 11, 24)).entity
    'DeepSeek'
"""

import re
from collections.abc import Iterable, Mapping
from datetime import date
from fnmatch import fnmatchcase
from itertools import pairwise
from pathlib import Path

from policy.clauses import (
    REVIEW_LASTS,
    Clause,
    Confidence,
    Document,
    Level,
    LevelName,
    Obligation,
    Retention,
    Review,
    Rule,
    fits,
)
from policy.config import load_toml, nearest, parse
from policy.entry import Terms
from policy.errors import BadInput

__all__ = [
    "REVIEW_LASTS",
    "SHIPPED",
    "Clause",
    "Confidence",
    "Document",
    "Level",
    "LevelName",
    "Obligation",
    "Register",
    "Retention",
    "Review",
    "Rule",
    "Terms",
    "file_name",
    "load_register",
    "read_terms",
    "split_version",
]

SHIPPED = Path(__file__).parent / "terms"
VERSION_SUFFIX = re.compile(r"@(\d{4}-\d{2}(?:-\d{2})?)$")
HOME = "@self-host"


class Register:
    """All entries: those that are shipped and, before them, those of the user's own agreements."""

    def __init__(
        self,
        shipped: tuple[Terms, ...],
        own: tuple[Terms, ...] = (),
        stale: Mapping[str, str] | None = None,
    ) -> None:
        self._shipped = shipped
        self._own = own
        self.stale: Mapping[str, str] = stale or {}
        self._by_name = [_by_name(own), _by_name(shipped)]

    def all(self) -> tuple[Terms, ...]:
        """Every entry, the user's own first."""
        return self._own + self._shipped

    def is_own(self, terms: Terms) -> bool:
        """Whether the entry is the user's and not ours."""
        return terms in self._own

    def with_stale(self, stale: Mapping[str, str]) -> "Register":
        """The same register, knowing which entries (by pin) have moved, and why one thinks so."""
        return Register(self._shipped, self._own, {**self.stale, **stale})

    def find(self, offering: str, on: date) -> Terms | None:
        """The terms of an offering in force on a day; None where there are none."""
        name, version = split_version(offering)
        for entries in self._by_name:
            for entry in entries.get(name, ()):
                if entry.effective <= on and entry.version.startswith(version):
                    return entry
        return None

    def history(self, offering: str) -> tuple[Terms, ...]:
        """Every version of an offering's terms, the newest first, the user's own before ours."""
        name = split_version(offering)[0]
        return tuple(entry for entries in self._by_name for entry in entries.get(name, ()))

    def names(self) -> tuple[str, ...]:
        """The ids of all offerings."""
        return tuple(sorted({entry.id for entry in self.all()}))

    def licence_of(self, model: str, on: date) -> Terms | None:
        """The terms of a model that a channel passes on: of its weights, else of its maker."""
        bare = model.lower().rsplit("/", 1)[-1]
        if exact := self.find(bare + HOME, on) or self.find(bare, on):
            return None if exact.channel else exact
        entries = [
            entry
            for entry in self.all()
            if not entry.channel and entry.effective <= on and "*" not in entry.models
        ]
        weights = [entry for entry in entries if entry.id.endswith(HOME)]
        for group in (weights, entries):
            fitting = [entry for entry in group if entry.covers(model) or entry.covers(bare)]
            if fitting:
                closest = max(fitting, key=lambda entry: _closeness(entry, bare))
                return self.find(closest.id, on)
        return None

    def offering_of_host(self, host: str) -> str | None:
        """The offering that answers on a host, so that a base URL cannot hide whose it is."""
        bare = host.lower().rsplit("@", 1)[-1].split(":", 1)[0].rstrip(".")
        for entry in self.all():
            if any(fnmatchcase(bare, pattern.lower()) for pattern in entry.hosts):
                return entry.id
        return None

    def obligation(self, name: str) -> Obligation | None:
        """The sentence behind the name of an obligation, for cards and screens."""
        found = (entry.obligations.get(name) for entry in self.all())
        return next((obligation for obligation in found if obligation), None)


def _by_name(entries: tuple[Terms, ...]) -> dict[str, list[Terms]]:
    """The versions of each offering under each of its names, the newest first."""
    found: dict[str, list[Terms]] = {}
    for entry in entries:
        for name in (entry.id, *entry.also):
            found.setdefault(name, []).append(entry)
    for versions in found.values():
        versions.sort(key=lambda entry: (entry.effective, entry.version), reverse=True)
    return found


def _closeness(entry: Terms, model: str) -> tuple[int, date]:
    """The longer the pattern, the closer the fit."""
    fitting = (len(each) for each in entry.models if fits((each,), (model,)) and each[0] != "!")
    return max(fitting, default=0), entry.effective


def split_version(offering: str) -> tuple[str, str]:
    """("aws-bedrock/nova", "2026-08-20") of "aws-bedrock/nova@2026-08-20"."""
    match = VERSION_SUFFIX.search(offering)
    return (offering[: match.start()], match[1]) if match else (offering, "")


def file_name(offering: str) -> str:
    """The name under which an offering's files lie, which may hold no slash."""
    return offering.replace("/", "--")


def load_register(extra: Path | None = None) -> Register:
    """Read the shipped entries and, from `extra`, those of the user's own agreements."""
    shipped = _read_folder(SHIPPED)
    own = _read_folder(extra, before=tuple(shipped.values())) if extra is not None else {}
    return Register(tuple(shipped.values()), tuple(own.values()))


def read_terms(path: Path) -> Terms:
    """Read one entry."""
    return parse(Terms, load_toml(path), where=str(path))


def _read_folder(folder: Path, before: tuple[Terms, ...] = ()) -> dict[Path, Terms]:
    """The entries of a folder, which may name versions that were read before it."""
    if not folder.is_dir():
        raise BadInput(
            "there is no such folder", where=str(folder), fix="Make it, or leave it out."
        )
    entries = {path: read_terms(path) for path in sorted(folder.glob("*.toml"))}
    _refuse_contradictions(entries)
    _refuse_overlaps(entries)
    _refuse_unknown_history(entries, before)
    return entries


def _refuse_contradictions(entries: Mapping[Path, Terms]) -> None:
    """Two files must not give the same version twice, nor two offerings the same host."""
    versions: dict[tuple[str, str], Path] = {}
    hosts: dict[str, str] = {}
    for path, entry in entries.items():
        earlier = versions.setdefault((entry.id, entry.version), path)
        if earlier != path:
            raise BadInput(
                f'id = "{entry.id}" with version = "{entry.version}" is also in {earlier.name}',
                where=str(path),
                fix="Give the newer one its own version and effective date.",
            )
        for host in entry.hosts:
            if hosts.setdefault(host, entry.id) != entry.id:
                raise BadInput(
                    f'hosts = "{host}" is already the host of "{hosts[host]}"',
                    where=str(path),
                    fix="Leave the host with one of them.",
                )


def _refuse_overlaps(entries: Mapping[Path, Terms]) -> None:
    """On no day may two versions of one offering hold."""
    files = {entry.label: path for path, entry in entries.items()}
    for versions in _by_name(tuple(entries.values())).values():
        for newer, older in pairwise(versions):
            if older.until is None or older.until >= newer.effective:
                raise BadInput(
                    f"until = {older.until or 'nothing'} lets {older.label} hold beside "
                    f"{newer.label}, which begins on {newer.effective}",
                    where=str(files[older.label]),
                    fix=f"Set until to the day before, {_day_before(newer.effective)}.",
                )


def _refuse_unknown_history(entries: Mapping[Path, Terms], before: tuple[Terms, ...]) -> None:
    """What a version supersedes, and what it inherits, must be there."""
    every = (*before, *entries.values())
    labels = {entry.label for entry in every}
    names = {entry.id for entry in every}
    parents = {entry.id: entry.inherits for entry in every}
    for path, entry in entries.items():
        past = entry.supersedes
        if past and not {past, f"{entry.id}@{past}"} & labels:
            raise _unknown(
                path,
                "supersedes",
                past,
                [
                    each.split("@")[-1]
                    for each in labels
                    if each.startswith(f"{entry.id}@") and each != entry.label
                ],
            )
        for other in entry.inherits:
            if other not in names:
                raise _unknown(path, "inherits", other, sorted(names))
        if entry.id in _ancestors(entry.inherits, parents):
            raise BadInput(
                f"inherits = {list(entry.inherits)} leads back to {entry.id}",
                where=str(path),
                fix="Leave one of them out.",
            )


def _ancestors(names: Iterable[str], parents: Mapping[str, tuple[str, ...]]) -> set[str]:
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += parents.get(name, ())
    return found


def _unknown(path: Path, key: str, value: str, known: list[str]) -> BadInput:
    guess = nearest(value, known)
    return BadInput(
        f'{key} = "{value}" names no entry that is there',
        where=str(path),
        fix=f'Did you mean "{guess}"?' if guess else f"Add that entry, or leave {key} out.",
    )


def _day_before(day: date) -> date:
    return date.fromordinal(max(1, day.toordinal() - 1))
