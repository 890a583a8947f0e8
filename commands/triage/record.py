"""What the answers of step "Recent changes" say of the host's own past, for whoever weighs changes."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from commands.hostrecord import HostRecord, NetworkCard, PackageEvent
from commands.triage.answers import Answers
from commands.triage.nics import read_nics
from commands.triage.packages import PackageChange, read_apt, read_dnf, read_rpm, read_zypper
from commands.triage.recent import bios_of, read_boots_of
from storage import Panic

_NEAR = timedelta(minutes=15)


def read_record(answers: Answers, panic: Panic, facts: Mapping[str, Any]) -> HostRecord:
    """Packages by apt, rpm, dnf and zypper; the first boot of the kernel that died; firmware and network cards."""
    offset = int(facts.get("zone_offset") or 0)
    kernel = panic.kernel or facts.get("dump_release")
    boots = read_boots_of(answers.text("last") or "", kernel, offset) if kernel else []
    return HostRecord(
        host=panic.host,
        packages=tuple(
            PackageEvent(c.at, c.action, c.name, c.version, c.sort) for c in _packages(answers, offset)
        ),
        kernel=kernel,
        kernel_first_booted=boots[0] if boots else None,
        bios=bios_of(answers),
        cards=tuple(NetworkCard(n.interface, n.driver, n.version, n.firmware) for n in read_nics(answers)),
        zone_offset=offset,
    )


def _packages(answers: Answers, offset: int) -> list[PackageChange]:
    """apt's history; else what rpm says is installed, and of the histories what left no trace in it."""
    apt = answers.text("apt")
    if apt is not None:
        return list(read_apt(apt, offset))
    found = list(read_rpm(answers.text("rpm") or ""))
    installed = {(c.name, c.version) for c in found}
    zypper = read_zypper(answers.text("zypper") or "", offset)
    found += [c for c in zypper if c.action == "remove" or (c.name, c.version) not in installed]
    times = sorted(c.at for c in found)
    for change in read_dnf(answers.text("dnf") or "", offset):
        if not any(abs(change.at - at) <= _NEAR for at in times):
            found.append(change)
    return found
