"""A program in a process of its own with limits: memory, CPU, wall clock, output; all of its group ends with it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_LAUNCHER = Path(__file__).with_name("launcher.py")
_CHUNK = 65536
_ERRORS_KEPT = 65536
_POLL = 0.02
# What a program needs of the world. Secrets of the bot's own environment are none of it.
_ENVIRONMENT = {
    "PATH": "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin",
    "LANG": "C.UTF-8",
    "TERM": "dumb",
}


@dataclass(frozen=True)
class Bounds:
    """`memory`, `output` and `file_size` in bytes, `cpu` and `wall` in seconds, `nice` as nice(1)."""

    memory: int = 4 * 1024**3
    cpu: int = 600
    wall: float = 900.0
    output: int = 16 * 1024**2
    file_size: int = 0
    nice: int = 15


@dataclass(frozen=True)
class Ended:
    """How a program ended. `status` as subprocess tells it: negative is a signal."""

    status: int
    out: bytes
    errors: bytes
    truncated: bool  # it said more than `Bounds.output`
    timed_out: bool
    seconds: float

    @property
    def out_of_memory(self) -> bool:
        """By its own words: a limit of memory tells the program, and nobody else."""
        words = (
            b"MemoryError",
            b"Cannot allocate memory",
            b"bad_alloc",
            b"out of memory",
        )
        return self.status != 0 and any(word in self.errors or word in self.out[-4096:] for word in words)

    @property
    def out_of_cpu(self) -> bool:
        return self.status in (-signal.SIGXCPU, 128 + signal.SIGXCPU)

    @property
    def last_words(self) -> str:
        """The last line it said of what went wrong."""
        lines = [line for line in self.errors.decode("utf-8", "replace").splitlines() if line.strip()]
        return lines[-1].strip()[:300] if lines else ""


async def run_bounded(
    argv: Sequence[str], bounds: Bounds, *, cwd: Path, stdin: bytes = b"", stop: asyncio.Event | None = None
) -> Ended:
    """Runs a program to its end, or to its limits. `argv[0]` is a path. `stop` ends it early; so does cancelling.

    What it said until then is returned. Never raises for what the program does; OSError when it cannot be begun.
    """
    began = time.monotonic()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-I", str(_LAUNCHER), str(bounds.memory), str(bounds.cpu), str(bounds.file_size),
        str(bounds.nice), str(os.getpid()), *argv,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        cwd=cwd, env=_ENVIRONMENT, start_new_session=True,
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    out, errors = _Kept(bounds.output), _Kept(_ERRORS_KEPT)
    work = [
        asyncio.create_task(_feed(process.stdin, stdin)),
        asyncio.create_task(out.take(process.stdout)),
        asyncio.create_task(errors.take(process.stderr)),
    ]
    ending: asyncio.Task[Any] = asyncio.create_task(_exited(process))
    stopper: asyncio.Task[Any] = asyncio.create_task((stop or asyncio.Event()).wait())
    try:
        done, _ = await asyncio.wait(
            {ending, stopper}, timeout=bounds.wall, return_when=asyncio.FIRST_COMPLETED
        )
    finally:
        # Also after it ended: what it began may live on, and hold its pipes.
        _kill_group(process.pid)
        stopper.cancel()
        await asyncio.gather(ending, *work, return_exceptions=True)
    seconds = time.monotonic() - began
    status = process.returncode if process.returncode is not None else -signal.SIGKILL
    return Ended(status, bytes(out.data), bytes(errors.data), out.truncated, not done, seconds)


async def _exited(process: asyncio.subprocess.Process) -> None:
    """`process.wait()` waits for its pipes as well, which a child of the program may hold open for ever."""
    while process.returncode is None:  # noqa: ASYNC110
        await asyncio.sleep(_POLL)


async def _feed(pipe: asyncio.StreamWriter, data: bytes) -> None:
    try:
        pipe.write(data)
        await pipe.drain()
    except (BrokenPipeError, ConnectionResetError):
        return  # it does not read what it is given: its own affair
    finally:
        pipe.close()
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            await pipe.wait_closed()


class _Kept:
    """The first bytes of a stream; the rest is read and dropped, so that the program does not wait."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.data = bytearray()
        self.truncated = False

    async def take(self, stream: asyncio.StreamReader) -> None:
        while chunk := await stream.read(_CHUNK):
            room = self.limit - len(self.data)
            self.data += chunk[: max(room, 0)]
            self.truncated = self.truncated or len(chunk) > room


def _kill_group(pid: int) -> None:
    try:
        os.killpg(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return
