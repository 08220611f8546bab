"""Checks for somebody who trusts none of our other code: it imports no writer and no ledger.

    findings = verify_log(rows, checkpoints, public_key)
    findings += verify_dataset(Path("datasets/demo"))
    findings += verify_run(Path("runs/sft"), Path("datasets"))

No finding means that nothing was altered since the checkpoints were signed. A log can only show
what was put into it: keep a copy of a checkpoint where the writer cannot reach.
"""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from policy.digest import commit
from policy.errors import SpiritSafeError
from policy.keys import parse_public_key, verify_note
from policy.log import Checkpoint, Frontier, leaf_body, leaf_hash, parse_checkpoint
from policy.manifest import MANIFEST, file_faults, manifest_digest, read_manifest

REFERENCES = ("ref", "key", "id", "name")


class LogRow(NamedTuple):
    """One leaf as the ledger stores it; `seq` is its index, from 0."""

    seq: int
    kind: str
    fields: Mapping[str, Any]
    leaf_hash: bytes


class Finding(NamedTuple):
    """Something that does not hold: which object, and what is wrong with it."""

    object: str
    problem: str


def verify_log(
    rows: Iterable[LogRow], checkpoints: Iterable[str], public_key: str
) -> list[Finding]:
    """Check every leaf against its fields, the order, and every signed checkpoint's root.

    `rows` come in order of `seq` and are read once, so a log of any size fits.
    """
    findings: list[Finding] = []
    signed = _read_checkpoints(checkpoints, public_key, findings)
    frontier, expected = Frontier(), 0
    roots = {0: frontier.root()}
    wanted = {checkpoint.size for checkpoint in signed}
    for row in rows:
        findings += _check_row(row, expected)
        if row.seq < expected:
            continue
        expected = row.seq + 1
        frontier.append(row.leaf_hash)
        if frontier.size in wanted:
            roots[frontier.size] = frontier.root()
    return findings + list(_check_roots(signed, roots, frontier.size))


def check_content(object_name: str, commitment: str, salt: bytes, content: bytes) -> list[Finding]:
    """Check a stored content against the commitment in its leaf."""
    try:
        held = commit(salt, content) == commitment
    except SpiritSafeError as error:
        return [Finding(object_name, str(error))]
    return [] if held else [Finding(object_name, "its content is not what the log committed to")]


def verify_dataset(folder: Path) -> list[Finding]:
    """Check a dataset directory against its manifest, and the manifest against its digest."""
    return _verify_folder(folder, "dataset")


def verify_run(folder: Path, datasets: Path | None = None) -> list[Finding]:
    """Check a run directory, and with `datasets` that it names the dataset that is there."""
    findings = _verify_folder(folder, "run")
    return findings if datasets is None else findings + _verify_source(folder, datasets)


def _verify_source(folder: Path, datasets: Path) -> list[Finding]:
    """Whether the dataset that the run names is there, and still the same."""
    try:
        named = read_manifest(folder).get("dataset")
    except SpiritSafeError:
        return []  # said already
    trained_on = named if isinstance(named, Mapping) else {}
    name, digest = str(trained_on.get("name", "")), trained_on.get("digest")
    try:
        found = manifest_digest(read_manifest(datasets / name))
    except SpiritSafeError as error:
        return [Finding(f"dataset {name}", error.message)]
    problem = f"is not the one the run was trained on: {found}, the run says {digest}"
    return [] if found == digest else [Finding(f"dataset {name}", problem)]


def _verify_folder(folder: Path, kind: str) -> list[Finding]:
    try:
        manifest = read_manifest(folder)
        recomputed = manifest_digest(manifest)
    except SpiritSafeError as error:
        return [Finding(str(folder), error.message)]
    findings = [
        Finding(str(folder / fault.name), fault.problem) for fault in file_faults(folder, manifest)
    ]
    if manifest.get("digest") != recomputed:
        problem = f"is altered: its digest is {recomputed}, it says {manifest.get('digest')}"
        findings.append(Finding(str(folder / MANIFEST), problem))
    if manifest.get("kind") != kind:
        problem = f"is the manifest of a {manifest.get('kind')}, not of a {kind}"
        findings.append(Finding(str(folder / MANIFEST), problem))
    return findings


def _read_checkpoints(
    notes: Iterable[str], public_key: str, findings: list[Finding]
) -> list[Checkpoint]:
    """The checkpoints whose signature holds; the others become findings."""
    name, signed = parse_public_key(public_key).name, []
    for number, note in enumerate(notes, start=1):
        try:
            signed.append(parse_checkpoint(verify_note(note, name, public_key)))
        except SpiritSafeError as error:
            findings.append(Finding(f"checkpoint {number}", error.message))
    return signed


def _check_row(row: LogRow, expected: int) -> Iterator[Finding]:
    """What is wrong with one row: its place, or its fields."""
    this = _name(row)
    if row.seq > expected:
        gap = f"{expected}" if row.seq == expected + 1 else f"{expected} to {row.seq - 1}"
        yield Finding(f"leaf {gap}", f"is missing before {this}")
    if row.seq < expected:
        yield Finding(this, f"leaf {row.seq} is there twice or out of order")
    try:
        recomputed = leaf_hash(leaf_body(row.kind, row.seq, row.fields))
    except SpiritSafeError as error:
        yield Finding(this, str(error))
        return
    if recomputed != row.leaf_hash:
        yield Finding(this, f"leaf {row.seq} is altered: its fields do not match its hash")


def _check_roots(
    signed: list[Checkpoint], roots: Mapping[int, bytes], size: int
) -> Iterator[Finding]:
    """Compare every signed root; a mismatch is bounded by the last one that held."""
    held = 0
    for checkpoint in sorted(signed, key=lambda each: each.size):
        name = f"checkpoint of size {checkpoint.size}"
        if checkpoint.size > size:
            yield Finding(name, f"the log has only {size} leaves: its end was cut off")
        elif roots[checkpoint.size] == checkpoint.root:
            held = checkpoint.size
        else:
            span = f"{held} to {checkpoint.size - 1}"
            yield Finding(name, f"its root does not hold: a leaf from {span} is not the signed one")


def _name(row: LogRow) -> str:
    """The object a person knows it by."""
    reference = next((row.fields[key] for key in REFERENCES if key in row.fields), row.seq)
    return f"{row.kind} {reference}"
