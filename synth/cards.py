"""The page of a frozen dataset, for people and for the Hugging Face hub's viewer.

    dataset_card(manifest) -> text of README.md

It says nothing that the manifest does not, so it is as reproducible as the rows.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from policy.card import front_matter, licence_fields, size_category

SPLITS = ("train", "validation", "test")


def dataset_card(manifest: Mapping[str, Any]) -> str:
    """README.md of a dataset directory."""
    return "\n".join([front_matter(dataset_metadata(manifest)), *_body(manifest)]) + "\n"


def dataset_metadata(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """What the hub's search and viewer read; `configs` lets `load_dataset` read the directory."""
    answers = sum(teacher["rows"] for teacher in manifest["teachers"])
    rows = max(answers, manifest["signal"]["of"])  # a control's rows are no teacher's
    prompts = manifest["prompts"]
    files = [{"split": split, "path": f"{split}.parquet"} for split in SPLITS]
    return {
        "pretty_name": manifest["name"],
        **licence_fields(prompts["licence"]),
        "annotations_creators": ["machine-generated"],
        "language_creators": ["machine-generated"],
        "source_datasets": ["extended|other" if prompts["attribution"] else "original"],
        "task_categories": ["text-generation"],
        "size_categories": [size_category(rows)],
        "tags": ["synthetic", "distillation"],
        "configs": [{"config_name": "default", "data_files": files}],
    }


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
    for teacher in manifest["teachers"]:
        if said := teacher.get("imported"):
            yield (
                f"{teacher['rows']} rows were imported from `{said['name']}` (`{said['file']}`,"
                f" {said['format']}). That they are answers under {teacher['offering']} is the word"
                f" of {said['by']}, given on {said['on']}."
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
