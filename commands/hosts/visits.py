"""Visits: one connection a run, and one audit row a command."""

from __future__ import annotations

import asyncio
import contextlib
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import structlog
from sqlalchemy import insert

from commands.hosts import runs
from commands.hosts.together import Together
from commands.inventory import HostEntry
from integrations.ssh import CommandResult, Keep, Request, SshClient, SshError, SshHost, SshSession
from storage import AuditEntry, Panic, RunbookRun, panic_ref

if TYPE_CHECKING:
    from commands.context import Context

log = structlog.get_logger(__name__)
_ADD = insert(AuditEntry.__table__)  # type: ignore[attr-defined]
_KEPT = 32 * 1024  # characters of one output kept with a step


@dataclass(frozen=True)
class Visit:
    """A run on a host: who asked, for which panic, where."""

    run_id: int
    panic_id: int
    kind: str
    asked_by: str
    host: SshHost
    session: SshSession
    visits: Visits

    async def run(
        self,
        argv: Sequence[str],
        *,
        timeout: float | None = None,
        cap: int | None = None,
        keep: Keep | None = None,
    ) -> CommandResult:
        """Run a command and write its audit row. Raises ConnectionLost (audited as well).

        `keep`: which end of an output that exceeds `cap` is kept; by itself, a journal keeps its end.
        """
        keep = keep or ("end" if argv[0] == "journalctl" else "start")
        (done,) = await self.run_many([self.session.request(argv, timeout=timeout, cap=cap, keep=keep)])
        return done

    async def run_many(
        self, requests: Sequence[Request], *, limit: float | None = None
    ) -> list[CommandResult]:
        """Run commands in one go, `limit` seconds for all of them, and write an audit row for each."""
        try:
            results = await self.session.run_many(requests, limit=limit)
        except SshError as error:
            await self.visits.audit_all(self, [(shlex.join(r.argv), "lost", str(error)) for r in requests])
            raise
        rows = [
            (
                shlex.join(done.argv),
                "done" if done.exit_status == 0 and not done.timed_out else "failed",
                f"{done.outcome}, {len(done.stdout)} bytes, {done.seconds:.2f} s",
            )
            for done in results
        ]
        self.visits.audit_soon(self, rows)
        return results

    async def help(self, *words: str, timeout: float | None = None, cap: int | None = None) -> CommandResult:
        """Ask the root-owned helper: `list`, `read REL`, `head REL N`, `tail REL N`, `bytes REL OFFSET LENGTH`,
        `pstore-list`, `pstore-read REL`."""
        return await self.run((*self.visits.ssh.config.helper, *words), timeout=timeout, cap=cap)

    def helping(self, *words: str, cap: int | None = None) -> Request:
        """The helper asked with these words, for `run_many`."""
        return self.session.request((*self.visits.ssh.config.helper, *words), cap=cap)


