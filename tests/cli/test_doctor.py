from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import paramiko
import pytest
from aiohttp import web
from sqlalchemy import create_engine
from sqlmodel import Session

from bot.demo.tracker import Tracker, seed
from bot.demo.tracker import make_app as make_tracker
from bot.demo.workspace.testing import RunningWorkspace, running_workspace
from bot.doctor import Finding, examine
from bot.settings import Settings, load_settings
from storage import Database, Report, ReportState, migrations
from tests.forks import panicroom


@pytest.fixture
async def workspace() -> AsyncIterator[RunningWorkspace]:
    async with running_workspace() as running:
        yield running


@pytest.fixture
async def jira_url() -> AsyncIterator[str]:
    tracker = Tracker(seed(time.time()), clock=time.time)
    runner = web.AppRunner(make_tracker(tracker))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


@pytest.fixture
def config(tmp_path: Path, workspace: RunningWorkspace) -> Path:
    key = paramiko.RSAKey.generate(2048)
    key.write_private_key_file(str(tmp_path / "key"))
    (tmp_path / "known_hosts").write_text(f"web-17 {key.get_name()} {key.get_base64()}\n")
    file = tmp_path / "panicroom.toml"
    file.write_text(
        f"""
        [server]
        port = 0
        shared_secrets = ["0123456789abcdef"]
        [slack]
        mode = "socket"
        api_url = "{workspace.api_url}"
        bot_token = "{workspace.bot_token}"
        app_token = "{workspace.app_token}"
        admin_channel = "C0ADMINS"
        [routing]
        channel = "C0INCIDENTS"
        mention_group = "S0SREONCALL"
        [access]
        admins = ["S0ADMINS"]
        [ssh]
        key_file = "key"
        known_hosts = "known_hosts"
        """
    )
    file.chmod(0o600)
    return file


async def ask(config: Path, *, ahead: timedelta = timedelta(), **environ: str) -> list[Finding]:
    settings = load_settings(config, {f"PANICROOM_{key}": value for key, value in environ.items()})
    return await ask_about(settings, config, ahead)


async def ask_about(settings: Settings, config: Path | None, ahead: timedelta = timedelta()) -> list[Finding]:
    return [f async for f in examine(settings, config, clock=lambda: datetime.now(UTC) + ahead)]


def bad(findings: list[Finding]) -> list[tuple[str, str]]:
    return [(f.name, f.verdict) for f in findings if f.verdict != "ok"]


async def test_all_is_well(config: Path) -> None:
    findings = await ask(config)
    assert bad(findings) == [], findings
    said = {f.name: f.said for f in findings}
    assert "made at the first start" in said["database"]
    assert said["clock"].startswith("within")
    assert said["known hosts"].endswith("1 keys")
    assert {"netconsole", "alertmanager", "analysis", "feed", "workload", "runbook"} <= set(said)
    assert not (config.parent / "panicroom.db").exists()
    assert not (config.parent / "store").exists()


async def test_a_database_in_use(config: Path) -> None:
    url = f"sqlite:///{config.parent}/panicroom.db"
    migrations.upgrade(url)
    findings = await ask(config)
    assert bad(findings) == []
    assert any(f.name == "schema" and migrations.head() in f.said for f in findings)
    assert migrations.check(url) == []


async def test_a_token_that_slack_does_not_know(config: Path) -> None:
    findings = await ask(config, SLACK__BOT_TOKEN="xoxb-wrong")
    slack = next(f for f in findings if f.name == "slack")
    assert slack.verdict == "fail"
    assert "invalid_auth" in slack.said
    assert "slack.bot_token" in slack.remedy


async def test_an_app_token_that_slack_does_not_know(config: Path) -> None:
    findings = await ask(config, SLACK__APP_TOKEN="xapp-wrong")
    assert bad(findings) == [("socket", "fail")]


async def test_slack_cannot_be_reached(config: Path) -> None:
    findings = await ask(config, SLACK__API_URL="http://127.0.0.1:1/api/")
    assert ("slack", "fail") in bad(findings)
    assert ("channel", "fail") in bad(findings)


