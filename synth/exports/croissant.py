"""Croissant 1.1: a dataset for those who load it, with its provenance and what it may be used for.

    croissant(dataset_source(bench), to="")    # JSON-LD; `to` is where the files lie from there

PROV says who made the dataset, each file and each field, and which column names the terms of each
row. ODRL says what our decision allows, under which duties, and what it does not. The RAI fields
say how the rows came about. Loading it with mlcroissant gives the rows of each split.

Sources: mlcommons/croissant, docs/croissant-spec-1.1.md and docs/croissant-rai-spec.md; W3C PROV-O;
W3C ODRL 2.2.
"""

import json
from typing import Any

from policy.digest import PREFIX
from synth.exports.source import Source
from synth.formats import COLUMNS

CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "arrayShape": "cr:arrayShape",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "containedIn": "cr:containedIn",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "description": {"@container": "@language"},
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileProperty": "cr:fileProperty",
    "fileObject": "cr:fileObject",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isArray": "cr:isArray",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "name": {"@container": "@language"},
    "odrl": "http://www.w3.org/ns/odrl/2/",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "prov": "http://www.w3.org/ns/prov#",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}
"""The context of the specification, with PROV and ODRL."""

KINDS = {
    "VARCHAR": "sc:Text",
    "BOOLEAN": "sc:Boolean",
    "INTEGER": "cr:Int32",
    "BIGINT": "cr:Int64",
    "FLOAT": "cr:Float32",
    "BLOB": "sc:Text",
}
MESSAGES = "STRUCT(role VARCHAR, content VARCHAR)[]"
WORDS = {
    "prompt": "The messages that the student reads.",
    "completion": "The answer: one message of the assistant.",
    "expected": "The known answer, as JSON, where the prompts have one.",
    "offering": "The contract under which the answer was collected, by its name in the register.",
    "served_model": "The model that answered, as its server names it.",
    "terms_pin": "The digest of the terms entry in force when it was collected.",
    "decision": "The digest of the decision that allowed it.",
    "leaf": "The entry of the log that holds the request.",
    "origin": "The file and the place that an imported answer came from; empty for our own.",
    "signal": "Whether the stored token probabilities spell the text of the answer.",
}


def croissant(source: Source, *, to: str = "", language: tuple[str, ...] = ()) -> str:
    """The JSON-LD document. `to` is put before each file's name, such as `../datasets/bot/`."""
    manifest = source.manifest
    document = {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": [
            "http://mlcommons.org/croissant/1.1",
            "http://mlcommons.org/croissant/RAI/1.0",
        ],
        "name": source.name,
        "description": _description(source),
        "url": to or "./",
        "version": "1.0.0",
        "identifier": source.digest,
        "license": str(manifest["prompts"]["licence"]),
        "datePublished": str(manifest["created"]),
        "citeAs": f"{source.name}, manifest {source.digest}",
        "isLiveDataset": False,
        "keywords": ["synthetic", "distillation"],
        "creator": _software(manifest),
        **({"inLanguage": list(language)} if language else {}),
        **_provenance(source),
        "usageInfo": _offer(source),
        **_responsible(source),
        "distribution": [_file(source, split, to) for split in source.rows],
        "recordSet": [_records(source, split) for split in source.rows],
    }
    return json.dumps(document, ensure_ascii=False, indent=1) + "\n"


def _description(source: Source) -> str:
    if source.manifest["source"] == "known":
        return "A control: the known answers of the prompts in place of a teacher's."
    models = ", ".join(sorted({str(teacher["model"]) for teacher in source.teachers}))
    filters = ", ".join(source.manifest["filters"])
    return f"Synthetic answers of {models} to prompts, kept by the filters {filters}."


def _software(manifest: dict[str, Any]) -> dict[str, Any]:
    version = manifest["versions"].get("spiritsafe", "")
    return {"@type": "sc:Organization", "name": f"Spirit Safe {version}".strip()}


def _agent(teacher: dict[str, Any]) -> dict[str, Any]:
    return {
        "@type": "prov:SoftwareAgent",
        "prov:label": f"{teacher['model']} under {teacher['offering']}, terms"
        f" {teacher['terms_pin']}",
    }


def _collection(source: Source) -> dict[str, Any]:
    first, last = source.period
    days = {"prov:startedAtTime": first, "prov:endedAtTime": last} if first else {}
    return {"@type": "prov:Activity", "prov:label": "Collection from the teacher's API", **days}


def _provenance(source: Source) -> dict[str, Any]:
    prompts, checkpoint = source.manifest["prompts"], source.checkpoint
    log = f", log {checkpoint.origin} at {checkpoint.size} entries" if checkpoint else ""
    return {
        "prov:wasGeneratedBy": {
            "@type": "prov:Activity",
            "prov:label": f"spiritsafe freeze{log}",
            "prov:endedAtTime": source.receipt.time
            if source.receipt
            else str(source.manifest["created"]),
            "prov:wasInformedBy": _collection(source),
        },
        "prov:wasAttributedTo": [_agent(teacher) for teacher in source.teachers],
        "prov:wasDerivedFrom": {
            "@type": "prov:Entity",
            "prov:label": f"prompts {prompts['file']}, {prompts['licence']}, {prompts['sha256']}."
            f" {prompts['attribution']}".rstrip(),
        },
    }


