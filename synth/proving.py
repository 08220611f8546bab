"""Proofs about one thing: a row at a checkpoint, a log since a checkpoint, a student's rows.

    found, proofs = prove_row(ledger, home, "b77-0007", Path("0000000123.note"))

What is handed out is checked first by the very functions that an auditor has (policy/verify.py).
"""

import contextlib
from pathlib import Path
from typing import Any

from policy.decide import join
from policy.errors import BadInput, SpiritSafeError
from policy.keys import verify_note_by
from policy.log import (
    Checkpoint,
    Frontier,
    Subtree,
    consistency_proof,
    inclusion_proof,
    leaf_body,
    parse_checkpoint,
)
from policy.manifest import MANIFEST, read_manifest
from policy.permit import Action
from policy.proofs import inclusion_text
from policy.publishing import Leaving, publishing_problems
from policy.verify import (
    Finding,
    check_consistency,
    check_inclusion,
    verify_run,
)
from synth.audit import receipts
from synth.bench import Bench
from synth.checkpoints import NOTES, public_key
from synth.gates import groups_of
from synth.ledger import Ledger
from synth.ledger_checks import fields_of
from synth.takedown import CLEAN, states_of

Found = list[Finding]


def _subtrees(ledger: Ledger) -> Subtree:
    """Roots of parts of the log: from the edge that a commit noted, and the few leaves since. What
    is made of them is held against the signed root before it is handed out, so an edge that is
    altered makes a finding and no false proof."""

    def subtree(start: int, end: int) -> bytes:
        room = start & -start or end + 1
        noted = ledger.rows(
            "SELECT frontier FROM batch WHERE size > $1 AND size <= $2 AND size < $1 + $3"
            " ORDER BY size DESC LIMIT 1",
            [start, end, room],
        )
        part = Frontier()
        with contextlib.suppress(BadInput):
            part = Frontier.from_bytes(bytes(noted[0][0])).since(start) if noted else part
        for (one,) in ledger.each(
            "SELECT hash FROM leaf WHERE seq >= ? AND seq < ? ORDER BY seq",
            [start + part.size, end],
        ):
            part.append(bytes(one))
        return part.root()

    return subtree


def _note(home: Path, path: Path | None) -> tuple[str, Checkpoint]:
    """The text of a note and what it says; its signature must hold."""
    if path is None:
        path = max((home / NOTES).glob("*.note"), default=None)
    if path is None:
        raise BadInput("no checkpoint was written yet", where=str(home / NOTES))
    note = path.read_text(encoding="utf-8", errors="replace")
    return note, parse_checkpoint(verify_note_by(note, public_key(home)))


def prove_row(
    ledger: Ledger, home: Path, prompt_id: str, path: Path | None
) -> tuple[Found, list[str]]:
    """Every entry about a row up to the checkpoint, each with its inclusion proof as a file's
    text."""
    try:
        note, checkpoint = _note(home, path)
    except SpiritSafeError as error:
        if isinstance(error, BadInput):
            raise
        return [Finding(path.name if path else NOTES.name, error.message)], []
    entries = ledger.rows(
        "WITH mine AS (SELECT seq, id FROM attempt WHERE prompt_id = $1)"
        " SELECT seq, kind FROM leaf WHERE seq < $2 AND (seq IN (SELECT seq FROM mine) OR seq IN"
        " (SELECT seq FROM outcome WHERE attempt IN (SELECT id FROM mine)) OR seq IN"
        " (SELECT seq FROM verdict WHERE attempt IN (SELECT id FROM mine))) ORDER BY seq",
        [prompt_id, checkpoint.size],
    )
    if not entries:
        why = f"no entry of it is among the first {checkpoint.size}"
        return [Finding(f"row {prompt_id}", why)], []
    if ledger.size < checkpoint.size:
        return [Finding("log", f"has {ledger.size} entries, {checkpoint.size} were signed")], []
    found, proofs, subtree = [], [], _subtrees(ledger)
    for seq, kind in entries:
        body = leaf_body(kind, seq, fields_of(ledger, seq))
        text = inclusion_text(body, seq, inclusion_proof(seq, checkpoint.size, subtree), note)
        found += check_inclusion(text, public_key(home))
        proofs.append(text)
    return found, proofs


