"""What dying kernels sent: datagrams recorded from Debian 12 hosts, and small ones made for a test."""

from __future__ import annotations

import functools
import gzip
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent / "captures"


@dataclass(frozen=True)
class Datagram:
    """`at` in seconds since the first one; `extended` or basic."""

    at: float
    extended: bool
    data: bytes


@functools.cache
def captured(case: str) -> tuple[Datagram, ...]:
    """All datagrams of a captured crash, in the order of their arrival: a replayed boot log, then the crash."""
    rows = gzip.decompress((HERE / f"{case}.jsonl.gz").read_bytes()).decode().splitlines()
    return tuple(Datagram(at, label == "e", data.encode()) for at, label, data in map(json.loads, rows))


def extended(case: str) -> list[Datagram]:
    return [d for d in captured(case) if d.extended]


def basic(case: str) -> list[Datagram]:
    return [d for d in captured(case) if not d.extended]


def lines(text: str, *, seq: int = 100, level: int = 4) -> list[bytes]:
    """A kernel text (`[  12.345678] words`) as extended datagrams."""
    made = []
    for number, line in enumerate(text.splitlines()):
        stamp, _, words = line.partition("] ")
        usec = round(float(stamp.strip("[ ")) * 1e6)
        made.append(f"{level},{seq + number},{usec},-;{words}\n".encode())
    return made


def talk(first: float, last: float, *, seq: int, step: float = 1.0) -> Iterable[tuple[float, bytes]]:
    """(printk time, datagram) of a host that goes on talking."""
    at, number = first, seq
    while at <= last:
        yield at, f"6,{number},{round(at * 1e6)},-;eth0: link is up\n".encode()
        at += step
        number += 1
