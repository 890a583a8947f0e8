"""Run by itself, between the bot and a program: sets its limits, then becomes it.

    python -I launcher.py MEMORY CPU FILE_SIZE NICE PARENT PROGRAM ARGUMENT…

Limits in bytes and seconds; PARENT is the process id of the bot. Limits are set here and not between fork and exec of
the bot, which has threads. When the bot is killed, the kernel kills the program.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main(memory: int, cpu: int, file_size: int, nice: int, parent: int, argv: list[str]) -> int:
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != parent:
        return 1
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
