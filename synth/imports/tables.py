"""Data sets as the Hugging Face libraries write them: Parquet, JSON Lines, or a directory of these.

Columns: `messages`; or `prompt` with `completion` or `response`, each a text or messages; or
`instruction`, `input` and `output`. `model` and `created` count where they are there.

Sources: TRL "Dataset formats and types"; huggingface/datasets (`to_parquet`, `save_to_disk`).
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from policy.errors import BadInput
from synth.formats import read_any_parquet
from synth.imports.record import (
    File,
    Row,
    lines_of,
    milliseconds,
    table,
    text_answer,
    turns,
    word,
)
from synth.wire import text_or_empty

_ENDS = (".parquet", ".jsonl", ".json", ".arrow")
_OURS = {"dataset_info.json", "state.json", "dataset_dict.json", "manifest.json"}


def huggingface(file: File) -> list[Row]:
    """Every row of every data file, in order of name."""
    return [
        _row(file, table(value, where), where, place)
        for path in _files(file.path)
        for where, place, value in _values(file.path, path)
    ]


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    found = [
        one
        for one in sorted(path.rglob("*"))
        if one.suffix in _ENDS and one.name not in _OURS and not one.name.startswith("cache-")
    ]
    if not found:
        raise BadInput(f"holds no file that ends in {', '.join(_ENDS)}", where=str(path))
    return found


def _values(root: Path, path: Path) -> Iterator[tuple[str, str, Any]]:
    name = path.name if path == root else path.relative_to(root).as_posix()
    if path.suffix in (".json", ".jsonl"):
        for where, value in lines_of(path):
            place = " ".join(where.rsplit(" ", 2)[-2:])
            yield where, place if path == root else f"{name} {place}", value
        return
    rows = read_any_parquet(path) if path.suffix == ".parquet" else _arrow(path)
    for number, value in enumerate(rows, 1):
        yield (
            f"{name} row {number}",
            f"row {number}" if path == root else f"{name} row {number}",
            value,
        )


def _arrow(path: Path) -> list[dict[str, Any]]:
    try:
        from pyarrow import ArrowInvalid, ipc  # type: ignore[import-untyped]
    except ImportError:
        raise BadInput(
            "reading Arrow files needs pyarrow", where=str(path), fix="or write it with to_parquet"
        ) from None
    try:
        with path.open("rb") as source, ipc.open_stream(source) as stream:
            rows: list[dict[str, Any]] = stream.read_all().to_pylist()
    except (ArrowInvalid, OSError) as error:
        raise BadInput(f"is no Arrow stream: {error}", where=str(path)) from None
    return rows


def _row(file: File, given: dict[str, Any], where: str, place: str) -> Row:
    before, last = _parts(given, where)
    served = word(given.get("model"))
    completion, raw = text_answer(last, where, served)
    when = milliseconds(given.get("created", given.get("created_at")), where)
    return Row(place, turns(before, where), completion, file.model or served, when, raw)


def _parts(given: dict[str, Any], where: str) -> tuple[Any, Any]:
    """(prompt, the assistant's turn)."""
    messages = given.get("messages", given.get("conversations"))
    if isinstance(messages, list) and messages:
        last = table(messages[-1], where, "last message")
        if last.get("role") != "assistant":
            raise BadInput("the last message is not the assistant's", where=where)
        return messages[:-1], last
    if "instruction" in given and "output" in given:
        more = text_or_empty(given.get("input"))
        prompt = text_or_empty(given["instruction"]) + (f"\n\n{more}" if more else "")
        return prompt, {"role": "assistant", "content": given["output"]}
    said = given.get("completion", given.get("response"))
    if "prompt" not in given or said is None:
        known = ", ".join(sorted(map(str, given)))[:200]
        raise BadInput(f"its columns are none of the known ones: {known}", where=where)
    if isinstance(said, list) and len(said) == 1:
        return given["prompt"], said[0]
    return given["prompt"], {"role": "assistant", "content": said}
