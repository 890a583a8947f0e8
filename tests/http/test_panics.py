from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from sqlmodel import Session, select

from integrations.inbound import signed_headers
from storage import Report, ReportState
from tests.http.support import NOW, OLDER, OWN, OWN_OLDER, SHARED, Bot, report


@pytest.fixture
async def bot(tmp_path: Path) -> AsyncIterator[Bot]:
    running = Bot(tmp_path)
    await running.start()
    yield running
    await running.close()


@pytest.fixture
async def closed_bot(tmp_path: Path) -> AsyncIterator[Bot]:
    running = Bot(tmp_path, closed=True)
    await running.start()
    yield running
    await running.close()


async def test_a_report_is_stored_before_it_is_accepted(bot: Bot) -> None:
    status, answer = await bot.send(report(kernel="6.1.0", dump={"path": "d", "size": 5, "complete": True}))
    assert (status, answer) == (202, {"report_id": "R-1", "status": "accepted"})
    (row,) = await bot.rows()
    assert (row.host, row.external_id, row.state) == ("web-99", "boot-1", ReportState.NEW)
    assert row.body["dump"] == {"path": "d", "size": 5, "complete": True}
    assert bot.woken == [1]


async def test_a_repeated_id_makes_nothing_new(bot: Bot) -> None:
    await bot.send(report())
    assert await bot.send(report(text="other")) == (200, {"report_id": "R-1", "status": "duplicate"})
    assert [r.body["text"] for r in await bot.rows()] == ["Oops"]
    assert bot.woken == [1]


async def test_two_shared_secrets_are_valid_during_a_rotation(bot: Bot) -> None:
    assert (await bot.send(report(), secret=SHARED))[0] == 202
    assert (await bot.send(report(id="2"), secret=OLDER))[0] == 202
    status, answer = await bot.send(report(id="3"), secret="a secret that was retired")
    assert (status, answer["error"], answer["field"]) == (401, "bad_signature", "X-Panicroom-Signature")


async def test_two_own_secrets_are_valid_during_a_rotation(bot: Bot) -> None:
    for secret in (OWN, OWN_OLDER):
        told = report(id=secret, host="web-17")
        assert (await bot.send(told, secret=secret, host="web-17"))[0] == 202
    status, answer = await bot.send(report(host="web-99"), secret=OWN_OLDER, host="web-17")
    assert (status, answer["error"]) == (403, "wrong_host")


async def test_a_stale_time_is_told_with_the_servers_time_so_that_it_can_be_signed_again(bot: Bot) -> None:
    status, answer = await bot.send(report(), at=NOW - 86400)
    assert (status, answer["error"], answer["server_time"]) == (401, "stale_timestamp", NOW)
    assert "+86400 s" in answer["message"]
    assert (await bot.send(report(), at=answer["server_time"]))[0] == 202


async def test_a_hosts_own_secret_speaks_for_that_host_alone(bot: Bot) -> None:
    assert (await bot.send(report(host="web-17"), secret=OWN, host="web-17"))[0] == 202
    assert (await bot.send(report(id="2", host="WEB-17.example.org"), secret=OWN, host="Web-17"))[0] == 202
    status, answer = await bot.send(report(id="3", host="web-99"), secret=OWN, host="web-17")
    assert (status, answer["error"], answer["field"]) == (403, "wrong_host", "host")
    assert (await bot.send(report(id="4", host="web-17"), secret=OWN))[0] == 401  # nothing selects it
    assert (await bot.send(report(id="5", host="web-17"), secret=OWN, host="db-1"))[0] == 401
    assert (await bot.send(report(id="6", host="web-17"), secret=SHARED, host="web-17"))[0] == 202


async def test_an_open_inventory_takes_strangers(bot: Bot) -> None:
    assert (await bot.send(report(host="stranger")))[1]["status"] == "accepted"


