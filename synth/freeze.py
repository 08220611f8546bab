"""Freeze: turn the kept completions into a directory that never changes.

    freeze(order, permit) -> Frozen

    datasets/bank-support/
        train.parquet validation.parquet test.parquet   what a student learns from
        manifest.json                                   what it was made of, and by which decisions
        README.md                                       the card

The same ledger and project give the same digest on any day. The test split is never filtered: a
held-out prompt that the teacher failed is part of the truth about the teacher.
"""

import json
import os
import shutil
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from policy.digest import canonical, digest, file_digest
from policy.errors import BadInput
from policy.files import sync_folder
from policy.manifest import (
    MANIFEST,
    describe_files,
    manifest_digest,
    read_manifest,
    write_manifest,
)
from policy.permit import Action, Permit
from policy.stamp import versions
from synth.cards import dataset_card
from synth.config import Dataset, Filters, Prompts, Sampling, Teacher, Variant
from synth.coverage import coverage
from synth.filters import Candidate
from synth.filters.apply import Found, fingerprint
from synth.formats import write_parquet
from synth.imports.rows import Imported
from synth.ledger import Ledger
from synth.logprobs import TokenLogprobs, unpacked
from synth.prompts import Prompt
from synth.reasoning import FEATURE
from synth.rejected import REJECTED, rejected
from synth.rows import ReceiptRow

SPLITS = ("train", "validation", "test")

_SOURCE = """
SELECT c.attempt, a.key, o.seq, a.offering, o.served_model, a.terms_pin, a.decision,
       o.prompt_tokens, o.completion_tokens, a.at_ms, c.reasoning, c.signal
FROM completion c JOIN attempt a ON a.id = c.attempt JOIN outcome o ON o.attempt = c.attempt
UNION ALL
SELECT c.attempt, i.key, i.seq, i.offering, i.served_model, i.terms_pin, i.decision,
       i.prompt_tokens, i.completion_tokens, i.collected_ms, c.reasoning, c.signal
FROM completion c JOIN imported i ON i.id = c.attempt
"""


@dataclass(frozen=True, slots=True)
class Order:
    """All that decides what a dataset holds."""

    name: str
    folder: Path
    """The project's datasets/ directory."""
    ledger: Ledger
    prompts: Sequence[Prompt]
    candidates: Sequence[Candidate]
    found: Found
    variant: Variant
    dataset: Dataset
    teacher: Teacher
    sampling: Sampling
    filters: Filters
    source: Prompts
    prompts_file: Path
    weights: str
    """What was served, in words for the card."""
    created: str
    checkpoint: str
    teacher_run: str = ""
    """The manifest of the run that taught, where the teacher is a student of ours."""
    imported: Mapping[str, Imported] = field(default_factory=dict)
    """By attempt, what is known of the answers that came from outside."""


@dataclass(frozen=True, slots=True)
class Frozen:
    """A frozen dataset."""

    folder: Path
    digest: str
    rows: Mapping[str, int]
    fresh: bool
    """False where the same dataset was there already."""


def freeze(order: Order, permit: Permit) -> Frozen:
    """Write the dataset, or find that the very same one is there.

    Raises BadInput if no row passes, or if another dataset of that name exists.
    """
    Permit.must_be(permit, Action.FREEZE)
    splits = {split: _rows(order, split) for split in SPLITS}
    if not splits["train"]:
        raise BadInput(
            f"no training row of dataset {order.name!r} passes {', '.join(_required(order))}",
            where="[dataset] require",
            fix="look at what the filters dropped: `spiritsafe filter`",
        )
    if order.dataset.rejected and order.variant.source == "teacher":
        splits[REJECTED] = _rejected(order, [*splits["train"], *splits["validation"]])
    target = order.folder / order.name
    partial = order.folder / f".{order.name}.{os.getpid()}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        return _publish(order, permit, splits, partial, target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _publish(
    order: Order,
    permit: Permit,
    splits: Mapping[str, list[dict[str, Any]]],
    partial: Path,
    target: Path,
) -> Frozen:
    for split, rows in splits.items():
        write_parquet(partial / f"{split}.parquet", rows)
    manifest = _manifest(order, permit, splits)
    card = partial / "README.md"
    card.write_text(dataset_card(manifest), encoding="utf-8")
    files = describe_files(partial)
    for split, rows in splits.items():
        files[f"{split}.parquet"]["rows"] = len(rows)
    manifest["files"] = files
    counts = {split: len(rows) for split, rows in splits.items()}
    wanted = manifest_digest(manifest)
    if target.exists():
        if read_manifest(target)["digest"] == wanted:
            log_receipt(order.ledger, target, "manifest")  # a kill may have come before it
            return Frozen(target, wanted, counts, fresh=False)
        _set_aside(target)
    write_manifest(partial, manifest)
    os.replace(partial, target)
    sync_folder(order.folder)
    log_receipt(order.ledger, target, "manifest")
    return Frozen(target, wanted, counts, fresh=True)


