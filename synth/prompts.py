"""Prompts: rows of a file, each rendered twice, for the teacher and for the student.

    {"id": "b77-0001", "message": "Where is my new card?", "intent": "card_arrival"}

`{{message}}` in a template is filled from the row. Double braces, because JSON in an instruction
is full of single ones. An unknown column is an error: a blank prompt would be paid for. Rows that
hold a whole conversation or pictures: synth/turns.py.
"""

import csv
import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec

from policy.digest import canonical
from policy.errors import BadInput
from synth.config import Prompts, Split
from synth.garbage import no_collections
from synth.turns import Message, read_turns, text_only, with_pictures, words_of

__all__ = ["Message", "Prompt", "load", "side"]

_FAST = msgspec.json.Decoder().decode
_SLOT = re.compile(r"\{\{\s*(\w+)\s*\}\}")
MAX_ROWS = 5_000_000
MAX_LINE = 4 * 2**20  # bytes: a longer row is a broken file, not a prompt


@dataclass(frozen=True, slots=True)
class Prompt:
    """One row, rendered."""

    id: str
    split: str
    teacher: tuple[Message, ...]
    student: tuple[Message, ...]
    fields: Mapping[str, str]
    expected: str
    """Canonical JSON of the known answer columns; empty where there is none."""


def load(settings: Prompts, split: Split, folder: Path) -> list[Prompt]:
    """Every prompt of the file, in order. Raises BadInput naming the file and the line."""
    with no_collections():  # among a million prompts that all stay it takes a third of the time
        return _load(settings, split, folder)


def _load(settings: Prompts, split: Split, folder: Path) -> list[Prompt]:
    path = folder / settings.file
    prompts: list[Prompt] = []
    seen: dict[str, int] = {}
    for number, row in _rows(path):
        where = f"{settings.file} line {number}"
        prompt = _prompt(row, settings, split, folder, where)
        if prompt.id in seen:
            raise BadInput(
                f"id {prompt.id!r} stands on line {seen[prompt.id]} already",
                where=where,
                fix="give each row an id of its own",
            )
        seen[prompt.id] = number
        prompts.append(prompt)
        if settings.limit and len(prompts) >= settings.limit:
            break
    if not prompts:
        raise BadInput("no prompt in the file", where=settings.file, fix="add at least one row")
    for column in settings.images:
        if not any(column in prompt.fields for prompt in prompts):
            raise BadInput(
                f"no row has the column {column!r}",
                where="[prompts] images",
                fix=f"the first row has {', '.join(sorted(prompts[0].fields))}",
            )
    return prompts


def side(reads: str, split: Split) -> str:
    """Which split a row belongs to: by a hash of what the student reads, so that two rows with
    the same text never stand on both sides, and adding rows moves none."""
    text = " ".join(reads.lower().split())
    hashed = hashlib.sha256(f"{split.salt}\0{text}".encode()).digest()
    share = int.from_bytes(hashed[:8], "big") / 2**64
    if share < split.test:
        return "test"
    return "validation" if share < split.test + split.validation else "train"


def _prompt(
    row: dict[str, Any], settings: Prompts, split: Split, folder: Path, where: str
) -> Prompt:
    turns = read_turns(row.get(settings.turns), where) if settings.turns else ()
    fields = {name: _text(v, name, where) for name, v in row.items() if name != settings.turns}
    if turns:
        fields[settings.turns] = "\n".join(f"{turn['role']}: {words_of(turn)}" for turn in turns)
    for column in (settings.id, *settings.known):
        if not fields.get(column):
            raise BadInput(
                f"no value for {column!r}",
                where=where,
                fix=f"the row has {', '.join(sorted(fields)) or 'no columns'}",
            )
    known = {column: fields[column] for column in settings.known}
    teacher = _for_teacher(fields, turns, settings, folder, where)
    student = _for_student(fields, turns, settings, where)
    if student[-1] == teacher[-1]:
        student = (*student[:-1], teacher[-1])  # one object for both: there may be a million
    return Prompt(
        id=fields[settings.id],
        split=side(fields[settings.turns] if turns else student[-1]["content"], split),
        teacher=teacher,
        student=student,
        fields=fields,
        expected=canonical(known).decode() if known else "",
    )


def _for_teacher(
    fields: Mapping[str, str],
    turns: tuple[Message, ...],
    settings: Prompts,
    folder: Path,
    where: str,
) -> tuple[Message, ...]:
    """Instruction, worked examples, and the row: its conversation, or one user turn."""
    messages: list[Message] = []
    if settings.system:
        messages.append(_turn("system", _fill(settings.system, fields, where)))
    for example in settings.examples:
        messages.append(_turn("user", example.user))
        messages.append(_turn("assistant", example.assistant))
    if turns:
        return (*messages, *turns)
    pictures = [fields.get(column, "") for column in settings.images]
    text = _fill(settings.user, fields, where)
    content = with_pictures(text, pictures, folder, where)
    return (*messages, {"role": "user", "content": content})


