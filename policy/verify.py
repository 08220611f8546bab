"""Checks for somebody who trusts none of our other code: it imports no writer and no ledger.

    findings = verify_log(rows, checkpoints, public_key)
    findings += verify_dataset(Path("datasets/demo"))
    findings += verify_run(Path("runs/sft"), Path("datasets"))

    python -m policy.verify row row.tlog-proof --key "demo+0a1b2c3d+AQ..."
    python -m policy.verify consistency grown.json --key "demo+0a1b2c3d+AQ..."
    python -m policy.verify dataset datasets/demo
    python -m policy.verify run runs/sft --datasets datasets

No finding means that nothing was altered since the checkpoints were signed. A log can only show
what was put into it: keep a copy of a checkpoint where the writer cannot reach.
"""

import argparse
import json
import math
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from policy.digest import commit
from policy.errors import SpiritSafeError
from policy.keys import parse_public_key, verify_note, verify_note_by
from policy.log import (
    Checkpoint,
    Frontier,
    leaf_body,
    leaf_hash,
    parse_checkpoint,
    verify_consistency,
    verify_inclusion,
)
from policy.manifest import MANIFEST, file_faults, manifest_digest, read_manifest
from policy.proofs import read_inclusions

REFERENCES = ("ref", "key", "id", "name")


class LogRow(NamedTuple):
    """One leaf as the ledger stores it; `seq` is its index, from 0."""

    seq: int
    kind: str
    fields: Mapping[str, Any]
    leaf_hash: bytes


class Edge(NamedTuple):
    """The tree after one commit, as the ledger noted it."""

    first: int
    """Index of its first leaf: where the commit before it ended."""
    size: int
    root: bytes
    frontier: bytes


class Finding(NamedTuple):
    """Something that does not hold: which object, and what is wrong with it."""

    object: str
    problem: str


def verify_log(
    rows: Iterable[LogRow],
    checkpoints: Iterable[str],
    public_key: str,
    edges: Iterable[Edge] = (),
) -> list[Finding]:
    """Check every leaf against its fields, the order, and every signed checkpoint's root.

    `rows` and `edges` come in order and are read once, so a log of any size fits.
    """
    altered: list[Finding] = []
    found = verify_tree(_checked_leaves(rows, altered), checkpoints, public_key, edges)
    return altered + found


def check_leaves(rows: Iterable[LogRow], first: int, last: int) -> Iterator[Finding]:
    """Check the leaves from one place up to, and without, another: their order and their fields. A
    large log is looked at in such parts, side by side."""
    expected = first
    for row in rows:
        yield from _check_row(row, expected)
        expected = max(expected, row.seq + 1)
    if expected < last:
        yield Finding(f"leaf {_span(expected, last)}", "is missing")


def _checked_leaves(rows: Iterable[LogRow], altered: list[Finding]) -> Iterator[bytes]:
    """The hashes of the leaves in order; what is wrong with a row is added to `altered`."""
    expected = 0
    for row in rows:
        altered += _check_row(row, expected)
        if row.seq >= expected:
            expected = row.seq + 1
            yield row.leaf_hash


def verify_tree(
    hashes: Iterable[bytes],
    checkpoints: Iterable[str],
    public_key: str,
    edges: Iterable[Edge] = (),
) -> list[Finding]:
    """Check the hashes of all leaves, in order, against every commit and every signed root."""
    findings: list[Finding] = []
    signed = _read_checkpoints(checkpoints, public_key, findings)
    frontier = Frontier()
    roots = {0: frontier.root()}
    wanted = {checkpoint.size for checkpoint in signed}
    commits = _Commits(edges)
    for hashed in hashes:
        frontier.append(hashed)
        size = frontier.size
        if size in wanted:
            roots[size] = frontier.root()
        if commits.next_size <= size:
            findings += commits.check(frontier)
    return [*findings, *commits.left(frontier.size), *_check_roots(signed, roots, frontier.size)]


class _Commits:
    """The commits that the ledger noted: each begins where the one before it ended."""

    def __init__(self, edges: Iterable[Edge]) -> None:
        self._edges = iter(edges)
        self._at = 0
        self._edge = next(self._edges, None)

    @property
    def next_size(self) -> float:
        """Size of the log after the next one."""
        return self._edge.size if self._edge else math.inf

    def check(self, frontier: Frontier) -> Iterator[Finding]:
        """Those that end here."""
        while self._edge and self._edge.size <= frontier.size:
            edge = self._edge
            this = f"commit of size {edge.size}"
            if edge.first != self._at:
                yield Finding(this, f"begins at {edge.first}, the one before it ended {self._at}")
            if (edge.size, edge.frontier) != (frontier.size, frontier.to_bytes()):
                yield Finding(this, "is not that of the log")
            elif edge.root != frontier.root():
                yield Finding(this, "its root is not that of the log")
            self._at, self._edge = edge.size, next(self._edges, None)

    def left(self, size: int) -> Iterator[Finding]:
        """Those past the end of the log, and an end that none of them noted."""
        if self._at and self._edge is None and self._at != size:
            yield Finding(f"leaf {_span(self._at, size)}", "is after the last commit")
        while self._edge:
            yield Finding(f"commit of size {self._edge.size}", f"the log has {size} leaves")
            self._edge = next(self._edges, None)