def log_receipt(ledger: Ledger, folder: Path, of: str) -> bool:
    """Put a finished directory into the log, by its manifest. Where the last receipt of that name
    has the same digest nothing is entered: its bytes may have been changed since."""
    digest = str(read_manifest(folder)["digest"])
    last = ledger.rows(
        "SELECT digest FROM receipt WHERE kind = ? AND name = ? ORDER BY seq DESC LIMIT 1",
        [of, folder.name],
    )
    if last and last[0][0] == digest:
        return False
    file = file_digest(folder / MANIFEST)
    ledger.append_all([ReceiptRow(of, folder.name, digest, file, ledger.now())])
    return True


def _set_aside(target: Path) -> None:
    """A dataset never changes: an older one of the same name keeps its digest as its name."""
    old = str(read_manifest(target)["digest"]).removeprefix("sha256:")[:12]
    aside = target.with_name(f"{target.name}.{old}")
    if aside.exists():
        shutil.rmtree(target)
    else:
        os.replace(target, aside)


def _rows(order: Order, split: str) -> list[dict[str, Any]]:
    prompts = [prompt for prompt in order.prompts if prompt.split == split]
    if order.variant.source == "known" and split != "test":
        return [_known_row(order, prompt) for prompt in prompts if prompt.fields]
    stored = _stored(order, split)
    by_prompt: dict[str, list[Candidate]] = defaultdict(list)
    for candidate in order.candidates:
        if candidate.split == split and (split == "test" or _passes(candidate, order)):
            by_prompt[candidate.prompt_id].append(candidate)
    rows = []
    for prompt in prompts:
        chosen = sorted(by_prompt[prompt.id], key=lambda c: c.sample)
        if split == "test":
            chosen = [c for c in chosen if c.sample == 0][:1]
            rows += [_row(prompt, c, stored[c.attempt], order) for c in chosen] or [
                _unanswered(prompt)
            ]
        else:
            kept = _kept(chosen, order.dataset)
            rows += [_row(prompt, c, stored[c.attempt], order) for c in kept]
    return rows


