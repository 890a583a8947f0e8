"""Retention in a workspace: typed, pressed, confirmed, told in the thread and to the admins."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from sqlmodel import Session

from bot.demo.workspace.testing import running_workspace
from commands.hosts.visits import Visits
from commands.retention.desk import RetentionDesk
from commands.retention.ledger import Place
from commands.retention.policy import RetentionConfig
from commands.retention.slack import register
from integrations.ssh import SshClient, SshConfig
from integrations.stores import CentralStore
from storage import CopyCare, CopyState, DumpCopy, DumpPart, Incident, IncidentState, Panic, utc_now
from tests.copies.conftest import no_sftp
from tests.hosts.world import until
from tests.incident.floor import CHANNEL, floor
from tests.incident.texts import oops

pytestmark = pytest.mark.timeout(120)


async def test_a_pin_keeps_a_copy_and_a_sweep_is_confirmed_and_told(tmp_path: Path) -> None:
    folder = tmp_path / "central" / "P-1-web-17-abc"
    folder.mkdir(parents=True)
    (folder / "vmcore.part-000001").write_bytes(b"x" * 1000)
    url = (tmp_path / "central").as_uri()
    async with running_workspace() as ws, floor(tmp_path, ws, doors="http") as bot:
        store = CentralStore(url, sftp=no_sftp)
        visits = Visits(bot.context, SshClient(SshConfig()))
        desk = RetentionDesk(
            bot.context, visits, store, RetentionConfig(scrub=0), Place(url, None), channel=CHANNEL, tick=0.05
        )
        register(bot.router, desk)
        await bot.report("web-17", oops())
        bot.printer.wake()
        parent = await ws.message("web-17 panicked", timeout=30)
        await ws.reply(parent, "P-1", timeout=30)

        def past_its_term(session: Session) -> None:
            session.get_one(Incident, session.get_one(Panic, 1).incident_id).state = IncidentState.RESOLVED
            session.add(
                DumpCopy(
                    panic_id=1, workflow_id="w", host="web-17", asked_by="U0ONCALL", state=CopyState.VERIFIED,
                    size=1000, place=f"{url}/{folder.name}", sha256="0" * 64, verified_at=utc_now(),
                )
            )  # fmt: skip
            session.flush()
            session.add(DumpPart(copy_id=1, number=1, size=1000, sha256="0" * 64))
            session.flush()
            session.add(CopyCare(copy_id=1, term_from=utc_now() - timedelta(days=40), verified=True))

        await bot.db.write(past_its_term)
        on_call = ws.person("U0ONCALL")
        await on_call.command("/panic pin P-1 until 30d vendor asked")
        await on_call.ephemeral("are pinned by", timeout=30)
        await ws.reply(parent, "vendor asked", timeout=30)
        await on_call.command("/panic retention run")
        await on_call.ephemeral("there is nothing to remove", timeout=30)
        await on_call.mention("unpin", thread=parent)
        await ws.reply(parent, "unpinned", timeout=30)
        await on_call.command("/panic retention")
        await on_call.ephemeral("1 item to go", timeout=30)
        await on_call.command("/panic retention run")
        asked = await on_call.ephemeral("A sweep now would remove 1 of 1 items", timeout=30)
        await on_call.click(asked, "Sweep now")
        await on_call.ephemeral("the sweep runs", timeout=30)

        async def begun() -> bool:
            from commands.retention import runs

            active = await bot.db.read(runs.active)
            return active is not None and await desk.work(active.id or 0)

        await until(begun)
        assert not folder.exists()
        bot.printer.wake()
        told = await ws.message("Retention sweep", timeout=30)
        assert "1 item removed, 1.0 kB freed" in str(told)
        await desk.close()
        await visits.close()
