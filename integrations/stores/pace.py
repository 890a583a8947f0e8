"""A bandwidth cap: a token bucket shared by everything that goes to one store."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


class Pace:
    """At most `rate` bytes a second over all threads, with bursts of at most a second's worth; None: no cap."""

    def __init__(
        self,
        rate: int | None,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.rate = rate
        self._monotonic = monotonic
        self._sleep = sleep
        self._lock = threading.Lock()
        self._paid_until = monotonic()  # when the bytes that were let through are paid for

    def spend(self, count: int, *, stop: Callable[[], bool] = lambda: False) -> None:
        """Return when `count` more bytes may have passed. Ends early, within half a second, once `stop` says so."""
        if self.rate is None or count <= 0:
            return
        with self._lock:
            now = self._monotonic()
            # Time in which nothing came is not saved up for longer than a second.
            self._paid_until = max(self._paid_until, now - 1.0) + count / self.rate
            due = self._paid_until
        while (wait := due - self._monotonic()) > 0 and not stop():
            self._sleep(min(wait, 0.5))
