"""What /readyz and the doctor say."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from bot.doctor_replicas import replicas_findings
from bot.lag import LONGEST, MOST_WAITING, lag_check
from bot.settings import load_settings
from storage import Database, Report, ReportState
from storage.lease import LeaseTable
from storage.migrations import upgrade

NOW = datetime(2026, 11, 24, 5, 0, tzinfo=UTC)


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    upgrade(f"sqlite:///{tmp_path}/bot.db")
    made = Database(f"sqlite:///{tmp_path}/bot.db")
    yield made
    made.close()


def _store(db: Database, name: str, due: datetime, state: ReportState = ReportState.NEW) -> None:
    db.write_now(lambda s: s.add(Report(host="web-1", external_id=name, state=state, next_at=due)))


async def test_reading_that_lags_is_told_by_the_one_that_reads(db: Database) -> None:
    leader = lag_check(db, lambda: 0, lambda: True, clock=lambda: NOW)
    follower = lag_check(db, lambda: 0, lambda: False, clock=lambda: NOW)
    assert await leader() is None
    _store(db, "done", NOW - timedelta(hours=1), ReportState.DONE)
    _store(db, "parked", NOW - timedelta(hours=1), ReportState.PARKED)
    _store(db, "tried again in a while", NOW + timedelta(minutes=5))
    _store(db, "a moment ago", NOW - timedelta(seconds=5))
    assert await leader() is None
    _store(db, "late", NOW - LONGEST - timedelta(seconds=30))
    assert await leader() == "the oldest report that is stored has waited 90 s to be read"
    assert await follower() is None


async def test_storing_that_does_not_keep_up_is_told_by_each(db: Database) -> None:
    for leads in (True, False):
        check = lag_check(db, lambda: MOST_WAITING, lambda leads=leads: leads, clock=lambda: NOW)
        assert await check() is None
        check = lag_check(db, lambda: MOST_WAITING + 1, lambda leads=leads: leads, clock=lambda: NOW)
        assert "wait to be stored" in str(await check())


def _doctor(folder: Path, url: str) -> list[tuple[str, str]]:
    config = folder / "panicroom.toml"
    config.write_text(
        f"""
[server]
shared_secrets = ["0123456789abcdef"]
[database]
url = {json.dumps(url)}
[slack]
bot_token = "xoxb-x"
signing_secret = "s"
[routing]
channel = "C0INCIDENTS"
"""
    )
    return [(f.verdict, f.said) for f in replicas_findings(load_settings(config, {}))]


def test_the_doctor_says_who_leads(tmp_path: Path, url: str) -> None:
    assert _doctor(tmp_path, url) == [("ok", "no bot has led yet: the first one that starts does")]
    table = LeaseTable(url, "abc", limit=30)
    db = Database(url, called="panicroom-def")
    db.read_now(lambda s: s.connection())
    assert table.take(3600, "alpha:8080", "9.9") == 1
    ((verdict, said),) = _doctor(tmp_path, url)
    assert verdict == "ok"
    assert said.startswith("alpha:8080 leads (epoch 1, since ")
    assert said.endswith("1 other ready to follow it")
    assert "version 9.9" in said
    table.give_back(1)
    ((verdict, said),) = _doctor(tmp_path, url)
    assert verdict == "warn"
    assert "nobody leads" in said
    assert "alpha:8080 was the last (epoch 1)" in said
    table.close()
    db.close()


def test_the_doctor_is_silent_where_there_can_be_one_bot_alone(tmp_path: Path, postgres_url: str) -> None:
    assert _doctor(tmp_path, f"sqlite:///{tmp_path}/bot.db") == []
    assert _doctor(tmp_path, postgres_url) == []  # no tables yet
