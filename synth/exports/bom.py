"""CycloneDX 1.6: the bill of materials of a student, for those who buy or run it.

    cyclonedx(run_source(bench, "sft"))      # JSON; subject: the student with its model card

The student's ancestors are its base and its teachers; the dataset is a component of its own, whose
contents, prompts and duties are listed; the software that made it comes with its versions.

Source: CycloneDX 1.6 JSON schema (ECMA-424), components `machine-learning-model` and `data`.
"""

import json
import uuid
from collections.abc import Iterator
from typing import Any

from policy.digest import PREFIX
from synth.exports.source import Source

STUDENT, DATASET = "student", "dataset"
_METRICS = {"exact_match", "valid", "kl", "top1_agreement"}


def cyclonedx(source: Source) -> str:
    """The document. Its serial number is made from the manifest's digest."""
    components = [_dataset(source), *_software(source)]
    document = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, source.digest)}",
        "version": 1,
        "metadata": {
            **({"timestamp": source.receipt.time} if source.receipt else {}),
            "lifecycles": [{"phase": "build"}],
            "tools": {"components": [_tool(source)]},
            "component": _student(source),
        },
        "components": components,
        "dependencies": [
            {"ref": STUDENT, "dependsOn": [str(one["bom-ref"]) for one in components]},
            *({"ref": str(one["bom-ref"])} for one in components),
        ],
    }
    return json.dumps(document, ensure_ascii=False, indent=1) + "\n"


def _tool(source: Source) -> dict[str, Any]:
    return {
        "type": "application",
        "name": "spiritsafe",
        "version": str(source.manifest["versions"].get("spiritsafe", "")),
    }


def _student(source: Source) -> dict[str, Any]:
    manifest = source.manifest
    licence = str(manifest.get("licence") or manifest["student"].get("license") or "")
    return {
        "type": "machine-learning-model",
        "bom-ref": STUDENT,
        "name": source.name,
        "version": source.digest,
        "description": f"A student of {manifest['student']['parameters']:,} parameters, distilled"
        f" from {', '.join(_models(source)) or 'no teacher'}.",
        **({"licenses": [_licence(licence)]} if licence else {}),
        "pedigree": {"ancestors": list(_ancestors(source)), "notes": _notes(source)},
        "modelCard": _card(source),
        "properties": [
            *(_property(f"file:{name}", entry["sha256"]) for name, entry in _weights(source)),
            _property("manifest", source.digest),
        ],
    }


def _weights(source: Source) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, entry in source.manifest["files"].items():
        if name.endswith(".safetensors"):
            yield name, entry


def _ancestors(source: Source) -> Iterator[dict[str, Any]]:
    student = source.manifest["student"]
    base: dict[str, Any] = {
        "type": "machine-learning-model",
        "bom-ref": "base",
        "name": source.base,
        "hashes": [_hash(student["base_digest"])],
        "properties": [_property("role", "base")],
    }
    if student.get("license"):
        base["licenses"] = [_licence(str(student["license"]))]
    yield base
    for place, teacher in enumerate(source.teachers):
        yield {
            "type": "machine-learning-model",
            "bom-ref": f"teacher-{place}",
            "name": str(teacher["model"]),
            "description": "A teacher: the student learned from its answers, not from its weights.",
            "properties": [
                _property("role", "teacher"),
                _property("offering", teacher["offering"]),
                _property("terms_pin", teacher["terms_pin"]),
                _property("rows", teacher["rows"]),
                _property("served_models", ", ".join(teacher["served_models"])),
                _property("collected", " to ".join(teacher["collected"])),
            ],
        }


def _notes(source: Source) -> str:
    offering = source.manifest.get("as_teacher", "")
    return f"When it teaches in turn, it is the offering {offering}." if offering else ""


def _card(source: Source) -> dict[str, Any]:
    manifest, training = source.manifest, source.manifest["training"]
    decision = source.decision
    mixed = " + ".join(f"{weight} {name}" for name, weight in training["objective"].items())
    card: dict[str, Any] = {
        "modelParameters": {
            "approach": {"type": "supervised"},
            "task": "text-generation",
            "architectureFamily": "transformer",
            "datasets": [{"ref": DATASET}],
            "inputs": [{"format": "text"}],
            "outputs": [{"format": "text"}],
        },
        "considerations": {
            "useCases": [f"{decision['purpose']}, distribution {decision['distribution']}"],
            "technicalLimitations": [
                "It learnt one task from a teacher's answers and repeats the teacher's mistakes.",
                f"Objective {mixed}, {training['steps']} steps.",
            ],
        },
        "properties": [
            *(_property(f"duty:{duty.name}", duty.text) for duty in source.duties),
            _property("decision", decision["level"]),
        ],
    }
    if found := list(_performance(manifest.get("evaluation") or {})):
        card["quantitativeAnalysis"] = {"performanceMetrics": found}
    return card


def _performance(metrics: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for name in sorted(_METRICS & metrics.keys()):
        value = metrics[name]
        yield {
            "type": name,
            "value": str(value["value"]),
            "slice": "test",
            "confidenceInterval": {
                "lowerBound": str(value["low"]),
                "upperBound": str(value["high"]),
            },
        }


def _dataset(source: Source) -> dict[str, Any]:
    dataset, prompts = source.dataset, source.dataset["prompts"]
    rows = ", ".join(f"{count} {split}" for split, count in source.rows.items())
    contents = [
        _property(f"file:{name}", entry["sha256"]) for name, entry in dataset["files"].items()
    ]
    data: dict[str, Any] = {
        "type": "dataset",
        "name": str(dataset["name"]),
        "description": f"Synthetic answers of a teacher, {rows} rows.",
        "classification": str(dataset["decided"]["distribution"]),
        "contents": {"properties": contents},
    }
    if prompts["attribution"]:
        owner = {"organization": {"name": str(prompts["attribution"])}}
        data["governance"] = {"owners": [owner]}
    return {
        "type": "data",
        "bom-ref": DATASET,
        "name": str(dataset["name"]),
        "version": str(dataset["digest"]),
        "licenses": [_licence(str(prompts["licence"]))],
        "data": [data],
        "properties": [
            _property("rows", dataset["rows"]),
            _property("ledger", dataset["ledger"]),
            _property("prompts", f"{prompts['file']} {prompts['sha256']}"),
            *(_property(f"filter:{name}", value) for name, value in dataset["filters"].items()),
        ],
    }


def _software(source: Source) -> Iterator[dict[str, Any]]:
    for name, version in source.manifest["versions"].items():
        kind = "generic" if name == "python" else "pypi"
        purl = f"pkg:{kind}/{name}@{version}"
        library = {"type": "library", "bom-ref": purl, "name": name, "version": str(version)}
        yield {**library, "purl": purl}


def _models(source: Source) -> list[str]:
    return sorted({str(teacher["model"]) for teacher in source.teachers})


def _licence(name: str) -> dict[str, Any]:
    """By name: an SPDX identifier would have to be spelt as SPDX does, and ours need not be."""
    return {"license": {"name": name}}


def _hash(digest: str) -> dict[str, str]:
    return {"alg": "SHA-256", "content": str(digest).removeprefix(PREFIX)}


def _property(name: str, value: Any) -> dict[str, str]:
    return {"name": f"spiritsafe:{name}", "value": str(value)}
