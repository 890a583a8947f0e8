"""Where addresses, names of people and serial numbers stand in a host's text, told apart from versions and times."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator

from integrations.redaction.names import DONE
from integrations.redaction.rule import rule

SERIAL = rule(
    "serial asset s/n",
    r"(?P<key>(?:\bserial[ _-]?(?:number|no\.?)|_serial(?:_short)?|\basset[ _-]?tag|\bs/n)"
    r"[\"']?[ \t]{0,20}[:=][ \t]{0,20}[\"']?)"
    rf"{DONE}(?P<value>[^\s\"',;][^\n\"',;]{{0,120}})",
)
DISK_ID = rule(
    "wwn naa. eui. nvme.",
    r"(?P<key>\b(?:wwn-0x|naa\.|eui\.|nvme\.|WWN[:= ]{1,3}(?:0x)?))(?P<value>[0-9a-f]{12,64})\b",
)
# firmware's ways of saying that there is none; a USB root hub has its PCI address for one
_NO_SERIAL = re.compile(
    r"(?:not (?:specified|available|present|provided|applicable)|none|unknown|default string|to be filled.*|n/a|0+|\.+"
    r"|no asset (?:tag|information)|[0-3]|[0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7])\s*",
    re.I,
)
MAC = re.compile(
    r"(?<![0-9a-z:.-])(?:[0-9a-f]{2}(?P<sep>[:-]))(?:[0-9a-f]{2}(?P=sep)){4,18}[0-9a-f]{2}(?![0-9a-z:-])",
    re.I,
)
# As switches write it, and as one number after a word that says so.
MAC_DOTTED = re.compile(r"(?<![\w.:-])(?P<value>[0-9a-f]{4}\.[0-9a-f]{4}\.[0-9a-f]{4})(?![\w.:-])", re.I)
MAC_PLAIN = rule(
    "mac hwaddr ether lladdr chaddr",
    r"\b(?:mac|hwaddr|ether|lladdr|chaddr)(?: addr(?:ess)?)?[ \t:=]{1,4}(?P<value>[0-9a-f]{12})\b",
)
UUID = re.compile(
    r"(?<![0-9a-z])[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}(?![0-9a-z])", re.I
)
# A crash directory's name is an address and a date.
IPV4 = re.compile(
    r"(?<![\w.+~])(?:(?<=[-])|(?<!-))(?P<value>(?:\d{1,3}\.){3}\d{1,3})(?=-\d{4}-?\d\d-?\d\d|(?![\w+~]|\.\d|-\d))"
)
_VERSION = re.compile(
    r"(?:\b(?:version|ver|fw|firmware|bios|nvm|microcode|uefi|dkms|rev|revision)\b\.?[ \t\"':=#(]{1,4}v?"
    r"|\b(?:kernel|linux|driver|module|package|microcode|api|nvm) {1,2}v?|\bv[ .]?)\Z",
    re.I,
)
_LIKE_KERNEL = re.compile(r"[2-7]\.\d{1,2}\.0\.\d{1,3}")
_NETWORK = re.compile(
    r"(?:[=@/\[:<-]|\b(?:from|to|addr|address|inet|ip|ipv4|via|host|hosts|server|src|dst|on|by|peer|gateway|gw|dns|client"
    r"|remote|local|for|ping|ssh|nfs|with|at|user|and|reach|connect|connection|node|mask|router|of|network|net)\b"
    r"[ \t\"'(:]{0,3})\Z",
    re.I,
)
IPV6 = re.compile(
    r"(?:(?<![\w.:])|(?<=[g-z_]:)|(?<==))(?P<value>(?:[0-9a-f]{1,4}:{1,2}|::){1,7}(?:[0-9a-f]{1,4}:?)?"
    r"(?:(?<=:)(?:\d{1,3}\.){3}\d{1,3})?)(?![\w.:]*\w)",
    re.I,
)
_HOST = re.compile(
    r"(?:\b|_)(?:host|ip|node|srv|server|addr|client|peer|gw|vm|ec2|instance|static|dhcp|nfs)-\Z", re.I
)
_PRIVATE = tuple(
    ipaddress.ip_network(n)
    for n in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "100.64.0.0/10")
)
_DOMAIN = re.compile(r"@((?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.){1,8}[a-z]{2,24})(?![\w-]|\.\w)", re.I)
_LOCAL = re.compile(r"[\w.+%'/=!#$&*?^`{|}~-]")
_UNITS = frozenset(
    ("service", "socket", "timer", "mount", "slice", "device", "target", "path", "scope", "swap", "automount",
     "conf", "ko", "journal")
)  # fmt: skip
# Public all of them: mailing lists and builders in the banners of kernels, names of ciphers.
_PUBLIC = re.compile(
    r"(?:lists?\.[a-z0-9.-]+|(?:[a-z0-9-]+\.)*kernel\.org|openssh\.com|libssh\.org|lysator\.liu\.se)", re.I
)
_LISTS = frozenset({"dm-devel@redhat.com", "giometti@linux.it"})  # in banners of every kernel
# Units of systemd whose end a console has cut off.
_TEMPLATES = re.compile(
    r"(?:.*(?:[^a-z]|\dm))?(?:modprobe|getty|user|user-runtime-dir|systemd-[a-z-]+)", re.I
)
_BANNER = re.compile(r"\bLinux version \S{1,100} \(\Z")


def is_version(match: re.Match[str]) -> bool:
    """Whether four numbers are a version, by the words before them, or by looking like a kernel's where no word or
    sign speaks of a network."""
    text, (at, end) = match.string, match.span("value")
    if _VERSION.search(text, max(0, at - 24), at) is not None:
        return True
    if _LIKE_KERNEL.fullmatch(match["value"]) is None or text[end : end + 1] in (":", "/", "]", "%"):
        return False
    return _NETWORK.search(text, max(0, at - 24), at) is None


def ipv4(match: re.Match[str]) -> str | None:
    """The address of a match of `IPV4`; None for what is none, and for what is everybody's."""
    value = match["value"]
    try:
        address = ipaddress.IPv4Address(value)
    except ValueError:
        return None
    if address.is_loopback or address.is_unspecified or value.startswith("255."):
        return None
    at = match.start("value")
    private = any(address in network for network in _PRIVATE)
    if (
        at
        and match.string[at - 1] == "-"
        and not private
        and _HOST.search(match.string, max(0, at - 24), at) is None
    ):
        return None  # name-1.2.3.4 is a version, name-10.1.2.3 and host-1.2.3.4 are hosts
    if is_version(match):
        return None
    return value


