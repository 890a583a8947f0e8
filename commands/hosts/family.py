"""Families of distributions: what a host is by its /etc/os-release."""

from __future__ import annotations

import re

FAMILIES = ("debian", "rhel", "suse")
_KIN = {
    "debian": ("debian", "ubuntu"),
    "rhel": ("rhel", "fedora", "centos", "rocky", "almalinux", "ol", "amzn", "azurelinux"),
    "suse": ("suse", "sles", "sled", "opensuse", "opensuse-leap", "opensuse-tumbleweed", "sles_sap"),
}
_LINE = re.compile(r"^([A-Z][A-Z0-9_]*)=(.*)$", re.MULTILINE)


def read_os_release(text: str) -> dict[str, str]:
    """KEY=value lines of os-release(5), unquoted."""
    found: dict[str, str] = {}
    for match in _LINE.finditer(text):
        value = match[2].strip()
        if len(value) >= 2 and value[0] == value[-1] and value[0] in "\"'":
            value = re.sub(r"\\(.)", r"\1", value[1:-1])
        found[match[1]] = value[:200]
    return found


def family_of(release: dict[str, str]) -> str | None:
    """debian, rhel or suse, by ID and then ID_LIKE; None for anything else."""
    words = [release.get("ID", "").lower(), *release.get("ID_LIKE", "").lower().split()]
    for word in words:
        for family, kin in _KIN.items():
            if word in kin:
                return family
    return None
