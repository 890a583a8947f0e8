"""A host's name in whatever text: found where it is that name, and not where it is a part of another one."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

_IN = r"A-Za-z0-9_-"


class HostName:
    """`longer`: names of other hosts, which are left as they are where they hold this one.

    Case does not matter. `web-17` is found in `web-17.example.org` and `P-41-web-17-4f1c…` (a folder of the central
    store), and not in `web-170`, `my-web-17` or `db.web-17`.
    """

    def __init__(self, name: str, placeholder: str, longer: Iterable[str] = ()) -> None:
        self.name = name.lower()
        self.placeholder = placeholder
        others = sorted(
            {o.lower() for o in longer if self.name in o.lower() and o.lower() != self.name}, key=len
        )
        kept = "|".join(re.escape(o) for o in reversed(others))
        own = re.escape(self.name)
        self._pattern = re.compile(
            (rf"(?<![.{_IN}])(?P<kept>{kept})(?![{_IN}])|" if kept else "(?P<kept>(?!))|")
            + rf"(?P<folder>\bP-\d+-){own}(?=-[0-9a-f]{{6,64}})|(?<![.{_IN}]){own}(?![{_IN}])",
            re.IGNORECASE,
        )

    def in_text(self, text: str) -> bool:
        return self.name in text.lower() and self.replaced(text) != text

    def replaced(self, text: str) -> str:
        return self._pattern.sub(
            lambda m: m["kept"] if m["kept"] is not None else (m["folder"] or "") + self.placeholder, text
        )

    def replaced_in(self, value: Any) -> Any:
        """The same in all strings and keys of a JSON value; the value itself where there is none."""
        if isinstance(value, str):
            return self.replaced(value)
        if isinstance(value, list):
            return [self.replaced_in(part) for part in value]
        if isinstance(value, dict):
            return {self.replaced_in(key): self.replaced_in(part) for key, part in value.items()}
        return value
