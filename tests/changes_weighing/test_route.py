"""POST /v1/changes as a deploy pipeline calls it, and the files beside it."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from pydantic import SecretStr, ValidationError
from sqlmodel import select

from bot.changes_feed import ChangesRoute, FeedFiles
from bot.metrics import Metrics
from bot.settings import ServerConfig
from integrations.changes.feed_config import FeedConfig
from integrations.inbound import signed_headers
from storage import ChangeRecord, ChangeTouch, Database, utc_now
from storage.pruning import prune

TOKEN, SHARED = "pipeline-token-0001", "shared-secret-of-all-hosts"
STARTED = {
    "source": "deploys",
    "key": "r-31",
    "summary": "rollout of 6.1.0-31 to ring prod-2 started",
    "ring": "prod-2",
}


@dataclass
class Door:
    url: str
    http: aiohttp.ClientSession
    db: Database
    fed: list[int] = field(default_factory=list)
    metrics: Metrics = field(default_factory=Metrics)

    def figures(self) -> dict[str, float]:
        """The counter of changes that were told, by outcome."""
        (family,) = [f for f in self.metrics.registry.collect() if f.name == "panicroom_changes_told"]
        return {s.labels["outcome"]: s.value for s in family.samples if s.name.endswith("_total")}

    async def post(self, body: object, **headers: str) -> tuple[int, dict[str, object]]:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        sent = {"Content-Type": "application/json", "Authorization": f"Bearer {TOKEN}", **headers}
        sent = {k: v for k, v in sent.items() if v}
        async with self.http.post(self.url, data=data, headers=sent) as answer:
            return answer.status, await answer.json()

    def kept(self) -> list[ChangeRecord]:
        return self.db.read_now(lambda s: list(s.exec(select(ChangeRecord).order_by(ChangeRecord.id))))


@pytest.fixture
async def door(db: Database) -> AsyncIterator[Door]:
    fed: list[int] = []
    metrics = Metrics()
    route = ChangesRoute(
        FeedConfig(tokens=(SecretStr("another-pipeline-0002"), SecretStr(TOKEN))),
        server=ServerConfig(shared_secrets=(SecretStr(SHARED),), body_limit=4096),
        db=db,
        metrics=metrics,
        on_fed=lambda: fed.append(1),
    )
    app = web.Application()
    app.router.add_post("/v1/changes", route.handle)
    runner = web.AppRunner(app, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    async with aiohttp.ClientSession() as http:
        yield Door(f"http://127.0.0.1:{runner.addresses[0][1]}/v1/changes", http, db, fed, metrics)
    await runner.cleanup()


async def test_a_rollout_starts_is_told_again_and_ends(door: Door) -> None:
    assert await door.post(STARTED) == (201, {"status": "ok", "new": 1, "updated": 0, "unchanged": 0})
    assert await door.post(STARTED) == (200, {"status": "ok", "new": 0, "updated": 0, "unchanged": 1})
    ended = utc_now() + timedelta(minutes=5)
    status, answer = await door.post({"source": "deploys", "key": "r-31", "ended": ended.isoformat()})
    assert (status, answer["updated"]) == (200, 1)
    (record,) = door.kept()
    assert (record.summary, record.scope, record.ended) == (STARTED["summary"], {"rings": ["prod-2"]}, ended)
    assert len(door.fed) == 2, "an unchanged one wakes nobody"


async def test_it_is_signed_as_a_report_is_or_carries_a_token(door: Door) -> None:
    body = json.dumps(STARTED).encode()
    signed = signed_headers(SHARED, int(time.time()), body)
    assert (await door.post(body, Authorization="", **signed))[0] == 201
    own = signed_headers(TOKEN, int(time.time()), body)
    assert (await door.post(body, Authorization="", **own))[0] == 200
    for headers, code in (
        ({"Authorization": ""}, "bad_signature"),
        ({"Authorization": "Bearer wrong"}, "bad_credentials"),
        ({"Authorization": f"Basic {TOKEN}"}, "bad_credentials"),
        ({"Authorization": f"Bearer {TOKEN} x"}, "bad_credentials"),
        ({"Authorization": "", **signed_headers(SHARED, int(time.time()) - 4000, body)}, "stale_timestamp"),
        ({"Authorization": "", **signed_headers(SHARED, int(time.time()), b"{}")}, "bad_signature"),
    ):
        status, answer = await door.post(body, **headers)
        assert (status, answer["error"]) == (401, code)


async def test_what_is_wrong_is_said_and_none_of_it_is_kept(door: Door) -> None:
    status, answer = await door.post([STARTED, {**STARTED, "key": "r-32", "rings_": "x"}])
    assert (status, answer["error"]) == (422, "bad_feed")
    assert "change 2: rings_ is no field of a change" in str(answer["message"])
    assert (await door.post(b"x", **{"Content-Type": "text/plain"}))[1]["error"] == "unsupported_media_type"
    assert (await door.post(b" " * 5000))[1]["error"] == "body_too_large"
    assert door.kept() == []


async def test_each_change_and_each_refusal_is_counted(door: Door) -> None:
    await door.post([STARTED, {**STARTED, "key": "r-32"}])
    await door.post(STARTED)
    await door.post({**STARTED, "summary": "another"})
    await door.post({**STARTED, "rings_": "x"})
    await door.post(STARTED, Authorization="Bearer wrong")
    await door.post(STARTED, Authorization="")
    await door.post(b"x", **{"Content-Type": "text/plain"})
    await door.post(b" " * 5000)
    assert door.figures() == {
        "new": 2, "unchanged": 1, "updated": 1, "bad_feed": 1, "bad_credentials": 1, "bad_signature": 1,
        "unsupported_media_type": 1, "body_too_large": 1,
    }  # fmt: skip


async def test_csv_and_toml_are_taken_too(door: Door) -> None:
    assert (await door.post(b"key,summary\na,one\n", **{"Content-Type": "text/csv"}))[0] == 201
    assert (await door.post(b'[[change]]\nkey = "b"', **{"Content-Type": "application/toml"}))[0] == 201
    assert [(r.source, r.key, r.summary) for r in door.kept()] == [("feed", "a", "one"), ("feed", "b", "b")]


async def test_posts_at_the_same_time_make_one(door: Door) -> None:
    answers = await asyncio.gather(*(door.post(STARTED) for _ in range(8)))
    assert sorted(status for status, _ in answers) == [200] * 7 + [201]
    assert len(door.kept()) == 1


async def test_files_are_read_when_they_change(db: Database, tmp_path: Path) -> None:
    file = tmp_path / "changes.toml"
    fed: list[int] = []
    files = FeedFiles(FeedConfig(files=(file, tmp_path / "none.csv")), db, Metrics(), lambda: fed.append(1))
    file.write_text('[[change]]\nkey = "a"\nring = "prod-1"\n')
    await files.look()
    await files.look()
    assert len(fed) == 1
    file.write_text('[[change]]\nkey = "a"\nring = "prod-1"\n[[change]]\nkey = "b"\nhosts = ["web-1"]\n')
    await files.look()
    keys = db.read_now(lambda s: [(r.source, r.key) for r in s.exec(select(ChangeRecord))])
    assert (keys, len(fed)) == ([("changes", "a"), ("changes", "b")], 2)
    file.write_text("not [ toml")
    await files.look()
    file.write_text('[[change]]\nkey = "c"\n')
    await files.look()
    assert len(fed) == 3, "a file that is wrong is read again once it is written anew"


def test_short_tokens_and_other_files_are_refused() -> None:
    with pytest.raises(ValidationError, match="at least 16 characters"):
        FeedConfig(tokens=(SecretStr("short"),))
    with pytest.raises(ValidationError, match="must end with"):
        FeedConfig(files=(Path("changes.yaml"),))


def test_changes_of_long_ago_are_forgotten(db: Database) -> None:
    def write(session: object, now: datetime) -> None:
        for number, days in enumerate((500, 401, 399)):
            at = now - timedelta(days=days)
            session.add(ChangeRecord(id=number + 1, source="d", key=str(days), started=at))  # type: ignore[attr-defined]
            session.flush()  # type: ignore[attr-defined]
            session.add(ChangeTouch(change_id=number + 1, what="ring", name="x", started=at, ended=at))  # type: ignore[attr-defined]

    now = utc_now()
    db.write_now(lambda s: write(s, now))
    assert db.write_now(lambda s: prune(s, now, batch=1)) == 1
    assert db.write_now(lambda s: prune(s, now)) == 1
    assert db.write_now(lambda s: prune(s, now)) == 0
    assert db.read_now(lambda s: [r.key for r in s.exec(select(ChangeRecord))]) == ["399"]
