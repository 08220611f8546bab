"""TOML in, a frozen model out, and one clear line when it does not fit.

>>> class Sampling(Section):
...     temperature: float = 0.7
>>> parse(Sampling, {"tempratur": 1}, where="a.toml")
Traceback (most recent call last):
policy.errors.BadInput: a.toml: unknown key "tempratur" (value 1). Did you mean "temperature"?
"""

import difflib
import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from datetime import date
from pathlib import Path
from typing import Any, Self, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationError, ValidationInfo, field_validator
from pydantic_core import ErrorDetails

from policy.errors import BadInput

T = TypeVar("T", bound=BaseModel)
SHOWN = 60
SECRET_NAME = re.compile(r"(key|secret|password|token|authorization)$", re.IGNORECASE)
SECRET_VALUE = re.compile(r"\b(sk|pk|gsk|xai|hf)[-_][A-Za-z0-9]|Bearer ")


class Fault(ValueError):  # noqa: N818 - it says what it is
    """What a validator of several keys objects to, with the key, the value and the way out."""

    def __init__(self, key: str, value: object, wrong: str, fix: str) -> None:
        super().__init__(wrong)
        self.key = key
        self.value = value
        self.wrong = wrong
        self.fix = fix


class Section(BaseModel):
    """A table of a TOML file: frozen, no unknown keys, a sentence under each field."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False
    )

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_for_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        """`budget_usd = true` is no budget of one dollar."""
        wanted = cls.model_fields[info.field_name or ""].annotation
        if isinstance(value, bool) and wanted in (int, float, int | None, float | None):
            raise ValueError("a number is wanted, and this is true or false")
        return value

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """A copy, less what was worked out of the original's fields, such as its digest."""
        copied = super().model_copy(update=update, deep=deep)
        for name in copied.__dict__.keys() - type(self).model_fields.keys():
            del copied.__dict__[name]
        return copied


def toml_value(value: object) -> str:
    """A value as TOML: a list, a day, or a text. What tomllib reads back is the same.

    >>> toml_value(("a", "b"))
    '["a", "b"]'
    """
    if isinstance(value, tuple):
        return "[" + ", ".join(map(toml_value, value)) + "]"
    if isinstance(value, date):
        return value.isoformat()
    return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")


