from __future__ import annotations

import re
import string
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from integrations.redaction import Policy, RedactionConfig, Redactor, installation_key, redact_lines

HEX = st.sampled_from("0123456789abcdef")
macs = st.lists(st.text(HEX, min_size=2, max_size=2), min_size=6, max_size=6).map(":".join)
words = st.text(string.ascii_letters + string.digits + "_+/=-.!@#$%^*", min_size=8, max_size=40).filter(
    lambda w: w[0].isalnum()
)
around = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=60)


BY = Policy(key=bytes(32))
NAME = re.compile(r"\[(secret|email|mac|ip|serial|uuid)-([a-z2-7]{6})\]")


def redact(text: str) -> str:
    return Redactor(by=BY).redact(text)


def numbered(text: str) -> str:
    """Names as numbers of their sort, in the order in which they come: `[mac-1]`."""
    known: dict[str, list[str]] = {}

    def number(match: re.Match[str]) -> str:
        names = known.setdefault(match[1], [])
        if match[2] not in names:
            names.append(match[2])
        return f"[{match[1]}-{names.index(match[2]) + 1}]"

    return NAME.sub(number, text)


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("e1000e eth0: 52:54:00:12:34:56 up", "e1000e eth0: [mac-1] up"),
        ("MAC 52-54-00-12-34-56", "MAC [mac-1]"),
        ("GID fe:80:00:00:00:00:00:00:52:54:00:ff:fe:12:34:56.", "GID [mac-1]."),
        ("Serial Number: CZ1234ABCD\n", "Serial Number: [serial-1]\n"),
        ("product_serial: CZ1234ABCD", "product_serial: [serial-1]"),
        ("Asset Tag: RACK 7", "Asset Tag: [serial-1]"),
        ("usb 1-1: SerialNumber: 4C53000131", "usb 1-1: SerialNumber: [serial-1]"),
        ("wwn-0x5000c500a1b2c3d4 sda", "wwn-0x[serial-1] sda"),
        ("root=UUID=0f6b2a3e-9c1d-4e5f-8a7b-1c2d3e4f5a6b ro", "root=UUID=[uuid-1] ro"),
        ("netconsole: remote IPv4 address 10.1.2.3", "netconsole: remote IPv4 address [ip-1]"),
        ("ip=10.1.2.3::10.1.2.1:255.255.255.0:web", "ip=[ip-1]::[ip-2]:255.255.255.0:web"),
        ("from fe80::5054:ff:fe12:3456 port 22", "from [ip-1] port 22"),
        ("rd.password=geheim quiet", "rd.password=[secret-1] quiet"),
        ('DB_PASSWORD="two words" x', 'DB_PASSWORD="[secret-1]" x'),
        ("tool --token abcdef1234 --verbose", "tool --token [secret-1] --verbose"),
        ("http://ops:hunter2@repo.example.org/x", "http://[secret-1]@repo.example.org/x"),
        ("Authorization: Bearer abcdefghijklmnop", "Authorization: Bearer [secret-1]"),
        ("AKIAABCDEFGHIJKLMNOP", "[secret-1]"),
        ("x xoxb-1234567890-abcdef y", "x [secret-1] y"),
        (
            "-----BEGIN OPENSSH PRIVATE KEY-----\nb3Bl\nbnNz\n-----END OPENSSH PRIVATE KEY-----",
            "[secret-1]",
        ),
    ],
)
def test_what_is_taken_out(text: str, left: str) -> None:
    assert numbered(redact(text)) == left


