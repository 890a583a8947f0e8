"""What waits between paramiko's thread and the taker of a long stream, as the pieces that came.

paramiko's own `BufferedPipe` wakes its reader with every packet, and a read from its front moves all that is behind
it. Handing over a mebibyte at a time instead took a quarter off a copy's CPU time (loopback, 1 GiB).
"""

from __future__ import annotations

import threading
import time
from collections import deque

from paramiko.buffered_pipe import BufferedPipe, PipeTimeout

ENOUGH = 1024 * 1024  # bytes
_MOMENT = 0.02  # seconds


class Pieces(BufferedPipe):  # type: ignore[misc]  # paramiko has no types
    """`BufferedPipe`'s promises, for a taker that would rather have much at a time than each packet as it comes."""

    def __init__(self) -> None:
        self._come = threading.Condition()
        self._pieces: deque[bytes] = deque()
        self._bytes = 0
        self._ended = False
        self._told: threading.Event | None = None

    def feed(self, data: bytes) -> None:
        with self._come:
            if data:
                self._pieces.append(data)
                self._bytes += len(data)
            if self._bytes >= ENOUGH:
                self._come.notify_all()
            self._tell()

    def read(self, nbytes: int, timeout: float | None = None) -> bytes:
        """What there is once it is enough, or a moment after the first of it came; at most `nbytes`, empty at the end.

        Raises PipeTimeout when nothing came for `timeout` seconds.
        """
        until = None if timeout is None else time.monotonic() + timeout
        with self._come:
            while self._bytes < ENOUGH and not self._ended:
                had = self._bytes
                left = _MOMENT if until is None else min(_MOMENT, until - time.monotonic())
                if left <= 0:
                    break
                self._come.wait(left)
                if had:
                    break
            if not self._pieces:
                if self._ended:
                    return b""
                raise PipeTimeout
            taken = []
            while self._pieces and nbytes > 0:
                piece = self._pieces.popleft()
                if len(piece) > nbytes:
                    self._pieces.appendleft(piece[nbytes:])
                    piece = piece[:nbytes]
                nbytes -= len(piece)
                self._bytes -= len(piece)
                taken.append(piece)
            self._tell()
        return b"".join(taken)

    def empty(self) -> bytes:
        with self._come:
            rest = b"".join(self._pieces)
            self._pieces.clear()
            self._bytes = 0
            self._tell()
            return rest

    def read_ready(self) -> bool:
        return len(self) > 0

    def close(self) -> None:
        with self._come:
            self._ended = True
            self._come.notify_all()
            self._tell()

    def set_event(self, event: threading.Event) -> None:
        with self._come:
            self._told = event
            self._tell()

    def __len__(self) -> int:
        with self._come:
            return self._bytes

    def _tell(self) -> None:
        """The event is set while there is something to read, or the end to be seen."""
        if self._told is not None:
            if self._pieces or self._ended:
                self._told.set()
            else:
                self._told.clear()
