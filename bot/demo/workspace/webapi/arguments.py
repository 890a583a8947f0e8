"""The arguments of one Web API call: form, JSON body or query, read as Slack reads them."""

from __future__ import annotations

import json
from typing import Any

from aiohttp import web

from bot.demo.workspace.errors import ApiError

Json = dict[str, Any]

_TRUE = (True, 1, "1", "true", "True", "yes")


class Arguments:
    """Typed access; a missing or malformed argument is answered with Slack's error."""

    def __init__(self, values: Json) -> None:
        self._values = {key: value for key, value in values.items() if value is not None}

    @classmethod
    async def of(cls, request: web.Request) -> Arguments:
        """Query and body together, the body first."""
        values: Json = dict(request.query)
        if request.content_type == "application/json":
            raw = await request.read()
            try:
                body = json.loads(raw) if raw else {}
            except (json.JSONDecodeError, UnicodeDecodeError) as error:
                raise ApiError("invalid_json") from error
            if not isinstance(body, dict):
                raise ApiError("json_not_object")
            values.update(body)
        elif request.can_read_body:
            try:
                values.update(await request.post())
            except ValueError as error:
                raise ApiError("invalid_form_data") from error
        return cls(values)

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def public(self) -> Json:
        """All arguments but the token."""
        return {key: value for key, value in self._values.items() if key != "token"}

    def text(self, name: str, default: str = "") -> str:
        value = self._values.get(name, default)
        if isinstance(value, bool) or not isinstance(value, (str, int, float)):
            raise ApiError("invalid_arguments", messages=[f"must be a string [json-pointer:/{name}]"])
        return str(value)

    def optional(self, name: str) -> str | None:
        """The text, or None when it is absent or empty."""
        return self.text(name) or None

    def required(self, name: str) -> str:
        value = self.optional(name)
        if value is None:
            raise ApiError("invalid_arguments", messages=[f"missing required field: {name}"])
        return value

    def flag(self, name: str, default: bool = False) -> bool:
        return self._values[name] in _TRUE if name in self._values else default

    def number(self, name: str, default: int, *, low: int, high: int, error: str) -> int:
        """A whole number in [low, high]; `error` is the code for anything else."""
        try:
            value = int(self._values.get(name, default))
        except (TypeError, ValueError) as problem:
            raise ApiError(error) from problem
        if not low <= value <= high:
            raise ApiError(error)
        return value

    def items(self, name: str, *, error: str) -> list[Json] | None:
        """A list of objects, given as such or as JSON text; None when absent."""
        value = self._decoded(name, error)
        if value is None:
            return None
        if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
            raise ApiError(error)
        return value

    def document(self, name: str, *, error: str) -> Json | None:
        """An object, given as such or as JSON text; None when absent."""
        value = self._decoded(name, error)
        if value is not None and not isinstance(value, dict):
            raise ApiError(error)
        return value

    def _decoded(self, name: str, error: str) -> Any:
        value = self._values.get(name)
        if isinstance(value, str):
            if not value.strip():
                return None
            try:
                return json.loads(value)
            except json.JSONDecodeError as problem:
                raise ApiError(error) from problem
        return value
