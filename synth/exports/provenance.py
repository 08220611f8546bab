"""SLSA provenance of a student: which weights, from which dataset, base, code and configuration.

    envelope = provenance(run_source(bench, "sft"), key, name)   # policy/attestation.py checks it

The subjects are the files of the student. What can be fetched or compared is a resolved dependency
with its digest: the dataset by its manifest and the log it was frozen under, the base model, the
configuration, the software. What a person decided (purpose, distribution, objective) is an external
parameter.

Sources: slsa.dev/spec/v1.0/provenance; in-toto/attestation, spec/v1 (statement, resource
descriptor). No predicate for training exists there, so the build type is our own, described in
docs/guides/exports.md.
"""

from collections.abc import Iterator
from typing import Any

from policy.attestation import sign_statement, statement
from policy.digest import PREFIX, digest, file_digest
from policy.keys import SigningKey
from policy.manifest import MANIFEST
from synth.exports.source import Source

BUILD_TYPE = "https://spiritsafe.local/train/v1"
BUILDER = "https://spiritsafe.local/builder"
WEIGHTS = "student/"


def provenance(source: Source, key: SigningKey, name: str) -> str:
    """The signed envelope; `name` is the one that the key's public line has."""
    return sign_statement(statement(_subjects(source), predicate(source)), key, name)


def _subjects(source: Source) -> dict[str, str]:
    """The student's files; all of a published directory are."""
    files = {name: str(entry["sha256"]) for name, entry in source.manifest["files"].items()}
    inner = {name: value for name, value in files.items() if name.startswith(WEIGHTS)}
    return inner or files


def predicate(source: Source) -> dict[str, Any]:
    """The SLSA provenance v1 predicate."""
    manifest = source.manifest
    decision = source.decision
    receipt = source.receipt
    metadata = {}
    if receipt:
        metadata = {
            "invocationId": f"{receipt.ledger}/{receipt.seq}",
            "finishedOn": receipt.time,
        }
    return {
        "buildDefinition": {
            "buildType": BUILD_TYPE,
            "externalParameters": {
                "purpose": decision["purpose"],
                "distribution": decision["distribution"],
                "dataset": manifest["dataset"]["name"],
                "base": source.base,
                "layers": manifest["student"]["layers"],
                "training": _text(manifest["training"], without={"counts", "steps"}),
            },
            "internalParameters": {
                "decision": _text({**decision, "reasons": len(decision["reasons"])}),
                "obligations": list(manifest["obligations"]),
                "teachers": [_text(teacher) for teacher in source.teachers],
            },
            "resolvedDependencies": list(_dependencies(source)),
        },
        "runDetails": {
            "builder": {"id": BUILDER, "version": dict(manifest["versions"])},
            "metadata": metadata,
            "byproducts": [
                {
                    "name": MANIFEST,
                    "digest": _sha256(file_digest(source.folder / MANIFEST)),
                    "annotations": {"manifest": source.digest},
                }
            ],
        },
    }


def _dependencies(source: Source) -> Iterator[dict[str, Any]]:
    dataset, student = source.dataset, source.manifest["student"]
    yield {
        "name": f"datasets/{dataset['name']}/{MANIFEST}",
        "digest": _sha256(file_digest(source.dataset_folder / MANIFEST)),
        "annotations": {"manifest": dataset["digest"], "rows": dataset["rows"]},
    }
    if checkpoint := source.checkpoint:
        yield {
            "name": f"log/{checkpoint.origin}",
            "digest": {"sha256": checkpoint.root.hex()},
            "annotations": {"size": str(checkpoint.size), "kind": "RFC 6962 Merkle root"},
        }
    yield {
        "name": f"base/{source.base}",
        "digest": _sha256(student["base_digest"]),
        "annotations": {"origin": student.get("origin", ""), "licence": student.get("license", "")},
    }
    yield {
        "name": "configuration",
        "digest": _sha256(digest(source.manifest["training"])),
        "annotations": {"form": "canonical JSON (RFC 8785) of `training` in the manifest"},
    }
    for name, version in source.manifest["versions"].items():
        kind = "generic" if name == "python" else "pypi"
        yield {"name": name, "uri": f"pkg:{kind}/{name}@{version}"}


def _sha256(value: str) -> dict[str, str]:
    return {"sha256": str(value).removeprefix(PREFIX)}


def _text(values: Any, without: frozenset[str] | set[str] = frozenset()) -> dict[str, Any]:
    """Settings as a verifier compares them: nothing that is empty."""
    return {
        key: value
        for key, value in values.items()
        if key not in without and value not in (None, "", [], {})
    }
