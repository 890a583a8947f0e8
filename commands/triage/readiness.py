"""Step "Ready for the next panic": what the kernel says, not what the unit says.

kdump-tools.service is "active (exited)" even when no capture kernel is loaded: only
/sys/kernel/kexec_crash_loaded tells.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from commands.hosts.crashdump import size_words
from commands.hosts.desk import StepFinding
from commands.triage.answers import Answers
from commands.triage.disks import holding, read_df
from commands.triage.identity import worst
from storage import Panic

_ACTIVE = re.compile(r"^\s*Active: (\S+(?: \([^)\n]*\))?)", re.MULTILINE)
_SYSCTL = re.compile(r"^(kernel\.\w+) = (-?\d+)$", re.MULTILINE)
_STATE = re.compile(r"^current state:\s*(.+)$", re.MULTILINE | re.IGNORECASE)


def read_readiness(answers: Answers, panic: Panic, facts: Mapping[str, Any], df: str | None) -> StepFinding:
    """`df` is the output of the step before."""
    lines: list[tuple[str, str]] = []
    loaded, reserved = answers.number("loaded"), answers.number("reserved")
    if loaded is None:
        lines.append(("failed", f"capture kernel: not known ({answers.why_not('loaded')})"))
    elif loaded:
        lines.append(("ok", "capture kernel: loaded (kexec_crash_loaded is 1)"))
    else:
        lines.append(
            ("failed", "capture kernel: not loaded (kexec_crash_loaded is 0): the next panic leaves no dump")
        )
    if reserved is None:
        lines.append(("failed", f"crashkernel reservation: not known ({answers.why_not('reserved')})"))
    elif reserved:
        lines.append(("ok", f"crashkernel reservation: {reserved / 2**20:.0f} MiB"))
    else:
        lines.append(("failed", "crashkernel reservation: none; add crashkernel= to the kernel command line"))
    lines.append(_unit(answers, loaded))
    config = _STATE.search(answers.text("kdump_config", even_failed=True) or "")
    if config:
        state = config[1].strip()[:80]
        lines.append(("ok" if state.lower() == "ready to kdump" else "failed", f"kdump-config: {state}"))
    lines += _settings(answers)
    lines.append(_room(df, facts))
    ready = bool(loaded and reserved)
    known = {"kdump_loaded": loaded, "crashkernel_bytes": reserved, "ready": ready}
    return StepFinding(worst(lines), tuple(lines), known)


def _unit(answers: Answers, loaded: int | None) -> tuple[str, str]:
    match = _ACTIVE.search(answers.text("unit", even_failed=True) or "")
    if match is None:
        return (
            "skipped" if "unit" not in answers else "warn",
            f"kdump unit: not found ({answers.why_not('unit')})",
        )
    told = f"kdump unit: {match[1][:60]}"
    if match[1].startswith("active"):
        return ("warn", f"{told}, which proves nothing: no kernel is loaded") if loaded == 0 else ("ok", told)
    return "failed", told


def _settings(answers: Answers) -> list[tuple[str, str]]:
    found = {m[1]: int(m[2]) for m in _SYSCTL.finditer(answers.text("sysctl", even_failed=True) or "")}
    if not found:
        return [("skipped", f"panic settings: not checked ({answers.why_not('sysctl')})")]
    lines = []
    oops = found.get("kernel.panic_on_oops")
    if oops == 0:
        lines.append(
            ("warn", "kernel.panic_on_oops is 0: an oops leaves the host running, damaged and without a dump")
        )
    elif oops is not None:
        lines.append(("ok", "kernel.panic_on_oops is 1: an oops is dumped"))
    reboot = found.get("kernel.panic")
    if reboot == 0:
        lines.append(("warn", "kernel.panic is 0: without kdump, the host stays down after a panic"))
    elif reboot is not None:
        lines.append(("ok", f"kernel.panic is {reboot}: it reboots by itself"))
    return lines


def _room(df: str | None, facts: Mapping[str, Any]) -> tuple[str, str]:
    there = holding(read_df(df or ""), "/var/crash")
    if there is None:
        return "skipped", "room for the next dump: not checked"
    last = int(facts.get("dump_size") or 0)
    told = f"room for the next dump: {size_words(there.available)} free"
    # Root's reserved blocks make df's figure a low one: a full disk has still taken a dump, and has not.
    if there.available < max(2 * last, 200 * 10**6):
        return "warn", f"{told}, the last one took {size_words(last)}" if last else told
    return "ok", told
