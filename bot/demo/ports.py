"""Ports for the demo: the ones wanted when they are free, the next free ones otherwise."""

from __future__ import annotations

import socket

_TRIED = 50


class NoFreePort(Exception):
    """No port is free near the one wanted. Name another one: `panicroom demo --port 9000`."""


def free_port(
    wanted: int, *, count: int = 1, taken: set[int] | None = None, address: str = "127.0.0.1"
) -> int:
    """The first port from `wanted` on such that it and the `count - 1` after it can be bound on loopback."""
    avoid = taken or set()
    start = wanted
    while start < min(wanted + _TRIED * max(1, count), 65536 - count):
        busy = next((p for p in range(start, start + count) if p in avoid or not is_free(p, address)), None)
        if busy is None:
            return start
        start = busy + 1
    raise NoFreePort(
        f"no {count} free port(s) from {wanted} on. Name another one: `panicroom demo --port 9000`."
    )


def is_free(port: int, address: str = "127.0.0.1") -> bool:
    """Whether nothing listens there. SO_REUSEADDR as a server sets it: a connection's remains do not count."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError:
            return False
    return True
