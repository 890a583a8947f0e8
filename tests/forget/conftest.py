from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import Session, select

from bot.demo.workspace.testing import RunningWorkspace, running_workspace
from commands.access import Access, AccessConfig
from commands.evidence import blocks as _blocks  # noqa: F401 - registers how a run is drawn
from commands.forget.desk import ErasureDesk
from commands.forget.hands import Hands
from commands.forget.slack import register
from commands.incident import thread
from commands.router import Ask, Router
from integrations.stores import CentralStore
from storage import (
    Artefact,
    AuditEntry,
    ChangeFinding,
    ChangeLink,
    ChangeRecord,
    ChangeTouch,
    CopyCare,
    CopyState,
    Correction,
    Drill,
    DumpCopy,
    DumpFetch,
    DumpLink,
    DumpPart,
    Erasure,
    Host,
    HostKeeps,
    HostReadiness,
    Incident,
    IncidentState,
    ItemState,
    LiveSighting,
    Panic,
    Pin,
    ReadinessChange,
    Report,
    RetentionItem,
    RetentionRun,
    RunbookRun,
    RunState,
    Silence,
    SlackMessage,
    SlackRequest,
    StepResult,
    SweepPlace,
    SweepRun,
    SweepState,
    TimelineEntry,
    Upload,
    utc_now,
)  # fmt: skip
from tests.copies.conftest import no_sftp
from tests.incident.floor import CHANNEL, Floor, floor, until
from tests.incident.texts import oops

HOST = "kdb-9"
PLANTED = "Planted0Secret"
OTHER = "kdb-91"  # another host: its name begins with that of the first