def _offer(source: Source) -> dict[str, Any]:
    """What the decision at freezing allows. An ODRL duty names ours; nothing else is permitted."""
    decided = source.manifest["decided"]
    constraints = {"odrl:purpose": decided["purpose"], "odrl:recipient": decided["distribution"]}
    offer = {
        "@type": ["sc:CreativeWork", "odrl:Offer"],
        "name": f"{decided['level']} for {decided['purpose']}, {decided['distribution']}",
        "description": "; ".join(reason["text"] for reason in decided["reasons"]),
        "odrl:uid": f"urn:spiritsafe:offer:{source.digest}",
        "odrl:permission": {
            "@type": "odrl:Permission",
            "odrl:action": {"@id": "odrl:use"},
            "odrl:constraint": [
                {
                    "@type": "odrl:Constraint",
                    "odrl:leftOperand": {"@id": left},
                    "odrl:operator": {"@id": "odrl:eq"},
                    "odrl:rightOperand": right,
                }
                for left, right in constraints.items()
            ],
        },
    }
    if source.duties:
        offer["odrl:permission"]["odrl:duty"] = [  # type: ignore[index]
            {"@type": "odrl:Duty", "name": duty.name, "description": duty.text}
            for duty in source.duties
        ]
    return offer


def _responsible(source: Source) -> dict[str, Any]:
    manifest = source.manifest
    first, last = source.period
    tools = [
        f"{teacher['model']} under {teacher['offering']}: {teacher['rows']} rows, served as"
        f" {', '.join(teacher['served_models']) or 'not said'}"
        for teacher in source.teachers
    ]
    kept = ", ".join(manifest["filters"])
    return {
        "rai:dataCollection": "Prompts were sent to a teacher model over its API, under terms that"
        " were checked before each run; every attempt is an entry of a tamper-evident log.",
        "rai:dataCollectionType": ["Software Collection"],
        **({"rai:dataCollectionTimeframe": [first, last]} if first else {}),
        "rai:machineAnnotationTools": tools,
        "rai:dataManipulationProtocol": f"Kept by the filters {kept}; keep ="
        f" {manifest['keep']}. The test split is not filtered.",
        "rai:personalSensitiveInformation": "Not assessed here: to be filled by a person.",
        "rai:dataUseCases": [str(manifest["decided"]["purpose"])],
        "rai:dataLimitations": list(_limits(manifest)),
        "rai:dataReleaseMaintenancePlan": "A frozen dataset never changes: a correction is a new"
        " dataset with its own digest.",
    }


def _limits(manifest: dict[str, Any]) -> list[str]:
    found = ["Synthetic: it repeats its teacher's mistakes and manners."]
    if not manifest["signal"]["unbiased"]:
        found.append("The text is not an unbiased sample of the stored token probabilities.")
    if lost := [row["label"] for row in manifest["coverage"] if not row["kept"]]:
        found.append(f"The filters left no row of: {', '.join(map(str, lost))}.")
    return found


def _file(source: Source, split: str, to: str) -> dict[str, Any]:
    name = f"{split}.parquet"
    entry = source.manifest["files"][name]
    return {
        "@type": "cr:FileObject",
        "@id": name,
        "name": name,
        "description": f"The {split} split, {entry['rows']} rows.",
        "contentUrl": f"{to}{name}",
        "contentSize": f"{entry['bytes']} B",
        "encodingFormat": "application/x-parquet",
        "sha256": str(entry["sha256"]).removeprefix(PREFIX),
        "prov:wasGeneratedBy": {"@type": "prov:Activity", "prov:label": "spiritsafe freeze"},
        "prov:wasDerivedFrom": {
            "@type": "prov:Entity",
            "prov:label": f"ledger {source.manifest['ledger']}, rows {source.manifest['rows']}",
        },
    }


def _records(source: Source, split: str) -> dict[str, Any]:
    return {
        "@type": "cr:RecordSet",
        "@id": split,
        "name": split,
        "description": f"One answer a record, {source.rows[split]} records.",
        "field": [_field(source, split, name, kind) for name, kind in COLUMNS.items()],
    }


def _field(source: Source, split: str, name: str, kind: str) -> dict[str, Any]:
    field: dict[str, Any] = {"@type": "cr:Field", "@id": f"{split}/{name}", "name": name}
    if name in WORDS:
        field["description"] = WORDS[name]
    if name == "completion" and source.teachers:
        field["prov:wasAttributedTo"] = [_agent(teacher) for teacher in source.teachers]
        field["prov:wasGeneratedBy"] = _collection(source)
    if name in ("served_model", "terms_pin"):
        field["equivalentProperty"] = (
            "prov:wasAttributedTo" if name == "served_model" else "prov:hadPlan"
        )
    if kind == MESSAGES:
        parts = [_part(split, name, part) for part in ("role", "content")]
        return {**field, "repeated": True, "subField": parts}
    depth = kind.count("[]")
    shape = {"isArray": True, "arrayShape": ",".join(["-1"] * depth)} if depth else {}
    bare = kind.replace("[]", "")
    return {**field, "dataType": KINDS[bare], **shape, "source": _column(split, name)}


def _part(split: str, name: str, part: str) -> dict[str, Any]:
    source = {**_column(split, name), "transform": {"jsonPath": part}}
    return {
        "@type": "cr:Field",
        "@id": f"{split}/{name}/{part}",
        "name": part,
        "dataType": "sc:Text",
        "source": source,
    }


def _column(split: str, name: str) -> dict[str, Any]:
    return {"fileObject": {"@id": f"{split}.parquet"}, "extract": {"column": name}}
