"""`/panic sweep` as people type it."""

from __future__ import annotations

from pathlib import Path

from commands.access import Access, AccessConfig
from commands.router import Router
from commands.sweep.slack import register
from tests.hosts.world import nobody
from tests.sweep.stage import SPECS, Stage, stage


def router(here: Stage, everyone: str = "responder") -> Router:
    made = Router(here.world.db, Access(AccessConfig(everyone=everyone), nobody))
    register(made, here.desk)
    return made


async def said(here: Stage, text: str, everyone: str = "responder") -> str:
    here.world.replies.clear()
    await router(here, everyone).command_line(here.world.ask(text=text))
    (reply,) = here.world.replies
    return reply[0]


async def test_the_answers(tmp_path: Path) -> None:
    async with stage(tmp_path, specs=SPECS[:2]) as here:
        assert "there was no sweep yet" in await said(here, "sweep status")
        assert "needs the role *responder*" in await said(here, "sweep", everyone="viewer")
        refused = await said(here, "sweep web-99 `<!channel>`")
        assert "no host in the inventory is meant by `web-99`" in refused
        assert "no central directory is set" in await said(here, "sweep directories")
        assert await said(here, "sweep web-*") == ":mag: 1 place to look at; what is found is told here."
        again = await said(here, "sweep web-*")
        assert (
            again == ":mag: a sweep is under way already, and goes to 1 place for you next. It is told here."
        )
        here.start()
        run = await here.done(1)
        status = await said(here, "sweep status")
        assert "for <@U0ONCALL> done" in status
        assert "There is none by the clock." in status
        assert run.result["places"]["host"] == {"swept": 1}
        assert here.ssh.opened == ["web-17"]


async def test_an_empty_inventory_is_told(tmp_path: Path) -> None:
    async with stage(tmp_path, specs=None) as here:
        assert "there is nowhere to look" in await said(here, "sweep")
