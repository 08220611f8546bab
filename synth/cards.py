"""The page of a frozen dataset, for people and for the Hugging Face hub's viewer.

    dataset_card(manifest) -> text of README.md

It says nothing that the manifest does not, so it is as reproducible as the rows.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any


def dataset_card(manifest: Mapping[str, Any]) -> str:
    """README.md of a dataset directory."""
    return "\n".join([*_front_matter(manifest), *_body(manifest)]) + "\n"


def _front_matter(manifest: Mapping[str, Any]) -> Iterator[str]:
    yield "---"
    yield f"pretty_name: {json.dumps(manifest['name'])}"
    yield f"license: {json.dumps(manifest['prompts']['licence'].lower())}"
    yield "annotations_creators: [machine-generated]"
    yield "tags: [synthetic, distillation]"
    yield "configs:"
    yield "- config_name: default"
    yield "  data_files:"
    for split in ("train", "validation", "test"):
        yield f"  - {{split: {split}, path: {split}.parquet}}"
    yield "---"


def _body(manifest: Mapping[str, Any]) -> Iterator[str]:
    yield ""
    yield f"# {manifest['name']}"
    yield ""
    if manifest["source"] == "known":
        yield "A control: the known answers of the prompts, without a teacher in training rows."
    else:
        yield "Answers of a teacher model, kept by the filters named below. Synthetic text."
    yield ""
    yield "## Where the rows come from"
    yield ""
    yield "| offering | model | served as | rows | terms |"
    yield "|---|---|---|--:|---|"
    for teacher in manifest["teachers"]:
        served = ", ".join(teacher["served_models"])
        pin = teacher["terms_pin"][:19]
        yield (
            f"| {teacher['offering']} | {teacher['model']} | {served} | {teacher['rows']} | {pin} |"
        )
    yield ""
    if manifest["weights"]:
        yield f"Served weights: {manifest['weights']}."
        yield ""
    prompts = manifest["prompts"]
    yield f"Prompts: `{prompts['file']}`, {prompts['licence']}. {prompts['attribution']}".rstrip()
    yield ""
    yield from _decisions(manifest)
    yield from _signal(manifest)
    yield from _coverage(manifest["coverage"])


def _decisions(manifest: Mapping[str, Any]) -> Iterator[str]:
    decided = manifest["decided"]
    yield "## What the terms say"
    yield ""
    yield f"{decided['level']} for {decided['purpose']}, distribution {decided['distribution']}."
    yield ""
    for reason in decided["reasons"]:
        source = f"{reason['document']} ({reason['document_date']})" if reason["document"] else ""
        yield f"- {reason['offering']} {reason['clause']}: {reason['text']} {source}".rstrip()
    if manifest["obligations"]:
        yield ""
        yield f"Obligations: {', '.join(manifest['obligations'])}."
    yield ""


def _signal(manifest: Mapping[str, Any]) -> Iterator[str]:
    signal, filters = manifest["signal"], ", ".join(manifest["filters"])
    yield "## How they were kept"
    yield ""
    yield f"Filters: {filters}. The test split is never filtered."
    yield ""
    yield (
        f"Token probabilities: {signal['rows']} of {signal['of']} rows, up to {signal['k']} a"
        f" token, {signal['position'].replace('_', ' ')}."
    )
    if not signal["unbiased"]:
        yield (
            "The text is not an unbiased sample of those probabilities (temperature, schema or a"
            " filter on content stands between)."
        )
    yield ""


def _coverage(coverage: list[dict[str, Any]]) -> Iterator[str]:
    if not coverage:
        return
    yield "## Coverage after filtering"
    yield ""
    yield "| label | prompts | answers | kept rows | prompts with a kept row |"
    yield "|---|--:|--:|--:|--:|"
    for row in coverage:
        mark = "" if row["kept"] else " (none left)"
        counts = f"{row['asked']} | {row['answered']} | {row['kept']} | {row['messages_kept']}"
        yield f"| {row['label']}{mark} | {counts} |"
