"""Publish: a student leaves with its name, card, licence and notices in order, or not at all.

    publish(bench, leaving)      # published/NAME/, ready to be handed on

The terms are asked once more, for the step `publish` and under the name that the student will have.
What is not met is listed with what meets it. Nothing is sent: the directory is what to send.
"""

import os
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from policy.decide import join
from policy.errors import BadInput, PolicyDenied, VerificationFailed
from policy.manifest import describe_files, read_manifest, write_manifest
from policy.permit import Action, Permit, require
from policy.publishing import Leaving, publishing_problems
from policy.verify import verify_run
from synth.bench import Bench
from synth.gates import groups_of, look_and_sign

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}")


@dataclass(frozen=True, slots=True)
class Parcel:
    """What somebody wants to publish."""

    run: str
    name: str
    """The name under which others will know it."""
    licence: str
    """The card's licence fields, as `license` of a Hugging Face card."""
    notices: Sequence[Path]
    """Files that must come with it."""
    card: Path | None = None
    """A card of one's own; the run's where there is none."""


def publish(bench: Bench, parcel: Parcel) -> Path:
    """Write published/NAME/. Raises PolicyDenied with every duty that is not met."""
    if not _NAME.fullmatch(parcel.name):
        raise BadInput(f"{parcel.name!r} cannot name a directory", where="--name")
    folder = bench.project.runs / parcel.run
    if found := verify_run(folder, bench.project.datasets):
        raise VerificationFailed(f"{found[0].problem}", where=found[0].object)
    manifest = read_manifest(folder)
    dataset = bench.project.datasets / str(manifest["dataset"]["name"])
    for made in (dataset, folder):
        look_and_sign(bench, made, Action.PUBLISH)
    groups = groups_of(bench, dataset, str(Action.PUBLISH), name=parcel.name)
    if not groups:
        raise BadInput("its dataset names no teacher", where=str(dataset), fix="freeze it again")
    decision = join(group.decision for group in groups)
    card = (parcel.card or folder / "README.md").read_text(encoding="utf-8")
    leaving = Leaving(
        name=parcel.name,
        card=card,
        licence={"license": parcel.licence},
        notices=tuple(path.name for path in parcel.notices),
    )
    problems = publishing_problems(decision, bench.register.obligation, leaving)
    if problems:
        listed = "; ".join(f"{one.duty}: {one.text} {one.fix}" for one in problems)
        raise PolicyDenied(f"cannot be published: {listed}", where=parcel.name, decision=decision)
    return _write(bench, parcel, card, manifest, require(decision, Action.PUBLISH))


def _write(
    bench: Bench, parcel: Parcel, card: str, manifest: dict[str, Any], permit: Permit
) -> Path:
    Permit.must_be(permit, Action.PUBLISH)
    target = bench.project.home / "published" / parcel.name
    if target.exists():
        raise BadInput("it is published already", where=str(target), fix="choose another name")
    partial = target.with_name(f".{parcel.name}.{os.getpid()}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.parent.mkdir(parents=True, exist_ok=True)
    try:
        shutil.copytree(bench.project.runs / parcel.run / "student", partial)
        (partial / "README.md").write_text(card, encoding="utf-8")
        for path in parcel.notices:
            shutil.copyfile(path, partial / path.name)
        write_manifest(
            partial,
            {
                **{key: value for key, value in manifest.items() if key not in ("files", "digest")},
                "name": parcel.name,
                "run": {"name": parcel.run, "digest": manifest["digest"]},
                "licence": parcel.licence,
                "published": permit.decision.model_dump(mode="json", exclude={"date"}),
                "obligations": list(permit.obligations),
                "created": bench.today.isoformat(),
                "files": describe_files(partial),
            },
        )
        os.replace(partial, target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return target
