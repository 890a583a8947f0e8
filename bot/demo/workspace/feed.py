"""What the workspace tells its watchers: the page's websockets, and tests in the same process."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

Json = dict[str, Any]

#: A watcher that asked for this user sees what every user sees.
EVERYBODY = "*"


class Watcher:
    """One subscription: events for `user` wait in `queue`, each as JSON text."""

    def __init__(self, user: str) -> None:
        self.user = user
        self.queue: asyncio.Queue[str] = asyncio.Queue()


class Feed:
    """Events in the order they happened, each with `type` (see the page's API)."""

    def __init__(self) -> None:
        self._watchers: list[Watcher] = []

    @contextmanager
    def watch(self, user: str = EVERYBODY) -> Iterator[Watcher]:
        """Receive from now on what `user` may see; leaving the block ends it."""
        watcher = Watcher(user)
        self._watchers.append(watcher)
        try:
            yield watcher
        finally:
            self._watchers.remove(watcher)

    @property
    def watched(self) -> bool:
        return bool(self._watchers)

    def tell(self, event: Json, *, only: str | None = None) -> None:
        """Tell everybody, or only the watchers of user `only`."""
        told = [w for w in self._watchers if only is None or w.user in (only, EVERYBODY)]
        if told:
            # Text, not the object: messages are edited in place, an event shows them as they were.
            text = json.dumps(event, separators=(",", ":"))
            for watcher in told:
                watcher.queue.put_nowait(text)
