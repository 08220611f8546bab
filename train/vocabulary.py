"""A narrower vocabulary: the tokens that the training rows use, every byte, every special token.

A small model is largely its table of tokens: of SmolLM2's 135 M parameters 28 M are. A student of
one task needs few of them. What is kept is closed under the merges: each token's own pieces, down
to bytes, are kept too, so byte-pair encoding comes to the same pieces on every text whose tokens
are kept, and any other text is still spelled, in smaller pieces.

    narrowed = narrow(tokenizer, used={17, 5, 900})
    narrowed.kept                  # (0, 1, 2, 5, 17, ..., 900): the old id of each new one
    cut(model, narrowed.kept)      # its rows of the embeddings and of the head

Why the closure is enough: within the span of a finished token, encoding a text takes the merges
that encoding that token alone takes, since no merge crosses the span and each is the first by rank
of those that there are. Those merges are kept in their order, and a subset of merges that holds the
first of all holds the first of the subset. `demand_the_same` checks it on every row all the same.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple, NoReturn

import torch

from policy.errors import BadInput
from train.align import byte_alphabet
from train.quiet import quiet

WHERE = '[student] vocabulary = "data"'
Kept = tuple[int, ...]
"""The base's id of each token of the student, in the student's order; empty where all are kept."""


Ids = Sequence[int]


class Narrowed(NamedTuple):
    """A tokenizer with fewer tokens."""

    tokenizer: Any
    kept: Kept


def narrow(tokenizer: Any, used: Iterable[int]) -> Narrowed:
    """The tokenizer with the tokens `used`, what they are merged from, bytes and added tokens.
    Raises BadInput for a tokenizer that is not byte-level BPE."""
    written = _written(tokenizer)
    model, added = written["model"], {one["content"]: one["id"] for one in written["added_tokens"]}
    vocabulary: dict[str, int] = model["vocab"]
    wanted = _closure(model, {*used, *added.values()})
    order = sorted(wanted, key=vocabulary.__getitem__)
    kept = [vocabulary[token] for token in order]
    kept += sorted(i for content, i in added.items() if content not in vocabulary)
    new = {old: place for place, old in enumerate(kept)}
    model["vocab"] = {token: new[vocabulary[token]] for token in order}
    model["merges"] = [
        merge
        for merge in model["merges"]
        if wanted.issuperset((*_pair(merge), "".join(_pair(merge))))
    ]
    for one in written["added_tokens"]:
        one["id"] = new[one["id"]]
    written["added_tokens"].sort(key=lambda one: one["id"])
    _renumber_processors(written["post_processor"], new)
    return Narrowed(_rebuilt(tokenizer, written, new), tuple(kept))


def demand_rows(config: Any, kept: Kept) -> None:
    """Raises BadInput where a model has no row for a token of its tokenizer."""
    size = config.get_text_config().vocab_size
    if max(kept) >= size:
        raise BadInput(
            f"the student embeds {size} tokens and its tokenizer has number {max(kept)}",
            where=WHERE,
            fix='Set vocabulary = "all", or give it as many rows as the tokenizer has tokens.',
        )


def _closure(model: Mapping[str, Any], used: set[int]) -> set[str]:
    """These tokens of the model with the bytes, and with all that they are merged from."""
    vocabulary: dict[str, int] = model["vocab"]
    ranks = {_pair(merge): rank for rank, merge in enumerate(model["merges"])}
    wanted = {token for token, i in vocabulary.items() if i in used}
    wanted |= (byte_alphabet().keys() | {model["unk_token"]}) & vocabulary.keys()
    return wanted.union(*(_pieces(token, ranks) for token in wanted))


def demand_the_same(before: Sequence[Ids], after: Sequence[Ids], kept: Kept) -> None:
    """Raises BadInput unless every row is cut into the same tokens, under their new numbers."""
    pairs = zip(before, after, strict=False)
    changed = sum([kept[i] for i in new] != list(old) for old, new in pairs)
    changed += abs(len(before) - len(after))
    if changed:
        raise BadInput(
            f"{changed} of {len(before)} rows would be cut into other tokens than before",
            where=WHERE,
            fix='Set vocabulary = "all".',
        )


def _written(tokenizer: Any) -> dict[str, Any]:
    """The tokenizer as tokenizer.json has it."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        _refuse(tokenizer, "it has no tokenizer.json")
    written: dict[str, Any] = json.loads(backend.to_str())
    model = written["model"]
    if model["type"] != "BPE":
        _refuse(tokenizer, f"its model is {model['type']}, whose tokens are not built by merges")
    if '"ByteLevel"' not in json.dumps(written["decoder"]) or model.get("byte_fallback"):
        _refuse(tokenizer, "its tokens are not spelled in bytes")
    if model.get("dropout"):
        _refuse(tokenizer, "it merges by chance, so it cuts no text twice alike")
    if model.get("continuing_subword_prefix") or model.get("end_of_word_suffix"):
        _refuse(tokenizer, "it marks where words begin or end")
    kinds = {one["type"] for one in _processors(written["post_processor"])}
    if unknown := sorted(kinds - {"ByteLevel", "TemplateProcessing"}):
        _refuse(tokenizer, f"its post-processor is {unknown[0]}")
    return written


