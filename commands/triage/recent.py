"""Step "Recent changes": kernel, packages, driver and NIC, firmware, workload."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any

from commands.hosts.desk import StepFinding
from commands.triage.answers import Answers
from commands.triage.identity import clock, span, worst
from commands.triage.nics import read_nics, why_unknown
from commands.triage.nics import told as told_nics
from commands.triage.packages import PackageChange, read_apt, read_rpm
from storage import Panic

_REBOOT = re.compile(
    r"^reboot\s+system boot\s+(\S+)\s+\w{3} (\w{3} [ \d]\d \d\d:\d\d:\d\d \d{4})", re.MULTILINE
)
_NICS = """
e1000 e1000e igb igc ixgbe ixgbevf i40e iavf ice tg3 bnx2 bnx2x bnxt_en mlx4_en mlx5_core qede qlcnic be2net cxgb4
r8169 virtio_net vmxnet3 hv_netvsc ena gve atlantic sfc nfp enic aquantia xen_netfront
"""
_NIC_DRIVERS = frozenset(_NICS.split())
NOT_WEIGHED = ("skipped", "workload: not checked, no source for it is configured")
_DMI = re.compile(r"^/sys/class/dmi/id/(\w+):(.*)$", re.MULTILINE)


def read_recent(
    answers: Answers,
    panic: Panic,
    facts: Mapping[str, Any],
    *,
    window: timedelta,
    previous_bios: str | None,
    tickets: Sequence[str],
    weighed: Sequence[tuple[str, str]] | None = None,
) -> StepFinding:
    """What changed in the `window` before the panic. `previous_bios` is what an earlier run saw on this host.

    `weighed`: what the verb that weighs changes says of them and of the workload; None: there is none.
    """
    lines: list[tuple[str, str]] = []
    known: dict[str, Any] = {}
    offset = int(facts.get("zone_offset") or 0)
    changes = _packages(answers, offset)
    kernel = panic.kernel or facts.get("dump_release") or facts.get("running_kernel")

    lines.append(_kernel(answers, changes, kernel, panic, offset))
    since = panic.occurred_at - window
    recent = [c for c in changes or () if since <= c.at <= panic.occurred_at]
    if changes is None:
        lines.append(("skipped", "packages: not checked, no history could be read"))
    else:
        lines.append(_told_packages(recent, window))
        known["recent_packages"] = [f"{c.name} {c.version}" for c in recent if c.sort != "other"][:40]
    lines.append(_driver(answers, recent, panic))
    told_of = any("firmware" in text for _, text in weighed or ())  # it also looks into earlier panics' logs
    bios, line = _firmware(answers, recent, previous_bios, told_of)
    lines.append(line)
    if bios:
        known["bios"] = bios
    if tickets:
        lines.append(("ok", f"change tickets beside this panic: {', '.join(tickets[:6])}"))
    cards = read_nics(answers)
    if cards:
        known["nics"] = [asdict(card) for card in cards]
    lines += weighed if weighed is not None else [NOT_WEIGHED]
    return StepFinding(worst(lines), tuple(lines), known)


def _packages(answers: Answers, offset: int) -> tuple[PackageChange, ...] | None:
    apt, rpm = answers.text("apt"), answers.text("rpm")
    if apt is not None:
        return read_apt(apt, offset)
    return read_rpm(rpm) if rpm is not None else None


def _kernel(
    answers: Answers,
    changes: Sequence[PackageChange] | None,
    kernel: str | None,
    panic: Panic,
    offset: int,
) -> tuple[str, str]:
    """When the kernel that died was installed and first booted, as far as this host remembers."""
    if kernel is None:
        return "skipped", "kernel: not checked, it is not known which one died"
    told = []
    installed = next((c for c in changes or () if c.action != "remove" and _is_of(c, kernel)), None)
    if installed is not None:
        told.append(f"installed {clock(installed.at)}")
    boots = read_boots_of(answers.text("last") or "", kernel, offset)
    state = "ok"
    if boots:
        first = boots[0]
        told.append(f"first booted {clock(first)} as far as wtmp goes back")
        if timedelta(0) <= panic.occurred_at - first <= timedelta(days=2):
            state = "warn"
            told.append(f"{span((panic.occurred_at - first).total_seconds())} before this panic")
    if not told:
        return "skipped", f"kernel {kernel}: neither wtmp nor the package history tells when it came"
    return state, f"kernel {kernel}: {', '.join(told)}"


def read_boots_of(text: str, kernel: str, offset: int = 0) -> list[datetime]:
    """Boots of a kernel in `last -x -F`, oldest first. wtmp's column holds 16 characters of the release."""
    found = []
    for match in _REBOOT.finditer(text):
        if not match[1] or (match[1] != kernel and match[1] != kernel[: len(match[1])]) or len(match[1]) < 5:
            continue
        try:
            local = datetime.strptime(match[2], "%b %d %H:%M:%S %Y").replace(tzinfo=UTC)
            found.append(local - timedelta(seconds=offset))
        except (ValueError, OverflowError):
            continue
    return sorted(found)


