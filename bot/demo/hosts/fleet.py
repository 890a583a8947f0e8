"""The replayed fleet: hosts that answer over SSH, panic when told to, come back and tell the bot."""

from __future__ import annotations

import asyncio
import hashlib
import inspect
import random
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncssh
import structlog

from bot.demo.hosts import captures
from bot.demo.hosts.answers import Answer, answer
from bot.demo.hosts.errors import FleetError, HostNotUp, UnknownCase, UnknownHost
from bot.demo.hosts.history import Crash, History, Life
from bot.demo.hosts.instance import Instance
from bot.demo.hosts.inventory import DEMO_HOSTS, HostSpec
from bot.demo.hosts.reporter import Reporter
from bot.demo.hosts.sshd import HostPort, host_key, reserve
from bot.demo.hosts.timeline import utc

_log = structlog.get_logger(__name__)
Change = Callable[[list[dict[str, Any]]], Awaitable[None] | None]


@dataclass
class _Host:
    """One host's present.

    crashing: the panic from which it is rebooting. untold: the panics that the bot has not accepted yet, oldest first.
    settled: set while nothing of it is under way. tasks: the reboot and the telling.
    """

    spec: HostSpec
    port: HostPort
    key: asyncssh.SSHKey
    instance: Instance
    state: str = "down"
    panics: int = 0
    answer: dict[str, Any] | None = None
    error: FleetError | None = None
    crashing: Crash | None = None
    untold: list[Instance] = field(default_factory=list)
    settled: asyncio.Event = field(default_factory=asyncio.Event)
    tasks: set[asyncio.Task[None]] = field(default_factory=set)
    telling: asyncio.Lock = field(default_factory=asyncio.Lock)


