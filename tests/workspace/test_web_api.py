"""The Web API as slack_sdk's AsyncWebClient meets it: methods, histories, files, and Slack's refusals."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from slack_sdk.errors import SlackApiError
from slack_sdk.http_retry.async_handler import AsyncRetryHandler
from slack_sdk.http_retry.builtin_async_handlers import AsyncRateLimitErrorRetryHandler
from slack_sdk.web.async_client import AsyncWebClient

from bot.demo.workspace import Channel
from bot.demo.workspace.testing import RunningWorkspace, running_workspace, visible_text

INCIDENTS = "C0INCIDENTS"
METADATA = {"event_type": "panicroom_incident", "event_payload": {"id": "I-7", "panic": "P-41"}}


@pytest.fixture
async def ws() -> AsyncIterator[RunningWorkspace]:
    async with running_workspace() as running:
        yield running


@pytest.fixture
def client(ws: RunningWorkspace) -> AsyncWebClient:
    return AsyncWebClient(token=ws.bot_token, base_url=ws.api_url, retry_handlers=[])


async def refused(call: Any) -> dict[str, Any]:
    with pytest.raises(SlackApiError) as caught:
        await call
    answer: dict[str, Any] = caught.value.response.data
    return answer


def section(text: str, **more: Any) -> dict[str, Any]:
    return {"type": "section", "text": {"type": "mrkdwn", "text": text}, **more}


async def test_who_am_i(client: AsyncWebClient) -> None:
    me = await client.auth_test()
    assert (me["user_id"], me["bot_id"], me["team_id"]) == ("U0PANICROOM", "B0PANICROOM", "T0PANICROOM")


@pytest.mark.parametrize(
    ("token", "error"),
    [(None, "not_authed"), ("xoxb-wrong", "invalid_auth"), ("xapp-demo-app-token", "not_allowed_token_type")],
)
async def test_bad_tokens(ws: RunningWorkspace, token: str | None, error: str) -> None:
    client = AsyncWebClient(token=token, base_url=ws.api_url)
    assert (await refused(client.chat_postMessage(channel=INCIDENTS, text="x")))["error"] == error


async def test_the_bot_token_opens_no_socket(client: AsyncWebClient) -> None:
    answer = await refused(client.api_call("apps.connections.open"))
    assert answer["error"] == "not_allowed_token_type"


async def test_unknown_methods(client: AsyncWebClient) -> None:
    assert (await refused(client.api_call("chat.scheduleMessage")))["error"] == "unknown_method"


async def test_post_edit_and_delete(ws: RunningWorkspace, client: AsyncWebClient) -> None:
    posted = await client.chat_postMessage(
        channel=INCIDENTS, text="fallback", blocks=[section("*web-17* panicked")], metadata=METADATA
    )
    ts = posted["ts"]
    assert posted["message"]["blocks"][0]["block_id"]
    assert posted["message"]["blocks"][0]["text"]["verbatim"] is False
    await client.chat_update(channel=INCIDENTS, ts=ts, blocks=[section("*web-17* is back")], text="back")
    message = await ws.message("web-17* is back")
    assert "edited" not in message
    await client.chat_update(channel=INCIDENTS, ts=ts, text="only text")
    message = await ws.message("only text")
    assert "blocks" not in message
    assert message["edited"]["user"] == "B0PANICROOM"
    assert message["metadata"] == METADATA
    await client.chat_delete(channel=INCIDENTS, ts=ts)
    assert await ws.history() == []
    assert (await refused(client.chat_delete(channel=INCIDENTS, ts=ts)))["error"] == "message_not_found"


async def test_metadata_is_given_only_when_asked_for(client: AsyncWebClient) -> None:
    await client.chat_postMessage(channel=INCIDENTS, text="x", metadata=METADATA)
    plain = await client.conversations_history(channel=INCIDENTS)
    assert "metadata" not in plain["messages"][0]
    full = await client.conversations_history(channel=INCIDENTS, include_all_metadata=True)
    assert full["messages"][0]["metadata"] == METADATA


async def test_threads(ws: RunningWorkspace, client: AsyncWebClient) -> None:
    parent = (await client.chat_postMessage(channel=INCIDENTS, text="parent"))["ts"]
    first = await client.chat_postMessage(channel=INCIDENTS, text="one", thread_ts=parent)
    second = await client.chat_postMessage(channel=INCIDENTS, text="two", thread_ts=first["ts"])
    assert second["message"]["thread_ts"] == parent
    answer = await client.conversations_replies(channel=INCIDENTS, ts=parent)
    assert [m["text"] for m in answer["messages"]] == ["parent", "one", "two"]
    assert answer["messages"][0]["reply_count"] == 2
    assert answer["messages"][0]["reply_users"] == ["U0PANICROOM"]
    history = await client.conversations_history(channel=INCIDENTS)
    assert [m["text"] for m in history["messages"]] == ["parent"]
    await client.chat_delete(channel=INCIDENTS, ts=parent)
    answer = await client.conversations_replies(channel=INCIDENTS, ts=parent)
    assert answer["messages"][0]["subtype"] == "tombstone"
    for reply in (first, second):
        await client.chat_delete(channel=INCIDENTS, ts=reply["ts"])
    assert (await ws.history())[0].get("reply_count") is None


async def test_a_thread_that_does_not_exist_is_the_channel(client: AsyncWebClient) -> None:
    posted = await client.chat_postMessage(channel=INCIDENTS, text="lost", thread_ts="1700000000.000100")
    assert "thread_ts" not in posted["message"]
    history = await client.conversations_history(channel=INCIDENTS)
    assert history["messages"][0]["text"] == "lost"
    missing = await refused(client.conversations_replies(channel=INCIDENTS, ts="1700000000.000100"))
    assert missing["error"] == "thread_not_found"


async def test_history_by_pages_and_by_time(client: AsyncWebClient) -> None:
    stamps = [(await client.chat_postMessage(channel=INCIDENTS, text=str(n)))["ts"] for n in range(7)]
    seen: list[str] = []
    cursor = None
    while True:
        page = await client.conversations_history(channel=INCIDENTS, limit=3, cursor=cursor)
        seen += [m["text"] for m in page["messages"]]
        cursor = page["response_metadata"]["next_cursor"]
        assert page["has_more"] == bool(cursor)
        if not cursor:
            break
    assert seen == ["6", "5", "4", "3", "2", "1", "0"]

    async def between(**bounds: Any) -> list[str]:
        page = await client.conversations_history(channel=INCIDENTS, **bounds)
        return [m["text"] for m in page["messages"]]

    assert await between(oldest=stamps[2], latest=stamps[5]) == ["4", "3"]
    assert await between(oldest=stamps[2], latest=stamps[5], inclusive=True) == ["5", "4", "3", "2"]
    assert await between(latest=stamps[3], inclusive=True, limit=1) == ["3"]
    bad = await refused(client.conversations_history(channel=INCIDENTS, oldest="yesterday"))
    assert bad["error"] == "invalid_ts_oldest"
    parent = stamps[0]
    for n in range(5):
        await client.chat_postMessage(channel=INCIDENTS, text=f"r{n}", thread_ts=parent)
    page = await client.conversations_replies(channel=INCIDENTS, ts=parent, limit=3)
    assert [m["text"] for m in page["messages"]] == ["0", "r0", "r1"]
    page = await client.conversations_replies(
        channel=INCIDENTS, ts=parent, limit=10, cursor=page["response_metadata"]["next_cursor"]
    )
    assert [m["text"] for m in page["messages"]] == ["0", "r2", "r3", "r4"]
    assert page["has_more"] is False


async def test_channels_and_membership(ws: RunningWorkspace, client: AsyncWebClient) -> None:
    workspace = ws.workspace
    workspace.add_channel(Channel(id="C0OTHER", name="other"))
    workspace.add_channel(Channel(id="C0SECRET", name="secret", is_private=True))
    listed = await client.conversations_list(types="public_channel,private_channel", limit=2)
    assert [c["name"] for c in listed["channels"]] == ["incidents", "panicroom-admins"]
    assert listed["response_metadata"]["next_cursor"]
    for channel, error in (
        ("C0OTHER", "not_in_channel"),
        ("C0SECRET", "channel_not_found"),
        ("C0NOWHERE", "channel_not_found"),
    ):
        assert (await refused(client.chat_postMessage(channel=channel, text="x")))["error"] == error
    await client.conversations_join(channel="C0OTHER")
    assert (await client.conversations_info(channel="C0OTHER"))["channel"]["is_member"] is True
    assert (await client.chat_postMessage(channel="#other", text="x"))["channel"] == "C0OTHER"
    workspace.archive(workspace.directory.channels["C0OTHER"])
    assert (await refused(client.chat_postMessage(channel="C0OTHER", text="x")))["error"] == "is_archived"


async def test_a_user_id_is_the_direct_message(ws: RunningWorkspace, client: AsyncWebClient) -> None:
    posted = await client.chat_postMessage(channel="U0ADMIN", text="a host is in quarantine")
    assert posted["channel"] == "D0ADMIN"
    state = await ws.get("state", user="U0ADMIN")
    assert "D0ADMIN" in [channel["id"] for channel in state["channels"]]
    others = await ws.get("state", user="U0ONCALL")
    assert "D0ADMIN" not in [channel["id"] for channel in others["channels"]]


async def test_nobody_edits_what_others_wrote(ws: RunningWorkspace, client: AsyncWebClient) -> None:
    said = (await ws.person().say("mine"))["message"]
    update = client.chat_update(channel=INCIDENTS, ts=said["ts"], text="x")
    assert (await refused(update))["error"] == "cant_update_message"
    delete = client.chat_delete(channel=INCIDENTS, ts=said["ts"])
    assert (await refused(delete))["error"] == "cant_delete_message"


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"text": ""}, "no_text", None),
        ({"text": "x" * 40_001}, "msg_too_long", None),
        ({"blocks": "[not json"}, "invalid_blocks_format", None),
        (
            {"blocks": [{"type": "popup"}]},
            "invalid_blocks",
            "unsupported type: popup [json-pointer:/blocks/0/type]",
        ),
        (
            {"blocks": [section("x" * 3001)]},
            "invalid_blocks",
            "must be less than 3001 characters [json-pointer:/blocks/0/text/text]",
        ),
        (
            {"blocks": [{"type": "divider"}] * 51},
            "invalid_blocks",
            "no more than 50 items allowed [json-pointer:/blocks]",
        ),
        ({"blocks": [section("x" * 2900)] * 5}, "msg_blocks_too_long", None),
        ({"text": "x", "metadata": {"event_type": "x"}}, "invalid_metadata_format", None),
        (
            {"text": "x", "metadata": {"event_type": "x", "event_payload": {"a": "y" * 17_000}}},
            "metadata_too_large",
            None,
        ),
    ],
)
@pytest.mark.filterwarnings("ignore:The top-level `text` argument is missing")
async def test_what_slack_refuses(
    ws: RunningWorkspace, client: AsyncWebClient, arguments: dict[str, Any], error: str, message: str | None
) -> None:
    answer = await refused(client.chat_postMessage(channel=INCIDENTS, **arguments))
    assert answer["error"] == error
    if message is not None:
        assert f"[ERROR] {message}" in answer["response_metadata"]["messages"]
    assert await ws.history() == []


async def test_ephemeral_messages(ws: RunningWorkspace, client: AsyncWebClient) -> None:
    await client.chat_postEphemeral(channel=INCIDENTS, user="U0VIEWER", text="you need the role responder")
    await ws.person("U0VIEWER").ephemeral("responder")
    assert (await ws.get("history", channel=INCIDENTS, user="U0ONCALL"))["ephemerals"] == []
    history = await client.conversations_history(channel=INCIDENTS)
    assert history["messages"] == []
    unknown = client.chat_postEphemeral(channel=INCIDENTS, user="U0NOBODY", text="x")
    assert (await refused(unknown))["error"] == "user_not_found"


async def test_permalinks_open_in_the_page(ws: RunningWorkspace, client: AsyncWebClient) -> None:
    parent = (await client.chat_postMessage(channel=INCIDENTS, text="parent"))["ts"]
    reply = (await client.chat_postMessage(channel=INCIDENTS, text="reply", thread_ts=parent))["ts"]
    link = (await client.chat_getPermalink(channel=INCIDENTS, message_ts=reply))["permalink"]
    assert (
        link == f"{ws.url}/archives/{INCIDENTS}/p{reply.replace('.', '')}?thread_ts={parent}&cid={INCIDENTS}"
    )


async def test_files_by_the_external_upload(ws: RunningWorkspace, client: AsyncWebClient) -> None:
    parent = (await client.chat_postMessage(channel=INCIDENTS, text="parent"))["ts"]
    content = bytes(range(256)) * 100
    done = await client.files_upload_v2(
        content=content,
        filename="P-41-evidence.tar.gz",
        title="Evidence of P-41",
        channel=INCIDENTS,
        thread_ts=parent,
        initial_comment="12 files",
    )
    reply = await ws.reply({"ts": parent}, "12 files")
    assert "Evidence of P-41" in visible_text(reply)
    (file,) = reply["files"]
    assert (file["mimetype"], file["size"]) == ("application/gzip", len(content))
    assert await ws.download(file) == content
    assert done["file"]["shares"] == {}
    info = await client.files_info(file=done["file"]["id"])
    assert info["file"]["shares"]["public"][INCIDENTS][0]["thread_ts"] == parent
    async with aiohttp.ClientSession() as session:
        async with session.get(file["url_private_download"]) as stranger:
            assert stranger.status == 403
        headers = {"Authorization": f"Bearer {ws.bot_token}"}
        async with session.get(file["url_private_download"], headers=headers) as app:
            assert await app.read() == content


async def test_uploads_that_lie_about_their_length(ws: RunningWorkspace, client: AsyncWebClient) -> None:
    ticket = await client.files_getUploadURLExternal(filename="a.txt", length=10)
    async with (
        aiohttp.ClientSession() as session,
        session.post(ticket["upload_url"], data=b"four") as answer,
    ):
        assert answer.status == 400
    complete = client.files_completeUploadExternal(files=[{"id": ticket["file_id"]}], channel_id=INCIDENTS)
    assert (await refused(complete))["error"] == "file_not_found"


async def test_people_and_groups(client: AsyncWebClient) -> None:
    groups = (await client.usergroups_list(include_users=True))["usergroups"]
    assert {group["handle"] for group in groups} == {"sre-oncall", "panicroom-admins"}
    assert (await client.usergroups_users_list(usergroup="S0ADMINS"))["users"] == ["U0ADMIN"]
    assert (await client.users_info(user="U0KERNEL"))["user"]["name"] == "kernel-engineer"
    assert (await refused(client.users_info(user="U0NOBODY")))["error"] == "user_not_found"
    names: list[str] = []
    async for page in await client.users_list(limit=2):
        names += [member["name"] for member in page["members"]]
    assert names == ["on-call", "kernel-engineer", "admin", "viewer", "panicroom"]


async def test_reactions(ws: RunningWorkspace, client: AsyncWebClient) -> None:
    ts = (await client.chat_postMessage(channel=INCIDENTS, text="x"))["ts"]
    await client.reactions_add(channel=INCIDENTS, timestamp=ts, name="eyes")
    message = await ws.message(lambda m: "reactions" in m)
    assert message["reactions"] == [{"name": "eyes", "users": ["U0PANICROOM"], "count": 1}]
    again = client.reactions_add(channel=INCIDENTS, timestamp=ts, name="eyes")
    assert (await refused(again))["error"] == "already_reacted"


async def test_views_need_a_fresh_trigger(ws: RunningWorkspace, client: AsyncWebClient) -> None:
    modal = {"type": "modal", "title": {"type": "plain_text", "text": "T"}, "blocks": [section("x")]}
    made_up = client.views_open(trigger_id="1.2.abc", view=modal)
    assert (await refused(made_up))["error"] == "expired_trigger_id"
    trigger = ws.workspace.tickets.trigger("U0ONCALL")
    opened = await client.views_open(trigger_id=trigger, view=modal)
    spent = client.views_open(trigger_id=trigger, view=modal)
    assert (await refused(spent))["error"] == "exchanged_trigger_id"
    updated = await client.views_update(view_id=opened["view"]["id"], hash=opened["view"]["hash"], view=modal)
    stale = client.views_update(view_id=updated["view"]["id"], hash=opened["view"]["hash"], view=modal)
    assert (await refused(stale))["error"] == "hash_conflict"
    for _ in range(2):
        await client.views_push(trigger_id=ws.workspace.tickets.trigger("U0ONCALL"), view=modal)
    fourth = client.views_push(trigger_id=ws.workspace.tickets.trigger("U0ONCALL"), view=modal)
    assert (await refused(fourth))["error"] == "push_limit_reached"
    long = {**modal, "title": {"type": "plain_text", "text": "T" * 25}}
    answer = await refused(client.views_publish(user_id="U0ONCALL", view=long))
    assert answer["error"] == "invalid_arguments"
    assert answer["response_metadata"]["messages"] == [
        "[ERROR] must be less than 25 characters [json-pointer:/view/title/text]"
    ]


async def test_late_triggers(ws: RunningWorkspace, client: AsyncWebClient) -> None:
    modal = {"type": "modal", "title": {"type": "plain_text", "text": "T"}, "blocks": [section("x")]}
    now = [1_700_000_000.0]
    async with running_workspace(clock=lambda: now[0]) as other:
        late = AsyncWebClient(token=other.bot_token, base_url=other.api_url)
        trigger = other.workspace.tickets.trigger("U0ONCALL")
        now[0] += 3.1
        assert (await refused(late.views_open(trigger_id=trigger, view=modal)))[
            "error"
        ] == "expired_trigger_id"


async def test_one_message_a_second_a_channel(ws: RunningWorkspace) -> None:
    now = [1_700_000_000.0]
    async with running_workspace(clock=lambda: now[0]) as slow:
        client = AsyncWebClient(token=slow.bot_token, base_url=slow.api_url, retry_handlers=[])
        await slow.control(channel_limit=True)
        await client.chat_postMessage(channel=INCIDENTS, text="1")
        await client.chat_postMessage(channel="C0ADMINS", text="1")
        with pytest.raises(SlackApiError) as caught:
            await client.chat_postMessage(channel=INCIDENTS, text="2")
        assert caught.value.response.status_code == 429
        assert caught.value.response.headers["Retry-After"] == "1"
        now[0] += 1
        await client.chat_postMessage(channel=INCIDENTS, text="2")


async def test_rate_limits_are_obeyed_by_the_sdk(ws: RunningWorkspace) -> None:
    handlers: list[AsyncRetryHandler] = [AsyncRateLimitErrorRetryHandler(max_retry_count=2)]
    client = AsyncWebClient(token=ws.bot_token, base_url=ws.api_url, retry_handlers=handlers)
    await ws.rate_limit("chat.postMessage", count=2, retry_after=0)
    await client.chat_postMessage(channel=INCIDENTS, text="at last")
    assert [call["error"] for call in await ws.calls("chat.postMessage")] == [
        "ratelimited",
        "ratelimited",
        None,
    ]
