"""JSON Schema compiled to plain functions: the part of the language that the derived schema uses.

Keywords: $ref, type, const, enum, properties, required, additionalProperties, items, anyOf. An `anyOf` whose
alternatives each fix `type` is dispatched on it, so a block is checked against its own kind only.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from importlib.resources import files
from typing import Any

Schema = dict[str, Any]
#: (value, JSON pointer, problems): appends each problem in Slack's words, with its pointer.
Check = Callable[[Any, str, list[str]], None]

_KEYWORDS = {
    "$ref", "type", "const", "enum", "properties", "required", "additionalProperties", "items", "anyOf"
}  # fmt: skip
_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "number": (int, float),
    "boolean": (bool,),
    "object": (dict,),
    "array": (list,),
}


def problem(text: str, pointer: str) -> str:
    """A broken rule as Slack words it."""
    return f"{text} [json-pointer:{pointer}]"


class Shapes:
    """The definitions of one schema document."""

    def __init__(self, document: Schema) -> None:
        self._definitions: dict[str, Schema] = document["definitions"]
        self._checks: dict[str, Check] = {}

    @classmethod
    def packaged(cls) -> Shapes:
        """The shapes of @slack/types, from the package's schema.json."""
        text = files("bot.demo.workspace.blockkit").joinpath("schema.json").read_text("utf-8")
        return cls(json.loads(text))

    def check(self, name: str) -> Check:
        """The check of definition `name`. Raises KeyError when there is none."""
        if name not in self._checks:
            self._definitions[name]

            def deferred(value: Any, pointer: str, problems: list[str]) -> None:
                self._checks[name](value, pointer, problems)

            # Definitions may refer to themselves: whoever asks meanwhile gets the deferred one.
            self._checks[name] = deferred
            self._checks[name] = self._compiled(self._definitions[name])
        return self._checks[name]

    def _compiled(self, schema: Schema) -> Check:
        if unknown := schema.keys() - _KEYWORDS:
            raise ValueError(f"the schema uses keywords that are not compiled: {sorted(unknown)}")
        if "$ref" in schema:
            return self.check(_name(schema))
        if "anyOf" in schema:
            return self._any_of(schema["anyOf"])
        if "const" in schema or "enum" in schema:
            return _one_of(schema.get("enum", [schema.get("const")]))
        kind = schema.get("type")
        if kind == "object":
            return self._object(schema)
        if kind == "array":
            return self._array(schema)
        if kind is None:
            return lambda value, pointer, problems: None
        return _scalar([kind] if isinstance(kind, str) else kind)

    def _object(self, schema: Schema) -> Check:
        properties = {name: self._compiled(sub) for name, sub in schema.get("properties", {}).items()}
        required: list[str] = schema.get("required", [])
        extra = schema.get("additionalProperties", {})
        extra_check = self._compiled(extra) if isinstance(extra, dict) else None

        def check(value: Any, pointer: str, problems: list[str]) -> None:
            if not isinstance(value, dict):
                problems.append(problem("must provide an object", pointer))
                return
            for name in required:
                if name not in value:
                    problems.append(problem(f"missing required field: {name}", pointer))
            for name, item in value.items():
                sub = properties.get(name, extra_check)
                if sub is not None:
                    sub(item, f"{pointer}/{name}", problems)
                else:
                    problems.append(problem(f"invalid additional property: {name}", pointer))

        return check

    def _array(self, schema: Schema) -> Check:
        items = self._compiled(schema.get("items", {}))

        def check(value: Any, pointer: str, problems: list[str]) -> None:
            if not isinstance(value, list):
                problems.append(problem("must provide an array", pointer))
                return
            for index, item in enumerate(value):
                items(item, f"{pointer}/{index}", problems)

        return check

    def _any_of(self, alternatives: list[Schema]) -> Check:
        flat = list(self._flat(alternatives))
        kinds: dict[str, list[Check]] = {}
        for schema in flat:
            for kind in _kinds(schema):
                kinds.setdefault(kind, []).append(self._compiled(schema))
        if all(_kinds(schema) for schema in flat):
            return _dispatched(kinds)
        return _best_of([self._compiled(schema) for schema in flat])

    def _flat(self, alternatives: list[Schema]) -> Iterator[Schema]:
        for schema in alternatives:
            target = self._definitions[_name(schema)] if "$ref" in schema else schema
            if "anyOf" in target:
                yield from self._flat(target["anyOf"])
            else:
                yield target


def _name(schema: Schema) -> str:
    return str(schema["$ref"]).removeprefix("#/definitions/")


def _kinds(schema: Schema) -> list[str]:
    """The values of `type` that an object schema allows, if it fixes them."""
    fixed = schema.get("properties", {}).get("type", {})
    if "type" not in schema.get("required", []):
        return []
    return [fixed["const"]] if "const" in fixed else list(fixed.get("enum", []))


def _dispatched(kinds: dict[str, list[Check]]) -> Check:
    checks = {kind: found[0] if len(found) == 1 else _best_of(found) for kind, found in kinds.items()}

    def check(value: Any, pointer: str, problems: list[str]) -> None:
        if not isinstance(value, dict):
            problems.append(problem("must provide an object", pointer))
            return
        kind = value.get("type")
        found = checks.get(kind) if isinstance(kind, str) else None
        if found is not None:
            found(value, pointer, problems)
        elif "type" not in value:
            problems.append(problem("missing required field: type", pointer))
        else:
            problems.append(problem(f"unsupported type: {kind}", f"{pointer}/type"))

    return check


def _best_of(checks: list[Check]) -> Check:
    def check(value: Any, pointer: str, problems: list[str]) -> None:
        fewest: list[str] | None = None
        for alternative in checks:
            found: list[str] = []
            alternative(value, pointer, found)
            if not found:
                return
            if fewest is None or len(found) < len(fewest):
                fewest = found
        problems.extend(fewest or [])

    return check


def _one_of(allowed: list[Any]) -> Check:
    def check(value: Any, pointer: str, problems: list[str]) -> None:
        if value not in allowed or isinstance(value, bool) != isinstance(allowed[0], bool):
            problems.append(problem(f"must be one of: {', '.join(map(str, allowed))}", pointer))

    return check


def _scalar(kinds: list[str]) -> Check:
    types = tuple(python for kind in kinds for python in _TYPES[kind])
    boolean = "boolean" in kinds
    text = f"must provide a {' or '.join(kinds)}"

    def check(value: Any, pointer: str, problems: list[str]) -> None:
        # In Python a bool is an int; in JSON it is no number.
        if not isinstance(value, types) or (isinstance(value, bool) and not boolean):
            problems.append(problem(text, pointer))

    return check
