"""What a reader sees: blocks, mrkdwn, threads, files, times in their own zone."""

from __future__ import annotations

import pytest
from playwright.async_api import Page, expect

from bot.demo.workspace.testing import RunningWorkspace
from tests.page.gallery import CHOICES, INCIDENT, READING, section
from tests.page.page_app import PageApp

pytestmark = pytest.mark.asyncio(loop_scope="session")

INCIDENTS = "C0INCIDENTS"


async def test_every_block_of_the_gallery_is_shown(page: Page, app: PageApp) -> None:
    for blocks in (INCIDENT, CHOICES, READING):
        await app.client.chat_postMessage(channel=INCIDENTS, text="gallery", blocks=blocks)
    messages = page.locator(".main .message")
    await expect(messages).to_have_count(3)
    assert await page.locator(".unknown").count() == 0
    incident, choices, reading = messages.nth(0), messages.nth(1), messages.nth(2)
    await expect(incident.locator("strong").first).to_have_text(
        "web-17 panicked: NULL pointer dereference in nvme_irq"
    )
    await expect(incident.get_by_role("button", name="Run triage")).to_have_class("button primary")
    await expect(incident.get_by_role("img", name="red circle emoji")).to_be_visible()
    for name in ("Kind", "Assign to", "Channel", "Conversation", "Rings"):
        await expect(choices.get_by_role("button", name=name, exact=True)).to_be_visible()
    await expect(choices.get_by_role("checkbox", name="Pinned only")).to_be_visible()
    await expect(choices.get_by_role("radio", name="All hosts")).to_be_visible()
    await expect(choices.locator("input[type=date]")).to_have_value("2026-11-23")
    await expect(choices.locator("input[type=time]")).to_have_value("09:14")
    await expect(reading.get_by_role("heading", name="Panics of web-17")).to_be_visible()
    await expect(reading.get_by_role("columnheader", name="Signature")).to_be_visible()
    await expect(reading.get_by_role("cell", name="hung_task|jbd2")).to_be_visible()
    await expect(reading.locator("ol li")).to_have_text(["Dump exists", "Kernel"])
    await expect(reading.locator("pre")).to_have_text("$ uname -a\nLinux web-17")
    await expect(reading.locator(".mention")).to_have_text("@kernel-engineer")
    await expect(reading.locator(".image-outside")).to_have_text("panics a day")


async def test_mrkdwn_is_read_as_slack_reads_it(page: Page, app: PageApp) -> None:
    text = (
        "*bold* _it_ ~gone~ `co*d*e` 2*3*4 &lt;!channel&gt; <https://example.com/a?b=1&amp;c=2|the ticket> "
        "<@U0KERNEL> <#C0KERNEL> <!subteam^S0SREONCALL> :white_check_mark: :no_such_thing:\n"
        "&gt; quoted\n```[ 1.0] BUG: *raw* <TASK>\n  two```"
    )
    await app.client.chat_postMessage(channel=INCIDENTS, text=text)
    message = page.locator(".main .message-text")
    await expect(message.locator("strong")).to_have_text("bold")
    await expect(message.locator("em")).to_have_text("it")
    await expect(message.locator("s")).to_have_text("gone")
    await expect(message.locator("code")).to_have_text("co*d*e")
    await expect(message.locator("blockquote")).to_have_text("quoted")
    await expect(message.locator("pre")).to_have_text("[ 1.0] BUG: *raw* <TASK>\n  two")
    await expect(message.locator("a")).to_have_attribute("href", "https://example.com/a?b=1&c=2")
    await expect(message.locator(".mention")).to_have_text(
        ["@kernel-engineer", "#kernel-crashes", "@sre-oncall"]
    )
    await expect(message).to_contain_text("2*3*4 <!channel>")
    await expect(message).to_contain_text(":no_such_thing:")


async def test_dates_are_in_the_readers_zone(page: Page, app: PageApp) -> None:
    text = "<!date^1700000000^{date_num} {time_secs}|never> <!date^1700000000^{nonsense}|the fallback>"
    await app.client.chat_postMessage(channel=INCIDENTS, text=text)
    message = page.locator(".main .message-text")
    await expect(message).to_have_text("2023-11-15 7:13:20 the fallback")


async def test_a_thread_opens_grows_and_counts(page: Page, ws: RunningWorkspace, app: PageApp) -> None:
    parent = await app.client.chat_postMessage(channel=INCIDENTS, text="web-17 panicked", blocks=INCIDENT)
    await app.client.chat_postMessage(channel=INCIDENTS, thread_ts=parent["ts"], text="panic text")
    await page.get_by_role("button", name="1 reply").click()
    thread = page.get_by_role("complementary", name="Thread", exact=True)
    await expect(thread.locator(".message")).to_have_count(2)
    await app.client.chat_postMessage(channel=INCIDENTS, thread_ts=parent["ts"], text="runbook done")
    await expect(thread.locator(".replies-divider")).to_have_text("2 replies")
    await expect(page.locator("#announcer")).to_contain_text("runbook done")
    await expect(page.locator(".main .message")).to_have_count(1)
    await thread.get_by_label("Reply…").fill("on it")
    await page.keyboard.press("Enter")
    await expect(thread.locator(".message").last).to_contain_text("on it")
    assert [reply["text"] for reply in await ws.replies({"ts": parent["ts"]})][-1] == "on it"
    await page.keyboard.press("Escape")
    await expect(thread).to_be_hidden()


