"""What a kernel's log says of the machine that it ran on: the firmware, and the drivers of network cards."""

from __future__ import annotations

import re
from dataclasses import dataclass

from commands.hostrecord import NetworkCard

_DATE = r"(?:0[1-9]|1[0-2])/[0-3][0-9]/[0-9]{4}"
# "Hardware name: Dell Inc. PowerEdge R640/0H28RR, BIOS 2.19.1 06/14/2023", in each report; "DMI: …" at boot.
_FIRMWARE = re.compile(
    rf"\b(?:Hardware name|DMI): [^\n]{{1,300}}, BIOS ([^\n,]{{1,60}} {_DATE})[ \t\r]*$", re.MULTILINE
)
_CARD = re.compile(
    r"\b([a-z][a-z0-9_]{1,20}) ([0-9a-f]{4}:[0-9a-f]{2}:[01][0-9a-f]\.[0-7]): "
    r"(?:firmware version: |fw )([0-9][\w.\-]{0,40})"
)
_DRIVER = re.compile(r"\b([a-z][a-z0-9_]{1,20}): [^\n]{1,120} Driver - version ([0-9][\w.\-]{0,40})")
_MOST = 32


@dataclass(frozen=True)
class Machine:
    """`bios` is version and date. A card's interface is its address on the bus; "" where a driver tells its version."""

    bios: str | None = None
    cards: tuple[NetworkCard, ...] = ()


def read_machine(*texts: str) -> Machine:
    """What the texts say, the last word counting: after an update in mid-boot there is a later line."""
    bios: str | None = None
    cards: dict[tuple[str, str], NetworkCard] = {}
    for text in texts:
        for firmware in _FIRMWARE.finditer(text):
            bios = " ".join(firmware[1].split())
        for card in _CARD.finditer(text):
            cards[(card[2], card[1])] = NetworkCard(card[2], card[1], None, card[3])
        for driver in _DRIVER.finditer(text):
            cards[("", driver[1])] = NetworkCard("", driver[1], driver[2], None)
    return Machine(bios, tuple(cards.values())[:_MOST])


def same_firmware(one: str, other: str) -> bool:
    """Whether it is the same: who read it on the host names the vendor, too ("Dell Inc. 2.19.1 06/14/2023")."""
    short, long = sorted((" ".join(one.split()), " ".join(other.split())), key=len)
    return short == long or long.endswith(f" {short}")