def _for_student(
    fields: Mapping[str, str], turns: tuple[Message, ...], settings: Prompts, where: str
) -> tuple[Message, ...]:
    messages: list[Message] = []
    if settings.student_system:
        content = _fill(settings.student_system, fields, where)
        messages.append(_turn("system", content))
    if turns:
        return (*messages, *text_only(turns))
    return (*messages, {"role": "user", "content": _fill(settings.student_user, fields, where)})


@lru_cache(maxsize=64)
def _turn(role: str, content: str) -> Message:
    """One object for what stands in every prompt."""
    return {"role": role, "content": content}


def _fill(template: str, fields: Mapping[str, str], where: str) -> str:
    literals, names = _parts(template)
    try:
        words = [word for name, after in zip(names, literals[1:], strict=True)
                 for word in (fields[name], after)]  # fmt: skip
    except KeyError as error:
        raise BadInput(
            f"the template asks for {{{{{error.args[0]}}}}}, which the row does not have",
            where=where,
            fix=f"the row has {', '.join(sorted(fields))}",
        ) from None
    return "".join((literals[0], *words))


@lru_cache(maxsize=64)
def _parts(template: str) -> tuple[list[str], list[str]]:
    """What stands between the slots, and the name in each slot."""
    parts = _SLOT.split(template)
    return parts[::2], parts[1::2]


def _text(value: Any, name: str, where: str) -> str:
    if isinstance(value, str):
        try:
            if not value.isascii():
                value.encode()
        except UnicodeEncodeError:
            raise BadInput(
                f"column {name!r} has a lone surrogate, which is not text",
                where=where,
                fix="save the file as UTF-8",
            ) from None
        return value
    if isinstance(value, bool | int | float):
        return json.dumps(value)
    kind = "null" if value is None else type(value).__name__
    raise BadInput(
        f"column {name!r} holds {kind}, not text or a number",
        where=where,
        fix="give it a plain value, or leave the column out",
    )


def _rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    if path.suffix not in (".jsonl", ".csv"):
        raise BadInput(
            f"cannot read a {path.suffix or 'file without a suffix'} of prompts",
            where=str(path.name),
            fix="use .jsonl or .csv",
        )
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            yield from _csv(file, path.name) if path.suffix == ".csv" else _jsonl(file, path.name)
    except FileNotFoundError:
        raise BadInput(
            "no such file", where=str(path), fix="the path is relative to the project file"
        ) from None
    except UnicodeDecodeError as error:
        raise BadInput(
            f"not UTF-8 at byte {error.start}", where=path.name, fix="save the file as UTF-8"
        ) from None
    except OSError as error:
        raise BadInput(f"cannot be read ({error.strerror})", where=str(path)) from None


def _jsonl(file: Any, name: str) -> Iterator[tuple[int, dict[str, Any]]]:
    decode = json.JSONDecoder(parse_constant=_refuse_constant).decode
    for number, line in enumerate(file, 1):
        if not line.strip():
            continue
        where = f"{name} line {number}"
        if len(line) > MAX_LINE or number > MAX_ROWS:
            raise BadInput("the row or the file is too large", where=where, fix="split it")
        try:
            row = _decoded(line, decode)
        except (ValueError, RecursionError) as error:
            raise BadInput(f"not JSON: {error}", where=where, fix="one object a line") from None
        if not isinstance(row, dict):
            raise BadInput(
                f"a {type(row).__name__}, not an object", where=where, fix='write {"id": …}'
            )
        yield number, row


def _decoded(line: str, decode: Callable[[str], Any]) -> Any:
    """The fast reader, and the exact one for what that refuses."""
    try:
        return _FAST(line)
    except (msgspec.MsgspecError, UnicodeEncodeError):
        return decode(line)


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON value")


def _csv(file: Any, name: str) -> Iterator[tuple[int, dict[str, Any]]]:
    reader = csv.DictReader(file, strict=True)
    try:
        for row in reader:
            if None in row or None in row.values():
                raise BadInput(
                    f"the row does not have the header's {len(reader.fieldnames or [])} columns",
                    where=f"{name} line {reader.line_num}",
                    fix="quote values that hold commas",
                )
            yield reader.line_num, row
    except csv.Error as error:
        raise BadInput(
            f"not CSV: {error}", where=f"{name} line {reader.line_num}", fix="check its quotes"
        ) from None