async def test_an_edit_is_shown_in_place_and_marked(page: Page, app: PageApp) -> None:
    posted = await app.client.chat_postMessage(channel=INCIDENTS, text="runbook 1/5")
    await expect(page.locator(".main .message")).to_contain_text("1/5")
    await app.client.chat_update(channel=INCIDENTS, ts=posted["ts"], text="runbook 2/5")
    await expect(page.locator(".main .message")).to_have_count(1)
    await expect(page.locator(".main .message")).to_contain_text("runbook 2/5(edited)")
    await app.client.chat_delete(channel=INCIDENTS, ts=posted["ts"])
    await expect(page.locator(".main .message")).to_have_count(0)


async def test_a_file_previews_and_downloads(page: Page, app: PageApp) -> None:
    lines = "\n".join(f"[  {row}.000000] line {row} <b>" for row in range(60))
    await app.client.files_upload_v2(channel=INCIDENTS, filename="P-41-dmesg.txt", content=lines)
    content = b"\x1f\x8b" + b"x" * 40_000
    await app.client.files_upload_v2(channel=INCIDENTS, filename="P-41-evidence.tar.gz", content=content)
    text_card, bundle = page.locator(".file").nth(0), page.locator(".file").nth(1)
    await expect(text_card.locator("pre")).to_contain_text("line 5 <b>")
    await expect(text_card.locator("pre")).not_to_contain_text("line 50")
    await text_card.get_by_role("button", name="Show more").click()
    await expect(text_card.locator("pre")).to_contain_text("line 59 <b>")
    await expect(bundle).to_contain_text("40 kB")
    async with page.expect_download() as started:
        await bundle.get_by_role("link", name="Download P-41-evidence.tar.gz").click()
    download = await started.value
    assert download.suggested_filename == "P-41-evidence.tar.gz"
    assert (await download.path()).read_bytes() == content


async def test_only_the_one_it_is_for_sees_an_ephemeral(page: Page, app: PageApp) -> None:
    await app.client.chat_postEphemeral(channel=INCIDENTS, user="U0ONCALL", text="needs the role *responder*")
    message = page.locator(".message.ephemeral")
    await expect(message).to_contain_text("Only visible to you")
    await expect(message.locator("strong")).to_have_text("responder")
    await message.get_by_role("button", name="Dismiss message").click()
    await expect(message).to_have_count(0)
    await app.client.chat_postEphemeral(channel=INCIDENTS, user="U0KERNEL", text="for the kernel engineer")
    await app.client.chat_postMessage(channel=INCIDENTS, text="for all")
    await expect(page.locator(".main .message")).to_have_count(1)
    await page.get_by_title("Act as another person").click()
    await page.get_by_role("menuitemradio", name="kernel-engineer").click()
    await expect(page.locator(".message.ephemeral")).to_contain_text("for the kernel engineer")


async def test_other_channels_show_that_something_is_unread(page: Page, app: PageApp) -> None:
    await app.client.chat_postMessage(channel="C0KERNEL", text="something")
    item = page.get_by_role("button", name="Channel kernel-crashes, 1 unread")
    await expect(item.locator(".dot")).to_be_visible()
    await app.client.chat_postMessage(channel="C0KERNEL", text="<@U0ONCALL> look")
    item = page.get_by_role("button", name="Channel kernel-crashes, 2 unread")
    await expect(item.locator(".count")).to_have_text("1")
    assert await page.title() == "(1) #incidents – Panicroom demo"
    await page.get_by_role("button", name="Channel kernel-crashes").click()
    await expect(page.locator(".main .message")).to_have_count(2)
    await expect(page.locator(".day-fresh")).to_have_text("New")
    await expect(page.get_by_role("button", name="Channel kernel-crashes", exact=True)).to_be_visible()


async def test_a_first_direct_message_appears_in_the_sidebar(page: Page, app: PageApp) -> None:
    await expect(page.get_by_role("button", name="Messages with panicroom")).to_have_count(0)
    await app.client.chat_postMessage(channel="U0ONCALL", text="your report is ready")
    await page.get_by_role("button", name="Messages with panicroom").click()
    await expect(page.locator(".main .message")).to_contain_text("your report is ready")


async def test_a_permalink_opens_the_thread_it_names(page: Page, app: PageApp) -> None:
    parent = await app.client.chat_postMessage(channel="C0KERNEL", text="parent", blocks=[section("P-12")])
    reply = await app.client.chat_postMessage(channel="C0KERNEL", thread_ts=parent["ts"], text="the reply")
    link = (await app.client.chat_getPermalink(channel="C0KERNEL", message_ts=reply["ts"]))["permalink"]
    await app.client.chat_postMessage(channel=INCIDENTS, text=f"similar: <{link}|P-12>")
    await page.get_by_role("link", name="P-12").click()
    await expect(page.get_by_role("heading", name="kernel-crashes")).to_be_visible()
    await expect(page.locator(".thread .message.revealed")).to_contain_text("the reply")
    await page.goto(link)
    await expect(page.locator(".thread .message.revealed")).to_contain_text("the reply")