def prove_consistency(
    ledger: Ledger, home: Path, old: Path, new: Path | None = None
) -> tuple[Found, dict[str, Any]]:
    """That the newer checkpoint's log begins with the older one's."""
    try:
        (old_note, one), (new_note, other) = _note(home, old), _note(home, new)
    except SpiritSafeError as error:
        if isinstance(error, BadInput):
            raise
        return [Finding("checkpoint", error.message)], {}
    if ledger.size < (signed := max(one.size, other.size)):
        why = f"has {ledger.size} entries, {signed} were signed: its end is gone"
        return [Finding("log", why)], {}
    hashes = consistency_proof(one.size, other.size, _subtrees(ledger)) if one.size else []
    proof: dict[str, Any] = {
        "old_size": one.size, "new_size": other.size, "old": old_note, "new": new_note,
        "proof": [one.hex() for one in hashes],
    }  # fmt: skip
    return check_consistency(proof, public_key(home)), proof


def prove_model(ledger: Ledger, home: Path, run: str, dataset: str) -> tuple[Found, str]:
    """Weights to run, run to dataset, dataset to log."""
    folder = home / "runs" / run
    found = verify_run(folder, home / "datasets")
    try:
        named = read_manifest(folder)["dataset"]
        wanted = read_manifest(home / "datasets" / (dataset or named["name"]))
    except (SpiritSafeError, KeyError) as error:
        return [*found, Finding(str(folder), f"does not name its dataset: {error}")], ""
    if named["digest"] != wanted["digest"]:
        problem = f"was trained on {named['digest']}, not on {wanted['digest']}"
        found.append(Finding(f"run {run}", problem))
    found += [one for one in receipts(ledger, home) if one.object.split("/")[:2] in (
        ["runs", run], ["datasets", str(wanted["name"])])]  # fmt: skip
    logged = ledger.rows(
        "SELECT seq FROM receipt WHERE kind IN ('train', 'manifest') AND digest IN (?, ?)",
        [read_manifest(folder)["digest"], wanted["digest"]],
    )
    if len(logged) < 2:
        found.append(Finding(f"run {run}", "it, or its dataset, is in no entry of the log"))
    rows = {name: entry.get("rows") for name, entry in wanted["files"].items() if entry.get("rows")}
    said = ", ".join(f"{count} of {name}" for name, count in rows.items())
    return (
        found,
        f"run {run} was trained on dataset {wanted['name']}: {said}; rows {wanted['rows']}",
    )


def check_published(bench: Bench, name: str) -> Found:
    """Its files, its standing, and its duties by today's terms."""
    folder = bench.project.home / "published" / name
    found = verify_run(folder, bench.project.datasets)
    manifest = read_manifest(folder)
    with bench.open() as ledger:
        state = states_of(ledger).of_digest(str(manifest["digest"]))
    if state != CLEAN:
        found.append(Finding(f"published {name}", f"is {state} by a takedown"))
    dataset = bench.project.datasets / str(manifest["dataset"]["name"])
    groups = groups_of(bench, dataset, str(Action.PUBLISH), name=name)
    leaving = Leaving(
        name=name,
        card=(folder / "README.md").read_text(encoding="utf-8"),
        licence={"license": str(manifest.get("licence", ""))},
        notices=tuple(one for one in manifest["files"] if one != MANIFEST),
    )
    decision = join(group.decision for group in groups)
    for one in publishing_problems(decision, bench.register.obligation, leaving):
        found.append(Finding(f"published {name}", f"{one.duty}: {one.text} {one.fix}"))
    return found
