from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from integrations.pager import PagerBusy, PagerClient, PagerConfig, PagerError, PagerRefused, PagerUnreachable
from integrations.pager.client import _told


class Webhook:
    """A server that keeps alerts as PagerDuty does: one a dedup key."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self.open: dict[str, int] = {}
        self.answer: tuple[int, str, dict[str, str]] | None = None
        self.silent = asyncio.Event()
        self.silent.set()

    async def take(self, request: web.Request) -> web.Response:
        await self.silent.wait()
        if self.answer is not None:
            status, text, headers = self.answer
            return web.Response(status=status, text=text, headers=headers)
        event = await request.json()
        if event["routing_key"] != "the-routing-key":
            errors = ["'routing_key' is invalid"]
            return web.json_response(
                {"status": "invalid event", "message": "Event object is invalid", "errors": errors},
                status=400,
            )
        self.events.append(event)
        key = event["dedup_key"]
        if event["event_action"] == "trigger":
            assert set(event["payload"]) >= {"summary", "source", "severity"}
            self.open[key] = self.open.get(key, 0) + 1
        elif event["event_action"] == "resolve":
            self.open.pop(key, None)
        return web.json_response(
            {"status": "success", "message": "Event processed", "dedup_key": key}, status=202
        )


@pytest.fixture
async def webhook() -> AsyncIterator[Webhook]:
    hook = Webhook()
    app = web.Application()
    app.router.add_post("/v2/enqueue", hook.take)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    hook.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v2/enqueue"  # type: ignore[attr-defined]
    yield hook
    hook.silent.set()
    await runner.cleanup()


@pytest.fixture
async def pager(webhook: Webhook) -> AsyncIterator[PagerClient]:
    client = _client(webhook)
    yield client
    await client.close()


def _client(webhook: Webhook, key: str = "the-routing-key", timeout: float = 5.0) -> PagerClient:
    url = webhook.url  # type: ignore[attr-defined]
    config = PagerConfig.model_validate({"url": url, "routing_key": key, "timeout": timeout})
    return PagerClient(config, client_url="https://panicroom.example")


async def test_trigger_acknowledge_and_resolve_share_a_key(webhook: Webhook, pager: PagerClient) -> None:
    await pager.trigger(
        "panicroom-I-7",
        "web-17 panicked: NULL pointer dereference in nvme_irq",
        source="web-17",
        details={"incident": "I-7"},
        link="https://slack.example/archives/C1/p1",
    )
    assert webhook.open == {"panicroom-I-7": 1}
    await pager.acknowledge("panicroom-I-7")
    await pager.resolve("panicroom-I-7")
    assert webhook.open == {}
    assert [e["event_action"] for e in webhook.events] == ["trigger", "acknowledge", "resolve"]
    assert webhook.events[0] == {
        "routing_key": "the-routing-key",
        "event_action": "trigger",
        "dedup_key": "panicroom-I-7",
        "payload": {
            "summary": "web-17 panicked: NULL pointer dereference in nvme_irq",
            "source": "web-17",
            "severity": "critical",
            "component": "kernel",
            "class": "kernel panic",
            "custom_details": {"incident": "I-7"},
        },
        "client": "Panicroom",
        "client_url": "https://panicroom.example",
        "links": [{"href": "https://slack.example/archives/C1/p1", "text": "The incident's thread"}],
    }


async def test_limits_are_kept(webhook: Webhook, pager: PagerClient) -> None:
    await pager.trigger(
        "k" * 400, "s" * 3000, source="", severity="dreadful", details={"a": "\ud800" + "x" * 9000}
    )
    event = webhook.events[0]
    assert len(event["dedup_key"]) == 255
    assert len(event["payload"]["summary"]) == 1024
    assert event["payload"]["summary"].endswith("…")
    assert event["payload"]["source"] == "panicroom"
    assert event["payload"]["severity"] == "error"
    assert len(json.dumps(event)) < 512_000


async def test_a_wrong_key_is_permanent_and_says_so(webhook: Webhook) -> None:
    client = _client(webhook, key="retired")
    with pytest.raises(PagerRefused, match=r"400.*'routing_key' is invalid.*\[pager\]") as error:
        await client.resolve("k")
    assert error.value.permanent is True
    assert "retired" not in str(error.value)
    assert "/v2/enqueue" not in str(error.value)
    await client.close()


@pytest.mark.parametrize(
    ("answer", "kind", "permanent"),
    [
        ((500, "oops", {}), PagerUnreachable, False),
        ((503, "", {}), PagerUnreachable, False),
        ((408, "", {}), PagerUnreachable, False),
        ((429, "", {"Retry-After": "7"}), PagerBusy, False),
        ((404, "<html>", {}), PagerRefused, True),
        ((302, "", {"Location": "http://127.0.0.1:1/"}), PagerRefused, True),
    ],
)
async def test_answers(
    webhook: Webhook,
    pager: PagerClient,
    answer: tuple[int, str, dict[str, str]],
    kind: type[PagerError],
    permanent: bool,
) -> None:
    webhook.answer = answer
    with pytest.raises(kind) as error:
        await pager.trigger("k", "s", source="h")
    assert error.value.permanent is permanent
    if isinstance(error.value, PagerBusy):
        assert error.value.retry_after == 7
    webhook.answer = None
    await pager.trigger("k", "s", source="h")
    assert webhook.open == {"k": 1}


async def test_a_webhook_that_never_answers(webhook: Webhook) -> None:
    webhook.silent.clear()
    client = _client(webhook, timeout=0.2)
    with pytest.raises(PagerUnreachable, match=r"no answer within 0\.2 s|imeout"):
        await client.trigger("k", "s", source="h")
    await client.close()


async def test_a_webhook_that_is_not_there(unused_tcp_port: int) -> None:
    config = PagerConfig.model_validate(
        {"url": f"http://127.0.0.1:{unused_tcp_port}/hook-secret", "routing_key": "k"}
    )
    client = PagerClient(config)
    with pytest.raises(PagerUnreachable) as error:
        await client.trigger("k", "s", source="h")
    assert error.value.permanent is False
    assert "hook-secret" not in str(error.value)
    await client.close()


@given(st.text(max_size=300))
def test_any_answer_can_be_told(body: str) -> None:
    assert len(_told(body)) <= 300