def load_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file; what is wrong with it is said with the line."""
    where = str(path)
    try:
        return tomllib.loads(path.read_bytes().decode("utf-8-sig"))
    except FileNotFoundError as error:
        raise BadInput("there is no such file", where=where, fix="Check the path.") from error
    except OSError as error:
        raise BadInput(f"cannot be read ({error.strerror})", where=where) from error
    except UnicodeDecodeError as error:
        raise BadInput(
            f"is not UTF-8 (byte {error.start})", where=where, fix="Save it as UTF-8."
        ) from error
    except tomllib.TOMLDecodeError as error:
        raise BadInput(f"is not valid TOML: {error}", where=where) from error


def parse(model: type[T], data: Mapping[str, Any], *, where: str) -> T:
    """Validate a table; the first fault becomes one line with file, key, value and fix."""
    try:
        return model.model_validate(dict(data))
    except ValidationError as error:
        faults = _first_hand(error.errors(include_url=False))
        message, fix = _explain(model, faults[0])
        more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
        raise BadInput(message + more, where=where, fix=fix) from error


def _first_hand(faults: list[ErrorDetails]) -> list[ErrorDetails]:
    """Without the lists that are too short only because something in them is at fault."""
    places = [fault["loc"] for fault in faults]
    return [
        fault
        for fault in faults
        if fault["type"] != "too_short"
        or not any(place[:-1][: len(fault["loc"])] == fault["loc"] for place in places)
    ]


def nearest(word: str, known: Iterator[str] | list[str]) -> str:
    """The known word that was probably meant, or nothing."""
    found = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return found[0] if found else ""


def _explain(model: type[BaseModel], fault: ErrorDetails) -> tuple[str, str]:
    """(what is wrong, what to do) for one pydantic fault."""
    key = _dotted(fault["loc"])
    value = _shown(key, fault["input"])
    if fault["type"] == "extra_forbidden":
        known = sorted(_fields_at(model, fault["loc"][:-1]))
        guess = nearest(str(fault["loc"][-1]), known)
        fix = f'Did you mean "{guess}"?' if guess else f"Known keys: {', '.join(known)}."
        return f'unknown key "{key}" (value {value})', fix
    if fault["type"] == "missing":
        return f'the key "{key}" is missing', f'Add "{key}".'
    found = fault.get("ctx", {}).get("error")
    if isinstance(found, Fault):
        key = ".".join(part for part in (key, found.key) if part)
        return f"{key} = {_shown(key, found.value)} {found.wrong}", found.fix
    if fault["type"] == "value_error":
        reason = fault["msg"].removeprefix("Value error, ")
        return (f"{key} = {value}: {reason}" if key else reason), ""
    expected = str(fault.get("ctx", {}).get("expected", ""))
    guess = nearest(str(fault["input"]), re.findall(r"'([^']*)'", expected))
    fix = f'Did you mean "{guess}"?' if guess else _wanted(model, fault)
    return f"{key} = {value} cannot be used", fix


WANTED = {
    "tuple_type": "Write a list, in brackets.",
    "dict_type": "Write a table.",
    "model_type": "Write a table.",
    "model_attributes_type": "Write a table.",
    "string_type": "Write text, in quotes.",
    "date_type": "Write a day, e.g. 2026-11-24.",
    "date_parsing": "Write a day, e.g. 2026-11-24.",
    "date_from_datetime_parsing": "Write a day, e.g. 2026-11-24.",
    "date_from_datetime_inexact": "Write a day, e.g. 2026-11-24.",
}


def _wanted(model: type[BaseModel], fault: ErrorDetails) -> str:
    """What would be right; a pattern says less to people than the sentence under its field."""
    if fault["type"] == "too_short" and isinstance(fault["input"], list | tuple):
        return "Name at least one."
    if fault["type"] in ("string_pattern_mismatch", "string_too_short"):
        names = [part for part in fault["loc"] if isinstance(part, str)]
        for place in _places_at(model, fault["loc"][: fault["loc"].index(names[-1])]):
            info = place.model_fields.get(names[-1])
            if info and info.description:
                return f"Expected: {' '.join(info.description.split())}"
    return WANTED.get(fault["type"], f"{fault['msg']}.")


def _dotted(loc: tuple[int | str, ...]) -> str:
    """`rules[2].level`, counted from one as a person counts."""
    text = ""
    for part in loc:
        text += f"[{part + 1}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def _shown(key: str, value: Any) -> str:
    """A short form of a value; a key or password that was put into a file is not repeated."""
    if SECRET_NAME.search(key) or SECRET_VALUE.search(str(value)):
        return "not shown"
    text = str(value) if isinstance(value, date) else repr(value)
    if isinstance(value, str):
        text = f'"{value}"'
    return text if len(text) <= SHOWN else text[:SHOWN] + "…"


def _fields_at(model: type[BaseModel], loc: tuple[int | str, ...]) -> set[str]:
    """The keys that may stand at a place of a model."""
    places = _places_at(model, loc)
    return {info.alias or name for place in places for name, info in place.model_fields.items()}


def _places_at(model: type[BaseModel], loc: tuple[int | str, ...]) -> list[type[BaseModel]]:
    """The models at a place of a model, following its nested tables."""
    here: list[type[BaseModel]] = [model]
    for part in loc:
        following = [
            inner
            for place in here
            if isinstance(part, str) and part in place.model_fields
            for inner in _models_in(place.model_fields[part].annotation)
        ]
        here = following or here
    return here


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models_in(argument)
