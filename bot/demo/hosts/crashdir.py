"""The host helper's verbs over a replayed crash directory: list, read, head, tail, bytes."""

from __future__ import annotations

from collections.abc import Sequence

from bot.demo.hosts.instance import Instance

USAGE = "usage: panicroom-host list | read REL | head REL BYTES | tail REL BYTES | bytes REL OFFSET LENGTH"
_NUMBERS = {"read": 0, "head": 1, "tail": 1, "bytes": 2}


def helper(instance: Instance, argv: Sequence[str]) -> tuple[bytes, bytes, int]:
    """(stdout, stderr, exit status) of one call.

    Status 64: a bad call. 1: no such file, or bytes that the capture does not hold.
    """
    if tuple(argv) == ("list",):
        return _list(instance), b"", 0
    if len(argv) < 2 or _NUMBERS.get(argv[0]) != len(argv) - 2:
        return _failed(64, USAGE)
    verb, path, numbers = argv[0], argv[1], argv[2:]
    if path.startswith(("/", "-")) or ".." in path.split("/"):
        return _failed(64, f"bad path: {path}")
    if not all(number.isdecimal() and number.isascii() and len(number) < 16 for number in numbers):
        return _failed(64, f"not a number of bytes: {' '.join(numbers)}")
    sizes = {entry.path: entry.size for entry in instance.listing if entry.type == "f"}
    if path not in sizes:
        return _failed(1, f"no such file in the crash directory: {path}")
    start, end = _range(verb, [int(number) for number in numbers], sizes[path])
    found = _bytes(instance, path, sizes[path], start, end)
    if found is None:
        return _failed(1, f"this capture holds no bytes of {path} from {start} to {end}")
    return found, b"", 0


def _range(verb: str, numbers: list[int], size: int) -> tuple[int, int]:
    if verb == "head":
        return 0, min(numbers[0], size)
    if verb == "tail":
        return max(size - numbers[0], 0), size
    if verb == "bytes":
        return min(numbers[0], size), min(numbers[0] + numbers[1], size)
    return 0, size


def _bytes(instance: Instance, path: str, size: int, start: int, end: int) -> bytes | None:
    """The bytes from `start` to before `end`, None when any of them is not kept."""
    if start == end:
        return b""
    if path in instance.crash_files:
        return instance.crash_files[path][start:end]
    ends = instance.dumps.get(path)
    if ends is None:
        return None
    if end <= len(ends.head):
        return ends.head[start:end]
    tail_start = size - len(ends.tail)
    return ends.tail[start - tail_start : end - tail_start] if start >= tail_start else None


def _list(instance: Instance) -> bytes:
    rows = (f"{e.path}\t{e.type}\t{e.size}\t{e.mtime:.10f}\n" for e in instance.listing)
    return "".join(rows).encode()


def _failed(status: int, message: str) -> tuple[bytes, bytes, int]:
    return b"", f"panicroom-host: {message}\n".encode("utf-8", "surrogateescape"), status
