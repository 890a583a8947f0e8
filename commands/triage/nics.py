"""Network interfaces: driver, version and firmware, where the host has ethtool."""

from __future__ import annotations

import re
from dataclasses import dataclass

from commands.triage.answers import Answers

MOST = 4
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,14}")
_MADE_UP = re.compile(
    r"(lo|dummy|veth|tap|tun|vnet|docker|virbr|br|bond|team|cali|cni|flannel|wg|sit|gre|ip6|bonding)[0-9-]?|.*\..*"
)
_FIELD = re.compile(r"^(driver|version|firmware-version):[ \t]*(.{0,200})$", re.MULTILINE)
_SOFTWARE = frozenset({"bridge", "veth", "tun", "bonding", "team", "802.1Q VLAN Support", "dummy", "macvlan"})


@dataclass(frozen=True)
class Nic:
    """One interface by `ethtool -i`; `version` and `firmware` are None where the driver says nothing."""

    interface: str
    driver: str
    version: str | None
    firmware: str | None


def interfaces(listing: str) -> list[str]:
    """Names of what may be real interfaces, at most four. Only plain names: they become part of a command."""
    names = [n for n in listing.split() if _NAME.fullmatch(n) and _MADE_UP.match(n) is None]
    return names[:MOST]


def key(interface: str) -> str:
    return f"nic:{interface}"


def read_nics(answers: Answers) -> list[Nic]:
    """The interfaces that ethtool told of, software ones left out."""
    found = []
    for name in interfaces(answers.text("interfaces") or ""):
        fields = {m[1]: m[2].strip() for m in _FIELD.finditer(answers.text(key(name)) or "")}
        driver = fields.get("driver", "")
        if driver and driver not in _SOFTWARE:
            found.append(
                Nic(name, driver, _said(fields.get("version")), _said(fields.get("firmware-version")))
            )
    return found


def told(nics: list[Nic]) -> str:
    """`ixgbe 5.14.0, firmware 0x800009fa (eth0, eth1)`, one for each that differs."""
    groups: dict[str, list[str]] = {}
    for nic in nics:
        version = f" {nic.version}" if nic.version else ""
        firmware = f"firmware {nic.firmware}" if nic.firmware else "its firmware is not told"
        groups.setdefault(f"{nic.driver}{version}, {firmware}", []).append(nic.interface)
    return "; ".join(f"{words} ({', '.join(names)})" for words, names in groups.items())


def why_unknown(answers: Answers) -> str:
    """Why no version and firmware are known, in words."""
    names = interfaces(answers.text("interfaces") or "")
    asked = [key(name) for name in names if key(name) in answers]
    if not asked:
        return f"version and firmware not asked: no interface was listed ({answers.why_not('interfaces')})"
    if answers.exit_status(asked[0]) == 127:
        return "version and firmware unknown: there is no ethtool on the host"
    return f"version and firmware unknown: ethtool said nothing ({answers.why_not(asked[0])})"


def _said(value: str | None) -> str | None:
    return None if value is None or value in ("", "N/A", "n/a") else value[:60]
