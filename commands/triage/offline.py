"""Step "What offline analysis needs": the debuginfo's name, whether it is there, and room for it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from commands.debuginfo import debuginfo_package, installing
from commands.hosts.crashdump import size_words
from commands.hosts.desk import StepFinding
from commands.triage.answers import Answers
from commands.triage.disks import holding, read_df
from commands.triage.identity import worst
from storage import DumpState, Panic

# Installed size of a distribution kernel's debuginfo: 0.9 GB (Debian cloud) to 4.7 GB (kernel-uek).
_DEBUGINFO = 5 * 10**9
_CRASH_DIRECTORY = "/var/crash"


def read_offline(answers: Answers, panic: Panic, facts: Mapping[str, Any]) -> StepFinding:
    lines: list[tuple[str, str]] = []
    known: dict[str, Any] = {}
    kernel = facts.get("dump_release") or panic.kernel
    family = facts.get("family")
    package = debuginfo_package(kernel, family, str(facts.get("os_id") or "")) if kernel else None
    if kernel and package:
        known["debuginfo"] = package
        how = installing(kernel, family, str(facts.get("os_id") or ""))
        lines.append(("ok", f"debuginfo: {how.told if how else package}"))
        lines.append(_vmlinux(answers, family, package))
    else:
        lines.append(("warn", f"debuginfo: no name known for kernel {kernel or '?'} on this distribution"))
    build_id = facts.get("build_id")
    if build_id:
        lines.append(
            ("ok", f"vmlinux must have build id {build_id} (also what a debuginfod server is asked for)")
        )
    lines.append(_room(answers, facts))
    if panic.dump_state is DumpState.COMPLETE:
        lines.append(
            ("ok", "flattened dumps: drgn and crash read them; makedumpfile -R first for other tools")
        )
    elif panic.dump_state in (DumpState.NONE, DumpState.EMPTY):
        lines.append(("warn", "there is no dump to analyse: only the text of the crash"))
    return StepFinding(worst(lines), tuple(lines), known)


def _vmlinux(answers: Answers, family: str | None, package: str) -> tuple[str, str]:
    """Whether the debuginfo is installed on the host itself (it need not be: another machine can have it)."""
    key = "dpkg" if family == "debian" else "rpm_debuginfo"
    # dpkg fails for each of several names that it does not know, and still tells of the others.
    listing = answers.text(key, even_failed=family == "debian")
    if listing is None:
        return "skipped", f"vmlinux on the host: not checked ({answers.why_not(key)})"
    if family == "debian":
        installed = re.search(rf"^ii +{re.escape(package)}(?::\w+)? ", listing, re.MULTILINE) is not None
    else:
        installed = any(_is_rpm(line.split("\t"), package) for line in listing.splitlines())
    if installed:
        return "ok", "vmlinux: its package is installed on the host"
    return "ok", "vmlinux: not on the host; install the package where the analysis is done"


def _is_rpm(row: list[str], package: str) -> bool:
    """(name, version-release, architecture) against `NAME-VERSION.ARCH`, or SUSE's `NAME = VERSION` (whose rebuilds
    add a number to the release)."""
    if len(row) != 3:
        return False
    name, version, architecture = row
    wanted, equals, release = package.partition(" = ")
    if equals:
        return name == wanted and (version == release or version.startswith(f"{release}."))
    return f"{name}-{version}.{architecture}" == package


def _room(answers: Answers, facts: Mapping[str, Any]) -> tuple[str, str]:
    text = answers.text("df", even_failed=True)
    if text is None:
        return "skipped", f"room: not checked ({answers.why_not('df')})"
    there = holding(read_df(text), _CRASH_DIRECTORY)
    if there is None:
        return "skipped", "room: df tells nothing of the crash directory"
    need = int(facts.get("dump_size") or 0) + _DEBUGINFO
    told = f"room: {size_words(there.available)} free where {_CRASH_DIRECTORY} lies ({there.mounted_on})"
    if there.available < need:
        return "warn", f"{told}: too little for analysis on the host itself (about {size_words(need)})"
    return "ok", told
