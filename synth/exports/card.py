"""A card for the Hugging Face hub: complete metadata, the page as it lies, every duty in full.

    card(dataset_source(bench))                    # README.md of a dataset repository
    card(run_source(bench, "sft"), name="acme/clinic-1b", languages=["en"])

Source: huggingface/hub-docs, datasetcard.md and modelcard.md.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from policy.card import body_of, front_matter, licence_fields
from policy.errors import PolicyDenied
from policy.names import name_faults
from synth.cards import dataset_metadata
from synth.exports.source import Duty, Source


def card(source: Source, *, name: str = "", languages: Sequence[str] = ()) -> str:
    """The whole page. Raises PolicyDenied for a name that a duty forbids."""
    of_run = source.manifest["kind"] == "run"
    if of_run and name:
        _check_name(source, name)
    fields = _of_run(source, name) if of_run else dataset_metadata(source.manifest)
    fields = {"language": list(languages), **fields, **_licence(source)}
    body = body_of((source.folder / "README.md").read_text(encoding="utf-8")).rstrip("\n")
    return (
        "\n".join([front_matter(fields), "", body, *_duties(source.duties), *_end(source)]) + "\n"
    )


def _of_run(source: Source, name: str) -> dict[str, Any]:
    metrics = source.manifest.get("evaluation") or {}
    return {
        "base_model": source.base,
        "datasets": [str(source.dataset["name"])],
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "tags": ["synthetic", "distillation"],
        "model_name": name or source.name,
        "model-index": _index(name or source.name, str(source.dataset["name"]), metrics),
    }


def _index(name: str, dataset: str, metrics: dict[str, Any]) -> list[dict[str, Any]]:
    """Held-out figures in the hub's form; nothing where nobody judged the student."""
    found = [
        {"type": key, "value": value["value"], "name": key.replace("_", " ")}
        for key, value in metrics.items()
        if isinstance(value, dict) and "value" in value
    ]
    if not found:
        return []
    result = {
        "task": {"type": "text-generation"},
        "dataset": {"type": dataset, "name": dataset, "split": "test"},
        "metrics": found,
    }
    return [{"name": name, "results": [result]}]


def _licence(source: Source) -> dict[str, str]:
    manifest = source.manifest
    if manifest["kind"] == "run":
        licence = str(manifest.get("licence") or manifest["student"].get("license") or "")
    else:
        licence = str(manifest["prompts"]["licence"])
    asked = [duty for duty in source.duties if duty.said and duty.said.licence]
    named = [duty.said.licence for duty in asked if duty.said]
    return licence_fields(licence, named, next((duty.link for duty in asked if duty.link), ""))


def _check_name(source: Source, name: str) -> None:
    said = [duty.said for duty in source.duties if duty.said]
    for _, wrong, fix in name_faults(name, said):
        raise PolicyDenied(wrong, where="--name", fix=fix)


def _duties(duties: Sequence[Duty]) -> Iterator[str]:
    if not duties:
        return
    yield ""
    yield "## Duties in full"
    yield ""
    for duty in duties:
        yield f"- `{duty.name}`: {' '.join([duty.text, *_asks(duty)])}"


def _asks(duty: Duty) -> Iterator[str]:
    said = duty.said
    if said is None:
        return
    if said.name_prefix:
        yield f'The name begins with "{said.name_prefix}".'
    if said.name_without:
        yield f"The name does not hold {', '.join(said.name_without)}."
    if said.card_text:
        yield f"This page says: {said.card_text[0]}."
    if said.notice_files:
        yield f"These files come along: {', '.join(said.notice_files)}."
    if duty.link:
        yield f"({said.clause}, <{duty.link}>)"


def _end(source: Source) -> Iterator[str]:
    yield ""
    yield f"Receipt: manifest `{source.digest}`" + (
        f", entry {source.receipt.seq} of the log `{source.receipt.ledger}`."
        if source.receipt
        else "."
    )
