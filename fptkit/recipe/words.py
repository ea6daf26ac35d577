"""The allowed values of a field in words, made from the JSON Schema of its model, for error messages and listings."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from fptkit.specs import limits

Schema = Mapping[str, Any]

_NOUNS = {
    "integer": ("an integer", "integers"),
    "number": ("a number", "numbers"),
    "string": ("text", "text"),
    "boolean": ("true or false", "true or false"),
    "null": ("null", "null"),
    "object": ("a mapping", "mappings"),
}
_BOUNDS = (("exclusiveMinimum", ">"), ("minimum", ">="), ("exclusiveMaximum", "<"), ("maximum", "<="))


def expected(schema: Schema, root: Schema, *, plural: bool = False) -> str:
    """What a schema allows: ``a number > 0``, ``one of auto, cpu, cuda``, ``a list of integers >= 1 or null``.

    Args:
        schema: of the field.
        root: of the complete model, for references.
        plural: use plural nouns.

    Returns:
        The words; empty if the schema says nothing.
    """
    schema = resolve(schema, root)
    if "enum" in schema:
        return "one of " + ", ".join(_word(value) for value in schema["enum"])
    if "const" in schema:
        return _word(schema["const"])
    if members := schema.get("anyOf") or schema.get("oneOf"):
        said = [expected(member, root, plural=plural) for member in members]
        return " or ".join(dict.fromkeys(word for word in said if word))
    if schema.get("type") == "array":
        return _expected_list(schema, root, plural)
    if schema.get("type") not in _NOUNS:
        return ""
    # A limit of `fptkit.specs.limits` says nothing about the meaning of a value, so only its violation mentions it.
    stated = [
        (sign, schema[key]) for key, sign in _BOUNDS if key in schema and not isinstance(schema[key], limits.Limit)
    ]
    bounds = " and ".join(f"{sign} {shown(bound)}" for sign, bound in stated)
    if "pattern" in schema:
        bounds = f"that matches {schema['pattern']}"
    elif schema.get("minLength", 0) > 0:
        bounds = "that is not empty" if schema["minLength"] == 1 else f"of at least {schema['minLength']} characters"
    return f"{_NOUNS[schema['type']][plural]} {bounds}".rstrip()


def _expected_list(schema: Schema, root: Schema, plural: bool) -> str:
    count, least = "", ""
    items = schema.get("items", {})
    if prefix := schema.get("prefixItems"):
        items, count = prefix[0], f"{len(prefix)} "
    elif schema.get("minItems"):
        least = f" (at least {schema['minItems']})"
    words = expected(items, root, plural=True) if isinstance(items, Mapping) else ""
    if words.startswith(("one of", "true or")):
        words = f"entries, each {words}"
    return f"{'lists' if plural else 'a list'} of {count}{words or 'entries'}{least}"


def resolve(schema: Schema, root: Schema) -> Schema:
    """Follow references within ``root``."""
    while "$ref" in schema or len(schema.get("allOf", ())) == 1:
        schema = schema["allOf"][0] if "allOf" in schema else root["$defs"][schema["$ref"].rpartition("/")[2]]
    return schema


def schema_at(root: Schema, keys: Sequence[str | int]) -> Schema:
    """The schema of the value at ``keys``; empty if there is none."""
    schema = resolve(root, root)
    for key in keys:
        inner = (_step(member, key) for member in members(schema, root))
        schema = resolve(next((found for found in inner if found is not None), {}), root)
    return schema


def members(schema: Schema, root: Schema) -> list[Schema]:
    """The forms that a value may have; the schema itself if there is only one."""
    several = schema.get("anyOf") or schema.get("oneOf")
    return [resolve(member, root) for member in several] if several else [schema]


def _step(schema: Schema, key: str | int) -> Schema | None:
    if isinstance(key, int):
        prefix = schema.get("prefixItems", ())
        found = prefix[key] if key < len(prefix) else schema.get("items")
    else:
        found = schema.get("properties", {}).get(key, schema.get("additionalProperties"))
    return found if isinstance(found, Mapping) else None


def keys_of(schema: Schema, root: Schema) -> list[str]:
    """The keys that a mapping may have."""
    return [key for member in members(schema, root) for key in member.get("properties", {})]


def shown(value: Any) -> str:
    """A value as a recipe would write it, shortened if it is long."""
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, float):
        return repr(value).replace("inf", ".inf").replace("nan", ".nan")
    if isinstance(value, str):
        return repr(value if len(value) <= 60 else value[:57] + "...")
    if isinstance(value, (list, tuple)):
        inner = ", ".join(_word(item) for item in value)
        return f"[{inner}]" if len(inner) <= 60 else f"a list of {len(value)}"
    return "a mapping" if isinstance(value, dict) else str(value)


def _word(value: Any) -> str:
    """A value in a list of values, where words need no quotes."""
    return value if isinstance(value, str) else shown(value)