class Visits:
    """The open connections, by run. One for all desks, so that cancelling a run ends what it does on the host."""

    def __init__(self, context: Context, ssh: SshClient) -> None:
        self.context = context
        self.ssh = ssh
        self.together = Together(context.db)
        self._open: dict[int, Visit] = {}
        self._unsaid: dict[int, list[asyncio.Future[Any]]] = {}  # by run: audit rows on their way to the disk

    def host_of(self, panic: Panic) -> SshHost:
        """Where a panic's host is reached: as the inventory says, or by its own name."""
        return host_as_entered(panic.host, self.context.inventory.find(panic.host))

    async def begin(self, run_id: int, known: tuple[RunbookRun, Panic] | None = None) -> Visit:
        """The visit of a run, on its open connection or a new one. `known`: its rows, read a moment ago.

        Raises an SshError.
        """
        visit = self._open.get(run_id)
        if visit is not None and visit.session.is_open:
            return visit
        self.end(run_id)
        if known is None:
            known = await self.context.db.read(lambda s: runs.run_and_panic(s, run_id))
        run, panic = known
        host = self.host_of(panic)
        session = await self._connect(run, panic, host)
        visit = Visit(run_id, run.panic_id, run.kind, run.asked_by, host, session, self)
        self._open[run_id] = visit
        return visit

    async def _connect(self, run: RunbookRun, panic: Panic, host: SshHost) -> SshSession:
        try:
            session = await self.ssh.open(host)
        except SshError as error:
            if error.permanent:
                await self._write(
                    run.asked_by, "host.connect", host.spoken, "refused", f"{panic_ref(panic.id)}: {error}"
                )
            raise
        told = f"{panic_ref(panic.id)} {run.kind}"
        self._soon(run.id or 0, [self._entry(run.asked_by, "host.connect", host.spoken, "done", told)])
        return session

    def end(self, run_id: int) -> None:
        """Close a run's connection; a command that is under way on it fails."""
        visit = self._open.pop(run_id, None)
        if visit is not None:
            visit.session.close()

    async def close(self) -> None:
        """Close every connection, at the bot's end."""
        for run_id in list(self._open):
            self.end(run_id)
        for run_id in list(self._unsaid):
            with contextlib.suppress(Exception):  # it is in the log
                await self.audited(run_id)
        await asyncio.to_thread(self.ssh.close)

    async def audit(self, visit: Visit, command: str, outcome: str, detail: str) -> None:
        await self.audit_all(visit, [(command, outcome, detail)])

    async def audit_all(self, visit: Visit, commands: Sequence[tuple[str, str, str]]) -> None:
        """A row for each (command, outcome, detail), all in one transaction."""
        rows = self._rows(visit, commands)
        if rows:
            await self.together.write(lambda s: s.execute(_ADD, rows))

    def audit_soon(self, visit: Visit, commands: Sequence[tuple[str, str, str]]) -> None:
        """The same, on the disk within a moment: with the next write of any run, and before `audited` returns."""
        rows = self._rows(visit, commands)
        if rows:
            self._soon(visit.run_id, rows)

    async def audited(self, run_id: int) -> None:
        """All rows of a run so far are on the disk. Raises what hindered it."""
        await asyncio.gather(*self._unsaid.pop(run_id, ()))

    def _soon(self, run_id: int, rows: list[dict[str, Any]]) -> None:
        written = self.together.soon(lambda s: s.connection().execute(_ADD, rows))
        written.add_done_callback(_told)
        self._unsaid.setdefault(run_id, []).append(written)

    def _rows(self, visit: Visit, commands: Sequence[tuple[str, str, str]]) -> list[dict[str, Any]]:
        where = f"{panic_ref(visit.panic_id)} {visit.kind}"
        return [
            self._entry(
                visit.asked_by, "host.command", f"{visit.host.name}: {command}", outcome, f"{where}: {detail}"
            )
            for command, outcome, detail in commands
        ]

    async def _write(self, actor: str, verb: str, subject: str, outcome: str, detail: str) -> None:
        entry = self._entry(actor, verb, subject, outcome, detail)
        await self.together.write(lambda s: s.execute(_ADD, [entry]))

    def _entry(self, actor: str, verb: str, subject: str, outcome: str, detail: str) -> dict[str, Any]:
        """A row of AuditEntry."""
        return {
            "at": self.context.clock(),
            "actor": actor,
            "verb": verb,
            "subject": subject[:300],
            "outcome": outcome,
            "detail": detail[:2000],
        }


def _told(written: asyncio.Future[Any]) -> None:
    """Also where nobody asks any more whether it was written."""
    if not written.cancelled() and (error := written.exception()) is not None:
        log.error("audit.lost", error=type(error).__name__)


def host_as_entered(name: str, entry: HostEntry | None) -> SshHost:
    """Where a host is reached as the inventory says; what it leaves open is for ssh_config and `[ssh]`."""
    if entry is None:
        return SshHost(name)
    port = entry.port if "port" in entry.model_fields_set else None
    return SshHost(name, None if entry.is_pattern else entry.address, port, entry.user, entry.jump)


def is_cut(done: CommandResult) -> bool:
    """Whether `kept_output` leaves something out."""
    return len(done.text) > _KEPT


def kept_output(done: CommandResult, *, binary: bool = False, most: int = _KEPT) -> dict[str, Any]:
    """An output as a step keeps it: `most` characters, as text; of binary data only its size."""
    text = f"({len(done.stdout)} bytes)" if binary else done.text.replace("\x00", "\N{REPLACEMENT CHARACTER}")
    if len(text) > most:
        # At line ends: half a line could hold half a secret that nobody would know for one.
        head, tail = text[: most // 2].rpartition("\n")[0], text[-most // 2 :].partition("\n")[2]
        text = f"{head}\n… {len(text) - len(head) - len(tail)} characters left out …\n{tail}"
    return {
        "command": shlex.join(done.argv),
        "exit": done.exit_status,
        "outcome": done.outcome,
        "stdout": text,
        "stderr": done.stderr.decode("utf-8", "replace").replace("\x00", "")[:4000],
        "seconds": round(done.seconds, 3),
        "at": done.started_at.isoformat(),
    }