@pytest.mark.parametrize(
    "text",
    [
        "Serial Number: Not Specified",
        "product_serial: ",
        "Asset Tag: To Be Filled By O.E.M.",
        "[    1.234567] serial8250: ttyS0 at I/O 0x3f8 (irq = 4, base_baud = 115200) is a 16550A",
        "RIP: 0010:labcrash_read_cookie+0x5/0x10 [labcrash]",
        "Code: 0f 1f 44 00 00 48 8b 05 00 00 00 00 <48> 8b 00 c3 cc cc cc cc 66 90",
        "pci 0000:00:1f.2: [8086:2922] type 00 class 0x010601",
        "2026-11-23T05:30:01+0000 crash-lab kernel: Linux version 6.1.0-56-cloud-amd64",
        "Install: libperl5.36:amd64 (5.36.0-7+deb12u4, automatic), iproute2:amd64 (6.1.0-3)",
        "R10: 0000000000000000 R11: 0000000000000246 R12: 00007ffc3c0e4a60",
        "00:00:00:00:00:00 ff:ff:ff:ff:ff:ff 127.0.0.1 0.0.0.0 ::1",
        "BIOS-e820: [mem 0x0000000000000000-0x000000000009fbff] usable",
        "Mon 2026-11-23 05:33:54 UTC",
    ],
)
def test_what_stays(text: str) -> None:
    assert redact(text) == text


def test_the_same_thing_has_the_same_name_in_all_texts() -> None:
    first = Redactor(by=BY)
    one = first.redact("52:54:00:12:34:56 aa:bb:cc:dd:ee:01")
    two = Redactor(by=BY).redact(
        "aa:bb:cc:dd:ee:01 AA-BB-CC-DD-EE-01 10.0.0.9 ::ffff:10.0.0.9 aabb.ccdd.ee01"
    )
    assert numbered(f"{one}\n{two}") == "[mac-1] [mac-2]\n[mac-2] [mac-2] [ip-1] [ip-1] [mac-2]"
    assert first.counts == {"mac": 2}


def test_names_are_of_one_installation_alone() -> None:
    other = Redactor(by=Policy(key=bytes([1]) * 32)).redact("10.0.0.9")
    assert other != redact("10.0.0.9")
    assert NAME.fullmatch(other)


def test_the_key_of_an_installation_stays(tmp_path: Path) -> None:
    key = installation_key(tmp_path / "store")
    assert len(key) == 32
    assert installation_key(tmp_path / "store") == key
    assert installation_key(tmp_path / "other") != key
    place = tmp_path / "store" / "redaction.key"
    assert place.stat().st_mode & 0o777 == 0o600
    assert [p.name for p in (tmp_path / "store").iterdir()] == ["redaction.key"]
    place.write_bytes(b"cut")
    assert len(installation_key(tmp_path / "store")) == 32


EVERYTHING = {
    "passwords": "db_password=geheimnis",
    "headers": "Cookie: session=abcdefabcdef",
    "urls": "https://svc:geheimnis@repo/",
    "tokens": "AKIAABCDEFGHIJKLMNOP",
    "keys": "root:$6$saltsalt$abcdefghijklmnop:1",
    "email": "to ops@example.org",
    "mac": "eth0 52:54:00:12:34:56",
    "ipv4": "from 10.1.2.3",
    "ipv6": "from 2001:db8::1",
    "serial": "Serial Number: CZ1234ABCD",
    "uuid": "UUID=0f6b2a3e-9c1d-4e5f-8a7b-1c2d3e4f5a6b",
}


def test_every_rule_has_its_text() -> None:
    assert EVERYTHING.keys() == RedactionConfig.model_fields.keys()


@pytest.mark.parametrize("rule", EVERYTHING)
def test_each_rule_can_be_off_alone(rule: str) -> None:
    text = "\n".join(EVERYTHING.values())
    left = Redactor(by=Policy(RedactionConfig(**{rule: False}), bytes(32))).redact(text).split("\n")
    for (name, told), line in zip(EVERYTHING.items(), left, strict=True):
        assert (line == told) is (name == rule), line


def test_lines_are_redacted_as_one_text() -> None:
    lines = ["before", "-----BEGIN PRIVATE KEY-----", "b3Bl", "-----END PRIVATE KEY-----", "after"]
    assert numbered("|".join(redact_lines(lines))) == "before|[secret-1]|after"


@given(around, macs, around)
def test_no_hardware_address_is_left(before: str, mac: str, after: str) -> None:
    if set(mac) <= set("0:") or set(mac) <= set("f:"):
        return
    left = redact(f"{before} {mac} {after}")
    assert f" {mac} " not in left


@given(around, st.sampled_from(["password", "db_passwd", "API_KEY", "auth-token", "luks.passphrase", "x_secret"]),
       st.sampled_from(["=", ": ", " = "]), words)  # fmt: skip