def _span(first: int, last: int) -> str:
    return f"{first}" if last == first + 1 else f"{first} to {last - 1}"


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
    aside = datasets / f"{name}.{str(digest)[7:19]}"  # where freezing again put the older one
    try:
        found = manifest_digest(read_manifest(aside if aside.is_dir() else datasets / name))
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
    """The checkpoints that a key signed while it had the right to; the others become findings."""
    keys, signed = public_key.split(), list[tuple[Checkpoint, list[int]]]()
    parse_public_key(keys[0] if keys else public_key)
    for number, note in enumerate(notes, start=1):
        try:
            checkpoint = parse_checkpoint(verify_note_by(note, public_key))
        except SpiritSafeError as error:
            findings.append(Finding(f"checkpoint {number}", error.message))
            continue
        signed.append((checkpoint, [at for at, key in enumerate(keys) if _signs(note, key)]))
    begins, ends = _spans(len(keys), signed, findings)
    for checkpoint, signers in signed:
        size = checkpoint.size
        if not any(begins[at] <= size <= ends[at] for at in signers):
            problem = "is signed by a key that had been handed over, or was not in use yet"
            findings.append(Finding(f"checkpoint of size {size}", problem))
    return [checkpoint for checkpoint, _ in signed]


def _signs(note: str, key: str) -> bool:
    try:
        return bool(verify_note(note, parse_public_key(key).name, key))
    except SpiritSafeError:
        return False


def _spans(
    keys: int, signed: list[tuple[Checkpoint, list[int]]], findings: list[Finding]
) -> tuple[list[float], list[float]]:
    """The sizes from and to which each key signs: a checkpoint signed by two hands over."""
    begins, ends = [0.0] * keys, [math.inf] * keys
    for at in range(1, keys):
        both = [one.size for one, signers in signed if {at - 1, at} <= set(signers)]
        if not both:
            problem = "no checkpoint is signed by it and by the key before it"
            findings.append(Finding(f"key {at + 1} of the log", problem))
        begins[at] = ends[at - 1] = min(both, default=math.inf)
    return begins, ends


def _check_row(row: LogRow, expected: int) -> list[Finding]:
    """What is wrong with one row: its place, or its fields."""
    problem = ""
    try:
        if leaf_hash(leaf_body(row.kind, row.seq, row.fields)) != row.leaf_hash:
            problem = f"leaf {row.seq} is altered: its fields do not match its hash"
    except SpiritSafeError as error:
        problem = f"leaf {row.seq}: {error}"
    if row.seq == expected and not problem:
        return []
    this, found = _name(row), []
    if row.seq > expected:
        found.append(Finding(f"leaf {_span(expected, row.seq)}", f"is missing before {this}"))
    if row.seq < expected:
        found.append(Finding(this, f"leaf {row.seq} is there twice or out of order"))
    return [*found, Finding(this, problem)] if problem else found


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


def check_inclusion(text: str, public_key: str) -> list[Finding]:
    """Check every inclusion proof of a file: signature, entry to leaf, leaf to root."""
    name = "proof"
    try:
        for one in read_inclusions(text):
            name = f"entry {one.place}"
            signed = _signed(one.note, public_key)
            leaf = leaf_hash(one.entry)
            if not verify_inclusion(leaf, one.place, signed.size, one.proof, signed.root):
                return [Finding(name, "is not under the root that was signed")]
            if json.loads(one.entry).get("seq") != one.place:
                return [Finding(name, "calls itself another entry")]
    except (SpiritSafeError, ValueError, AttributeError) as error:
        return [Finding(name, str(error))]
    return []


def check_consistency(proof: Mapping[str, Any], public_key: str) -> list[Finding]:
    """Check that the log of a newer checkpoint begins with that of an older one."""
    try:
        old, new = (_signed(str(proof[name]), public_key) for name in ("old", "new"))
        hashes = [bytes.fromhex(one) for one in proof["proof"]]
    except (SpiritSafeError, KeyError, ValueError, TypeError) as error:
        return [Finding("consistency proof", str(error))]
    if old.size == 0 and not hashes:  # every log begins with the empty one
        return []
    if verify_consistency(old.size, new.size, hashes, old.root, new.root):
        return []
    why = f"the log of {new.size} entries does not begin with the {old.size} that were signed"
    return [Finding("consistency proof", why)]


def _signed(note: str, public_key: str) -> Checkpoint:
    return parse_checkpoint(verify_note_by(note, public_key))


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line of an auditor; 0 where all holds, 5 where something does not."""
    parser = argparse.ArgumentParser(prog="python -m policy.verify")
    parser.add_argument("what", choices=("row", "consistency", "dataset", "run"))
    parser.add_argument("path", type=Path)
    parser.add_argument("--key", default="", help="the public key line of the log")
    parser.add_argument("--datasets", type=Path, help="where the dataset of a run lies")
    given = parser.parse_args(arguments)
    found = _checked(given)
    for one in found:
        sys.stdout.write(f"{one.object}: {one.problem}\n")
    sys.stderr.write("does not verify\n" if found else "verified\n")
    return 5 if found else 0


def _checked(given: argparse.Namespace) -> list[Finding]:
    if given.what == "dataset":
        return verify_dataset(given.path)
    if given.what == "run":
        return verify_run(given.path, given.datasets)
    try:
        text = given.path.read_text(encoding="utf-8")
        if given.what == "row":
            return check_inclusion(text, given.key)
        return check_consistency(json.loads(text), given.key)
    except (OSError, ValueError) as error:
        return [Finding(str(given.path), str(error))]


if __name__ == "__main__":
    sys.exit(main())
