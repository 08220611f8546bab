"""What an export is made of: a directory that verifies, its receipt, and the duties that bind it.

    source = run_source(bench, "sft")
    source.manifest, source.dataset, source.duties

An altered file, manifest or dataset is refused here, before anything is written (exit 5).
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from policy.clauses import Obligation
from policy.digest import file_digest
from policy.errors import BadInput, VerificationFailed
from policy.log import Checkpoint, parse_checkpoint
from policy.manifest import MANIFEST, read_manifest
from policy.verify import Finding, verify_dataset, verify_run
from synth.bench import Bench
from synth.takedown import refuse_unclean, states_at, states_of


class Receipt(NamedTuple):
    """The entry of the log that names a directory."""

    ledger: str
    seq: int
    at_ms: int

    @property
    def time(self) -> str:
        """When it was entered, as an RFC 3339 time."""
        return time_of(self.at_ms)


class Duty(NamedTuple):
    """A duty by its name, with the register's words where it has any."""

    name: str
    said: Obligation | None
    link: str
    """Where the document stands that asks for it."""

    @property
    def text(self) -> str:
        """The duty in a sentence, its name where nobody explains it."""
        return self.said.text if self.said else self.name


@dataclass(frozen=True, slots=True)
class Source:
    """A dataset, or a student with the dataset that it learned from; every byte as it was."""

    folder: Path
    manifest: dict[str, Any]
    dataset_folder: Path
    dataset: dict[str, Any]
    """The dataset's manifest; the same as `manifest` for a dataset."""
    duties: tuple[Duty, ...]
    receipt: Receipt | None
    """None where no ledger lies beside it, for instance on a machine that only trains."""

    @property
    def name(self) -> str:
        """What people call it."""
        return str(self.manifest["name"])

    @property
    def digest(self) -> str:
        """The digest of its manifest."""
        return str(self.manifest["digest"])

    @property
    def checkpoint(self) -> Checkpoint | None:
        """The log as it was before the dataset was frozen."""
        note = str(self.dataset.get("checkpoint", ""))
        return parse_checkpoint(note.rpartition("\n\n")[0] + "\n") if note else None

    @property
    def rows(self) -> dict[str, int]:
        """Rows of each split."""
        files = self.dataset["files"]
        return {
            name.removesuffix(".parquet"): int(entry["rows"])
            for name, entry in files.items()
            if name.endswith(".parquet")
        }

    @property
    def teachers(self) -> list[dict[str, Any]]:
        """Who answered, by the dataset's manifest."""
        return list(self.dataset["teachers"])

    @property
    def base(self) -> str:
        """The model that a student starts from; of a path on somebody's disk its last part."""
        student = self.manifest["student"]
        return str(student.get("origin") or Path(str(student["base"])).name)

    @property
    def decision(self) -> dict[str, Any]:
        """The newest decision on it: at publication, at training, or at freezing."""
        manifest = self.manifest
        found = manifest.get("published") or manifest.get("decision") or manifest["decided"]
        return dict(found)

    @property
    def period(self) -> tuple[str, str]:
        """First and last day of collection; empty where no row is a teacher's."""
        days = sorted(day for teacher in self.teachers for day in teacher["collected"])
        return (days[0], days[-1]) if days else ("", "")


def dataset_source(bench: Bench, name: str = "") -> Source:
    """A frozen dataset. Raises VerificationFailed naming what was altered."""
    folder = bench.project.datasets / (name or bench.project.name)
    _refuse(verify_dataset(_there(folder)))
    manifest = read_manifest(folder)
    receipt = _receipt(bench, folder, "manifest")
    return Source(folder, manifest, folder, manifest, _duties(bench, manifest), receipt)


def run_source(bench: Bench, name: str = "", *, published: bool = False) -> Source:
    """A finished or published run, with its dataset. Raises VerificationFailed likewise."""
    place = bench.project.home / "published" if published else bench.project.runs
    folder = _there(place / (name or next(iter(bench.project.sections.arms), "student")))
    _refuse(verify_run(folder))
    manifest = read_manifest(folder)
    learned_from = bench.project.datasets / str(manifest["dataset"]["name"])
    _refuse(verify_dataset(learned_from))
    _refuse(verify_run(folder, bench.project.datasets))
    receipt = _receipt(bench, folder, "publish" if published else "train")
    dataset = read_manifest(learned_from)
    return Source(folder, manifest, learned_from, dataset, _duties(bench, manifest), receipt)


def time_of(milliseconds: int) -> str:
    """An RFC 3339 time in UTC."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _there(folder: Path) -> Path:
    if not folder.is_dir():
        places = [one.name for one in sorted(folder.parent.glob("*/")) if one.name[0] != "."]
        raise BadInput(
            "there is no such directory",
            where=str(folder),
            fix=f"there are {', '.join(places)}" if places else "freeze, or train, first",
        )
    return folder


def _refuse(found: list[Finding]) -> None:
    if found:
        raise VerificationFailed(
            f"{found[0].problem}; nothing is exported",
            where=found[0].object,
            fix="`spiritsafe verify` lists everything that does not hold",
        )


def _receipt(bench: Bench, folder: Path, of: str) -> Receipt | None:
    """What the log says of these very bytes. A manifest that was written anew is caught here, and
    what a takedown reached is refused; without a ledger, by the states written beside it."""
    if not bench.project.ledger.exists():
        refuse_unclean(states_at(bench.project.home), folder, "export")
        return None
    digest, file = read_manifest(folder)["digest"], file_digest(folder / MANIFEST)
    with bench.open() as ledger:
        refuse_unclean(states_of(ledger), folder, "export")
        found = ledger.rows(
            "SELECT seq, at_ms FROM receipt WHERE kind = ? AND digest = ? AND file = ?"
            " ORDER BY seq LIMIT 1",
            [of, digest, file],
        )
        origin = ledger.id
    if not found:
        _refuse([Finding(str(folder / MANIFEST), "is not one that the log has a receipt of")])
    return Receipt(origin, *map(int, found[0]))


def _duties(bench: Bench, manifest: dict[str, Any]) -> tuple[Duty, ...]:
    decided = manifest.get("published") or manifest.get("decision") or manifest["decided"]
    links = {reason["clause"]: reason["address"] for reason in decided["reasons"]}
    found = []
    for name in manifest.get("obligations", ()):
        said = bench.register.obligation(str(name))
        found.append(Duty(str(name), said, links.get(said.clause, "") if said else ""))
    return tuple(found)