def _refuse(tokenizer: Any, reason: str) -> NoReturn:
    raise BadInput(
        "only a byte-level BPE vocabulary can be narrowed, and that of"
        f" {Path(tokenizer.name_or_path).name or 'the base'} is none: {reason}",
        where=WHERE,
        fix='Set vocabulary = "all".',
    )


def _pair(merge: Any) -> tuple[str, str]:
    """A merge as tokenizer.json has it: two words, or both in one as older files write it."""
    left, right = merge.split(" ") if isinstance(merge, str) else merge
    return left, right


def _pieces(token: str, ranks: Mapping[tuple[str, str], int]) -> set[str]:
    """What byte-pair encoding makes on its way to the token; nothing where it never gets there."""
    parts, seen = list(token), set(token)
    while len(parts) > 1:
        rank, place = min(
            (ranks.get(pair, len(ranks)), place) for place, pair in enumerate(pairwise(parts))
        )
        if rank == len(ranks):
            return set()
        parts[place : place + 2] = [parts[place] + parts[place + 1]]
        seen.add(parts[place])
    return seen


def _processors(written: Any) -> Iterator[dict[str, Any]]:
    if not written:
        return
    if written["type"] != "Sequence":
        yield written
        return
    for one in written["processors"]:
        yield from _processors(one)


def _renumber_processors(written: Any, new: Mapping[int, int]) -> None:
    """A post-processor puts special tokens round a text by their ids."""
    for one in _processors(written):
        for special in one.get("special_tokens", {}).values():
            special["ids"] = [new[i] for i in special["ids"]]


def _rebuilt(tokenizer: Any, written: Mapping[str, Any], new: Mapping[int, int]) -> Any:
    """Read again as whoever loads the student will: by AutoTokenizer from its own files."""
    from transformers import AutoTokenizer

    with TemporaryDirectory() as folder, quiet():
        tokenizer.save_pretrained(folder)
        text = json.dumps({**written, "padding": None}, ensure_ascii=False)
        (Path(folder) / "tokenizer.json").write_text(text, encoding="utf-8")
        rebuilt = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    rebuilt.name_or_path = tokenizer.name_or_path
    expected = {token: new[i] for token, i in tokenizer.get_vocab().items() if i in new}
    if rebuilt.get_vocab() != expected:
        _refuse(tokenizer, f"{type(rebuilt).__name__} reads its file otherwise than it is written")
    return rebuilt


@torch.no_grad()
def cut(model: Any, kept: Sequence[int]) -> None:
    """Keep these rows of the embeddings and of the head, in this order."""
    table, head = model.get_input_embeddings(), model.get_output_embeddings()
    rows = torch.tensor(kept, device=table.weight.device)
    untied = head is not None and head.weight is not table.weight
    for weight in [table.weight, *([head.weight] if untied else []), getattr(head, "bias", None)]:
        if weight is not None:
            weight[: len(rows)] = weight[rows.to(weight.device)]
    table.padding_idx = _renumber(table.padding_idx, kept)
    model.resize_token_embeddings(len(rows))
    renumber(model.config, kept)
    renumber(model.generation_config, kept)


def renumber(config: Any, kept: Sequence[int]) -> None:
    """A configuration for the vocabulary that was kept: its size, and the ids of special tokens."""
    text = config.get_text_config() if hasattr(config, "get_text_config") else config
    for key, value in list(vars(text).items()):
        if key.endswith("_token_id"):
            setattr(text, key, _renumber(value, kept))
    if hasattr(text, "vocab_size"):
        text.vocab_size = len(kept)


def special_ids(config: Any) -> set[int]:
    """The tokens that a configuration names."""
    text = config.get_text_config()
    named = [value for key, value in vars(text).items() if key.endswith("_token_id")]
    listed = [value if isinstance(value, list) else [value] for value in named]
    return {i for values in listed for i in values if i is not None}


def _renumber(value: Any, kept: Sequence[int]) -> Any:
    """An id or several; one that no token has any more is None, or left out."""
    if isinstance(value, list):
        return [kept.index(i) for i in value if i in kept]
    return kept.index(value) if value in kept else None
