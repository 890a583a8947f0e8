"""Going to one place: the connection, the time it may take, what is handed on, the audit."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Protocol

import structlog

from commands.context import Context
from commands.hosts.visits import host_as_entered
from commands.incident import living
from commands.inventory import HostEntry
from commands.sweep import known, naming
from commands.sweep.central import CentralLook
from commands.sweep.config import SweepConfig
from commands.sweep.found import SOURCE, FoundDump
from commands.sweep.hostlook import CannotLook, HostLook
from commands.sweep.ledger import HOST
from commands.sweep.look import Findings, Terms, Told
from commands.sweep.naming import Fleet, Owner
from integrations.kernel import read_crash
from integrations.ssh import SshClient, SshError, SshHost
from storage import AuditEntry, PlaceState, SweepPlace, SweepRun
from storage.inbox import InboxError, ReportInbox

log = structlog.get_logger(__name__)

_NAMES_WITHIN = 5.0  # seconds to look up the addresses of host names
_NAMES_AT_ONCE = 16

Resolve = Callable[[str], Awaitable[Sequence[str]]]


class History(Protocol):
    """Keeps an old crash as a panic without a thread, once."""

    async def keep(self, found: FoundDump) -> None: ...


@dataclass(frozen=True)
class Looked:
    """What came of going to a place."""

    state: PlaceState
    note: str
    findings: Findings


async def resolve(name: str) -> Sequence[str]:
    """A host name's addresses; none when it has none."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return ()
    return sorted({str(ipaddress.ip_address(str(entry[4][0]).split("%", 1)[0])) for entry in found})