def _rejected(order: Order, kept: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    room = Counter(row["id"] for row in kept)
    stored = _stored(order, "train") | _stored(order, "validation")
    by_id = {prompt.id: prompt for prompt in order.prompts}
    chosen = rejected(order.candidates, order.found, _required(order), room)
    return [_row(by_id[c.prompt_id], c, stored[c.attempt], order) for c in chosen]


def _kept(chosen: list[Candidate], dataset: Dataset) -> list[Candidate]:
    if dataset.keep == "shortest":
        chosen = sorted(chosen, key=lambda c: (len(c.text), c.sample))
    return chosen if dataset.keep == "all" else chosen[:1]


def _passes(candidate: Candidate, order: Order) -> bool:
    return all(order.found[name][candidate.attempt].keep for name in _required(order))


def _required(order: Order) -> tuple[str, ...]:
    return order.variant.require or order.dataset.require


def _stored(order: Order, split: str) -> dict[str, tuple[Any, ...]]:
    wanted = {c.attempt for c in order.candidates if c.split == split}
    return {row[0]: row[1:] for row in order.ledger.each(_SOURCE) if row[0] in wanted}


def _row(
    prompt: Prompt, candidate: Candidate, stored: tuple[Any, ...], order: Order
) -> dict[str, Any]:
    key, leaf, offering, served, pin, decision, asked, answered, at, thoughts, packed = stored
    signal = unpacked(bytes(packed))
    usable = spells(signal, candidate.text)
    imported = order.imported.get(candidate.attempt)
    return {
        **_empty(prompt),
        "sample": candidate.sample,
        "completion": [{"role": "assistant", "content": candidate.text}],
        "reasoning": thoughts if FEATURE in _features(order, imported) else "",
        "answered": True,
        "key": key,
        "leaf": leaf,
        "offering": offering,
        "served_model": served,
        "terms_pin": pin,
        "decision": decision,
        "origin": imported.origin if imported else "",
        "at_ms": at,
        "prompt_tokens": asked,
        "completion_tokens": answered,
        "signal": usable,
        "token_ids": list(signal.token_ids),
        "token_bytes": list(signal.token_bytes),
        "token_logprobs": list(signal.token_logprobs),
        "top_ids": [list(ids) for ids in signal.top_ids],
        "top_bytes": [list(pieces) for pieces in signal.top_bytes],
        "top_logprobs": [list(values) for values in signal.top_logprobs],
    }


def _features(order: Order, imported: Imported | None) -> Sequence[str]:
    """What of the offering was asked for, and so decided about."""
    return imported.features.split(",") if imported else order.teacher.features


def spells(signal: TokenLogprobs, text: str) -> bool:
    """Whether the stored tokens are the tokens of the text: only then do their probabilities
    belong to it. Under a schema, after a stop string, around hidden reasoning they often do not."""
    tokens = signal.sizes[: len(signal.counts)]
    return bool(tokens) and signal.pieces[: sum(tokens)] == text.encode()


def _known_row(order: Order, prompt: Prompt) -> dict[str, Any]:
    """The control: what the known answers alone would teach, in the teacher's format."""
    if not prompt.expected:
        raise BadInput(
            "a dataset of known answers needs [prompts] known", where="[dataset.variants]"
        )
    known = json.loads(prompt.expected)
    value = {field: known[column] for field, column in order.filters.verify.items()} or known
    text = json.dumps(value, ensure_ascii=False)
    return {
        **_empty(prompt),
        "completion": [{"role": "assistant", "content": text}],
        "answered": True,
        "offering": "known-answers",
    }


def _unanswered(prompt: Prompt) -> dict[str, Any]:
    return {**_empty(prompt), "completion": [{"role": "assistant", "content": ""}]}


def _empty(prompt: Prompt) -> dict[str, Any]:
    lists = ("token_ids", "token_bytes", "token_logprobs", "top_ids", "top_bytes", "top_logprobs")
    texts = ("reasoning", "key", "offering", "served_model", "terms_pin", "decision", "origin")
    return {
        "id": prompt.id,
        "sample": 0,
        "prompt": [dict(message) for message in prompt.student],
        "completion": [],
        "answered": False,
        "expected": prompt.expected or None,
        "leaf": -1,
        "at_ms": 0,
        "prompt_tokens": 0,
        "completion_tokens": 0,
        "signal": False,
        **dict.fromkeys(texts, ""),
        **{name: [] for name in lists},
    }


def _manifest(
    order: Order, permit: Permit, splits: Mapping[str, list[dict[str, Any]]]
) -> dict[str, Any]:
    rows = [row for part in splits.values() for row in part]
    learned = splits["train"] + splits["validation"]
    return {
        "schema": 1,
        "kind": "dataset",
        "name": order.name,
        "created": order.created,
        "teachers": _teachers(order, rows),
        "weights": order.weights,
        "decisions": _decisions(order, rows),
        "decided": permit.decision.model_dump(mode="json", exclude={"date"}),
        "obligations": list(permit.obligations),
        "sampling": order.sampling.model_dump(mode="json", by_alias=True),
        "signal": {
            "rows": sum(row["signal"] for row in learned),
            "of": len(learned),
            "k": order.sampling.logprobs,
            "position": "before_grammar" if order.sampling.json_schema else "raw",
            "unbiased": _unbiased(order),
        },
        "prompts": {
            "file": order.source.file,
            "sha256": file_digest(order.prompts_file),
            "licence": order.source.licence,
            "attribution": order.source.attribution,
        },
        "filters": {name: fingerprint(name, order.filters) for name in _required(order)},
        "source": order.variant.source,
        **({REJECTED: len(splits[REJECTED])} if REJECTED in splits else {}),
        "keep": order.dataset.keep,
        "split": order.dataset.split.model_dump(mode="json"),
        "coverage": _coverage(order, splits["train"]),
        "rows": digest([digest(_identity(row)) for row in rows]),
        "ledger": order.ledger.id,
        "versions": versions(("spiritsafe", "duckdb")),
        "checkpoint": order.checkpoint,
        "files": {},
    }


def _decisions(order: Order, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The decisions that the rows were collected under, as they were made then."""
    named = {row["decision"] for row in rows if row["decision"]}
    stored = order.ledger.rows("SELECT digest, body FROM decision ORDER BY digest")
    return [{"digest": name, **json.loads(body)} for name, body in stored if name in named]


def _unbiased(order: Order) -> bool:
    """Whether kept text is a sample of the stored distribution: temperature and top_p 1, no
    schema, and no filter that looks at what was said."""
    sampling = order.sampling
    plain = {"served", "answered", "finish"}
    return (
        sampling.temperature == 1.0
        and sampling.top_p == 1.0
        and sampling.json_schema is None
        and not order.imported
        and set(_required(order)) <= plain
    )


def _teachers(order: Order, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    groups: dict[tuple[str, ...], Counter[str]] = defaultdict(Counter)
    days: dict[tuple[str, ...], set[str]] = defaultdict(set)
    origins = {one.origin: one for one in order.imported.values()}
    for row in rows:
        if row["terms_pin"]:
            group = (row["offering"], row["terms_pin"], *_declared(origins.get(row["origin"])))
            groups[group][row["served_model"]] += 1
            days[group].add(_day(row["at_ms"]))
    return [
        {
            "offering": offering,
            **({"run": order.teacher_run} if order.teacher_run else {}),
            "model": declared[0] if declared else order.teacher.model,
            "features": (
                [one for one in declared[1].split(",") if one]
                if declared
                else list(order.teacher.features)
            ),
            "served_models": sorted(name for name in served if name),
            "terms_pin": pin,
            "rows": served.total(),
            "collected": [
                min(days[(offering, pin, *declared)]),
                max(days[(offering, pin, *declared)]),
            ],
            **({"imported": dict(zip(DECLARED, declared[2:], strict=True))} if declared else {}),
        }
        for (offering, pin, *declared), served in sorted(groups.items())
    ]


DECLARED = ("format", "file", "name", "by", "on")


def _declared(imported: Imported | None) -> tuple[str, ...]:
    """What somebody declared of an imported row; rows alike in it are one teacher's."""
    if imported is None:
        return ()
    said = (imported.format, imported.file, imported.name, imported.by, _day(imported.at_ms))
    return (imported.model, imported.features, *said)


def _day(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).date().isoformat()


def coverage_of(order: Order) -> list[dict[str, Any]]:
    """The coverage that freezing would find now."""
    return _coverage(order, _rows(order, "train"))


def _coverage(order: Order, kept: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return coverage(order.dataset.label, order.prompts, order.candidates, kept)


def _identity(row: dict[str, Any]) -> dict[str, Any]:
    """What makes a row itself, in a form that hashes the same everywhere."""
    return {
        "id": row["id"],
        "sample": row["sample"],
        "key": row["key"],
        "leaf": row["leaf"],
        "prompt": canonical(row["prompt"]).decode(),
        "completion": canonical(row["completion"]).decode(),
        "reasoning": row["reasoning"],
    }
