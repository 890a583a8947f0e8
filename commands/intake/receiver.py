"""All senders of netconsole lines: who they are, how much is taken of each, and what is to be read. Pure.

Memory is bounded whatever arrives: unknown addresses cost a counter in a table of 1000, known senders a context of
16 KiB each and their crashes up to `bytes_per_sender`, all of them together `memory`.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

from commands.intake.config import NetconsoleConfig
from commands.intake.console import Alive, Look, Pace, Stream, may_tell
from commands.intake.senders import Senders, Strangers, plain_address

_LARGEST = 16 * 1024  # netconsole sends up to 1000 bytes, others up to an Ethernet frame


@dataclass
class Counts:
    """Datagrams by what became of them, and messages that never came."""

    taken: int = 0
    unknown: int = 0
    limited: int = 0  # over a sender's rate
    refused: int = 0  # no memory, or too large
    doubled: int = 0  # basic lines of a sender that sends extended ones, too
    lost: int = 0  # gaps in the sequence numbers


@dataclass
class _Sender:
    stream: Stream
    known: bool
    tokens: float
    refilled: float
    heard: float
    fresh: list[bytes] = field(default_factory=list)
    fresh_at: float = 0.0


class Receiver:
    """`take` each datagram, `tick` some times a second. Times are unix seconds."""

    def __init__(self, config: NetconsoleConfig, senders: Senders) -> None:
        self.config = config
        self.senders = senders
        self.strangers = Strangers()
        self.counts = Counts()
        self.pace = Pace(
            debounce=config.debounce.total_seconds(),
            quiet=config.quiet.total_seconds(),
            lives_after=config.lives_after.total_seconds(),
            window_bytes=config.bytes_per_sender,
        )
        self.held = 0
        self._by_source: OrderedDict[str, _Sender] = OrderedDict()  # the least recently heard first
        self._dirty: dict[str, _Sender] = {}
        self._telling: dict[str, _Sender] = {}
        self._fresh_bytes = 0
        self._guests = 0  # senders that no inventory knows, where they are allowed
        self._expected: dict[str, tuple[float, float]] = {}
        self._lost_before = 0  # of senders that were forgotten
        self._doubled_before = 0

    @property
    def known(self) -> int:
        """Senders that are remembered."""
        return len(self._by_source)

    @property
    def busy(self) -> bool:
        """Whether something waits for a tick, or a crash is being told."""
        return bool(self._dirty or self._telling)

    def expect(self, host: str, at: float, uptime: float) -> None:
        """A crash of this host that may be survived was told before this process began."""
        self._expected[host] = (at, uptime)

    def take(self, data: bytes, source: str, now: float) -> None:
        """One datagram. `source`: the address as the socket gives it."""
        sender = self._by_source.get(source)
        if sender is None:
            sender = self._meet(source, now)
            if sender is None:
                return
        if sender.tokens < 1.0:
            sender.tokens += (now - sender.refilled) * self.config.rate
            sender.refilled = now
            if sender.tokens < 1.0:
                self.counts.limited += 1
                sender.stream.dropped += 1
                return
            sender.tokens = min(sender.tokens, float(self.config.burst))
        size = len(data)
        if size > _LARGEST or self.held + self._fresh_bytes + size > self.config.memory:
            self.counts.refused += 1
            sender.stream.dropped += 1
            return
        sender.tokens -= 1.0
        if not sender.fresh:
            sender.fresh_at = now
            self._dirty[source] = sender
        sender.fresh.append(data)
        self._fresh_bytes += size
        self.counts.taken += 1

    def _meet(self, source: str, now: float) -> _Sender | None:
        try:
            address = source if ":" not in source else plain_address(source)
            host = self.senders.host_of(address)
        except ValueError:
            host, address = None, source[:60]
        if host is None:
            self.counts.unknown += 1
            self.strangers.count(address)
            return None
        known = not self.senders.allow_unknown or self.senders.is_known(address)
        if (
            len(self._by_source) >= self.config.senders
            or (not known and self._guests >= max(1, self.config.senders // 4))
        ) and not self._forget_one(guest=not known):
            self.counts.refused += 1
            return None
        stream = Stream(host, self.pace)
        if host in self._expected:
            stream.expect(*self._expected.pop(host))
        sender = _Sender(stream, known, float(self.config.burst), now, now)
        self._by_source[source] = sender
        self._guests += not known
        return sender

    def _forget_one(self, *, guest: bool) -> bool:
        """The least recently heard sender that is telling nothing; a guest makes room for known ones first."""
        for wanted in (True,) if guest else (True, False):
            for source, sender in self._by_source.items():
                if (not sender.known) is wanted and not sender.stream.telling and not sender.fresh:
                    self._forget(source)
                    return True
        return False

    def _forget(self, source: str) -> None:
        sender = self._by_source.pop(source)
        self._dirty.pop(source, None)
        self._telling.pop(source, None)
        self._guests -= not sender.known
        sender.stream.gaps.settle()
        self._lost_before += sender.stream.gaps.lost
        self._doubled_before += sender.stream.doubled
        self.held -= sender.stream.held

    def tick(self, now: float) -> tuple[list[Look], list[Alive]]:
        """Reads what came since the last tick: the crashes that want to be looked at, the hosts that live on."""
        alive: list[Alive] = []
        harmless = not may_tell([datagram for sender in self._dirty.values() for datagram in sender.fresh])
        for source, sender in self._dirty.items():
            fresh, sender.fresh = sender.fresh, []
            stream = sender.stream
            before = stream.held
            stream.feed(fresh, sender.fresh_at, harmless=harmless)
            self.held += stream.held - before
            sender.heard = now
            # The bucket fills while it is looked at seldom, too.
            sender.tokens = min(
                float(self.config.burst), sender.tokens + (now - sender.refilled) * self.config.rate
            )
            sender.refilled = now
            self._by_source.move_to_end(source)
            if stream.telling:
                self._telling[source] = sender
            if (sign := stream.sign_of_life()) is not None:
                alive.append(sign)
        self._dirty.clear()
        self._fresh_bytes = 0
        looks: list[Look] = []
        for source, sender in list(self._telling.items()):
            before = sender.stream.held
            while (look := sender.stream.due(now)) is not None:
                looks.append(look)
            self.held += sender.stream.held - before
            if not sender.stream.telling:
                del self._telling[source]
        self._make_room(now)
        return looks, alive

    def _make_room(self, now: float) -> None:
        idle = now - self.config.idle.total_seconds()
        while self._by_source:
            source, sender = next(iter(self._by_source.items()))
            if sender.heard > idle or sender.stream.telling or sender.fresh:
                break
            self._forget(source)
        if self.held <= self.config.memory // 2:
            return
        for sender in self._by_source.values():
            before = sender.stream.held
            sender.stream.forget_context()
            self.held += sender.stream.held - before
            if self.held <= self.config.memory // 2:
                return

    def totals(self, now: float) -> Counts:
        """The counts as of now, loss and doubles of all senders included."""
        streams = [sender.stream for sender in self._by_source.values()]
        for stream in streams:
            stream.gaps.settle(now)
        self.counts.lost = self._lost_before + sum(s.gaps.lost for s in streams)
        self.counts.doubled = self._doubled_before + sum(s.doubled for s in streams)
        return self.counts