class Visitor:
    """Goes to a place once and comes back with what is there, whatever happens on the way."""

    def __init__(
        self,
        context: Context,
        ssh: SshClient,
        reports: ReportInbox,
        config: SweepConfig,
        history: History,
        *,
        resolve: Resolve = resolve,
        lives_after: timedelta = living.LIVES_AFTER,
    ) -> None:
        self.context = context
        self.ssh = ssh
        self.reports = reports
        self.config = config
        self.history = history
        self.resolve = resolve
        self.lives_after = lives_after  # so long after a crash, a boot that still runs has survived it

    async def visit(self, run: SweepRun, place: SweepPlace) -> Looked:
        """Never waits longer than the settings' patience, and never raises for what a place does."""
        findings = Findings()
        go = self._host if place.kind == HOST else self._directory
        try:
            # The clock runs from its turn on: how busy the bot is with other hosts is no fault of this one.
            async with asyncio.timeout(None) as limit:

                def begin() -> None:
                    limit.reschedule(asyncio.get_running_loop().time() + self.config.patience.total_seconds())

                state, note = await go(run, place.name, findings, begin)
        except TimeoutError:
            patience = f"{self.config.patience.total_seconds():.0f} s"
            return Looked(PlaceState.UNREACHABLE, f"not done within {patience}", findings)
        except SshError as error:
            state = PlaceState.REFUSED if error.permanent else PlaceState.UNREACHABLE
            return Looked(state, str(error), findings)
        except (CannotLook, InboxError) as error:
            return Looked(PlaceState.FAILED, str(error), findings)
        except OSError as error:
            return Looked(PlaceState.UNREACHABLE, error.strerror or str(error), findings)
        except Exception as error:
            # One place that cannot be read must not cost the others; it is told as what it is.
            log.exception("sweep.place_failed", kind=place.kind, place=place.name)
            note = f"failed inside Panicroom ({type(error).__name__}); it is in the log"
            return Looked(PlaceState.FAILED, note, findings)
        return Looked(state, note, findings)

    def _terms(self) -> Terms:
        return Terms(self.context.clock(), self.config.settle, self.config.since)

    # -- a host -----------------------------------------------------------------------------------------

    async def _host(
        self, run: SweepRun, name: str, findings: Findings, begin: Callable[[], None]
    ) -> tuple[PlaceState, str]:
        work, told, awaited = await self.context.db.read(
            lambda s: (
                known.at_work(s, name),
                known.told_of(s, (name,), run)[name],
                bool(living.awaited(s, name)),
            )
        )
        if work is not None:
            return PlaceState.LEFT, f"{work} is under way there"
        entry = await self._entry(name)
        if entry is None:
            return PlaceState.FAILED, "the inventory does not name it any more"
        host = host_at(name, entry)
        try:
            session = await self.ssh.open(host, aside=True, on_turn=begin)
        except SshError as error:
            if error.permanent:
                await self._audit(run, "host.connect", host.spoken, "refused", str(error))
            raise
        try:
            await self._audit(run, "host.connect", host.spoken, "done", "")

            async def audit(command: str, outcome: str, detail: str) -> None:
                await self._audit(run, "host.command", f"{name}: {command}", outcome, detail)

            async def is_told(text: str) -> bool:
                crash = await asyncio.to_thread(read_crash, text)
                return await self.context.db.read(lambda s: known.has_panic(s, name, crash))

            look = HostLook(name, session, self.ssh.config.helper, audit)
            if awaited:
                await self._lives(look, name)
            note = await look.look(told, self._terms(), self._deliver, findings, is_told=is_told)
            return PlaceState.SWEPT, note
        finally:
            session.close()

    async def _lives(self, look: HostLook, name: str) -> None:
        """A host of which netconsole told a crash: the same boot, seen well after it, has survived it."""
        facts = await look.boot(self.context.clock)
        at, after = self.context.clock(), self.lives_after
        if await self.context.db.write(
            lambda s: living.visited(s, name, facts, who="a sweep", after=after, at=at)
        ):
            log.info("sweep.survived", host=name)
            self.context.wake()

    async def _entry(self, name: str) -> HostEntry | None:
        return (await self._fleet()).entry(name, self.context.inventory)

    async def _fleet(self) -> Fleet:
        return Fleet.of(self.context.inventory, await self.context.db.read(known.heard_of))

    async def _audit(self, run: SweepRun, verb: str, subject: str, outcome: str, detail: str) -> None:
        entry = AuditEntry(
            at=self.context.clock(),
            actor=run.asked_by,
            verb=verb,
            subject=subject[:300],
            outcome=outcome,
            detail=f"sweep {run.id}: {detail}".removesuffix(": ")[:2000],
        )
        await self.context.db.write(lambda s: s.add(entry))

    # -- a central directory ----------------------------------------------------------------------------

    async def _directory(
        self, run: SweepRun, name: str, findings: Findings, begin: Callable[[], None]
    ) -> tuple[PlaceState, str]:
        begin()
        fleet = await self._fleet()
        known_addresses = naming.addresses(fleet, await self._resolved(fleet))

        def owner(directory: str) -> Owner:
            return naming.owner_of(directory, fleet, self.context.inventory, known_addresses)

        async def told_of(hosts: Iterable[str]) -> dict[str, Told]:
            wanted = list(hosts)
            return await self.context.db.read(lambda s: known.told_of(s, wanted, run))

        look = CentralLook(Path(name))
        return PlaceState.SWEPT, await look.look(owner, told_of, self._terms(), self._deliver, findings)

    async def _resolved(self, fleet: Fleet) -> Mapping[str, Sequence[str]]:
        """The addresses of the hosts of which the inventory says only names; those that are not told in time are
        not known."""
        names = naming.unresolved(fleet)
        found: dict[str, Sequence[str]] = {}
        free = asyncio.Semaphore(_NAMES_AT_ONCE)

        async def ask(name: str) -> None:
            async with free:
                found[name] = await self.resolve(name)

        try:
            async with asyncio.timeout(min(_NAMES_WITHIN, self.config.patience / timedelta(seconds=2))):
                await asyncio.gather(*(ask(name) for name in names))
        except TimeoutError:
            log.warning("sweep.names_slow", known=len(found), names=len(names))
        return found

    # -- what is handed on ------------------------------------------------------------------------------

    async def _deliver(self, found: FoundDump) -> None:
        """A report in the inbox, once a dump; an old crash is kept as history, and wakes nobody."""
        if self._terms().is_history(found):
            await self.history.keep(found)
            log.info("sweep.history", host=found.host, crash=found.directory)
            return
        body = found.body()
        stored = await self.reports.add(
            host=found.host, external_id=found.external_id, body=body, source=SOURCE, size=len(found.text)
        )
        log.info(
            "sweep.found", host=found.host, crash=found.directory, report=stored.id, again=stored.duplicate
        )
        self.context.read_reports()


def host_at(name: str, entry: HostEntry) -> SshHost:
    """Where a host is reached, under the name by which its panics are kept (it may report itself by a longer one)."""
    host = host_as_entered(name, entry)
    if host.address is None and not entry.is_pattern and entry.name.lower() != name:
        return replace(host, address=entry.name)
    return host
