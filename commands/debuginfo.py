"""Which package holds the debug information of a kernel, and the command that installs it."""

from __future__ import annotations

import re
from dataclasses import dataclass

_RELEASE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+~-]{0,99}")
_UBUNTU = re.compile(
    r"-(?:generic|lowlatency|kvm|oem|raspi|nvidia|ibm|oracle|gke|gkeop|aws|azure|gcp)(?:-\w+)*$"
)
_RPM = re.compile(r"\.(?:el|fc|amzn|oe|an|tl|cm|azl)\d|uek")
_SUSE = re.compile(r"-(?:default|preempt|rt|azure|kvmsmall|64kb|longterm)$")
_DEBIAN = re.compile(
    r"-(?:cloud-|rt-)?(?:amd64|arm64|686(?:-pae)?|armmp(?:-lpae)?|powerpc64le|s390x|riscv64|loongson-3)(?:-16k)?$"
)


@dataclass(frozen=True)
class Installing:
    """`package` as its manager names it; `command` for a shell as root; `note`: what must be set up before it."""

    package: str
    command: str
    note: str = ""

    @property
    def told(self) -> str:
        """In one sentence of plain text."""
        return f"{self.package} has it: {self.command}" + (f" ({self.note})" if self.note else "")


def debuginfo_package(kernel: str, family: str | None, os_id: str = "") -> str | None:
    """The package that holds the vmlinux with debug information of a kernel release.

    Debian: linux-image-RELEASE-dbg. Ubuntu (its ddebs archive): linux-image-unsigned-RELEASE-dbgsym.
    RHEL: kernel[-rt|-uek|-64k]-debuginfo-VERSION.ARCH. SUSE: kernel-FLAVOUR-debuginfo at the release's version.
    """
    if _RELEASE.fullmatch(kernel) is None:
        return None
    if family == "debian":
        return f"linux-image-unsigned-{kernel}-dbgsym" if os_id == "ubuntu" else f"linux-image-{kernel}-dbg"
    if family == "rhel":
        plain, _, variant = kernel.partition("+")
        if "uek" in plain:
            return f"kernel-uek-debuginfo-{plain}"
        flavour = re.sub(r"[^a-z0-9]", "", variant)
        if re.search(r"\.rt\d", plain) or flavour == "rt":
            return f"kernel-rt-debuginfo-{plain}"
        return f"kernel-{flavour}-debuginfo-{plain}" if flavour else f"kernel-debuginfo-{plain}"
    if family == "suse":
        version, _, flavour = kernel.rpartition("-")
        return f"kernel-{flavour}-debuginfo = {version}" if version and flavour.isalnum() else None
    return None


def guess_family(kernel: str) -> tuple[str | None, str]:
    """(family, os id) by the look of a kernel release, where nobody has read the host's os-release."""
    if _RPM.search(kernel):
        return "rhel", ""
    if _DEBIAN.search(kernel):
        return "debian", "debian"
    if _SUSE.search(kernel) and not re.search(r"-\d+-azure$", kernel):
        return "suse", ""
    if _UBUNTU.search(kernel):
        return "debian", "ubuntu"
    return None, ""


def installing(kernel: str, family: str | None = None, os_id: str = "") -> Installing | None:
    """How the debug information of a kernel is installed; None for a kernel of no distribution that is known."""
    if family is None:
        family, os_id = guess_family(kernel)
    package = debuginfo_package(kernel, family, os_id)
    if package is None:
        return None
    if family == "debian" and os_id == "ubuntu":
        return Installing(
            package, f"apt-get install {package}", "with Ubuntu's ddebs archive among the sources"
        )
    if family == "debian":
        return Installing(package, f"apt-get install {package}")
    if family == "rhel":
        name = re.sub(r"-debuginfo-", "-", package, count=1)
        return Installing(package, f"dnf debuginfo-install {name}")
    return Installing(
        package, f"zypper install '{package}'", "with the distribution's debug repository enabled"
    )
