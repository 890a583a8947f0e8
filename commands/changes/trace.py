"""What a panic's trace names, and whether a change's text names it, too."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

_TOKEN = re.compile(r"[a-z0-9][a-z0-9._+~\-]*")
_RELEASE = re.compile(r"(?<![\d.])[2-9]\.\d{1,3}(?:\.\d{1,4})?(?:[-.+~_][a-z0-9]+)*")
# Drivers, file systems and protocols whose functions begin with their name. Others (do_, sys_, __x64_) say nothing.
_PARTS = frozenset(
    """
    nvme ext4 xfs btrfs f2fs jbd2 nfs nfsd ceph rbd cifs smb3 fuse ovl overlayfs zfs mlx4 mlx5 ixgbe i40e ice igb igc
    e1000 e1000e bnxt bnx2x tg3 qede ena gve virtio virtnet vmxnet3 iavf be2net cxgb4 sfc nfp enic megasas
    megaraid mpt3sas mpi3mr hpsa aacraid smartpqi qla2xxx lpfc scsi raid1 raid5 raid10 bcache drbd iscsi
    amdgpu nouveau i915 drm nvidia kvm vmx svm vhost vfio edac acpi ghes pcie aer iommu intel_iommu amd_iommu
    tcp udp sctp ipv6 nft netfilter conntrack xfrm wireguard vxlan geneve bonding openvswitch bpf cgroup
    mce ipmi usb xhci thunderbolt
    """.split()  # noqa: SIM905 - a list of a hundred quoted words is not read
)
_LIVE = re.compile(r"\b(live[ -]?patch(ed|ing)?|kpatch|kgraft|ksplice)\b")


@dataclass(frozen=True)
class Trace:
    """What the traces of the panics name: `kernels` that died, `modules`, `parts` (subsystems, by function names)."""

    kernels: frozenset[str] = frozenset()
    modules: frozenset[str] = frozenset()
    parts: frozenset[str] = frozenset()
    kinds: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Named:
    """What a change's text names of a trace; `others` are kernel releases of which none is the one that died."""

    module: str | None = None
    kernel: str | None = None
    part: str | None = None
    others: tuple[str, ...] = ()
    live: bool = False


def read_trace(
    *,
    kernels: Iterable[str | None],
    builds: Iterable[str | None] = (),
    modules: Iterable[str | None] = (),
    functions: Iterable[str | None] = (),
    kinds: Iterable[str] = (),
) -> Trace:
    """From the columns of panics. `builds` may hold a distribution's package version (`Debian 6.1.128-1`)."""
    releases = {k.lower() for k in kernels if k}
    for build in builds:
        releases |= {r for r in _RELEASE.findall((build or "").lower()) if _is_release(r)}
    parts = {part for function in functions if function and (part := part_of(function)) is not None}
    mods = {_folded(m) for m in modules if m}
    return Trace(frozenset(releases), frozenset(mods), frozenset(parts - mods), frozenset(kinds))


def part_of(function: str) -> str | None:
    """`nvme` of `nvme_poll_cq`, `conntrack` of `nf_conntrack_in`; None where the name says nothing of a part."""
    words = function.lower().strip("_").split("_")
    two = "_".join(words[:2])
    return two if two in _PARTS else next((word for word in words if word in _PARTS), None)


def named(trace: Trace, text: str) -> Named:
    """What a change's text names of the trace."""
    tokens, releases, live = _read(text)
    module = next((m for m in sorted(trace.modules) if _stands(m, tokens)), None)
    part = next((p for p in sorted(trace.parts) if _stands(p, tokens)), None)
    fitting = next((r for r in releases if any(_same_release(r, k) for k in trace.kernels)), None)
    unlike = tuple(r for r in releases if not any(_begins(k, r) for k in trace.kernels))
    others = unlike if fitting is None and trace.kernels else ()
    return Named(module, fitting, part, others, live)


_KINDS = (
    ("firmware", r"firmware|bios|uefi|microcode|ucode|bmc|idrac|ilo"),
    ("driver", r"drivers?|dkms|kmod|ofed|out-of-tree"),
    ("kernel", r"kernels?|linux-image\S*|vmlinuz"),
    ("hardware", r"dimm|memory module|replace (the )?(nic|disk|card|cpu|board)|mainboard"),
    ("configuration", r"config(uration)?|sysctl|tun(e|ing)|raise|lower|settings?"),
    ("deployment", r"deploy(ment)?|release of|build \d+"),
)
_KIND_WORDS = tuple((kind, re.compile(rf"(?<![\w-])(?:{words})(?![\w-]|\.\w)")) for kind, words in _KINDS)
KINDS = frozenset({kind for kind, _ in _KINDS} | {"package", "network", "storage", "boot"})


@lru_cache(maxsize=4096)
def kind_of(said: str, summary: str) -> str:
    """What sort of change it is: as it says, or else by the words of its summary; "" when neither tells."""
    told = said.strip().lower()
    if told in KINDS:
        return told
    folded = summary.casefold()
    return next((kind for kind, words in _KIND_WORDS if words.search(folded)), "")


def _stands(name: str, tokens: frozenset[str]) -> bool:
    """As a word of its own, or the first part of one: `nvme-tcp` names nvme, not the other way round."""
    return name in tokens or any(
        token.startswith(name) and token[len(name)] == "_" for token in tokens if len(token) > len(name)
    )


@lru_cache(maxsize=4096)
def _read(text: str) -> tuple[frozenset[str], tuple[str, ...], bool]:
    folded = text.casefold()
    words = _TOKEN.findall(folded)
    # net.ipv4.tcp_rmem names tcp, too
    tokens = frozenset(_folded(part) for word in words for part in (word.strip(".-_+~"), *word.split(".")))
    releases = tuple(dict.fromkeys(r for word in words for r in _releases(word)))
    return tokens, releases[:8], _LIVE.search(folded) is not None


def _releases(word: str) -> list[str]:
    """`6.1.0-31-amd64` of itself and of `linux-image-6.1.0-31-amd64`."""
    return [r for r in (m[0].strip(".-+~") for m in _RELEASE.finditer(word)) if _is_release(r)]


def _is_release(text: str) -> bool:
    """Enough numbers to be a kernel's: 6.1.0-31, 5.14.0-503.el9, 6.12.4; a plain 2.4 may be anything's version."""
    return len(re.findall(r"\d+", text)) >= 3


def _same_release(told: str, died: str) -> bool:
    """One begins with the other, at the end of a number: 6.1.0-31 is 6.1.0-31-amd64 and not 6.1.0-3.

    6.1.0 alone is not: in Debian and RHEL dozens of builds share those three numbers.
    """
    short, long = sorted((told, died), key=len)
    if short == long:
        return True
    vague = len(re.findall(r"\d+", short)) < 4 and re.match(r"-\d", long[len(short) :]) is not None
    return _begins(long, short) and not vague


def _begins(long: str, short: str) -> bool:
    return long.startswith(short) and not long[len(short) : len(short) + 1].isalnum()


def _folded(name: str) -> str:
    return name.lower().replace("-", "_")