def fill(session: Session, panic_id: int, place: str) -> None:
    """The host, and what it told, in every table that has something of a host."""
    now = utc_now()
    panic = session.get_one(Panic, panic_id)
    said = f"{HOST} said {PLANTED}"
    panic.text = panic.crash_lines = said
    panic.frames, panic.process, panic.owner = [PLANTED, f"of_{PLANTED}"], PLANTED, said
    panic.dump_path, panic.dump_note, panic.boot_id = f"2026/{PLANTED}", said, PLANTED
    run = RunbookRun(
        panic_id=panic_id, workflow_id=f"triage:P-{panic_id}:abc", asked_by="U0ONCALL", note=said, state=RunState.DONE,
        finished_at=now,
    )  # fmt: skip
    copy = DumpCopy(
        panic_id=panic_id, workflow_id=f"copy:P-{panic_id}:abcdef~2", host=HOST, asked_by="U0ONCALL", note=said,
        state=CopyState.VERIFIED, place=place, size=5, sha256="0" * 64, verified_at=now, source_path=PLANTED,
    )  # fmt: skip
    sweep = SweepRun(
        asked_by="U0ONCALL", state=SweepState.DONE, words=f"host:{HOST}", result={"hosts": [HOST]}
    )
    retention = RetentionRun(asked_by="U0ADMIN", result={"failed": [[panic_id, "local", HOST, said]]})
    change = ChangeRecord(source=f"host:{HOST}", key="k", started=now, text=PLANTED)
    feed = ChangeRecord(
        source="feed", key="k", started=now, scope={"hosts": [HOST, OTHER]}, text=f"for {HOST}"
    )
    message = session.exec(select(SlackMessage).where(SlackMessage.renderer == "panic_text")).first()
    assert message is not None
    for row in (run, copy, sweep, retention, change, feed):
        session.add(row)
    session.flush()
    incident_id = panic.incident_id or 0
    link = DumpLink(
        request_id="r", copy_id=copy.id or 0, panic_id=panic_id, asked_by="U0ADMIN", salt="s", expires_at=now
    )
    session.add(link)
    session.flush()
    for table in (
        StepResult(run_id=run.id or 0, name="s", title=said, summary=said, outputs=[{"out": said}], facts={HOST: said}),
        Artefact(
            panic_id=panic_id, run_id=run.id, kind="bundle", name=said, sha256="0" * 64, size=1, path=f"P-{panic_id}/x"
        ),
        Upload(message_id=message.id or 0, panic_id=panic_id, run_id=run.id, file_id="F1", name=PLANTED),
        ChangeLink(panic_id=panic_id, key="OPS-7", linked_by="U0ONCALL", note=said, told_at=now),
        DumpPart(copy_id=copy.id or 0, number=1, size=5, sha256="0" * 64),
        CopyCare(copy_id=copy.id or 0, term_from=now),
        DumpFetch(link_id=link.id or 0, remote="192.0.2.9"),
        Pin(panic_id=panic_id, kind="pin", slot=f"pin:{panic_id}", reason=said, created_by="U0ONCALL"),
        RetentionItem(
            run_id=retention.id or 0, place="central", key=copy.id or 0, panic_id=panic_id, host=HOST, path=place,
            reason="age", state=ItemState.KEPT,
        ),
        LiveSighting(panic_id=panic_id, host=HOST, seen_at=now, awaited_until=now),
        HostReadiness(host=HOST, ring="prod-2", note=said, findings=[{"told": PLANTED}]),
        ReadinessChange(host=HOST, after="ready"),
        Drill(
            host=HOST, request_id="drill", mark="D-1", digest="0" * 64, plan={"host": HOST, "why": PLANTED},
            requester="U0ONCALL", until=now, note=said,
        ),
        HostKeeps(host=HOST), SweepPlace(kind="host", name=HOST, run_id=sweep.id or 0, findings={"x": PLANTED}),
        SweepPlace(kind="directory", name="/central", run_id=sweep.id or 0, findings={HOST: [said]}, note=f"({HOST})"),
        ChangeTouch(change_id=change.id or 0, what="host", name=HOST, started=now, ended=now),
        ChangeTouch(change_id=feed.id or 0, what="host", name=HOST, started=now, ended=now),
        ChangeFinding(
            incident_id=incident_id, panic_id=panic_id,
            likely=[{"source": f"host:{HOST}", "key": "k", "reasons": [said]}],
        ),
        Correction(
            verb="split", incident_id=incident_id, panic_id=panic_id, before={"title": said}, actor="U0ADMIN"
        ),
        Silence(pattern=HOST, reason=f"work on {HOST.upper()}", created_by="U0ADMIN", until=now, ended_at=now),
        AuditEntry(actor="U0ONCALL", verb="host.command", subject=f"P-{panic_id} {HOST}", outcome="done", detail=said),
        AuditEntry(actor="U0ONCALL", verb="list", subject=f"host:{HOST}", outcome="done"),
        AuditEntry(actor="x", verb="y", subject=f"{place} P-{panic_id}-{HOST}-0123456789ab", outcome="done"),
        TimelineEntry(incident_id=incident_id, panic_id=panic_id, verb="v", text=said, actor=f"host:{HOST}"),
        SlackRequest(dedupe="old", kind="command", body=f"text=show+host:{HOST}", state="failed", error=HOST),
        Report(host=HOST.upper(), external_id="again", body={"text": said}),
    ):  # fmt: skip
        session.add(table)
    if session.exec(select(Host).where(Host.name == HOST)).first() is None:
        session.add(Host(name=HOST, address="192.0.2.7"))
    thread.say(session, incident_id, "words:1", text=f"P-{panic_id}: {PLANTED}")
    session.add(
        SlackMessage(
            key="admins:1",
            channel="C0ADMINS",
            payload={"text": f"look at `{HOST}` and {OTHER}", "blocks": []},
        )
    )


