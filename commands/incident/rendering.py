"""How a message is drawn from the database: each kind of message registers its own plain function."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from sqlmodel import Session


@dataclass(frozen=True)
class Rendered:
    """A message as Slack takes it: `text` is what notifications and screen readers show."""

    text: str
    blocks: list[dict[str, Any]] = field(default_factory=list)


Renderer = Callable[[Session, int], Rendered | None]  # None: the subject is gone, say nothing

_renderers: dict[str, Renderer] = {}


def renderer(name: str) -> Callable[[Renderer], Renderer]:
    """Registers a function `(session, subject_id) -> Rendered` under the name stored with the message."""

    def register(fn: Renderer) -> Renderer:
        if _renderers.get(name, fn) is not fn:
            raise ValueError(f"two renderers are called {name!r}")
        _renderers[name] = fn
        return fn

    return register


def is_known(name: str) -> bool:
    """False for a name nobody registered: a message left by a version with other verbs."""
    return name in _renderers


def draw(name: str, session: Session, subject_id: int) -> Rendered | None:
    """Raises KeyError for a name nobody registered."""
    return _renderers[name](session, subject_id)
