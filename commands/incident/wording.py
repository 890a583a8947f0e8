"""Small phrases that several messages share. Plain functions of plain data."""

from __future__ import annotations

from datetime import timedelta

from integrations.redaction import Redactor
from integrations.slack.text import code, escape
from storage import CopyState, DumpCopy, DumpState, Panic

_DUMP_WORDS = {
    DumpState.UNKNOWN: "not looked for yet",
    DumpState.NONE: ":warning: none found",
    DumpState.EMPTY: ":warning: empty (0 bytes)",
    DumpState.INCOMPLETE: ":warning: incomplete",
    DumpState.UNVERIFIED: "there, not verified",
    DumpState.COMPLETE: ":white_check_mark: complete",
}


# The kernel's names for its taints (TAINT_* in include/linux/panic.h) in the words of its documentation.
_TAINTS = {
    "PROPRIETARY_MODULE": "proprietary module",
    "FORCED_MODULE": "module loaded by force",
    "CPU_OUT_OF_SPEC": "out-of-spec system",
    "FORCED_RMMOD": "module unloaded by force",
    "MACHINE_CHECK": "machine check before",
    "BAD_PAGE": "bad page before",
    "USER": "tainted by user space",
    "DIE": "oops or BUG before",
    "OVERRIDDEN_ACPI_TABLE": "ACPI table overridden",
    "WARN": "warning before",
    "CRAP": "staging driver",
    "FIRMWARE_WORKAROUND": "firmware workaround",
    "OOT_MODULE": "out-of-tree module",
    "UNSIGNED_MODULE": "unsigned module",
    "SOFTLOCKUP": "soft lockup before",
    "LIVEPATCH": "live patch",
    "AUX": "auxiliary taint of the distribution",
    "RANDSTRUCT": "struct randomization",
    "TEST": "in-kernel test",
    "FWCTL": "firmware debugged by fwctl",
}


def taint(name: str) -> str:
    """`out-of-tree module` for OOT_MODULE; a name that is not known here stays as the kernel has it."""
    return _TAINTS.get(name, name)


def redacted(text: str, *keep: str) -> str:
    """Host text as Slack may have it, unescaped; the names in `keep` (the host's own) stay."""
    return Redactor(keep=keep).redact(text)


def span(seconds: float | timedelta | None) -> str:
    """`12 d 4 h`, `5 min 3 s`, `42 s`; the two largest units."""
    if seconds is None:
        return "unknown"
    if isinstance(seconds, timedelta):
        seconds = seconds.total_seconds()
    left = max(0, int(seconds))
    parts = []
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        count, left = divmod(left, size)
        if count:
            parts.append(f"{count} {unit}")
    return " ".join(parts[:2]) or "0 s"


def size(count: int | None) -> str:
    """`312 MB`, in powers of ten as disks are sold and `df -H` prints."""
    if count is None:
        return ""
    value = float(count)
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if value < 1000 or unit == "TB":
            return f"{value:.0f} {unit}" if unit == "B" or value >= 10 else f"{value:.1f} {unit}"
        value /= 1000
    return ""


def share(done: int, whole: int | None) -> str:
    """`38 %`; 100 only when it is all."""
    return "0 %" if not whole else f"{min(done * 100 // whole, 100)} %"


def copy_words(copy: DumpCopy) -> str:
    """`copying to central 38 %`; nothing of a copy that was cancelled."""
    far = share(copy.bytes_done, copy.size)
    if copy.state is CopyState.VERIFIED:
        return ":white_check_mark: verified in central"
    if copy.state is CopyState.FAILED:
        return ":warning: not copied to central"
    if copy.state is CopyState.DAMAGED:
        return ":warning: the copy in central is damaged"
    if copy.state is CopyState.REMOVED:
        return "removed from central"
    if copy.state is CopyState.CANCELLED:
        return ""
    if copy.paused:
        return f"copy to central paused at {far}"
    if copy.state is CopyState.WAITING:
        return f"copy to central waits at {far}" if copy.bytes_done else "to be copied to central"
    return f"copying to central {far}" if copy.state is CopyState.COPYING else f"checking in central {far}"


def dump_line(panic: Panic, copy: DumpCopy | None = None) -> str:
    words = [f"Dump: {_DUMP_WORDS[panic.dump_state]}"]
    if panic.dump_size:
        words.append(size(panic.dump_size))
    if panic.dump_path:
        words.append(code(redacted(panic.dump_path, panic.host)))
    if panic.dump_note:
        words.append(escape(redacted(panic.dump_note[:200], panic.host)))
    if copy is not None and (told := copy_words(copy)):
        words.append(told)
    return " · ".join(words)


def listing(names: list[str], limit: int = 5) -> str:
    """`a, b, c and 7 more`, escaped."""
    shown = ", ".join(escape(n) for n in names[:limit])
    return shown + (f" and {len(names) - limit} more" if len(names) > limit else "")
