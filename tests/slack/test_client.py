"""The client says of each failed call whether it may have landed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from bot.demo.workspace.testing import RunningWorkspace
from integrations.slack.client import SlackClient, SlackConfig
from integrations.slack.errors import SlackDown, SlackRateLimited, SlackRefused, SlackUnclear
from tests.incident.floor import CHANNEL


@pytest.fixture
async def slack(ws: RunningWorkspace) -> AsyncIterator[SlackClient]:
    client = SlackClient(
        SlackConfig(api_url=ws.api_url.rstrip("/"), bot_token=SecretStr(ws.bot_token), timeout=1)
    )
    await client.start()
    yield client
    await client.close()


async def test_posted_found_edited_and_deleted(slack: SlackClient, ws: RunningWorkspace) -> None:
    assert await slack.who_am_i() == "U0PANICROOM"
    ts = await slack.post(CHANNEL, "hello", [], key="k1")
    reply = await slack.post(CHANNEL, "reply", [], key="k2", thread_ts=ts)
    assert [(f.ts, f.key) for f in await slack.find(CHANNEL, thread_ts=None, oldest=0) if f.key] == [
        (ts, "k1")
    ]
    assert (reply, "k2") in [(f.ts, f.key) for f in await slack.find(CHANNEL, thread_ts=ts, oldest=0)]
    await slack.update(CHANNEL, ts, "changed", [], key="k1")
    message = await ws.message("changed")
    assert message["ts"] == ts
    link = await slack.permalink(CHANNEL, ts)
    assert await slack.permalink(CHANNEL, ts) == link
    assert len(await ws.calls("chat.getPermalink")) == 1
    await slack.delete(CHANNEL, reply)
    await slack.delete(CHANNEL, reply)
    assert await slack.members_of("S0SREONCALL")


async def test_found_on_a_later_page(slack: SlackClient, ws: RunningWorkspace) -> None:
    first = await slack.post(CHANNEL, "first", [], key="the-first")
    for n in range(205):
        ws.workspace.messages.post(
            CHANNEL,
            ws.workspace.bot_message(text=f"m{n}", blocks=None, attachments=None, metadata=None),
            thread_ts=None,
            broadcast=False,
        )
    found = await slack.find(CHANNEL, thread_ts=None, oldest=0)
    assert [f.ts for f in found if f.key == "the-first"] == [first]


@pytest.mark.parametrize(
    ("mode", "settings", "kind", "lands"),
    [
        ("ratelimited", {"retry_after": 7}, SlackRateLimited, False),
        ("500", {}, SlackUnclear, False),
        ("reset", {}, SlackUnclear, False),
        ("reset_after_landing", {}, SlackUnclear, True),
        ("timeout_after_landing", {"delay": 5}, SlackUnclear, True),
        ("error", {"error": "internal_error"}, SlackUnclear, False),
        ("error", {"error": "is_archived"}, SlackRefused, False),
        ("error", {"error": "invalid_blocks"}, SlackRefused, False),
    ],
)
async def test_each_failure_says_what_it_means(
    slack: SlackClient,
    ws: RunningWorkspace,
    mode: str,
    settings: dict[str, object],
    kind: type[Exception],
    lands: bool,
) -> None:
    await ws.fail("chat.postMessage", mode, **settings)
    with pytest.raises(kind) as raised:
        await slack.post(CHANNEL, "hello", [], key="k")
    assert any(m["text"] == "hello" for m in await ws.history()) is lands
    error = raised.value
    if isinstance(error, SlackRateLimited):
        assert error.retry_after == 7
    if isinstance(error, SlackRefused):
        assert (error.permanent, error.code) == (True, settings["error"])
        assert error.mendable is (settings["error"] == "is_archived")
        assert error.code in str(error)


async def test_a_call_that_never_left_did_not_land() -> None:
    client = SlackClient(SlackConfig(api_url="http://127.0.0.1:9/api/", bot_token=SecretStr("x")))
    await client.start()
    with pytest.raises(SlackDown):
        await client.post(CHANNEL, "hello", [], key="k")
    with pytest.raises(SlackDown):
        await client.members_of("S0ADMINS")
    await client.close()


async def test_a_wrong_token_says_what_to_check(ws: RunningWorkspace) -> None:
    client = SlackClient(SlackConfig(api_url=ws.api_url, bot_token=SecretStr("xoxb-wrong")))
    await client.start()
    with pytest.raises(SlackRefused, match=r"invalid_auth.*Check \[slack\] bot_token"):
        await client.who_am_i()
    await client.close()


async def test_an_upload_shows_in_the_thread_with_its_bytes(
    slack: SlackClient, ws: RunningWorkspace, tmp_path: Path
) -> None:
    (tmp_path / "x").write_bytes(b"\x00\x01binary")
    ts = await slack.post(CHANNEL, "parent", [], key="k")
    file_id = await slack.upload(
        CHANNEL, ts, tmp_path / "x", name="P-1-evidence.tar.gz", comment="the bundle"
    )
    reply = await ws.reply(await ws.message("parent"), "the bundle")
    assert await ws.download(reply["files"][0]) == b"\x00\x01binary"
    found = await slack.find(CHANNEL, thread_ts=ts, oldest=0)
    assert found[-1].files == ((file_id, "P-1-evidence.tar.gz"),)
    with pytest.raises(FileNotFoundError):
        await slack.upload(CHANNEL, ts, tmp_path / "none", name="n", comment="c")


async def test_a_urls_in_a_hosts_text_become_no_links(slack: SlackClient, ws: RunningWorkspace) -> None:
    ts = await slack.post(CHANNEL, "see http://evil.example", [], key="k")
    await slack.update(CHANNEL, ts, "see http://evil.example now", [], key="k")
    for method in ("chat.postMessage", "chat.update"):
        (call,) = await ws.calls(method)
        assert call["arguments"]["parse"] == "none"
