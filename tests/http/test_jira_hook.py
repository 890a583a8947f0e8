"""POST /v1/jira on a real port."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Iterable
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr
from sqlalchemy.exc import OperationalError

from bot.jira_hook import JiraRoute
from bot.metrics import Metrics
from integrations.changes.webhook import BadHook, authentic, changed_keys

SECRET = "a secret of the tracker"
UPDATED = {"webhookEvent": "jira:issue_updated", "issue": {"id": "1", "key": "OPS-1182", "fields": {}}}
MOVED = UPDATED | {
    "issue": {"key": "KERN-300"},
    "changelog": {"items": [{"field": "Key", "fromString": "OPS-1182", "toString": "KERN-300"}]},
}


class Door:
    def __init__(self, secret: str | None = SECRET) -> None:
        self.rung: list[set[str]] = []
        self.metrics = Metrics()
        self.fails = False
        self.route = JiraRoute(
            SecretStr(secret) if secret else None,
            body_limit=4096,
            metrics=self.metrics,
            on_changed=self._changed,
        )

    async def _changed(self, keys: Iterable[str]) -> int:
        if self.fails:
            raise OperationalError("UPDATE", {}, Exception("disk I/O error"))
        self.rung.append(set(keys))
        return int("OPS-1182" in self.rung[-1])

    def figures(self) -> dict[str, float]:
        """The counter of notifications, by outcome."""
        (family,) = [f for f in self.metrics.registry.collect() if f.name == "panicroom_jira_hooks"]
        return {s.labels["outcome"]: s.value for s in family.samples if s.name.endswith("_total")}

    async def start(self) -> None:
        app = web.Application()
        app.router.add_post("/v1/jira", self.route.handle)
        self.runner = web.AppRunner(app, shutdown_timeout=0.2, lingering_time=0.1)
        await self.runner.setup()
        await web.TCPSite(self.runner, "127.0.0.1", 0).start()
        self.session = aiohttp.ClientSession(f"http://127.0.0.1:{self.runner.addresses[0][1]}")

    async def close(self) -> None:
        await self.session.close()
        await self.runner.cleanup()

    async def post(self, body: bytes, path: str = "/v1/jira", **headers: str) -> tuple[int, dict[str, Any]]:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        async with self.session.post(path, data=body, headers=named) as answer:
            return answer.status, await answer.json()


@pytest.fixture
async def door() -> AsyncIterator[Door]:
    made = Door()
    await made.start()
    yield made
    await made.close()


def signed(body: bytes, secret: str = SECRET) -> str:
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


async def test_each_way_to_know_the_secret_opens_the_door(door: Door) -> None:
    body = json.dumps(UPDATED).encode()
    assert await door.post(body, X_Hub_Signature=signed(body)) == (200, {"status": "ok", "links": 1})
    assert (await door.post(body, Authorization=f"Bearer {SECRET}"))[0] == 200
    assert (await door.post(body, X_Panicroom_Secret=SECRET))[0] == 200
    assert (await door.post(body, "/v1/jira?secret=a+secret+of+the+tracker&user_id=x"))[0] == 200
    assert door.rung == [{"OPS-1182"}] * 4


async def test_who_does_not_know_it_is_refused(door: Door) -> None:
    body = json.dumps(UPDATED).encode()
    for path, headers in (
        ("/v1/jira", {}),
        ("/v1/jira?secret=", {}),
        ("/v1/jira?secret=a+secret", {}),
        ("/v1/jira", {"Authorization": "Bearer x"}),
        ("/v1/jira", {"Authorization": f"Basic {SECRET}"}),
        ("/v1/jira", {"X_Hub_Signature": signed(body + b" ")}),
        ("/v1/jira", {"X_Hub_Signature": signed(body, "another")}),
        ("/v1/jira?secret=a+secret+of+the+tracker", {"X_Hub_Signature": "sha1=00"}),
    ):
        status, answer = await door.post(body, path, **headers)
        assert (status, answer["error"]) == (401, "unauthorized"), (path, headers)
        assert SECRET not in str(answer)
    assert door.rung == []


async def test_a_moved_ticket_rings_for_both_keys_and_other_events_for_none(door: Door) -> None:
    await door.post(json.dumps(MOVED).encode(), X_Panicroom_Secret=SECRET)
    assert door.rung == [{"OPS-1182", "KERN-300"}]
    other = json.dumps({"webhookEvent": "jira:version_released", "version": {}}).encode()
    assert await door.post(other, X_Panicroom_Secret=SECRET) == (200, {"status": "ok", "links": 0})
    assert len(door.rung) == 1


async def test_what_is_too_large_or_no_json_is_refused(door: Door) -> None:
    assert (await door.post(b"x" * 5000, X_Panicroom_Secret=SECRET))[0] == 413
    assert (await door.post(b"{", X_Panicroom_Secret=SECRET))[0] == 400
    assert (await door.post(b"[1]", X_Panicroom_Secret=SECRET))[0] == 400
    assert (await door.post(b"[" * 4000, X_Panicroom_Secret=SECRET))[0] == 400
    assert door.rung == []


async def test_each_notification_is_counted_by_what_came_of_it(door: Door) -> None:
    body, ours = json.dumps(UPDATED).encode(), {"X_Panicroom_Secret": SECRET}
    await door.post(body, **ours)
    await door.post(body, **ours)
    await door.post(json.dumps(UPDATED | {"issue": {"key": "OTHER-1"}}).encode(), **ours)
    await door.post(b"{}", **ours)
    await door.post(b"{", **ours)
    await door.post(b"x" * 5000, **ours)
    await door.post(body)
    door.fails = True
    assert (await door.post(body, **ours))[0] == 503
    assert door.figures() == {
        "accepted": 2, "ignored": 2, "bad_json": 1, "body_too_large": 1, "unauthorized": 1, "not_stored": 1,
    }  # fmt: skip


async def test_without_a_secret_in_the_settings_the_route_is_closed() -> None:
    door = Door(None)
    await door.start()
    assert (await door.post(b"{}", "/v1/jira?secret="))[0] == 404
    assert door.figures() == {"not_enabled": 1}
    await door.close()


JSON = st.recursive(
    st.none() | st.integers() | st.text(max_size=12) | st.just("OPS-1"),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["issue", "issues", "key", "changelog", "items", "field", "fromString"]), inner
        )
    ),
    max_leaves=15,
)


@given(JSON)
def test_whatever_is_sent_gives_keys_or_a_refusal(told: Any) -> None:
    try:
        assert changed_keys(json.dumps(told).encode()) <= {"OPS-1"}
    except BadHook:
        assert not isinstance(told, dict)


@given(st.binary(max_size=40), st.text(max_size=30))
def test_nothing_but_the_secret_is_authentic(body: bytes, given_secret: str) -> None:
    right = given_secret.strip() == SECRET
    assert authentic({"Authorization": f"Bearer {given_secret}"}, {}, body, SECRET) == right
    assert authentic({}, {"secret": given_secret}, body, SECRET) == (given_secret == SECRET)
    assert authentic({"X-Hub-Signature": signed(body)}, {}, body, SECRET)
