"""Run by itself, between the bot and a program: sets its limits, then becomes it.

    python -I launcher.py MEMORY CPU FILE_SIZE NICE PARENT PROGRAM ARGUMENT…

Limits in bytes and seconds; PARENT is the process id of the bot. Limits are set here and not between fork and exec of
the bot, which has threads. When the bot is killed, the kernel kills the program, and the program's end tells a watcher,
a process of the same group, which kills whatever the program had begun.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys

_PR_SET_PDEATHSIG = 1


def _die_with_parent(number: signal.Signals) -> None:
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, int(number), 0, 0, 0)


def _watch() -> None:
    """Begins the watcher. It holds none of the program's pipes, and is a process of the group like the others."""
    program = os.getpid()
    if os.fork():
        return
    try:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        _die_with_parent(signal.SIGTERM)  # tells it; the mask keeps it alive
        os.closerange(0, 3)
        while os.getppid() == program:
            signal.sigwait({signal.SIGTERM})
        os.killpg(program, signal.SIGKILL)
    finally:
        os._exit(0)


def main(memory: int, cpu: int, file_size: int, nice: int, parent: int, argv: list[str]) -> int:
    _die_with_parent(signal.SIGKILL)
    if os.getppid() != parent:
        return 1
    _watch()
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CPU, (cpu, cpu + 5))
    resource.setrlimit(resource.RLIMIT_FSIZE, (file_size, file_size))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.nice(nice)
    try:
        os.execv(argv[0], argv)  # noqa: S606
    except OSError as error:
        print(f"{argv[0]}: {error.strerror}", file=sys.stderr)
        return 127


if __name__ == "__main__":
    numbers = [int(word) for word in sys.argv[1:6]]
    sys.exit(main(numbers[0], numbers[1], numbers[2], numbers[3], numbers[4], sys.argv[6:]))
