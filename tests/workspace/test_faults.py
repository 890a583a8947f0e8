"""Bad days on demand: what lands and what does not, seen by slack_sdk."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import aiohttp
import pytest
from slack_sdk.errors import SlackApiError
from slack_sdk.web.async_client import AsyncWebClient

from bot.demo.workspace.testing import Refused, RunningWorkspace, running_workspace

INCIDENTS = "C0INCIDENTS"


@pytest.fixture
async def ws() -> AsyncIterator[RunningWorkspace]:
    async with running_workspace() as running:
        yield running


def client_of(ws: RunningWorkspace, *, timeout: int = 30) -> AsyncWebClient:
    return AsyncWebClient(token=ws.bot_token, base_url=ws.api_url, retry_handlers=[], timeout=timeout)


async def texts(ws: RunningWorkspace) -> list[str]:
    return [message["text"] for message in await ws.history()]


async def test_429_comes_so_often_and_says_how_long(ws: RunningWorkspace) -> None:
    client = client_of(ws)
    await ws.rate_limit("chat.postMessage", count=2, retry_after=7)
    for _ in range(2):
        with pytest.raises(SlackApiError) as caught:
            await client.chat_postMessage(channel=INCIDENTS, text="x")
        assert caught.value.response.status_code == 429
        assert caught.value.response.headers["Retry-After"] == "7"
        assert caught.value.response["error"] == "ratelimited"
    await client.chat_postMessage(channel=INCIDENTS, text="through")
    assert await texts(ws) == ["through"]


async def test_another_method_is_not_hit(ws: RunningWorkspace) -> None:
    await ws.fail("chat.update", "500")
    await client_of(ws).chat_postMessage(channel=INCIDENTS, text="x")
    assert (await ws.get("control"))["faults"][0]["count"] == 1
    await ws.control(clear=True)
    assert (await ws.get("control"))["faults"] == []


async def test_500_and_reset_do_nothing(ws: RunningWorkspace) -> None:
    client = client_of(ws)
    await ws.fail("*", "500")
    with pytest.raises(SlackApiError) as caught:
        await client.chat_postMessage(channel=INCIDENTS, text="x")
    assert caught.value.response.status_code == 500
    await ws.fail("*", "reset")
    with pytest.raises(aiohttp.ClientError):
        await client.chat_postMessage(channel=INCIDENTS, text="x")
    assert await texts(ws) == []


async def test_any_slack_error(ws: RunningWorkspace) -> None:
    await ws.fail("chat.postMessage", "error", error="restricted_action")
    with pytest.raises(SlackApiError, match="restricted_action"):
        await client_of(ws).chat_postMessage(channel=INCIDENTS, text="x")


async def test_it_lands_and_the_answer_is_lost(ws: RunningWorkspace) -> None:
    await ws.fail("chat.postMessage", "reset_after_landing")
    with pytest.raises(aiohttp.ClientError):
        await client_of(ws).chat_postMessage(channel=INCIDENTS, text="landed")
    assert await texts(ws) == ["landed"]


async def test_it_lands_and_the_client_times_out(ws: RunningWorkspace) -> None:
    await ws.fail("chat.postMessage", "timeout_after_landing")
    client = client_of(ws, timeout=1)
    with pytest.raises(asyncio.TimeoutError):
        await client.chat_postMessage(channel=INCIDENTS, text="landed")
    assert await texts(ws) == ["landed"]


async def test_it_lands_after_the_client_has_given_up(ws: RunningWorkspace) -> None:
    await ws.fail("chat.postMessage", "late_landing", delay=0.3)
    posting = client_of(ws).chat_postMessage(channel=INCIDENTS, text="late")
    with pytest.raises(aiohttp.ClientError):
        await posting
    assert await texts(ws) == []
    message = await ws.message("late", timeout=45)
    calls = await ws.calls("chat.postMessage")
    assert [call["ts"] for call in calls] == [message["ts"]]


async def test_slow_answers(ws: RunningWorkspace) -> None:
    await ws.fail("chat.postMessage", "slow", delay=0.05)
    assert (await client_of(ws).chat_postMessage(channel=INCIDENTS, text="slow"))["ok"]


async def test_the_sdk_itself_doubles_a_post_whose_answer_is_lost(ws: RunningWorkspace) -> None:
    """Not a wish: the reason why a bot that posts once must not use the SDK's own connection retries."""
    await ws.fail("chat.postMessage", "reset_after_landing")
    client = AsyncWebClient(token=ws.bot_token, base_url=ws.api_url)
    await client.chat_postMessage(channel=INCIDENTS, text="twice")
    assert await texts(ws) == ["twice", "twice"]


async def test_a_fault_that_is_none_is_refused(ws: RunningWorkspace) -> None:
    with pytest.raises(Refused, match="invalid_arguments"):
        await ws.fail("chat.postMessage", "explode")
