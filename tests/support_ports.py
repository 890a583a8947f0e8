"""Ports for servers that are started by number."""

from __future__ import annotations

import itertools
import os
from functools import cache

from bot.demo.ports import free_port as next_free

_ROOM = 40  # ports from the one given on that are its asker's, as the demo takes several


def free_port() -> int:
    """A port of this worker's own. The kernel gives it to no connection that asks for any (those begin at 32768), which
    could take it between now and the start of the server."""
    return next_free(next(_numbers()), count=2)


@cache
def _numbers() -> itertools.count[int]:
    worker = os.environ.get("PYTEST_XDIST_WORKER", "gw15").removeprefix("gw")
    return itertools.count(12_000 + int(worker) % 8 * 2_500, _ROOM)
