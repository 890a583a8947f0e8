"""The UDP port that dying kernels speak to: socket, clock, names and counters around `commands.intake.receiver`."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable
from pathlib import Path

import structlog

from bot.metrics import Metrics
from commands.context import Context
from commands.intake.config import NetconsoleConfig
from commands.intake.desk import IntakeDesk
from commands.intake.listening import ListeningDesk
from commands.intake.receiver import Receiver
from commands.intake.senders import Senders
from storage.inbox import ReportInbox

log = structlog.get_logger(__name__)

TICK = 0.05  # seconds between two looks at what came
_AT_ONCE = 512  # datagrams read before others in the event loop have their turn
_LARGEST = 65_535
_WATCH_EVERY = 1.0
_LOOK_UP_EVERY = 600.0
_LOOK_UPS = 16  # at a time


class NetconsolePort:
    """`start()` opens the port (OSError when it cannot be had); `run()` serves until it is cancelled."""

    def __init__(
        self,
        context: Context,
        config: NetconsoleConfig,
        inbox: ReportInbox,
        intake: IntakeDesk,
        metrics: Metrics,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.config = config
        self.senders = Senders(context.inventory, config.sources, allow_unknown=config.allow_unknown)
        self.receiver = Receiver(config, self.senders)
        self.desk = ListeningDesk(context, config, self.receiver, inbox, intake)
        self.metrics = metrics
        self.clock = clock
        self.address: tuple[str, int] = ("", 0)
        self.kernel_drops = 0  # datagrams that the kernel had no room for
        self._socket: socket.socket | None = None
        self._arrived = asyncio.Event()
        self._shown: dict[tuple[str, str], int] = {}
        self.desk.on_report = lambda _lost: metrics.netconsole_crashes.inc()

    async def start(self) -> None:
        loop = asyncio.get_running_loop()
        family, _, _, _, address = socket.getaddrinfo(
            self.config.listen, self.config.port, type=socket.SOCK_DGRAM, flags=socket.AI_PASSIVE
        )[0]
        port = socket.socket(family, socket.SOCK_DGRAM)
        try:
            if family == socket.AF_INET6:
                port.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            port.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self.config.receive_buffer)
            port.bind(address)
            port.setblocking(False)
        except OSError:
            port.close()
            raise
        self._socket = port
        self.address = port.getsockname()[:2]
        granted = (
            port.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) // 2
        )  # the kernel doubles what it is asked
        if granted < self.config.receive_buffer:
            log.warning(
                "netconsole.small_buffer",
                asked=self.config.receive_buffer,
                granted=granted,
                remedy=f"sysctl net.core.rmem_max={self.config.receive_buffer}",
            )
        await self.desk.resume()
        loop.add_reader(port.fileno(), self._drain)
        log.info("netconsole.listening", address=f"{self.address[0]}:{self.address[1]}")

    def close(self) -> None:
        """Takes nothing more."""
        if self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket.fileno())
            self._socket.close()
            self._socket = None

    def _drain(self) -> None:
        port = self._socket
        if port is None:
            return
        take, now = self.receiver.take, self.clock()
        receive = port.recvfrom
        for _ in range(_AT_ONCE):
            try:
                data, source = receive(_LARGEST)
            except (BlockingIOError, InterruptedError):
                break
            except OSError as error:  # an ICMP answer of a peer, reported late
                log.debug("netconsole.receive", error=str(error))
                break
            take(data, source[0], now)
        self._arrived.set()

    async def run(self) -> None:
        """Ticks while something comes or is being told; watches time limits; looks names up."""
        watched = looked_up = counted = 0.0
        while True:
            now = self.clock()
            await self.desk.take(*self.receiver.tick(now))
            monotonic = time.monotonic()
            if monotonic - watched >= _WATCH_EVERY:
                watched = monotonic
                await self.desk.watch()
            if monotonic - counted >= _WATCH_EVERY:
                counted = monotonic
                self.count()
            if self.config.resolve and (not looked_up or monotonic - looked_up >= _LOOK_UP_EVERY):
                looked_up = monotonic
                await self.look_up()
            self._arrived.clear()
            if not self.receiver.busy:
                try:
                    async with asyncio.timeout(_WATCH_EVERY):
                        await self._arrived.wait()
                except TimeoutError:
                    continue
            await asyncio.sleep(TICK)

    # -- names ------------------------------------------------------------------------------------------

    async def look_up(self) -> None:
        """What DNS says of the inventory's names. What it cannot say now stays as it was."""
        gate = asyncio.Semaphore(_LOOK_UPS)
        loop = asyncio.get_running_loop()
        missing: list[str] = []

        async def one(host: str, name: str) -> None:
            async with gate:
                try:
                    found = await loop.getaddrinfo(name, None, type=socket.SOCK_DGRAM)
                except OSError:
                    missing.append(name)
                    return
            self.senders.learn(host, {str(entry[4][0]) for entry in found})

        await asyncio.gather(*(one(host, name) for host, name in self.senders.names.items()))
        if missing:
            log.warning("netconsole.names_not_found", names=len(missing), first=sorted(missing)[:5])

    # -- counters ---------------------------------------------------------------------------------------

    def count(self) -> None:
        """Brings the metrics up to date."""
        self.kernel_drops = max(self.kernel_drops, self._drops())
        totals = self.receiver.totals(self.clock())
        metrics = self.metrics
        for outcome, total in (
            ("taken", totals.taken),
            ("unknown", totals.unknown),
            ("limited", totals.limited),
            ("refused", totals.refused),
            ("doubled", totals.doubled),
        ):
            metrics.netconsole_datagrams.labels(outcome).inc(self._fresh("datagrams", outcome, total))
        for where, total in (("network", totals.lost), ("kernel", self.kernel_drops)):
            metrics.netconsole_lost.labels(where).inc(self._fresh("lost", where, total))
        metrics.netconsole_senders.set(self.receiver.known)
        metrics.netconsole_bytes.set(self.receiver.held)

    def _fresh(self, kind: str, label: str, total: int) -> int:
        before = self._shown.get((kind, label), 0)
        self._shown[(kind, label)] = max(total, before)
        return max(0, total - before)

    def _drops(self) -> int:
        """The `drops` column of this socket in /proc/net/udp{,6}; 0 where there is no such file."""
        if self._socket is None:
            return 0
        table = "udp6" if self._socket.family == socket.AF_INET6 else "udp"
        try:
            inode = str(Path(f"/proc/self/fd/{self._socket.fileno()}").readlink())
            inode = inode.removeprefix("socket:[").removesuffix("]")
            lines = Path(f"/proc/net/{table}").read_text(encoding="ascii", errors="replace").splitlines()[1:]
        except OSError:
            return 0
        for line in lines:
            cells = line.split()
            if len(cells) >= 13 and cells[9] == inode:
                return int(cells[12])
        return 0
