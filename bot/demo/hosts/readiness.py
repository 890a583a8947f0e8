"""What a replayed host answers about its readiness: from its capture where that says it, else from its listing.

Not captured, and so the same on every replayed host of its kind: the reporter's check, the modes of dumps (kdump-tools
writes them for root alone).
"""

from __future__ import annotations

from collections.abc import Sequence

from bot.demo.hosts.instance import Instance

_HELPER = ("sudo", "-n", "/usr/local/sbin/panicroom-host", "report-check")
_BLOCK = 4096
_BLOCKS = 749_000  # of the captured disk, 2.9 GB

Told = tuple[bytes, bytes, int]


def answer(instance: Instance, argv: Sequence[str], now: float) -> Told | None:
    """(stdout, stderr, exit status); None for what is asked of the capture in the usual way."""
    words = tuple(argv)
    if words == _HELPER:
        return b"secret=valid\n", b"", 0
    if words == ("date", "+%s"):
        return _text(f"{now:.0f}")
    if words in (("uname", "-r"), ("uname", "-m")):
        fields = instance.capture.files["uname"].split()
        return _text(fields[2] if words[1] == "-r" else "x86_64" if "x86_64" in fields else "unknown")
    if words == ("cat", "/sys/module/pstore/parameters/backend"):
        return _text("erst" if instance.capture.pstore else "(null)")
    if words == ("ls", "-d", "/var/log/journal"):
        return _text("/var/log/journal")
    if words == ("stat", "-L", "-c", "%s %Y", "/var/lib/kdump/initrd.img"):
        return _text("24117248 1763875600")
    if words == ("stat", "-L", "-c", "%a", "/var/crash"):
        return _text("755")
    if words == ("stat", "-f", "-c", "%S %b %f %a", "/var/crash"):
        free = _BLOCKS - _used(instance)
        return _text(f"{_BLOCK} {_BLOCKS} {free} {max(0, free - _BLOCKS // 20)}")
    if words == ("find", "/var/crash", "-maxdepth", "2", "-type", "f", "-printf", "%m %P\n"):
        return ("".join(f"600 {e.path}\n" for e in instance.listing if e.type == "f")).encode(), b"", 0
    return None


def _used(instance: Instance) -> int:
    """Blocks in use, by the sizes that the captured `df` shows. A disk that is full for users has what it keeps for
    root left; where that is full as well, nothing."""
    for line in instance.capture.files["df"].splitlines():
        fields = line.split()
        if len(fields) == 7 and fields[6] == "/":
            size, used = (_bytes(field) for field in fields[2:4])
            return int(_BLOCKS * min(used / size, 1.0)) if size else 0
    return 0


def _bytes(field: str) -> float:
    """`447M`, `2.9G` as `df -h` writes them."""
    unit = {"K": 2**10, "M": 2**20, "G": 2**30}.get(field[-1:], 1)
    number = field.rstrip("KMG")
    return float(number) * unit if number.replace(".", "", 1).isdecimal() else 0.0


def _text(line: str) -> Told:
    return f"{line}\n".encode(), b"", 0
