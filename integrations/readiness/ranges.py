"""How large a reservation the families recommend, as data: what their own tools would reserve by default.

Each is in the form of `crashkernel=`: `RAM-RAM:SIZE,…`. SUSE recommends nothing that fits all: `kdumptool calibrate`
tells it for each host.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from integrations.readiness.answers import size_of

MIB = 2**20
# (family, architecture): kdump-utils' and Debian kdump-tools' defaults.
DEFAULTS: Mapping[tuple[str, str], str] = {
    ("debian", "x86_64"): "512M-:192M",
    ("debian", "aarch64"): "2G-4G:320M,4G-32G:512M,32G-64G:1024M,64G-128G:2048M,128G-:4096M",
    ("debian", "ppc64le"): "2G-4G:320M,4G-32G:512M,32G-64G:1024M,64G-128G:2048M,128G-:4096M",
    ("rhel", "x86_64"): "2G-64G:256M,64G-:512M",
    ("rhel", "s390x"): "2G-64G:256M,64G-:512M",
    ("rhel", "aarch64"): "1G-4G:256M,4G-64G:320M,64G-:576M",
    ("rhel", "ppc64le"): "2G-4G:384M,4G-16G:512M,16G-64G:1G,64G-128G:2G,128G-:4G",
}
# Release 9 of RHEL and what is built from it.
DEFAULTS_EL9 = "1G-4G:192M,4G-64G:256M,64G-:512M"
# (family, architecture, kernel module): what the driver needs besides.
DRIVERS: Mapping[tuple[str, str, str], int] = {("rhel", "aarch64", "mlx5_core"): 150 * MIB}
LARGE_PAGES = 100 * MIB  # an arm64 kernel with pages of 64 KiB
MEMORY_ENCRYPTION = 64 * MIB  # SME and SEV, x86_64
ENCRYPTED_TARGET = 512 * MIB  # a LUKS device: its key takes memory to derive


def recommended(ranges: str, ram: int) -> int | None:
    """What `ranges` reserve for so much RAM, in bytes; None where it is beneath them all."""
    for part in ranges.split(","):
        span, _, size = part.partition(":")
        low, _, high = span.partition("-")
        first, last = size_of(low), size_of(high) if high else None
        if first is not None and first <= ram and (last is None or ram < last):
            return size_of(size)
    return None


def wanted(
    family: str | None,
    arch: str,
    ram: int,
    *,
    el9: bool,
    kernel: str,
    modules: Iterable[str],
    encrypted: bool,
) -> tuple[int, str] | None:
    """(bytes, whose recommendation with what is added to it); None where nobody recommends anything."""
    ranges = DEFAULTS.get((family or "", arch))
    if ranges is None or family is None:
        return None
    if family == "rhel" and arch == "x86_64" and el9:
        ranges = DEFAULTS_EL9
    base = recommended(ranges, ram)
    if base is None:
        return None
    added = [f"crashkernel={ranges}"]
    if family == "rhel" and arch == "aarch64" and "64k" in kernel:
        base += LARGE_PAGES
        added.append("100M for pages of 64 KiB")
    for module in sorted(set(modules)):
        more = DRIVERS.get((family, arch, module), 0)
        if more:
            base += more
            added.append(f"{more // MIB}M for {module}")
    if family == "rhel" and encrypted:
        base += ENCRYPTED_TARGET
        added.append("512M for an encrypted target")
    return base, " + ".join(added)
