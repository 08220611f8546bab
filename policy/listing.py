"""JSON and YAML as people write them: a key that stands twice is a mistake, not a silent choice.

>>> read_json('[{"id": 1, "id": 2}]', "cases.json")
Traceback (most recent call last):
policy.errors.BadInput: cases.json: the key "id" stands twice in one case. Keep one.
"""

import json
from typing import Any

from policy.errors import BadInput

ONCE = "Keep one."
FORM = 'Write [{"id": "A", "off": "openai-api", "purpose": "evaluate"}].'


def read_json(text: str, where: str) -> Any:
    """The value of a JSON text, whose texts can be written again."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in pairs:
            if key in found:
                wrong = f'the key "{key}" stands twice in one case'
                raise BadInput(wrong, where=where, fix=ONCE)
            found[key] = value
        return found

    def constant(name: str) -> Any:
        raise BadInput(f"holds {name}, which is no JSON", where=where, fix="Write a number.")

    try:
        data = json.loads(text, object_pairs_hook=once, parse_constant=constant)
        json.dumps(data, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise _half(where) from error
    except ValueError as error:
        raise BadInput(f"is not JSON: {error}", where=where, fix=FORM) from error
    return data


def read_yaml(text: str, where: str) -> Any:
    """Words only: YAML's own idea of `off` is the truth value false, and ours is an offering."""
    import yaml  # type: ignore[import-untyped]  # 20 ms, and few lists are YAML

    class Once(yaml.BaseLoader):  # type: ignore[misc]
        def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
            seen: set[str] = set()
            for key, _ in node.value:
                if not isinstance(key, yaml.ScalarNode):
                    wrong = f"has a key that is no word, line {key.start_mark.line + 1}"
                    raise BadInput(wrong, where=where, fix="Name the field.")
                if key.value in seen:
                    wrong = f'the key "{key.value}" stands twice, line {key.start_mark.line + 1}'
                    raise BadInput(wrong, where=where, fix=ONCE)
                seen.add(str(key.value))
            return super().construct_mapping(node, deep=True)  # type: ignore[no-any-return]

    try:
        data = yaml.load(text, Loader=Once)  # noqa: S506 - it makes texts, lists and tables only
    except yaml.YAMLError as error:
        raise BadInput(f"is not YAML: {error}", where=where, fix=FORM) from error
    _refuse_cycles(data, where, [])
    return data


def _refuse_cycles(value: Any, where: str, above: list[int]) -> None:
    """An alias of what holds it has no end; half of a surrogate pair cannot be written."""
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise _half(where) from error
    if not isinstance(value, list | dict):
        return
    if id(value) in above:
        raise BadInput("holds a list that holds itself", where=where, fix="Write it out.")
    held = [*value, *value.values()] if isinstance(value, dict) else value
    for each in held:
        _refuse_cycles(each, where, [*above, id(value)])


def _half(where: str) -> BadInput:
    return BadInput("holds half of a surrogate pair", where=where, fix="Write whole characters.")