def ipv6(match: re.Match[str]) -> str | None:
    """The address of a match of `IPV6`; None for what is none, and for loopback."""
    value = match["value"]
    if value.count(":") < 2 or not any(
        c.isdigit() for c in value
    ):  # Rust and C++ write names with two colons
        return None
    try:
        address = ipaddress.IPv6Address(value)
    except ValueError:
        return None
    return None if address.is_unspecified or address.is_loopback else value


def one_way(value: str) -> str:
    """An address as it is named, whichever way it was written: compressed, and IPv4 in IPv6 as IPv4."""
    address = ipaddress.ip_address(value)
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address)


def no_serial(value: str) -> bool:
    """Whether a value only says that there is no serial number."""
    return _NO_SERIAL.fullmatch(value) is not None


def emails(text: str) -> Iterator[tuple[int, int]]:
    """(start, end) of each e-mail address that is a person's; units of systemd look alike."""
    for found in _DOMAIN.finditer(text):
        start = found.start()
        lowest = max(0, start - 64)
        while start > lowest and _LOCAL.match(text[start - 1]):
            start -= 1
        while start < found.start() and text[start] in "./='&|!?#*-":
            start += 1
        if start == found.start():
            continue
        domain = found[1].lower()
        if domain.rpartition(".")[2] in _UNITS or _PUBLIC.fullmatch(domain):
            continue
        if _TEMPLATES.fullmatch(text[start : found.start()]) and "." not in domain[:-4]:
            continue
        if text[start : found.end()].lower() in _LISTS or _BANNER.search(text, max(0, start - 120), start):
            continue
        yield start, found.end()