async def test_a_stranger_to_a_closed_inventory_is_kept_in_quarantine(closed_bot: Bot) -> None:
    assert (await closed_bot.send(report(host="db-5")))[1]["status"] == "accepted"
    status, answer = await closed_bot.send(report(id="q", host="stranger"))
    assert (status, answer) == (202, {"report_id": "R-2", "status": "quarantined"})
    assert {r.host: r.state for r in await closed_bot.rows()} == {
        "db-5": ReportState.NEW,
        "stranger": ReportState.QUARANTINED,
    }
    assert closed_bot.woken == [1, 2]


@pytest.mark.parametrize(
    ("body", "headers", "status", "error", "field"),
    [
        (b"{", {}, 400, "bad_json", None),
        (b"", {}, 400, "bad_json", None),
        (b"[1]", {}, 400, "bad_json", None),
        (b'{"id": "1", "host": "a"}', {}, 422, "invalid_report", "text"),
        (b'{"id": "1", "host": "a b", "text": ""}', {}, 422, "invalid_report", "host"),
        (b"{}", {"Content-Type": "text/plain"}, 415, "unsupported_media_type", "Content-Type"),
        (b"{}", {"Content-Encoding": "gzip"}, 415, "unsupported_encoding", "Content-Encoding"),
        (b"{}", {"X-Panicroom-Timestamp": "noon"}, 401, "bad_signature", "X-Panicroom-Timestamp"),
        (b"{}", {"X-Panicroom-Signature": "v1=00"}, 401, "bad_signature", "X-Panicroom-Signature"),
        (b"{}", {"X-Panicroom-Host": "<web>"}, 401, "bad_signature", "X-Panicroom-Host"),
        (b"x" * 8193, {}, 413, "body_too_large", None),
    ],
)
async def test_a_refusal_says_which_field_and_why(
    bot: Bot, body: bytes, headers: dict[str, str], status: int, error: str, field: str | None
) -> None:
    got, answer = await bot.send(body, headers=headers)
    assert (got, answer["error"], answer["field"]) == (status, error, field)
    assert set(answer) == {"error", "field", "message"}
    assert len(answer["message"]) > 20
    assert await bot.rows() == []
    assert bot.metrics.registry.get_sample_value("panicroom_reports_total", {"outcome": error}) == 1


async def test_unknown_fields_are_told_and_lose_nothing(bot: Bot) -> None:
    status, answer = await bot.send(report(colour="red"))
    assert (status, answer["ignored"]) == (202, ["colour"])


async def test_a_chunked_body_is_cut_off_at_the_limit(bot: Bot) -> None:
    """No Content-Length announces it: counted while it is read, and the rest is never read."""
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while sent < 50_000_000:
            sent += 4096
            yield b"x" * 4096

    try:
        async with bot.session.post(
            "/v1/panics", data=endless(), headers={"Content-Type": "application/json"}
        ) as answer:
            assert answer.status == 413
            assert (await answer.json())["error"] == "body_too_large"
    except aiohttp.ClientConnectionError:
        pass  # the server hung up while we were still sending: refused as well
    assert sent < 50_000_000
    assert (
        bot.metrics.registry.get_sample_value("panicroom_reports_total", {"outcome": "body_too_large"}) == 1
    )


async def test_a_body_at_the_limit_is_taken(bot: Bot) -> None:
    small = json.dumps(report(text="")).encode()
    body = json.dumps(report(text="x" * (8192 - len(small)))).encode()
    assert len(body) == 8192
    assert (await bot.send(body))[0] == 202


async def test_other_routes_and_methods_answer_json_too(bot: Bot) -> None:
    async with bot.session.get("/v1/panics") as answer:
        assert (answer.status, answer.headers["Allow"]) == (405, "POST")
        assert (await answer.json())["error"] == "method_not_allowed"
    async with bot.session.post("/v2/panics") as answer:
        assert (answer.status, (await answer.json())["error"]) == (404, "not_found")


