"""The host helper's verbs over a replayed crash directory: list, stat, read, head, tail, bytes, stream, hash."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from bot.demo.hosts.instance import Instance

USAGE = (
    "usage: panicroom-host list | stat REL | read REL | head REL BYTES | tail REL BYTES | bytes REL OFFSET LENGTH | "
    "stream REL OFFSET LENGTH | hash REL [OFFSET LENGTH]"
)
_NUMBERS = {
    "stat": (0,),
    "read": (0,),
    "head": (1,),
    "tail": (1,),
    "bytes": (2,),
    "stream": (2,),
    "hash": (0, 2),
}
# A flattened dump begins with this header (makedumpfile.h: 4 KiB) and ends with this mark.
_FLAT_HEAD = b"makedumpfile\0\0\0\0" + (1).to_bytes(8, "big") + (1).to_bytes(8, "big") + bytes(4096 - 32)
_FLAT_END = b"\xff" * 16


def helper(instance: Instance, argv: Sequence[str]) -> tuple[bytes, bytes, int]:
    """(stdout, stderr, exit status) of one call.

    Status 64: a bad call. 1: no such file, or bytes that the capture does not hold.
    """
    if tuple(argv) == ("list",):
        return _list(instance), b"", 0
    if len(argv) < 2 or len(argv) - 2 not in _NUMBERS.get(argv[0], ()):
        return _failed(64, USAGE)
    verb, path, numbers = argv[0], argv[1], argv[2:]
    if path.startswith(("/", "-")) or ".." in path.split("/"):
        return _failed(64, f"bad path: {path}")
    if not all(number.isdecimal() and number.isascii() and len(number) < 16 for number in numbers):
        return _failed(64, f"not a number of bytes: {' '.join(numbers)}")
    sizes = {entry.path: entry.size for entry in instance.listing if entry.type == "f"}
    if path not in sizes:
        return _failed(1, f"no such file in the crash directory: {path}")
    if verb == "stat":
        entry = next(e for e in instance.listing if e.path == path)
        return f"{entry.size}\t{entry.mtime:.10f}\t{_inode(path)}\n".encode(), b"", 0
    start, end = _range(verb, [int(number) for number in numbers], sizes[path])
    if verb in ("stream", "hash"):
        whole = _standing_in(instance, path, sizes[path])[start:end]
        return (
            (f"{hashlib.sha256(whole).hexdigest()}  {path}\n".encode() if verb == "hash" else whole),
            b"",
            0,
        )
    found = _bytes(instance, path, sizes[path], start, end)
    if found is None:
        return _failed(1, f"this capture holds no bytes of {path} from {start} to {end}")
    return found, b"", 0


def _range(verb: str, numbers: list[int], size: int) -> tuple[int, int]:
    if verb == "head":
        return 0, min(numbers[0], size)
    if verb == "tail":
        return max(size - numbers[0], 0), size
    if verb in ("bytes", "stream", "hash") and numbers:
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


def _standing_in(instance: Instance, path: str, size: int) -> bytes:
    """The file to be copied: of a dump, what the capture kept of it with zeros for what it did not; where it kept
    nothing, the first header and the end mark of the format that the captured hosts write."""
    if path in instance.crash_files:
        return instance.crash_files[path]
    ends = instance.dumps.get(path)
    head, tail = (ends.head, ends.tail) if ends is not None else (_FLAT_HEAD, _FLAT_END)
    return head + bytes(size - len(head) - len(tail)) + tail if size >= len(head) + len(tail) else bytes(size)


def _inode(path: str) -> int:
    return int.from_bytes(hashlib.blake2s(path.encode(), digest_size=3).digest(), "big")


def _list(instance: Instance) -> bytes:
    rows = (f"{e.path}\t{e.type}\t{e.size}\t{e.mtime:.10f}\n" for e in instance.listing)
    return "".join(rows).encode()


def _failed(status: int, message: str) -> tuple[bytes, bytes, int]:
    return b"", f"panicroom-host: {message}\n".encode("utf-8", "surrogateescape"), status