async def test_a_channel_without_the_bot(config: Path, workspace: RunningWorkspace) -> None:
    rule = '[{"channel": "C0NOSUCH", "ring": "lab"}]'
    findings = await ask(config, ROUTING__RULES=rule)
    assert bad(findings) == [("channel", "fail")]
    assert "channel_not_found" in next(f.said for f in findings if f.verdict == "fail")


async def test_a_clock_that_is_wrong(config: Path) -> None:
    findings = await ask(config, ahead=timedelta(minutes=10))
    (clock,) = [f for f in findings if f.name == "clock"]
    assert clock.verdict == "fail"
    assert "+600 s" in clock.said or "+599 s" in clock.said or "+601 s" in clock.said


async def test_what_is_wrong_with_ssh(config: Path) -> None:
    (config.parent / "key").chmod(0o644)
    (config.parent / "known_hosts").write_text("# none yet\n")
    assert bad(await ask(config)) == [("known hosts", "warn"), ("ssh key", "warn")]
    (config.parent / "key").write_text("not a key")
    (config.parent / "known_hosts").unlink()
    assert bad(await ask(config)) == [("known hosts", "fail"), ("ssh key", "fail")]


async def test_what_others_may_read(config: Path) -> None:
    config.chmod(0o644)
    assert bad(await ask(config)) == [("settings", "warn")]


async def test_a_newer_database(config: Path) -> None:
    url = f"sqlite:///{config.parent}/panicroom.db"
    migrations.upgrade(url)
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    engine.dispose()
    assert bad(await ask(config)) == [("schema", "fail")]


async def test_a_file_in_the_place_of_the_store(config: Path) -> None:
    (config.parent / "store").write_text("a file")
    assert bad(await ask(config)) == [("store", "fail")]


@pytest.mark.parametrize("token", ["right", "wrong"])
async def test_jira(config: Path, jira_url: str, token: str) -> None:
    tracker = Tracker([], clock=lambda: 0.0)
    jira: dict[str, Any] = {"url": jira_url, "flavour": "cloud", "email": tracker.email, "projects": ["OPS"]}
    jira["token"] = tracker.token if token == "right" else "wrong"
    findings = await ask(config, JIRA=json.dumps(jira))
    (found,) = [f for f in findings if f.name == "jira"]
    assert found.verdict == ("ok" if token == "right" else "fail"), found


async def test_reports_that_wait_for_a_person(config: Path) -> None:
    url = f"sqlite:///{config.parent}/panicroom.db"
    migrations.upgrade(url)
    assert [f.said for f in await ask(config) if f.name == "reports"] == ["none is parked or in quarantine"]

    def fill(session: Session) -> None:
        at = datetime(2026, 11, 23, 9, 14, tzinfo=UTC)
        for n in range(12):
            session.add(
                Report(
                    external_id=str(n), host=f"web-{n}", body={}, received_at=at, state=ReportState.PARKED,
                    error=f"OSError: \x1b[31mno space\nleft ({n})",
                )
            )  # fmt: skip
        session.add(
            Report(external_id="q", host="lab-1", body={}, received_at=at, state=ReportState.QUARANTINED)
        )

    db = Database(url)
    db.write_now(fill)
    db.close()
    parked, held = [f for f in await ask(config) if f.name == "reports"]
    assert (parked.verdict, parked.said) == ("warn", "12 reports are parked: could not be read")
    assert parked.details[0] == "R-1 of web-0, 2026-11-23 09:14Z: OSError: no space left (0)"
    assert (len(parked.details), parked.details[-1]) == (11, "and 2 more")
    assert "`/panic quarantine accept R-1`" in parked.remedy
    assert (held.verdict, held.said[:23]) == ("warn", "1 report is quarantined")
    assert held.details == ("R-13 of lab-1, 2026-11-23 09:14Z",)
    assert "`/panic quarantine accept R-13`" in held.remedy
    # In a thread: the workspace it asks lives in this event loop.
    printed = await asyncio.to_thread(panicroom, "doctor", cwd=config.parent)
    assert "R-1 of web-0" in printed.stdout
