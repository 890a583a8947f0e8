"""Step "Kernel, build id, uptime": which kernel died, which one runs now, and since when."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from commands.hosts.desk import StepFinding
from commands.hosts.family import family_of, read_os_release
from commands.triage.answers import Answers
from storage import Panic

_UNAME = re.compile(r"^Linux \S+ (\S+) ")


def span(seconds: float) -> str:
    """A length of time with its two largest units: `12 d 4 h`, `3 min 20 s`."""
    left = max(int(seconds), 0)
    parts = []
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        count, left = divmod(left, size)
        if count:
            parts.append(f"{count} {unit}")
    return " ".join(parts[:2]) or "0 s"


def clock(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M:%S UTC")


def worst(lines: list[tuple[str, str]]) -> str:
    """A step is as bad as its worst line; skipped only when every line is."""
    states = [state for state, _ in lines]
    for state in ("failed", "warn", "ok"):
        if state in states:
            return state
    return "skipped"


def read_identity(answers: Answers, panic: Panic, facts: Mapping[str, Any], now: datetime) -> StepFinding:
    """Plain words about the two kernels; `facts` are those of the dump. `now` is our clock when it was asked."""
    lines: list[tuple[str, str]] = []
    known: dict[str, Any] = {}
    columns: dict[str, Any] = {}

    release = read_os_release(answers.text("os") or "")
    family = family_of(release)
    name = release.get("PRETTY_NAME")
    if name:
        known |= {"os": name, "os_id": release.get("ID", ""), "family": family}
        told = (
            name
            if family
            else f"{name}: no family that the runbook knows; family-specific checks are skipped"
        )
        lines.append(("ok" if family else "warn", told))
    else:
        lines.append(("warn", f"/etc/os-release could not be read ({answers.why_not('os')})"))

    match = _UNAME.match(answers.text("uname") or "")
    running = match[1] if match else None
    died = panic.kernel or facts.get("dump_release")
    if running:
        known["running_kernel"] = running
        columns["running_kernel"] = running
    if running and died and running != died:
        lines.append(("warn", f"now running {running}; the kernel that died was {died}"))
    elif running:
        lines.append(("ok", f"running {running}" + (", the same kernel that died" if died else "")))
    else:
        lines.append(("failed", f"the running kernel could not be read ({answers.why_not('uname')})"))

    build_id = facts.get("build_id")
    if build_id:
        lines.append(("ok", f"build id of the kernel that died: {build_id}"))
        columns |= {"kernel_build": build_id} if not panic.kernel_build else {}
    else:
        lines.append(("skipped", "build id of the kernel that died: unknown without a readable dump"))

    booted = _booted_at(answers, now)
    if booted is not None:
        known["booted_at"] = booted.isoformat()
        lines.append(("ok", f"up {span((now - booted).total_seconds())}, booted {clock(booted)}"))
        if panic.back_at is None and booted > panic.occurred_at:
            columns["back_at"] = booted
        if booted < panic.occurred_at - timedelta(minutes=10):
            lines.append(("warn", "it booted before this panic: is it the right host, or did it not reboot?"))
    else:
        lines.append(("failed", f"the uptime could not be read ({answers.why_not('uptime')})"))
    offset = _zone_offset(answers, booted)
    if offset is not None:
        known["zone_offset"] = offset

    boot_id = answers.first_line("boot_id")
    if boot_id:
        known["boot_id"] = boot_id
        if panic.boot_id and panic.boot_id.replace("-", "") == boot_id.replace("-", ""):
            lines.append(("warn", "this is still the boot that was reported as crashed"))
    tainted = answers.number("tainted")
    if tainted:
        lines.append(("warn", f"the running kernel is tainted already ({tainted})"))
    return StepFinding(worst(lines), tuple(lines), known, panic=columns)


def _booted_at(answers: Answers, now: datetime) -> datetime | None:
    line = answers.first_line("uptime")
    try:
        seconds = float((line or "").split()[0])
    except (ValueError, IndexError):
        return None
    # 10 years: beyond it the number is no uptime, and the subtraction could leave the calendar.
    return now - timedelta(seconds=seconds) if 0 <= seconds < 3.2e8 else None


def _zone_offset(answers: Answers, booted: datetime | None) -> int | None:
    """Seconds the host's clock face is ahead of UTC, in quarter-hours: `uptime -s` is local, the uptime is not."""
    line = answers.first_line("since")
    if line is None or booted is None:
        return None
    try:
        local = datetime.strptime(line, "%Y-%m-%d %H:%M:%S").replace(tzinfo=booted.tzinfo)
    except ValueError:
        return None
    offset = round((local - booted).total_seconds() / 900) * 900
    return offset if abs(offset) <= 15 * 3600 else None
