"""netconsole datagrams back into text: order, fragments, duplicates, loss.

An extended datagram is `[release,]level,seq,usec,flags[,key=value...];text` with ` key=value` dictionary
lines after the text (Documentation/networking/netconsole.rst); `ncfrag=offset/length` marks a fragment.
A basic datagram is the console line itself.
"""

from __future__ import annotations

import re
from collections import OrderedDict, deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from heapq import heappop, heappush

_EXTENDED = re.compile(
    r"(?:[^\s,;]{1,64},)?(?P<prio>\d{1,4}),(?P<seq>\d{1,19}),(?P<usec>\d{1,19}),(?P<flags>[-c+][^;\n]{0,200}|);"
)
_FRAGMENT = re.compile(r"ncfrag=(\d{1,9})/(\d{1,9})")
_CALLER = re.compile(r"caller=([TC]\d{1,9})")
_MAX_RECORDS = 200_000
_MAX_MESSAGE = 64 * 1024


@dataclass(slots=True)
class _Record:
    usec: int
    caller: str | None
    length: int | None = None
    whole: str | None = None
    pieces: dict[int, str] = field(default_factory=dict)

    def text(self) -> str:
        if self.whole is not None:
            return self.whole
        at, parts = 0, []
        for offset, piece in sorted(self.pieces.items()):
            if offset > at:
                parts.append("<fragment lost>")
            parts.append(piece[max(0, at - offset) :])
            at = max(at, offset + len(piece))
        if self.length is not None and at < self.length:
            parts.append("<fragment lost>")
        return "".join(parts)


def without_header(line: str) -> str:
    """The words of one extended datagram's first line; any other line as it is."""
    header = _EXTENDED.match(line)
    return line[header.end() :] if header else line


class Reassembly:
    """The datagrams of one sender, put together again.

    `add` takes datagrams in any order and any number of times; `text()` gives the log so far in the order
    of the sender's sequence numbers, each line under its printk time, with a line
    `** N netconsole messages lost **` where numbers are missing. Memory is bounded: beyond 200,000 records
    those that came first are dropped.
    """

    def __init__(self) -> None:
        self._records: OrderedDict[int, _Record] = OrderedDict()
        self._plain: list[str] = []
        self.duplicates = 0

    def add(self, datagram: str | bytes) -> None:
        text = datagram.decode("utf-8", "replace") if isinstance(datagram, bytes) else datagram
        header = _EXTENDED.match(text)
        if not header:
            self._plain.extend(text.rstrip("\n").split("\n"))
            del self._plain[:-_MAX_RECORDS]
            return
        body = text[header.end() :]
        body = body[:-1] if body.endswith("\n") else body
        seq, flags = int(header["seq"]), header["flags"]
        fragment = _FRAGMENT.search(flags)
        if not fragment:
            body = body.split("\n ", 1)[0]
        record = self._records.get(seq)
        if record is None:
            caller = _CALLER.search(flags)
            record = self._records[seq] = _Record(int(header["usec"]), caller[1] if caller else None)
            if len(self._records) > _MAX_RECORDS:
                self._records.popitem(last=False)
        if fragment:
            offset = int(fragment[1])
            if offset in record.pieces or record.whole is not None:
                self.duplicates += 1
            elif offset < _MAX_MESSAGE:
                record.pieces[offset] = body
                record.length = int(fragment[2])
        elif record.whole is not None:
            self.duplicates += 1
        else:
            record.whole = body

    @property
    def lost(self) -> int:
        """How many sequence numbers are missing between the first and the last seen."""
        return max(self._records) - min(self._records) + 1 - len(self._records) if self._records else 0

    def text(self) -> str:
        lines: list[str] = list(self._plain)
        before: int | None = None
        for seq in sorted(self._records):
            record = self._records[seq]
            if before is not None and seq > before + 1:
                lines.append(f"** {seq - before - 1} netconsole messages lost **")
            before = seq
            caller = f"[{record.caller:>6}]" if record.caller else ""
            stamp = f"[{record.usec / 1e6:12.6f}]{caller} "
            lines.extend(stamp + part for part in record.text().split("\n\n")[0].split("\n"))
        return "\n".join(lines)


_LINE_START = re.compile(r"^(?:[^\s,;]{1,64},)?\d{1,4},\d{1,19},\d{1,19},[-c+][^;\n]{0,200};", re.MULTILINE)


def looks_like_netconsole(text: str) -> bool:
    """Whether extended datagrams stand in the text, one a line."""
    return bool(_LINE_START.search(text, 0, 64 * 1024))


def reassemble(datagrams: Iterable[str | bytes]) -> str:
    """The text of one sender's datagrams."""
    reassembly = Reassembly()
    for datagram in datagrams:
        reassembly.add(datagram)
    return reassembly.text()


def from_lines(text: str) -> str:
    """Text that holds extended datagrams, one a line, each perhaps with dictionary lines after it -> the log.
    What stands before the first datagram, and basic lines in between, come first."""
    groups: list[str] = []
    for line in text.split("\n"):
        if line.startswith(" ") and "=" in line and groups and _EXTENDED.match(groups[-1]):
            groups[-1] += "\n" + line
        else:
            groups.append(line)
    return reassemble(groups)


_STAMPED = re.compile(r"(?:<\d{1,3}>)?\[ {0,8}(\d{1,9}\.\d{5,9})\]")
_WINDOW = 64
_BOOT_SECONDS = 5.0
_FEWEST_SWAPS = 8
_SWAPPED_SHARE = 0.05


def by_time(text: str) -> str:
    """Basic datagrams carry no number: where the printk times of consecutive lines run backwards again and
    again, each line is moved by at most 64 places to where its time says, and a line told twice is told
    once. A time well before those of the last 64 lines is another
    boot: nothing moves across it. Text in order is
    returned as it is."""
    lines = text.split("\n")
    times: list[float] = []
    latest = 0.0
    swaps = 0
    for line in lines:
        match = _STAMPED.match(line)
        time = float(match[1]) if match else latest
        swaps += time < latest
        times.append(time)
        latest = time
    if swaps < _FEWEST_SWAPS or swaps < _SWAPPED_SHARE * len(lines):
        return text
    ordered: list[str] = []
    waiting: list[tuple[float, int]] = []
    recent: deque[float] = deque(maxlen=_WINDOW)
    for index, time in enumerate(times):
        if recent and time < recent[-1] and time < min(recent) - _BOOT_SECONDS:
            while waiting:
                ordered.append(lines[heappop(waiting)[1]])
            recent.clear()
        recent.append(time)
        heappush(waiting, (time, index))
        if len(waiting) > _WINDOW:
            ordered.append(lines[heappop(waiting)[1]])
    while waiting:
        ordered.append(lines[heappop(waiting)[1]])
    kept = [line for line, before in zip(ordered, ["", *ordered], strict=False) if line != before or not line]
    return "\n".join(kept)
