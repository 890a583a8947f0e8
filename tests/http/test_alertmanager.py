"""POST /v1/alertmanager on a real port."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from pydantic import SecretStr
from sqlmodel import SQLModel, select

from bot.alertmanager import AlertRoute
from bot.metrics import Metrics
from bot.settings import ServerConfig
from commands.inventory import HostEntry, Inventory
from integrations.inbound.alertmanager import AlertmanagerConfig
from storage import Database, Report, ReportState
from storage.inbox import ReportInbox
from tests.inbound.test_alertmanager import TOKEN, alert, webhook

FLEET = (HostEntry(name="web-17", address="10.0.0.17"), HostEntry(name="db-*"))


class Door:
    """The route with a real database behind it."""

    def __init__(
        self, folder: Path, *, closed: bool = False, capacity: int = 1000, token: str = TOKEN
    ) -> None:
        self.db = Database(f"sqlite:///{folder}/bot.db")
        SQLModel.metadata.create_all(self.db.engine)
        self.inbox = ReportInbox(self.db, capacity=capacity)
        self.metrics = Metrics()
        self.woken: list[int] = []
        self.told: list[tuple[str, str]] = []
        self.route = AlertRoute(
            AlertmanagerConfig(bearer_token=SecretStr(token)),
            server=ServerConfig(body_limit=8192),
            inventory=Inventory(FLEET, closed=closed),
            inbox=self.inbox,
            metrics=self.metrics,
            on_report=self.woken.extend,
            tell_admins=self._tell,
        )

    async def _tell(self, key: str, text: str) -> None:
        self.told.append((key, text))

    async def start(self) -> None:
        self.inbox.start()
        app = web.Application()
        app.router.add_post("/v1/alertmanager", self.route.handle)
        self.runner = web.AppRunner(app, shutdown_timeout=0.2, lingering_time=0.1)
        await self.runner.setup()
        await web.TCPSite(self.runner, "127.0.0.1", 0).start()
        self.session = aiohttp.ClientSession(f"http://127.0.0.1:{self.runner.addresses[0][1]}")

    async def close(self) -> None:
        await self.session.close()
        await self.runner.cleanup()
        await self.inbox.close()
        self.db.close()

    async def post(self, body: bytes, **headers: str) -> tuple[int, dict[str, Any]]:
        every = {"Content-Type": "application/json", "Authorization": f"Bearer {TOKEN}"} | {
            name.replace("_", "-"): value for name, value in headers.items()
        }
        async with self.session.post("/v1/alertmanager", data=body, headers=every) as answer:
            assert answer.content_type == "application/json"
            if answer.status == 401:
                assert "Basic" in answer.headers["WWW-Authenticate"]
            return answer.status, await answer.json()

    async def rows(self) -> list[Report]:
        return list(await self.db.read(lambda s: s.exec(select(Report).order_by(Report.id)).all()))  # type: ignore[arg-type]

    def figure(self, outcome: str) -> float:
        return self.metrics.registry.get_sample_value("panicroom_alerts_total", {"outcome": outcome}) or 0.0


@pytest.fixture
async def door(tmp_path: Path) -> AsyncIterator[Door]:
    made = Door(tmp_path)
    await made.start()
    yield made
    await made.close()


async def test_each_firing_alert_is_a_report_without_a_text_once(door: Door) -> None:
    other = alert(labels={"alertname": "HostDown", "instance": "10.0.0.17:9100"}, fingerprint="0" * 16)
    status, answer = await door.post(webhook(alert(), other))
    assert (status, answer["accepted"], answer["status"]) == (200, 2, "ok")
    first, second = await door.rows()
    assert (first.host, second.host, first.source) == (
        "web-17",
        "web-17",
        "alertmanager",
    )  # by its address, too
    assert first.body["text"] == ""
    assert first.body["not_before"] == "2026-11-23T09:04:07.123456+00:00"
    assert first.body["alert"]["group_key"] == '{}:{alertname="InstanceDown"}'
    assert door.woken == [1, 2]
    status, answer = await door.post(webhook(alert(), other))
    assert (status, answer["accepted"], answer["duplicate"]) == (200, 0, 2)
    assert len(await door.rows()) == 2
    again = alert(startsAt="2026-11-24T09:14:07Z")
    assert (await door.post(webhook(again)))[1]["accepted"] == 1


async def test_resolved_goes_on_with_the_firing(door: Door) -> None:
    await door.post(webhook(alert()))
    resolved = alert(status="resolved", endsAt="2026-11-23T09:20:00Z")
    for accepted in (1, 0):
        assert (await door.post(webhook(resolved, status="resolved")))[1]["accepted"] == accepted
    first, second = await door.rows()
    assert second.body["continues"] == first.external_id
    assert (second.body["back_at"], second.body["closes"]) == ("2026-11-23T09:20:00+00:00", True)


async def test_what_is_no_crash_or_names_no_host_is_left_out_and_said(door: Door) -> None:
    load = alert(labels={"alertname": "HighLoad", "instance": "web-17"})
    nobody = alert(labels={"alertname": "HostDown", "job": "node"})
    status, answer = await door.post(webhook(load, nobody, alert(startsAt="soon")))
    assert status == 200
    assert (answer["ignored"], answer["no_host"], answer["invalid"]) == (1, 1, 1)
    assert len(answer["problems"]) == 2
    assert "HostDown: no label of instance, host" in answer["problems"][1]
    assert await door.rows() == []
    assert (door.figure("ignored"), door.figure("no_host"), door.figure("invalid")) == (1, 1, 1)


async def test_alerts_that_were_left_out_are_told_to_admins_and_counted(door: Door) -> None:
    status, answer = await door.post(webhook(truncatedAlerts=17))
    assert (status, answer["truncated"]) == (200, 17)
    ((key, text),) = door.told
    assert key.startswith("alerts-truncated:2")
    assert "left 17 alerts out" in text
    assert door.figure("truncated") == 17


async def test_a_closed_inventory_quarantines_strangers(tmp_path: Path) -> None:
    door = Door(tmp_path, closed=True)
    await door.start()
    stranger = alert(labels={"alertname": "HostDown", "instance": "10.0.0.99:9100"})
    assert (await door.post(webhook(alert(), stranger)))[1]["quarantined"] == 1
    assert [(r.host, r.state) for r in await door.rows()] == [
        ("web-17", ReportState.NEW),
        ("10.0.0.99", ReportState.QUARANTINED),
    ]
    await door.close()


async def test_refusals_say_why(door: Door) -> None:
    cases = [
        (await door.post(webhook(), Authorization="Bearer wrong"), 401, "bad_credentials"),
        (await door.post(webhook(), Content_Type="text/plain"), 415, "unsupported_media_type"),
        (await door.post(b"{"), 400, "bad_json"),
        (await door.post(webhook(version="3")), 422, "invalid_webhook"),
        (await door.post(webhook(*[alert()] * 100)), 413, "body_too_large"),
    ]
    for (status, answer), wanted, code in cases:
        assert (status, answer["error"]) == (wanted, code)
        assert answer["message"]
        assert door.figure(code) == 1
    assert await door.rows() == []


async def test_each_alert_is_counted_by_what_came_of_it(tmp_path: Path) -> None:
    door = Door(tmp_path, closed=True)
    await door.start()
    stranger = alert(labels={"alertname": "HostDown", "instance": "10.0.0.99:9100"}, fingerprint="1" * 16)
    resolved = alert(status="resolved", endsAt="2026-11-23T09:20:00Z")
    await door.post(webhook(alert(), stranger))
    await door.post(webhook(alert(), resolved))
    outcomes = ("accepted", "duplicate", "quarantined", "ignored", "no_host", "invalid", "truncated")
    assert [door.figure(outcome) for outcome in outcomes] == [2, 1, 1, 0, 0, 0, 0]
    await door.close()


async def test_without_a_secret_the_route_is_shut(tmp_path: Path) -> None:
    door = Door(tmp_path, token="")
    await door.start()
    assert (await door.post(webhook()))[1]["error"] == "not_enabled"
    assert door.figure("not_enabled") == 1
    await door.close()


async def test_a_full_inbox_asks_to_send_again(tmp_path: Path) -> None:
    door = Door(tmp_path, capacity=0)
    await door.start()
    status, answer = await door.post(webhook())
    assert (status, answer["error"]) == (503, "inbox_full")
    assert door.figure("inbox_full") == 1
    await door.close()


async def test_the_body_of_who_knows_no_secret_is_not_read(door: Door) -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(100_000):
            yield b"x" * 65536

    headers = {"Content-Type": "application/json", "Authorization": "Bearer wrong"}
    try:
        async with door.session.post("/v1/alertmanager", data=endless(), headers=headers) as answer:
            assert answer.status == 401
            assert json.loads(await answer.text())["error"] == "bad_credentials"
    except aiohttp.ClientConnectionError:
        assert door.figure("bad_credentials") == 1  # it hung up while we were talking