def _is_of(change: PackageChange, kernel: str) -> bool:
    """`linux-image-6.1.0-31-amd64`, or kernel-core with `5.14.0-503.el9` for `5.14.0-503.el9.x86_64`."""
    if change.sort != "kernel":
        return False
    return change.name.endswith(f"-{kernel}") or (
        len(change.version) > 4 and kernel.startswith(change.version) and not change.name.startswith("linux-")
    )


def _told_packages(recent: Sequence[PackageChange], window: timedelta) -> tuple[str, str]:
    days = f"{window.total_seconds() / 86400:.0f} d"
    if not recent:
        return "ok", f"packages: none changed in the {days} before the panic"
    notable = list(dict.fromkeys(f"{c.name} {c.version}" for c in recent if c.sort != "other"))
    newest = max(c.at for c in recent)
    told = f"packages: {len(recent)} changed in the {days} before the panic, the last {clock(newest)}"
    if not notable:
        return "ok", told
    shown = ", ".join(notable[:5]) + (f" and {len(notable) - 5} more" if len(notable) > 5 else "")
    return "warn", f"{told}; among them {shown}"


def _driver(answers: Answers, recent: Sequence[PackageChange], panic: Panic) -> tuple[str, str]:
    changed = [f"{c.name} {c.version}" for c in recent if c.sort == "driver"]
    known = read_nics(answers)
    modules = [line.split()[0] for line in (answers.text("lsmod") or "").splitlines()[1:] if line.split()]
    nics = [m for m in modules if m in _NIC_DRIVERS]
    if known:
        told = f"NIC driver {told_nics(known)}"
    elif nics:
        told = f"NIC driver {', '.join(nics[:4])} ({why_unknown(answers)})"
    elif modules:
        told = f"NIC driver: none of the common ones is loaded ({why_unknown(answers)})"
    else:
        told = f"NIC driver: not checked ({answers.why_not('lsmod')})"
    foreign = [t for t in panic.taint if "out-of-tree" in t or "unsigned" in t or "proprietary" in t]
    if changed:
        return "warn", f"{told}; driver packages changed: {', '.join(changed[:4])}"
    if foreign:
        return "warn", f"{told}; the kernel that died was tainted: {', '.join(foreign[:3])}"
    return ("ok" if modules or known else "skipped"), f"{told}; no driver package changed"


def bios_of(answers: Answers) -> str | None:
    """`Dell Inc. 2.21.2 01/02/2024`: vendor, version and date of the machine's firmware."""
    values = {m[1]: m[2].strip() for m in _DMI.finditer(answers.text("dmi", even_failed=True) or "")}
    return " ".join(values[k] for k in ("bios_vendor", "bios_version", "bios_date") if values.get(k)) or None


def _firmware(
    answers: Answers,
    recent: Sequence[PackageChange],
    previous_bios: str | None,
    told_of: bool,
) -> tuple[str | None, tuple[str, str]]:
    bios = bios_of(answers)
    changed = [f"{c.name} {c.version}" for c in recent if c.sort == "firmware"]
    if bios is None and not changed:
        return None, ("skipped", f"firmware: not checked ({answers.why_not('dmi')})")
    told = f"firmware {bios or 'unknown'}"
    if previous_bios and bios and previous_bios != bios:
        return bios, ("warn", f"{told}; an earlier run saw {previous_bios} on this host")
    if changed:
        return bios, ("warn", f"{told}; packages changed: {', '.join(changed[:4])}")
    if previous_bios:
        return bios, ("ok", f"{told}, the same as at the last run on this host")
    return bios, ("ok", told if told_of else f"{told}; no earlier run to compare with")