async def test_a_full_inbox_asks_to_come_back(tmp_path: Path) -> None:
    bot = Bot(tmp_path, capacity=1)
    await bot.start()
    gate = threading.Event()
    blocker = asyncio.ensure_future(bot.db.write(lambda _s: gate.wait(30)))
    first = asyncio.ensure_future(bot.send(report()))
    async with asyncio.timeout(45):
        while not bot.inbox.waiting:
            await asyncio.sleep(0.005)
    body = json.dumps(report(id="2")).encode()
    async with bot.session.post("/v1/panics", data=body, headers=signed_headers(SHARED, NOW, body)) as answer:
        assert (answer.status, answer.headers["Retry-After"]) == (503, "5")
        assert (await answer.json())["error"] == "inbox_full"
    gate.set()
    assert (await first)[0] == 202
    await blocker
    await bot.close()


async def test_a_database_that_cannot_store_is_a_503_and_nothing_is_acknowledged(bot: Bot) -> None:
    await bot.db.write(lambda s: s.connection().exec_driver_sql("DROP TABLE report"))
    status, answer = await bot.send(report())
    assert (status, answer["error"]) == (503, "not_stored")
    assert bot.woken == []


async def test_what_waits_for_a_person_is_counted_at_each_scrape(closed_bot: Bot) -> None:
    async def scraped() -> dict[str, float]:
        async with closed_bot.session.get("/metrics") as answer:
            lines = (await answer.text()).splitlines()
        found = (line.rsplit(" ", 1) for line in lines if line.startswith("panicroom_reports_waiting{"))
        return {name.split('"')[1]: float(value) for name, value in found}

    assert await scraped() == {"new": 0, "quarantined": 0, "parked": 0}
    await closed_bot.send(report())
    await closed_bot.send(report(host="web-17"))
    assert await scraped() == {"new": 1, "quarantined": 1, "parked": 0}

    def park(session: Session) -> None:
        row = session.exec(select(Report).where(Report.state == ReportState.NEW)).one()
        row.state = ReportState.PARKED

    await closed_bot.db.write(park)
    assert await scraped() == {"new": 0, "quarantined": 1, "parked": 1}
    await closed_bot.db.write(lambda s: s.connection().exec_driver_sql("DROP TABLE report"))
    assert await scraped() == {}


async def test_many_at_once(bot: Bot) -> None:
    answers = await asyncio.gather(*(bot.send(report(id=str(n % 50))) for n in range(200)))
    assert sorted(status for status, _ in answers) == [200] * 150 + [202] * 50
    assert len(await bot.rows()) == 50


async def test_health(bot: Bot) -> None:
    async with bot.session.get("/healthz") as answer:
        assert (answer.status, await answer.json()) == (200, {"alive": True, "version": "1.2.3"})
    async with bot.session.get("/readyz") as answer:
        assert (answer.status, await answer.json()) == (200, {"ready": True, "checks": {"database": "ok"}})


async def test_ready_tells_the_truth(tmp_path: Path) -> None:
    async def no_slack() -> str | None:
        return "not authenticated: invalid_auth"

    async def broken() -> str | None:
        raise ValueError("boom")

    bot = Bot(tmp_path, checks={"slack": no_slack, "workflows": broken})
    await bot.start()
    await bot.db.write(lambda s: s.connection().exec_driver_sql("DROP TABLE alembic_version"))
    async with bot.session.get("/readyz") as answer:
        assert answer.status == 503
        told = await answer.json()
    assert told["ready"] is False
    assert told["checks"]["slack"] == "not authenticated: invalid_auth"
    assert told["checks"]["workflows"] == "ValueError: boom"
    assert told["checks"]["database"].startswith("not writable: OperationalError")
    assert bot.metrics.registry.get_sample_value("panicroom_ready", {"check": "slack"}) == 0
    await bot.close()


async def test_metrics(bot: Bot) -> None:
    await bot.send(report())
    async with bot.session.get("/metrics") as answer:
        assert answer.status == 200
        assert answer.headers["Content-Type"].startswith("text/plain; version=")
        text = await answer.text()
    assert 'panicroom_reports_total{outcome="accepted"} 1.0' in text
    assert "panicroom_report_seconds_count 1.0" in text
    assert 'panicroom_inbox_waiting{inbox="reports"} 0.0' in text
