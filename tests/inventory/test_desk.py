"""The inventory's source while the bot runs: read again, kept over failures, guarded, and believed by everybody."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from pydantic import SecretStr, ValidationError
from sqlmodel import select

from commands.changes.picture import Fleets
from commands.errors import NotFound
from commands.intake.senders import Senders
from commands.inventory import HostEntry
from commands.inventory_config import InventoryConfig
from commands.inventory_desk import InventoryDesk, read_kept
from commands.inventory_slack import shown
from commands.router import Ask
from storage import Report, ReportState, SlackMessage
from tests.incident.floor import Floor, floor


@pytest.fixture
async def bot(tmp_path: Path) -> AsyncIterator[Floor]:
    async with floor(tmp_path, closed=True) as running:
        yield running


def hosts(*names: str, **fields: Any) -> list[dict[str, Any]]:
    return [{"name": name, **fields} for name in names]


def desk_of(bot: Floor, config: InventoryConfig, *own: HostEntry) -> InventoryDesk:
    return InventoryDesk(bot.context, config, own, tell=bot.intake.tell, on_known=bot.intake.wake)


def from_file(bot: Floor, tmp_path: Path, *own: HostEntry, **more: Any) -> tuple[InventoryDesk, Path]:
    file = tmp_path / "fleet.json"
    return desk_of(bot, InventoryConfig(file=file, **more), *own), file


async def told(bot: Floor) -> list[str]:
    rows = await bot.db.read(lambda s: s.exec(select(SlackMessage).order_by(SlackMessage.id)).all())  # type: ignore[arg-type]
    return [str((row.payload or {}).get("text")) for row in rows if row.key.startswith("inventory:")]


async def test_everybody_who_holds_the_inventory_sees_the_new_one(bot: Floor, tmp_path: Path) -> None:
    own = HostEntry(name="web-1", ring="mine")
    desk, file = from_file(bot, tmp_path, own)
    inventory = bot.context.inventory
    senders, fleets = Senders(inventory, {"10.9.9.9": "sourced"}), Fleets(inventory)
    assert senders.host_of("10.0.0.2") is None
    await bot.db.write(lambda s: s.add(Report(external_id="a", host="web-2", state=ReportState.QUARANTINED)))
    await bot.db.write(lambda s: s.add(Report(external_id="b", host="other", state=ReportState.QUARANTINED)))
    file.write_text(
        json.dumps([*hosts("web-1", ring="theirs"), *hosts("web-2", address="10.0.0.2"), *hosts("db-1")])
    )
    assert await desk.reload() == "taken"
    found = inventory.find("web-1")
    assert found is not None
    assert found.ring == "mine"
    assert (senders.host_of("10.0.0.2"), senders.host_of("10.9.9.9")) == ("web-2", "sourced")
    assert senders.names == {"web-1": "web-1", "db-1": "db-1"}
    assert await bot.db.read(lambda s: fleets.read(s).names) == {"web-1", "web-2", "db-1"}
    states = await bot.db.read(lambda s: {r.host: r.state for r in s.exec(select(Report)).all()})
    assert states == {"web-2": ReportState.NEW, "other": ReportState.QUARANTINED}
    assert await desk.reload() == "unchanged"
    assert await told(bot) == []


async def test_a_source_that_fails_keeps_the_last_good_one_over_a_restart(bot: Floor, tmp_path: Path) -> None:
    desk, file = from_file(bot, tmp_path)
    file.write_text(json.dumps(hosts("web-1", "web-2")))
    assert await desk.reload() == "taken"
    for broken in ("", "{", "[]", '{"_meta": {}}', json.dumps([*hosts("web-1"), {"name": "-x"}])):
        file.write_text(broken)
        assert await desk.reload() == "failed"
    file.unlink()
    assert await desk.reload() == "failed"
    assert bot.context.inventory.knows("web-2")
    assert "Failing since" in shown(desk)
    (failing,) = await told(bot)
    assert "could not be read" in failing

    again, _ = from_file(bot, tmp_path)  # a bot that starts now
    assert [entry.name for entry in again.kept.entries] == ["web-1", "web-2"]
    assert read_kept(tmp_path / "store", "another source").entries == ()

    file.write_text(json.dumps(hosts("web-1", "web-2", "web-3")))
    assert await desk.reload() == "taken"
    assert [("again" in text) for text in await told(bot)] == [False, True]


async def test_a_broken_entry_leaves_its_host_as_it_was(bot: Floor, tmp_path: Path) -> None:
    desk, file = from_file(bot, tmp_path)
    many = hosts(*(f"web-{n}" for n in range(20)), ring="a")
    file.write_text(json.dumps(many))
    assert await desk.reload() == "taken"
    many[3] = {"name": "web-3", "ring": "b", "port": "many"}
    many[4]["ring"] = "b"
    file.write_text(json.dumps(many))
    assert await desk.reload() == "taken"
    rings = {entry.name: entry.ring for entry in bot.context.inventory.entries}
    assert (rings["web-3"], rings["web-4"], len(rings)) == ("a", "b", 20)
    assert "1 entries are broken" in shown(desk)


async def test_half_a_fleet_goes_only_when_an_admin_says_so(bot: Floor, tmp_path: Path) -> None:
    desk, file = from_file(bot, tmp_path)
    file.write_text(json.dumps(hosts("a-1", "a-2", "a-3", "a-4", "a-5")))
    assert await desk.reload() == "taken"
    file.write_text(json.dumps(hosts("a-1", "a-2")))
    assert await desk.reload() == "waiting"
    assert await desk.reload() == "waiting"
    assert bot.context.inventory.knows("a-5")
    waiting = desk.standing.waiting
    assert waiting is not None
    assert f"/panic inventory confirm {waiting.mark}" in shown(desk)
    (asked,) = await told(bot)
    assert "would drop 3 of 5 hosts" in asked
    assert await desk.confirm("another") is None
    assert await desk.confirm(waiting.mark) is waiting
    assert not bot.context.inventory.knows("a-5")
    assert await desk.confirm(None) is None
    file.write_text(json.dumps(hosts("a-1", "b-1")))
    assert await desk.reload() == "taken"  # one of two is no more than half


async def test_the_verb(bot: Floor, tmp_path: Path) -> None:
    from commands.inventory_slack import register

    desk, file = from_file(bot, tmp_path)
    register(bot.router, desk)
    file.write_text(json.dumps(hosts("web-1")))
    said: list[str] = []

    async def respond(text: str, *_rest: Any, **_more: Any) -> None:
        said.append(text)

    verb = bot.router.verbs["inventory"]
    assert verb.role.word == "admin"
    await verb.handler(Ask("1", "U0ADMIN", "C0", text="reload", respond=respond))
    assert "Taken." in said[0]
    assert "1 hosts, 0 patterns; closed" in said[0]
    assert "reached by name: `web-1`" in said[0]
    with pytest.raises(NotFound):
        await verb.handler(Ask("2", "U0ADMIN", "C0", text="confirm abc", respond=respond))


async def test_a_command_and_its_limits(bot: Floor) -> None:
    def running(program: str, **more: Any) -> InventoryDesk:
        return desk_of(bot, InventoryConfig(command=(sys.executable, "-c", program), **more))

    good = 'print(\'{"_meta": {"hostvars": {"web-1": {"ansible_host": "10.0.0.1"}}}}\')'
    assert await running(good).reload() == "taken"
    found = bot.context.inventory.find("web-1")
    assert found is not None
    assert found.address == "10.0.0.1"
    for program, more, why in (
        ("import sys; sys.exit('no vault password')", {}, "no vault password"),
        ("print('x' * 5000)", {"limit": 1024}, "larger than 1024"),
        ("import time; time.sleep(600)", {"timeout": timedelta(seconds=0.3)}, "longer than 0.3 s"),
    ):
        desk = running(program, **more)
        assert await desk.reload() == "failed"
        assert why in str(desk.standing.error)
    missing = desk_of(bot, InventoryConfig(command=("/no/such/command",)))
    assert await missing.reload() == "failed"


@asynccontextmanager
async def serving(answer: Any) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_get("/fleet", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/fleet"
    finally:
        await runner.cleanup()


async def test_an_address_with_token_and_etag(bot: Floor) -> None:
    asked: list[tuple[str | None, str | None]] = []
    fleet = hosts("web-1")

    async def answer(request: web.Request) -> web.Response:
        asked.append((request.headers.get("Authorization"), request.headers.get("If-None-Match")))
        etag = f'"{len(fleet)}"'
        if request.headers.get("If-None-Match") == etag:
            return web.Response(status=304)
        return web.json_response(fleet, headers={"ETag": etag})

    async with serving(answer) as url:
        config = InventoryConfig(url=url, token=SecretStr("t0ken"))
        desk = desk_of(bot, config)
        assert [await desk.reload(), await desk.reload()] == ["taken", "unchanged"]
        fleet += hosts("web-2")
        assert await desk.reload() == "taken"
        assert asked == [("Bearer t0ken", None), ("Bearer t0ken", '"1"'), ("Bearer t0ken", '"1"')]
    assert await desk.reload() == "failed"
    assert "t0ken" not in shown(desk)


def test_one_source_only() -> None:
    for wrong in (
        {"file": "a", "url": "http://a/"}, {"token": "x"}, {"groups": {"a": "colour:red"}}, {"variables": {"x": "y"}},
    ):  # fmt: skip
        with pytest.raises(ValidationError):
            InventoryConfig.model_validate(wrong)
    assert InventoryConfig(url="https://user:pw@cmdb/x?key=1").source == "cmdb/x"