@dataclass
class Scene:
    folder: Path
    ws: RunningWorkspace
    bot: Floor
    desk: ErasureDesk
    router: Router
    workflows: list[str]
    compacted: list[str]
    numbers: int = 0
    said: list[tuple[str, Any]] = field(default_factory=list)

    @property
    def central(self) -> Path:
        return self.folder / "central"

    async def crash(self, host: str = HOST, function: str = "nvme_irq", **options: Any) -> int:
        self.numbers += 1
        panic = await self.bot.report(host, oops(function, uptime=5000.0 * self.numbers), **options)
        return panic.id or 0

    async def resolve(self) -> None:
        def write(session: Session) -> None:
            for incident in session.exec(select(Incident)):
                incident.state = IncidentState.RESOLVED
                session.add(incident)

        await self.bot.db.write(write)

    async def planted(self) -> int:
        """A panic of the host that stands in Slack, with a bundle, a copy and rows everywhere; resolved."""
        panic_id = await self.crash()
        folder = f"P-{panic_id}-{HOST}-{hashlib.sha256(b'x').hexdigest()[:12]}"
        (self.central / folder).mkdir(parents=True)
        (self.central / folder / "vmcore.part-000001").write_bytes(PLANTED.encode())
        store = self.bot.context.store_dir / f"P-{panic_id}" / "originals"
        store.mkdir(parents=True, exist_ok=True)
        (store / "x.txt").write_text(f"{HOST} {PLANTED}")
        file = store.parent / "bundle.txt"
        file.write_text(PLANTED)
        relative = file.relative_to(self.bot.context.store_dir)

        def write(session: Session) -> None:
            fill(session, panic_id, f"{self.central.as_uri()}/{folder}")
            incident_id = session.get_one(Panic, panic_id).incident_id or 0
            thread.say(
                session,
                incident_id,
                "bundle:1",
                text=f"P-{panic_id} {PLANTED}",
                file=relative,
                file_name="b.txt",
            )

        await self.bot.db.write(write)
        await self.resolve()
        await self.quiet()
        return panic_id

    async def quiet(self) -> None:
        """Everything that is to stand in Slack does."""

        async def done() -> bool:
            self.bot.printer.wake()
            rows = await self.bot.rows(SlackMessage)
            return all(m.state.value in ("sent", "failed") and (m.sent == m.wanted or not m.ts) for m in rows)

        await until(done)

    async def say(self, text: str, user: str = "U0ADMIN") -> str:
        return await self._through(self.router.command_line, user, text=text)

    async def press(self, action: str, value: str, user: str = "U0SECOND") -> str:
        async def click(ask: Ask) -> None:
            await self.router.click(action, ask)

        return await self._through(click, user, value=value)

    async def _through(self, way: Callable[[Ask], Any], user: str, **values: Any) -> str:
        before = len(self.said)
        self.numbers += 1

        async def respond(
            text: str, blocks: Any = None, *, replace: bool = False, in_channel: bool = False
        ) -> None:
            self.said.append((text, blocks))

        await way(Ask(request_id=f"t{self.numbers}", user=user, channel=CHANNEL, respond=respond, **values))
        return "\n".join(f"{text}\n{blocks or ''}" for text, blocks in self.said[before:])

    async def ask(self, host: str = HOST, user: str = "U0ADMIN") -> int:
        found, obstacles, _ = await self.desk.survey(host)
        assert obstacles == []
        row = await self.desk.ask(host, found.mark, by=user, request_id=f"ask{self.numbers}")
        return row.id or 0

    async def row(self, erasure_id: int) -> Erasure:
        return await self.bot.db.read(lambda s: s.get_one(Erasure, erasure_id))

    async def over(self, erasure_id: int) -> Erasure:
        """Works on it until it is over."""

        async def done() -> Erasure | None:
            await self.desk.work(erasure_id)
            row = await self.row(erasure_id)
            return row if row.finished_at is not None else None

        found = await until(done, 45)
        assert found is not None
        return found

    def seen(self) -> str:
        """All that stands on the disk: the database's files, the store, the central store."""
        parts = []
        for path in sorted(self.folder.rglob("*")):
            if self.folder / "workspace" in path.parents:
                continue
            parts.append(path.name)
            if path.is_file():
                parts.append(path.read_bytes().decode("latin-1"))
        return "\n".join(parts).lower()


Make = Callable[..., Any]


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    async with AsyncExitStack() as stack:
        ws = await stack.enter_async_context(running_workspace())
        bot = await stack.enter_async_context(floor(tmp_path, ws, doors="http"))
        bot.access = bot.context.access = Access(
            AccessConfig(everyone="responder", admins=("U0ADMIN", "U0SECOND")), bot.slack.members_of
        )
        (tmp_path / "central").mkdir()
        store = CentralStore((tmp_path / "central").as_uri(), sftp=no_sftp)
        workflows: list[str] = []
        compacted: list[str] = []

        async def forget(ids: Sequence[str]) -> None:
            workflows.extend(ids)

        hands = Hands(bot.context, store, forget)
        desk = ErasureDesk(
            bot.context,
            hands,
            channel="C0ADMINS",
            compact_more=lambda: compacted.append("more"),
            tick=0.05,
            soon=0.02,
        )
        router = Router(bot.db, bot.access)
        register(router, desk)
        yield Scene(tmp_path, ws, bot, desk, router, workflows, compacted)
