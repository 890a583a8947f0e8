"""One sender's netconsole lines as they come: loss, replayed boot logs, and the crash among them. Pure.

What a crash is says the kernel reader; here only is decided when there is something for it to read.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from integrations.kernel.reports import find_heads
from integrations.kernel.rules import needles

CONTEXT = 16 * 1024  # bytes before a crash's first line that are read with it
_OVERHEAD = 48  # bytes of memory that a kept datagram costs beside its text
_REPLAY_PAUSE = 0.5  # seconds: a boot log is replayed without a pause as long as this
_OUTRUN = 2.0  # seconds by which a replay's printk times outrun the clock before it is one
_SAME_BOOT = 5.0  # seconds that printk's clock and ours may differ between an oops and a sign of life
_TRACE_SETTLES = (
    1.0  # after an end mark: `Kernel panic - not syncing: Fatal exception` follows "end trace" at once
)
_PANIC_SETTLES = 0.3
_LOOK_EVERY = 1.0
_LONGEST = 30.0  # seconds: a host that goes on talking has long told its crash
_TOLD = 64

_HEADER = re.compile(
    rb"(?:[^\s,;]{1,64},)?(\d{1,4}),(\d{1,19}),(\d{1,19}),(?:[-c+][^;\n]{0,200}|);", re.ASCII
)
_STAMP = re.compile(rb"(?:<\d{1,3}>)?\[ {0,8}(\d{1,9})\.(\d{6})\]", re.ASCII)
_NEEDLES = tuple(needle.encode() for needle in needles())
_PANIC = b"Kernel panic - not syncing"
_END_PANIC = b"---[ end Kernel panic"
_END_TRACE = b"---[ end trace"


def may_tell(datagrams: Sequence[bytes]) -> bool:
    """Whether a crash may begin in them; without its needles it does not. Fastest for many at once."""
    joined = b"\n".join(datagrams)
    return any(needle in joined for needle in _NEEDLES)


class Gaps:
    """Which sequence numbers are missing. Late ones fill their gap for two seconds; then they are lost."""

    SETTLES = 2.0
    KEPT = 256
    JUMP = 1_000_000  # larger ones are no loss but another numbering

    def __init__(self) -> None:
        self.lost = 0
        self._open: deque[tuple[float, int, int]] = deque()

    def miss(self, first: int, last: int, at: float) -> None:
        self._open.append((at, first, last))
        if len(self._open) > self.KEPT:
            self._settle_one()

    def fill(self, number: int) -> bool:
        """Whether this number was missing; then it is not any more."""
        for index, (at, first, last) in enumerate(self._open):
            if first <= number <= last:
                parts = [(at, a, b) for a, b in ((first, number - 1), (number + 1, last)) if a <= b]
                del self._open[index]
                self._open.extendleft(reversed(parts))
                return True
        return False

    def settle(self, now: float | None = None) -> None:
        """All of them, or those older than two seconds."""
        while self._open and (now is None or self._open[0][0] <= now - self.SETTLES):
            self._settle_one()

    def _settle_one(self) -> None:
        _, first, last = self._open.popleft()
        self.lost += last - first + 1


@dataclass(frozen=True)
class Pace:
    """Seconds; see `NetconsoleConfig`."""

    debounce: float = 0.25
    quiet: float = 3.0
    lives_after: float = 60.0
    window_bytes: int = 256 * 1024


@dataclass(frozen=True)
class Look:
    """A crash to be read now. `key` names it; the last look at it is `final`. Times are unix seconds."""

    host: str
    key: str
    number: int
    datagrams: tuple[bytes, ...]
    head_at: float
    panic: bool  # a panic line was seen
    ended: bool  # an end mark was seen
    final: bool
    dropped: int


@dataclass(frozen=True)
class Alive:
    """The boot that told of a crash (printk time `uptime`, seconds) has been seen well after it."""

    host: str
    uptime: float
    at: float
    lived_uptime: float


@dataclass
class _Window:
    """A crash that is being told."""

    key: str
    head_at: float
    head_usec: int | None
    replaying: bool
    lines: list[bytes] = field(default_factory=list)
    tail: deque[bytes] = field(default_factory=deque)
    bytes: int = 0
    tail_bytes: int = 0
    omitted: int = 0
    dropped_before: int = 0
    panic: bool = False
    ends_at: float | None = None
    looks: int = 0
    next_look: float = 0.0
    grown: bool = True


class Stream:
    """Feed it batches of one sender's datagrams; ask `due` for what is to be read, `sign_of_life` for survival."""

    def __init__(self, host: str, pace: Pace) -> None:
        self.host = host
        self.pace = pace
        self.gaps = Gaps()
        self.doubled = 0
        self.dropped = 0  # by the limits around it; counted by the receiver
        self.held = 0  # bytes of memory
        self.last_at = 0.0
        self._format: str | None = None
        self._seq: int | None = None
        self._usec: int | None = None
        self._replaying = True
        self._context: deque[bytes] = deque()
        self._context_bytes = 0
        self._window: _Window | None = None
        self._left: Look | None = None  # the last look at a crash that a reboot cut off
        self._told: deque[int] = deque(maxlen=_TOLD)
        self._survivor: tuple[float, int] | None = None
        self._alive: Alive | None = None

    @property
    def telling(self) -> bool:
        """Whether a crash is being told."""
        return self._window is not None or self._left is not None

    def feed(self, datagrams: Sequence[bytes], at: float, *, harmless: bool = False) -> None:
        """Takes what came at one time, in its order. `harmless`: `may_tell` said that no crash begins in it."""
        if at - self.last_at >= _REPLAY_PAUSE and self.last_at:
            self._replaying = False
        self.last_at = max(at, self.last_at)
        self.gaps.settle(at)
        suspicious = not harmless and may_tell(datagrams)
        marked = self._window is not None or suspicious
        for datagram in datagrams:
            header = _HEADER.match(datagram)
            usec: int | None = None
            kernel = True
            if header is not None:
                if self._format == "basic" and self._window is not None:
                    self.doubled += 1
                    continue
                if self._format == "basic":
                    self._forget_context()
                    self._usec = None
                self._format = "extended"
                priority, seq, usec = int(header[1]), int(header[2]), int(header[3])
                kernel = priority < 8  # above it stands a facility: a program wrote to /dev/kmsg
                self._number(seq, usec, at)
            elif self._format == "extended":
                self.doubled += 1
                continue
            else:
                self._format = "basic"
                stamp = _STAMP.match(datagram)
                if stamp is not None:
                    usec = int(stamp[1]) * 1_000_000 + int(stamp[2])
                    if self._usec is not None and usec < self._usec - 5_000_000:
                        self._rewind(at)
            if usec is not None:
                self._usec = usec if self._usec is None else max(usec, self._usec)
                if self._survivor is not None:
                    self._check_alive(usec, at)
            self._keep(datagram)
            if marked and kernel:
                self._mark(datagram, header.end() if header else 0, usec, at, suspicious)

    # -- numbering --------------------------------------------------------------------------------------

    def _number(self, seq: int, usec: int, at: float) -> None:
        last = self._seq
        if last is None or seq == last + 1:
            self._seq = seq
        elif seq > last:
            if seq - last <= Gaps.JUMP:
                self.gaps.miss(last + 1, seq - 1, at)
            self._seq = seq
        elif seq == last or self.gaps.fill(seq):
            return  # a fragment of the same message, or one that comes late
        elif last - seq < 256 and self._usec is not None and usec > self._usec - 5_000_000:
            return  # told twice on its way
        else:
            self._rewind(at)
            self._seq = seq

    def _rewind(self, at: float) -> None:
        """Numbers or times begin anew: another boot, or the log of this one replayed."""
        if self._window is not None:
            if self._window.looks or not self._outran():
                self._left = self._look(final=True)
            self._close()
        self._forget_context()
        self.gaps.settle()
        self._seq = self._usec = None
        self._replaying = True

    # -- what is kept -------------------------------------------------------------------------------------

    def _keep(self, datagram: bytes) -> None:
        cost = len(datagram) + _OVERHEAD
        window = self._window
        if window is None:
            self._context.append(datagram)
            self._context_bytes += cost
            self.held += cost
            while self._context_bytes > CONTEXT:
                gone = len(self._context.popleft()) + _OVERHEAD
                self._context_bytes -= gone
                self.held -= gone
            return
        window.grown = True
        self.held += cost
        window.bytes += cost
        if window.bytes - window.tail_bytes <= self.pace.window_bytes * 3 // 4 and not window.tail:
            window.lines.append(datagram)
            return
        window.tail.append(datagram)
        window.tail_bytes += cost
        while window.tail_bytes > self.pace.window_bytes // 4:
            gone = len(window.tail.popleft()) + _OVERHEAD
            window.tail_bytes -= gone
            window.bytes -= gone
            window.omitted += 1
            self.held -= gone

    def forget_context(self) -> None:
        """What stood before a crash that may never come; memory is needed for another sender."""
        self._forget_context()

    def _forget_context(self) -> None:
        self.held -= self._context_bytes
        self._context.clear()
        self._context_bytes = 0

    # -- a crash ------------------------------------------------------------------------------------------

    def _mark(self, datagram: bytes, start: int, usec: int | None, at: float, suspicious: bool) -> None:
        if suspicious and may_tell((datagram,)):
            text = datagram[start:].decode("utf-8", "replace")
            if any(head.rule.rank == 3 for head in find_heads(text)):
                if self._window is None and (usec is None or usec not in self._told):
                    self._open(usec, at)
                if self._window is not None and _PANIC in datagram:
                    self._window.panic = True
        window = self._window
        if window is None:
            return
        if _END_PANIC in datagram:
            window.panic = True
            window.ends_at = at + _PANIC_SETTLES
        elif _END_TRACE in datagram and not window.panic:
            window.ends_at = at + _TRACE_SETTLES

    def _open(self, usec: int | None, at: float) -> None:
        key = f"{int(at * 1000)}-{usec if usec is not None else 'x'}"
        self._window = _Window(key, at, usec, self._replaying, next_look=at + self.pace.debounce)
        self._window.lines.extend(self._context)
        self._window.bytes = self._context_bytes
        self._window.dropped_before = self.dropped
        self._context.clear()
        self._context_bytes = 0

    def _outran(self) -> bool:
        """Whether the crash stands in a log that is replayed: its lines come faster than they were printed."""
        window = self._window
        if window is None or not window.replaying or window.panic:
            return False
        if window.head_usec is None or self._usec is None:
            return False
        return (self._usec - window.head_usec) / 1e6 - (self.last_at - window.head_at) > _OUTRUN

    def due(self, now: float) -> Look | None:
        """The look that is to be taken now; None when there is nothing new to read."""
        if self._left is not None:
            left, self._left = self._left, None
            return left
        window = self._window
        if window is None:
            return None
        if not window.looks and self._outran():
            self._close()
            return None
        over = (
            now >= self.last_at + self.pace.quiet
            or (window.ends_at is not None and now >= window.ends_at)
            or now >= window.head_at + _LONGEST
        )
        if over:
            look = self._look(final=True)
            self._close()
            return look
        if now < window.next_look or not window.grown:
            return None
        window.next_look = now + _LOOK_EVERY
        return self._look(final=False)

    def _look(self, *, final: bool) -> Look:
        window = self._window
        assert window is not None
        window.looks += 1
        window.grown = False
        return Look(
            host=self.host,
            key=window.key,
            number=window.looks,
            datagrams=(*window.lines, *window.tail),
            head_at=window.head_at,
            panic=window.panic,
            ended=window.ends_at is not None,
            final=final,
            dropped=self.dropped - window.dropped_before + window.omitted,
        )

    def _close(self) -> None:
        window, self._window = self._window, None
        if window is None:
            return
        self.held -= window.bytes
        if window.head_usec is not None:
            self._told.append(window.head_usec)
            if not window.panic and window.looks:
                self._survivor = (window.head_at, window.head_usec)

    # -- survival -----------------------------------------------------------------------------------------

    def expect(self, at: float, uptime: float) -> None:
        """A crash of this host that was told before this stream began: `uptime` its printk time, in seconds."""
        self._survivor = (at, int(uptime * 1e6))
        self._told.append(int(uptime * 1e6))

    def _check_alive(self, usec: int, at: float) -> None:
        assert self._survivor is not None
        died_at, died_usec = self._survivor
        passed = (usec - died_usec) / 1e6
        if passed >= self.pace.lives_after and abs((at - died_at) - passed) <= _SAME_BOOT:
            self._alive = Alive(self.host, died_usec / 1e6, at, usec / 1e6)
            self._survivor = None

    def sign_of_life(self) -> Alive | None:
        """Once for each crash that was survived."""
        alive, self._alive = self._alive, None
        return alive
