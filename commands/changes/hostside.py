"""What a host's own records say has changed on it, in the normal form. Pure: what was read is a `HostRecord`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from commands.changes.machine import same_firmware
from commands.hostrecord import HostRecord, NetworkCard, PackageEvent
from integrations.changes import Change, Scope

_NOTABLE = ("kernel", "driver", "firmware")
_TOGETHER = timedelta(minutes=10)  # packages so near each other are one upgrade
_MOST = 60


@dataclass(frozen=True)
class Before:
    """What an earlier look at the same host saw, or what the log of an earlier panic said, and when."""

    at: datetime
    bios: str | None = None
    cards: tuple[NetworkCard, ...] = ()


def host_changes(
    record: HostRecord,
    *,
    since: datetime,
    until: datetime,
    booted: datetime | None,
    earlier: Iterable[Before],
) -> list[Change]:
    """Changes of the host between the two moments: packages, the kernel's first boot, firmware, network drivers.

    `booted` is when the boot began that crashed: firmware that differs from what was seen `earlier` came with it at
    the latest.
    """
    found = [*_packages(record, since, until)]
    if record.kernel and record.kernel_first_booted and since <= record.kernel_first_booted <= until:
        found.append(
            _change(
                record.host,
                f"booted:{record.kernel}",
                f"first boot of kernel {record.kernel}",
                "kernel",
                record.kernel_first_booted,
            )
        )
    for before, change in _replaced(record, sorted(earlier, key=lambda look: look.at, reverse=True)):
        at = booted if booted is not None and before.at < booted <= until else before.at
        if since - timedelta(days=30) <= at <= until:
            found.append(replace(change, started=at))
    return found[:_MOST]


def merged(changes: Iterable[Change]) -> list[Change]:
    """What was read on several hosts and is the same there becomes one change with all of them in its scope."""
    groups: dict[tuple[str, str], Change] = {}
    others = []
    for change in sorted(changes, key=_by_time):
        if not change.source.startswith("host:"):
            others.append(change)
            continue
        key = (change.kind, change.summary)
        known = groups.get(key)
        groups[key] = change if known is None else replace(known, scope=_both(known.scope, change.scope))
    return [*others, *groups.values()]


def _by_time(change: Change) -> tuple[float, str, str]:
    return change.started.timestamp() if change.started else float("inf"), change.source, change.key


def _both(one: Scope, other: Scope) -> Scope:
    return replace(one, hosts=tuple(dict.fromkeys((*one.hosts, *other.hosts))))


def _packages(record: HostRecord, since: datetime, until: datetime) -> list[Change]:
    recent = sorted(
        (p for p in record.packages if since <= p.at <= until), key=lambda p: (p.at, p.name, p.version)
    )
    found = [
        _change(
            record.host,
            f"package:{p.name}:{p.version}:{p.at:%Y%m%dT%H%M%S}",
            f"{p.name} {p.version} ({p.action})",
            p.sort,
            p.at,
        )
        for p in recent
        if p.sort in _NOTABLE
    ]
    for group in _upgrades([p for p in recent if p.sort not in _NOTABLE]):
        names = list(dict.fromkeys(p.name for p in group))
        more = f" and {len(names) - 6} more" if len(names) > 6 else ""
        count = f"{len(names)} packages" if len(names) > 1 else "1 package"
        made = _change(
            record.host,
            f"packages:{group[0].at:%Y%m%dT%H%M%S}",
            f"{count} changed: {', '.join(names[:6])}{more}",
            "package",
            group[0].at,
        )
        found.append(replace(made, ended=group[-1].at, text=" ".join(names[:200])))
    return found


def _upgrades(packages: Sequence[PackageEvent]) -> list[list[PackageEvent]]:
    groups: list[list[PackageEvent]] = []
    for package in packages:
        if groups and package.at - groups[-1][-1].at <= _TOGETHER:
            groups[-1].append(package)
        else:
            groups.append([package])
    return groups


def _replaced(record: HostRecord, earlier: Sequence[Before]) -> list[tuple[Before, Change]]:
    """Firmware and network drivers that are others than when they were last seen; `earlier`, the latest look first."""
    found: dict[str, tuple[Before, Change]] = {}

    def other(before: Before, key: str, words: str, kind: str) -> None:
        seen = f"It was another one on {before.at:%Y-%m-%d %H:%M} UTC, as the host was seen then."
        change = _change(record.host, key, words, kind, before.at)
        found.setdefault(key, (before, replace(change, text=seen)))

    last = next((look for look in earlier if look.bios), None)
    if record.bios and last is not None and last.bios and not same_firmware(record.bios, last.bios):
        version = " ".join(record.bios.split()[-2:])  # without the vendor, whom not everybody names
        other(last, f"bios:{version}", f"firmware {record.bios} (before: {last.bios})", "firmware")
    known: dict[tuple[str, str], tuple[Before, NetworkCard]] = {}
    for one in earlier:
        for seen_card in one.cards:
            known.setdefault((seen_card.interface, seen_card.driver), (one, seen_card))
    for card in record.cards:
        if (card.interface, card.driver) not in known:
            continue
        look, was = known[card.interface, card.driver]
        if card.version and was.version and card.version != was.version:
            words = f"network driver {card.driver} {card.version} (before: {was.version})"
            other(look, f"nic:{card.driver}:{card.version}", words, "driver")
        if card.firmware and was.firmware and card.firmware != was.firmware:
            words = f"firmware of {card.driver} {card.firmware} (before: {was.firmware})"
            other(look, f"nic-firmware:{card.driver}:{card.firmware}", words, "firmware")
    return list(found.values())


def _change(host: str, key: str, summary: str, kind: str, started: datetime) -> Change:
    return Change(
        key=key[:200],
        summary=summary[:300],
        status="",
        kind=kind,
        assignee=None,
        started=started,
        ended=None,
        updated=None,
        url="",
        source=f"host:{host.lower()}",
        scope=Scope(hosts=(host.lower(),)),
    )
