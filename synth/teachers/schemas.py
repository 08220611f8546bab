"""A JSON schema in the subset that Anthropic's structured outputs take.

Objects are closed, and limits such as `maxLength` or `minimum` move into the description: the API
refuses them with a 400. The answer is held to the whole schema on our side all the same.

Source: anthropic 2.12, lib/_parse/_transform.py, whose result this matches (tests/peers).
"""

from typing import Any

_FORMATS = frozenset(
    {
        *("date-time", "time", "date", "duration", "email"),
        *("hostname", "uri", "ipv4", "ipv6", "uuid"),
    }
)


def plain_schema(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema to send. A shape that is not understood goes out as it is."""
    rest = dict(schema)
    made: dict[str, Any] = {}
    if isinstance(defs := rest.pop("$defs", None), dict):
        made["$defs"] = {name: _inner(one) for name, one in defs.items()}
    if "$ref" in rest:
        return {**made, "$ref": rest["$ref"]}
    kind = rest.pop("type", None)
    for name in ("enum", "const"):
        if name in rest:
            made[name], kind = rest.pop(name), None
    for name, sent in (("anyOf", "anyOf"), ("oneOf", "anyOf"), ("allOf", "allOf")):
        if isinstance(variants := rest.pop(name, None), list) and sent not in made:
            made[sent], kind = [_inner(one) for one in variants], None
    if kind is not None:
        made["type"] = kind
    made |= {name: rest.pop(name) for name in ("description", "title") if name in rest}
    _of_type(kind, rest, made)
    if rest:
        limits = "{" + ", ".join(f"{key}: {value}" for key, value in rest.items()) + "}"
        before = f"{made['description']}\n\n" if "description" in made else ""
        made["description"] = before + limits
    return made


def _of_type(kind: Any, rest: dict[str, Any], made: dict[str, Any]) -> None:
    """Move what the type allows from `rest` to `made`."""
    if kind == "object":
        properties = rest.pop("properties", {})
        made["properties"] = {name: _inner(one) for name, one in properties.items()}
        rest.pop("additionalProperties", None)
        made["additionalProperties"] = False
        if "required" in rest:
            made["required"] = rest.pop("required")
    elif kind == "string" and rest.get("format") in _FORMATS:
        made["format"] = rest.pop("format")
    elif kind == "array":
        if "items" in rest:
            made["items"] = _inner(rest.pop("items"))
        if rest.get("minItems") in (0, 1):
            made["minItems"] = rest.pop("minItems")


def _inner(schema: Any) -> Any:
    return plain_schema(schema) if isinstance(schema, dict) else schema