def test_no_assigned_secret_is_left(before: str, key: str, sign: str, secret: str) -> None:
    left = redact(f"{before}\n{key}{sign}{secret} tail")
    assert f"{sign}{secret} " not in left


@given(around, words, words)
def test_no_password_of_an_address_is_left(before: str, name: str, secret: str) -> None:
    secret, name = (re.sub("[@/#?]", "", word) for word in (secret, name))
    left = redact(f"{before} https://{name}x:{secret}yz@host.example.org/ x")
    assert f":{secret}yz@" not in left


@given(around)
def test_redacting_twice_changes_nothing(text: str) -> None:
    once = redact(text)
    assert redact(once) == once


@given(st.binary(max_size=300))
def test_bytes_that_are_no_text_survive(data: bytes) -> None:
    left = Redactor().redact_bytes(data)
    if not any(c.isalnum() for c in data.decode("latin-1")):
        assert left == data


@pytest.mark.parametrize(
    "unit",
    [
        "password=",
        "aa:",
        "1.",
        "a-",
        "://",
        "-----BEGIN PRIVATE KEY-----",
        "serial: ",
        "a1b2c3d4-",
        "--token ",
        "x",
    ],
)
def test_a_hostile_text_takes_no_longer_than_its_length(unit: str) -> None:
    """Grows by ten: a quadratic rule would take a hundred times as long, and half a minute in all."""
    text = unit * (2_000_000 // len(unit) // 4)
    started = time.monotonic()
    redact(text)
    assert time.monotonic() - started < 25


def distinct(sort: str, count: int) -> str:
    """A log of `count` lines, each with another thing of that sort."""
    made = {
        "mac": lambda n: (
            f"eth{n % 8}: 52:54:{n >> 24 & 255:02x}:{n >> 16 & 255:02x}:{n >> 8 & 255:02x}:{n & 255:02x} up"
        ),
        "ip": lambda n: f"from 10.{n >> 16 & 255}.{n >> 8 & 255}.{n & 255} port 22",
        "uuid": lambda n: f"root=UUID=0f6b2a3e-9c1d-4e5f-8a7b-{n:012x} ro",
        "serial": lambda n: f"Serial Number: CZ{n:08d}",
    }[sort]
    return "\n".join(made(n) for n in range(count))


@pytest.mark.parametrize("sort", ["mac", "ip", "uuid", "serial"])
def test_many_distinct_things_take_no_longer_each(sort: str) -> None:
    """Fifteen thousand: looking through all the names for each new one would take minutes."""
    text = distinct(sort, 15_000)
    redactor = Redactor(by=BY)
    started = time.monotonic()
    left = redactor.redact(text)
    assert time.monotonic() - started < 20
    assert redactor.counts[sort] == 15_000
    assert left.count(f"[{sort}-") == 15_000
    assert len(set(NAME.findall(left))) > 14_990  # six characters: two of so many may be named alike


def test_a_line_is_redacted_as_it_is_in_the_whole() -> None:
    text = "\n".join(
        f"{distinct('mac', n % 7 + 1)}\n{distinct('ip', n % 5 + 1)}\npassword=geheim{n % 3}" for n in range(9)
    )
    whole = redact(text)
    redactor = Redactor(by=BY)
    assert "\n".join(redactor.redact(line) for line in text.splitlines()) == whole


@pytest.mark.parametrize(
    "text",
    [
        "web-12.fra2.example.org",
        "node-10-1-2-3.example.org panicked",
        "6.1.0-56-cloud-amd64",
        "5.14.0-503.11.1.el9_5.x86_64",
        "5.3.18-150300.59.195-default",
        "4.18.0-553.5.1.el8_10.x86_64",
        "NULL pointer dereference in labcrash_read_cookie [labcrash]",
        "token_put+0x1a/0x30 free_secret+0x5/0x10 check_password+0x8/0x20",
        "  ? __x64_sys_keyctl_credentials+0x10/0x20",
        "/var/crash/202611230533/dump.202611230533, 41.9 MB",
    ],
)
def test_names_of_hosts_kernels_and_functions_stay(text: str) -> None:
    assert redact(text) == text