class Fleet:
    """All replayed hosts. `start` opens their ports and goes on where the last run stopped; `stop` closes everything.

    data:          folder for host keys and for what each host lived through (`hosts.json`)
    client_key:    the one public key that may log in (authorized_keys text), as user `triage`
    report_url:    the bot's POST /v1/panics; None sends nothing
    port_base:     first TCP port, one a host from there (the next free one when taken); 0 takes any
    reboot_seconds: how long a panicked host refuses connections
    answer_seconds: how long each command takes to answer
    on_change:     called with `hosts()` whenever one of them changes; may be a coroutine function
    """

    def __init__(
        self,
        data: Path,
        *,
        client_key: str,
        report_url: str | None = None,
        secret: str = "",
        host_secrets: Mapping[str, str] | None = None,
        port_base: int = 0,
        address: str = "127.0.0.1",
        specs: Sequence[HostSpec] = DEMO_HOSTS,
        reboot_seconds: float = 8.0,
        answer_seconds: float = 0.0,
        on_change: Change | None = None,
        rng: random.Random | None = None,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._data = data
        self._history = data / "hosts.json"
        self._client_key = client_key
        self._port_base = port_base
        self._address = address
        self._specs = tuple(specs)
        self._reboot_seconds = reboot_seconds
        self._answer_seconds = answer_seconds
        self._on_change = on_change
        self._rng = rng or random.SystemRandom()
        self._clock = clock
        self._sleep = sleep
        self._reporter = (
            Reporter(report_url, secret, host_secrets=host_secrets, clock=clock, sleep=sleep)
            if report_url
            else None
        )
        self._hosts: dict[str, _Host] = {}
        self._since = clock()

    async def start(self) -> None:
        """Open every host's port. A host whose report was not accepted in the last run reports now."""
        history = History.read(self._history, self._clock())
        self._since = history.since
        first = self._port_base
        try:
            for spec in self._specs:
                host = self._make(spec, history.hosts.get(spec.name, Life()), first)
                self._hosts[spec.name] = host
                first = host.port.port + 1 if self._port_base else 0
            for host in self._hosts.values():
                await host.port.open()
                host.state = "up"
                self._begin(host, self._tell(host))
        except BaseException:
            await self.stop()
            raise
        self._remember()
        await self._changed()

    async def stop(self) -> None:
        """Close every port and end what is under way; what was not told yet is remembered for the next start."""
        tasks = [task for host in self._hosts.values() for task in host.tasks]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for host in self._hosts.values():
            await host.port.close()
            host.port.release()
        self._hosts.clear()

    def hosts(self) -> list[dict[str, Any]]:
        """Every host as the page shows it: name, ring, hardware, case, title, state (up, rebooting, down), panics."""
        return [
            {
                "name": host.spec.name,
                "ring": host.spec.ring,
                "hardware": host.spec.hardware,
                "case": _case(host),
                "title": captures.CASES[_case(host)],
                "state": host.state,
                "panics": host.panics,
            }
            for host in self._hosts.values()
        ]

    def inventory(self) -> list[dict[str, Any]]:
        """Every host as the bot's inventory wants it: name, address, port, ring, hardware, criticality, owner."""
        return [
            {
                "name": host.spec.name,
                "address": host.port.address,
                "port": host.port.port,
                "ring": host.spec.ring,
                "hardware": host.spec.hardware,
                "criticality": host.spec.criticality,
                "owner": host.spec.owner,
            }
            for host in self._hosts.values()
        ]

    def known_hosts(self) -> str:
        """known_hosts lines: `[address]:port,name` and the host's public key."""
        lines = []
        for host in self._hosts.values():
            public = host.key.export_public_key().decode().split()
            lines.append(f"[{host.port.address}]:{host.port.port},{host.spec.name} {public[0]} {public[1]}\n")
        return "".join(lines)

    def instance(self, name: str) -> Instance:
        """What a host is just now. `UnknownHost` when there is none of that name."""
        return self._host(name).instance

    async def panic(
        self, host: str | None = None, case: str | None = None, *, back_in: float | None = None
    ) -> dict[str, Any]:
        """Make a host (any that is up when None) panic now, with its own capture or with `case`.

        Returns at once with {host, case, title, state, crashed_at (ISO), back_in (seconds)}. The host refuses
        connections, comes back after `back_in` seconds (default `reboot_seconds`) and then reports.
        `UnknownHost`, `UnknownCase`, `HostNotUp`.
        """
        if case is not None and case not in captures.CASES:
            raise UnknownCase(case)
        chosen = self._host(host) if host is not None else self._any_up()
        if chosen.state != "up":
            raise HostNotUp(f"{chosen.spec.name} is {chosen.state}")
        away = self._reboot_seconds if back_in is None else back_in
        chosen.state = "rebooting"
        chosen.panics += 1
        chosen.crashing = crash = Crash(case or chosen.spec.case, self._clock(), None)
        chosen.error = None
        chosen.settled.clear()
        await chosen.port.close()
        self._remember()
        self._begin(chosen, self._come_back(chosen, crash, away))
        await self._changed()
        return {
            "host": chosen.spec.name,
            "case": crash.case,
            "title": captures.CASES[crash.case],
            "state": "rebooting",
            "crashed_at": utc(crash.crashed_at).isoformat(),
            "back_in": away,
        }

    async def reported(self, name: str) -> dict[str, Any]:
        """Wait until the host's panics are told: the bot's last answer ({} when nothing is sent). `ReportRefused`."""
        host = self._host(name)
        await host.settled.wait()
        if host.error is not None:
            raise host.error
        return host.answer or {}

    async def power_off(self, name: str) -> None:
        """Take a host off the network until `power_on`, with no panic."""
        host = self._host(name)
        if host.state != "up":
            raise HostNotUp(f"{name} is {host.state}")
        host.state = "down"
        await host.port.close()
        await self._changed()

    async def power_on(self, name: str) -> None:
        """Bring back a host that `power_off` took away. It is the same boot: only the network was gone."""
        host = self._host(name)
        if host.state == "down":
            await host.port.open()
            host.state = "up"
            await self._changed()

    async def _come_back(self, host: _Host, crash: Crash, away: float) -> None:
        await self._sleep(away)
        host.instance = Instance(host.spec.name, captures.load(crash.case), crash.crashed_at, self._clock())
        host.untold.append(host.instance)
        host.crashing = None
        await host.port.open()
        host.state = "up"
        self._remember()
        await self._changed()
        await self._tell(host)

    async def _tell(self, host: _Host) -> None:
        async with host.telling:
            while host.untold:
                try:
                    if self._reporter is not None:
                        host.answer = await self._reporter.deliver(host.untold[0])
                except FleetError as refused:
                    host.error = refused
                    _log.error("report_refused", host=host.spec.name, error=str(refused))
                host.untold.pop(0)
                self._remember()
        if host.crashing is None:
            host.settled.set()

    def _begin(self, host: _Host, work: Coroutine[Any, Any, None]) -> None:
        def ended(task: asyncio.Task[None]) -> None:
            host.tasks.discard(task)
            failure = None if task.cancelled() else task.exception()
            if failure is not None:
                _log.error("replayed_host_failed", host=host.spec.name, exc_info=failure)
                host.error = FleetError(f"{host.spec.name}: {failure}")
                host.settled.set()

        task = asyncio.create_task(work, name=f"replayed {host.spec.name}")
        host.tasks.add(task)
        task.add_done_callback(ended)

    def _make(self, spec: HostSpec, life: Life, first_port: int) -> _Host:
        def again(crash: Crash) -> Instance:
            back_at = self._clock() if crash.back_at is None else crash.back_at
            return Instance(spec.name, captures.load(crash.case), crash.crashed_at, back_at)

        key = host_key(self._data / "host_keys" / spec.name)
        untold = [again(crash) for crash in life.untold]
        if life.last is not None:
            instance = again(life.last)
            if life.last.back_at is None:
                untold.append(instance)
        else:
            instance = Instance(spec.name, captures.load(spec.case), None, self._since - _uptime(spec.name))

        def reply(command: str) -> Answer:
            return answer(self._hosts[spec.name].instance, command, self._clock())

        def make(port: int) -> HostPort:
            return HostPort(
                self._address,
                port,
                host_key=key,
                client_keys=self._client_key,
                answer=reply,
                answer_seconds=self._answer_seconds,
            )

        port = reserve(make, first_port)
        return _Host(spec, port, key, instance, panics=life.panics, untold=untold)

    def _remember(self) -> None:
        """What the next start needs. A host that is rebooting is back by then, with its panic still to be told."""
        lives = {
            name: Life(
                host.panics,
                host.crashing or _crash(host.instance),
                tuple(filter(None, map(_crash, host.untold))),
            )
            for name, host in self._hosts.items()
        }
        History(self._since, lives).write(self._history)

    async def _changed(self) -> None:
        if self._on_change is not None:
            waiting = self._on_change(self.hosts())
            if inspect.isawaitable(waiting):
                await waiting

    def _host(self, name: str) -> _Host:
        if name not in self._hosts:
            raise UnknownHost(name)
        return self._hosts[name]

    def _any_up(self) -> _Host:
        up = [host for host in self._hosts.values() if host.state == "up"]
        if not up:
            raise HostNotUp("none of them is")
        calm = [host for host in up if host.panics == min(h.panics for h in up)]
        return self._rng.choice(calm)


def _case(host: _Host) -> str:
    return host.crashing.case if host.crashing else host.instance.capture.case


def _crash(instance: Instance) -> Crash | None:
    if instance.crashed_at is None:
        return None
    return Crash(instance.capture.case, instance.crashed_at, instance.back_at)


def _uptime(name: str) -> float:
    """How long a host that never panicked had been up at the fleet's first start: 1 to 40 days, by its name."""
    return 86400 + int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big") % (39 * 86400)


def client_key(path: Path) -> str:
    """The public half (authorized_keys text) of the client's private key in `path`, made there when there is none."""
    public: bytes = host_key(path).export_public_key()
    return public.decode()
