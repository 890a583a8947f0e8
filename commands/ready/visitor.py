"""Asking one host: one connection, two goes, an audit row a command."""

from __future__ import annotations

import asyncio
import re
import shlex
from collections.abc import Callable, Sequence

import structlog
from sqlalchemy import insert

from commands.context import Context
from commands.hosts.family import family_of, read_os_release
from commands.hosts.together import Together
from commands.hosts.visits import host_as_entered
from commands.inventory import HostEntry
from commands.ready import ledger
from commands.ready.config import ReadyConfig
from commands.ready.ledger import Looked
from commands.ready.questions import Question, Questions, shipped
from integrations.readiness import Known, Output, Outputs, judge
from integrations.ssh import CommandResult, SshClient, SshError, SshSession
from storage import AuditEntry, HostReadiness

log = structlog.get_logger(__name__)
_ADD = insert(AuditEntry.__table__)  # type: ignore[attr-defined]


class Visitor:
    """Goes to a host once and comes back with what it answered, whatever happens on the way."""

    def __init__(
        self,
        context: Context,
        ssh: SshClient,
        config: ReadyConfig,
        *,
        copies: bool = False,
        questions: Questions | None = None,
    ) -> None:
        self.context = context
        self.ssh = ssh
        self.config = config
        self.copies = copies  # dumps are copied to a central store
        self.questions = questions or shipped()
        self.together = Together(context.db)

    async def visit(self, row: HostReadiness, entry: HostEntry | None) -> Looked:
        """Never waits longer than the settings' patience, and never raises for what a host does."""
        if entry is None:
            return Looked(None, "the inventory does not name it any more")
        loop = asyncio.get_running_loop()
        patience = self.config.patience.total_seconds()
        try:
            # The clock runs from its turn on: how busy the bot is with other hosts is no fault of this one.
            async with asyncio.timeout(None) as limit:
                return await self._ask(row, entry, lambda: limit.reschedule(loop.time() + patience))
        except TimeoutError:
            return Looked(None, f"not done within {patience:.0f} s")
        except SshError as error:
            return Looked(None, str(error))
        except OSError as error:
            return Looked(None, error.strerror or str(error))
        except Exception as error:
            # One host that cannot be read must not cost the others; it is told as what it is.
            log.exception("ready.host_failed", host=row.host)
            return Looked(None, f"failed inside Panicroom ({type(error).__name__}); it is in the log")

    async def _ask(self, row: HostReadiness, entry: HostEntry, begin: Callable[[], None]) -> Looked:
        host = host_as_entered(row.host, entry)
        try:
            session = await self.ssh.open(host, aside=True, on_turn=begin)
        except SshError as error:
            if error.permanent:
                await self._audit(row, [("host.connect", host.spoken, "refused", str(error))])
            raise
        try:
            await self._audit(row, [("host.connect", host.spoken, "done", "readiness")])
            common = await self._run(row, session, self.questions.common())
            first = common["clock"]
            release = read_os_release(common["os"].text)
            family = family_of(release)
            rest = await self._run(row, session, self.questions.of(family))
        finally:
            session.close()
        store = await self.context.db.read(lambda s: ledger.central(s, row.host)) if self.copies else None
        known = Known(
            family,
            el9=re.match(r"9(\.|$)", release.get("VERSION_ID", "")) is not None,
            asked_at=first.started_at.timestamp(),
            seconds=first.seconds,
            drill=row.drill or None,
            central=store,
        )
        outputs = Outputs({key: _output(done) for key, done in (common | rest).items()})
        return Looked(await asyncio.to_thread(judge, outputs, known))

    async def _run(
        self, row: HostReadiness, session: SshSession, asked: Sequence[Question]
    ) -> dict[str, CommandResult]:
        requests = [question.request(self.ssh.config.helper) for question in asked]
        try:
            done = await session.run_many(requests)
        except SshError as error:
            lost = [
                ("host.command", f"{row.host}: {shlex.join(r.argv)}", "lost", str(error)) for r in requests
            ]
            await self._audit(row, lost)
            raise
        rows = [
            (
                "host.command",
                f"{row.host}: {shlex.join(d.argv)}",
                "done" if d.exit_status == 0 and not d.timed_out else "failed",
                f"readiness: {d.outcome}, {len(d.stdout)} bytes, {d.seconds:.2f} s",
            )
            for d in done
        ]
        await self._audit(row, rows)
        return {question.key: result for question, result in zip(asked, done, strict=True)}

    async def _audit(self, row: HostReadiness, told: Sequence[tuple[str, str, str, str]]) -> None:
        """A row for each (verb, subject, outcome, detail), written together with other hosts'."""
        now = self.context.clock()
        rows = [
            {
                "at": now,
                "actor": row.wanted_by,
                "verb": verb,
                "subject": subject[:300],
                "outcome": outcome,
                "detail": detail[:2000],
            }
            for verb, subject, outcome, detail in told
        ]
        if rows:
            await self.together.write(lambda s: s.execute(_ADD, rows))


def _output(done: CommandResult) -> Output:
    return Output(done.text.replace("\x00", ""), done.ok, done.outcome)
