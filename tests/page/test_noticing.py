"""What the page calls to the reader's notice: replies in threads out of sight, toasts, words for a screen reader."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from playwright.async_api import Locator, Page, expect

from bot.demo.workspace.testing import RunningWorkspace
from tests.page.conftest import CountedHosts
from tests.page.page_app import PageApp

pytestmark = pytest.mark.asyncio(loop_scope="session")

Json = dict[str, Any]

INCIDENTS = "C0INCIDENTS"
LINES = "\n".join(f"line {row}" for row in range(12))


async def old_thread(page: Page, app: PageApp) -> Any:
    """The ts of a thread whose head has scrolled out of sight."""
    parent = await app.client.chat_postMessage(channel=INCIDENTS, text="web-17 panicked: NMI (P-1, I-1)")
    await app.client.chat_postMessage(channel=INCIDENTS, thread_ts=parent["ts"], text="panic text")
    await page.get_by_role("button", name="1 reply").click()
    await page.get_by_role("button", name="Close thread").click()
    for row in range(6):
        await app.client.chat_postMessage(channel=INCIDENTS, text=f"{row}\n{LINES}")
    await expect(page.locator(".main .message")).to_have_count(7)
    await expect(page.locator(".main .message").first).not_to_be_in_viewport()
    return parent["ts"]


async def back_up(ws: RunningWorkspace, hosts: CountedHosts) -> None:
    for host in hosts.known:
        host["state"] = "up"
    ws.workspace.tell_hosts(hosts.hosts())


async def test_a_reply_to_a_thread_out_of_sight_is_called_at_the_bottom(page: Page, app: PageApp) -> None:
    ts = await old_thread(page, app)
    pill = page.get_by_role("button", name="1 thread has new replies")
    await expect(pill).to_be_hidden()
    await app.client.chat_postMessage(channel=INCIDENTS, thread_ts=ts, text="web-18 panicked, too (P-2)")
    await expect(pill).to_be_visible()
    await expect(page.locator(".thread-bar-new")).to_have_text("1 new")
    await pill.click()
    thread = page.get_by_role("complementary", name="Thread", exact=True)
    await expect(thread.locator(".message").last).to_contain_text("web-18 panicked, too")
    await expect(page.locator(".main .message").first).to_be_in_viewport()
    await expect(pill).to_be_hidden()
    await expect(page.locator(".thread-bar-new")).to_have_count(0)
    await app.client.chat_postMessage(channel=INCIDENTS, thread_ts=ts, text="web-19 panicked, too (P-3)")
    await expect(thread.locator(".message")).to_have_count(4)
    await expect(page.locator(".thread-bar-new")).to_have_count(0)


async def test_the_pill_is_not_shown_for_a_thread_in_sight(page: Page, app: PageApp) -> None:
    parent = await app.client.chat_postMessage(channel=INCIDENTS, text="web-17 panicked")
    await app.client.chat_postMessage(channel=INCIDENTS, thread_ts=parent["ts"], text="panic text")
    await expect(page.locator(".thread-bar-new")).to_have_text("1 new")
    await expect(page.locator(".news-pill")).to_be_hidden()


async def test_the_sidebar_lists_threads_with_new_replies(page: Page, app: PageApp) -> None:
    ts = await old_thread(page, app)
    await page.get_by_role("button", name="Threads, nothing new").click()
    await expect(page.get_by_role("menuitem")).to_have_text("No thread has new replies")
    await page.keyboard.press("Escape")
    await page.get_by_role("button", name="Channel kernel-crashes").click()
    for number in (2, 3):
        text = f"web-{number} panicked, too (P-{number})"
        await app.client.chat_postMessage(channel=INCIDENTS, thread_ts=ts, text=text)
    entry = page.get_by_role("button", name="Threads, 1 with new replies")
    await expect(entry.locator(".dot")).to_be_visible()
    await entry.click()
    item = page.get_by_role("menuitem", name="web-17 panicked: NMI")
    await expect(item).to_contain_text("#incidents · 2 new")
    await item.click()
    await expect(page.locator(".thread .message").last).to_contain_text("web-3 panicked, too")
    await expect(page.get_by_role("heading", name="incidents")).to_be_visible()
    await expect(page.get_by_role("button", name="Threads, nothing new")).to_be_visible()


async def test_a_deleted_reply_is_no_news(page: Page, app: PageApp) -> None:
    ts = await old_thread(page, app)
    reply = await app.client.chat_postMessage(channel=INCIDENTS, thread_ts=ts, text="a mistake")
    await expect(page.get_by_role("button", name="Threads, 1 with new replies")).to_be_visible()
    await app.client.chat_delete(channel=INCIDENTS, ts=reply["ts"])
    await expect(page.get_by_role("button", name="Threads, nothing new")).to_be_visible()


async def test_a_toast_says_which_thread_a_panic_joined(
    page: Page, app: PageApp, ws: RunningWorkspace, hosts: CountedHosts
) -> None:
    ts = await old_thread(page, app)
    await page.get_by_role("button", name="Panic another host").click()
    toasts = page.locator(".toast")
    await expect(toasts).to_contain_text("web-17 panics now")
    await app.client.chat_postMessage(channel=INCIDENTS, thread_ts=ts, text="web-17 panicked, too (P-0)")
    await back_up(ws, hosts)
    await app.client.chat_postMessage(channel=INCIDENTS, thread_ts=ts, text="triage of web-17 is done")
    await app.client.chat_postMessage(
        channel=INCIDENTS, thread_ts=ts, text=":heavy_plus_sign: web-17 panicked, too (P-2), just now."
    )
    joined = toasts.last
    await expect(joined).to_contain_text("web-17 joined “web-17 panicked: NMI (P-1, I-1)”. Open thread")
    await app.client.chat_update(channel=INCIDENTS, ts=ts, text="2 hosts panicked: NMI")
    await expect(joined).to_contain_text("web-17 joined “2 hosts panicked: NMI”. Open thread")
    await joined.get_by_role("link", name="Open thread").click()
    await expect(page.locator(".thread .message.revealed")).to_contain_text("(P-2)")
    await expect(toasts).to_have_count(1)


async def test_a_toast_says_that_a_panic_opened_an_incident(
    page: Page, app: PageApp, ws: RunningWorkspace, hosts: CountedHosts
) -> None:
    await page.get_by_role("button", name="Panic another host").click()
    await expect(page.locator(".toast")).to_contain_text("web-17 panics now")
    await back_up(ws, hosts)
    await app.client.chat_postMessage(channel=INCIDENTS, text="web-17 panicked: hung task &lt;sync&gt; (P-4)")
    last = page.locator(".toast").last
    await expect(last).to_contain_text("New incident: web-17 panicked: hung task <sync> (P-4)")


async def toasted(page: Page, ws: RunningWorkspace, *texts: str) -> Locator:
    for text in texts:
        ws.workspace.notice(text, user="U0ONCALL")
    toasts = page.locator(".toast")
    await expect(toasts.last).to_contain_text(texts[-1])
    return toasts


async def stand_still(page: Page) -> None:
    """The page's clock goes on only by `run_for`: what an installed one adds by itself depends on the machine."""
    now = datetime.now(UTC)
    await page.clock.install(time=now)
    await page.clock.pause_at(now + timedelta(seconds=1))


async def test_two_toasts_at_once_the_newest_win_and_all_go(page: Page, ws: RunningWorkspace) -> None:
    await stand_still(page)
    toasts = await toasted(page, ws, "first", "second", "third")
    await expect(toasts).to_have_text(["second", "third"])
    await toasts.first.get_by_role("button", name="Dismiss").click()
    await expect(toasts).to_have_text(["third"])
    await page.locator(".main").hover()
    await page.clock.run_for(5_500)
    await expect(toasts).to_have_count(1)
    await toasts.hover()
    await page.clock.run_for(60_000)
    await expect(toasts).to_have_count(1)
    await page.locator(".main").hover()
    await page.clock.run_for(6_500)
    await expect(toasts).to_have_count(0)


@pytest.mark.parametrize("width", [360, 700, 800, 1280])
async def test_toasts_never_cover_the_drawer(page: Page, ws: RunningWorkspace, width: int) -> None:
    await page.set_viewport_size({"width": width, "height": 640})
    await page.get_by_role("button", name="Faults", exact=True).click()
    await toasted(page, ws, "one " * 20, "two " * 20)
    apart = """() => {
      const [a, b] = ['toasts', 'demo-drawer'].map((id) => document.getElementById(id).getBoundingClientRect());
      return a.height > 0 && b.height > 0
        && (a.right <= b.left || b.right <= a.left || a.bottom <= b.top || b.bottom <= a.top);
    }"""
    await page.wait_for_function(apart)
    await page.get_by_role("button", name="Clear all").click()


async def test_a_screen_reader_hears_words_and_each_message_once(
    page: Page, app: PageApp, ws: RunningWorkspace
) -> None:
    parent = await app.client.chat_postMessage(channel=INCIDENTS, text="web-17 panicked")
    await page.locator(".main .message").hover()
    await page.get_by_role("button", name="Reply in thread").click()
    # What was said of the parent is taken away after a while; only then does the page's clock stand still.
    await expect(page.locator("#announcer")).to_have_text("")
    await stand_still(page)
    await page.evaluate(
        """() => {
          window.heard = [];
          new MutationObserver((changes) => {
            for (const { addedNodes } of changes) for (const node of addedNodes) heard.push(node.textContent);
          }).observe(document.getElementById('announcer'), { childList: true });
        }"""
    )
    text = ":eyes: <@U0ONCALL> acknowledged `P-1` &amp; *this*.\n<https://tickets.example/OPS-1|OPS-1>"
    await app.client.chat_postMessage(channel=INCIDENTS, thread_ts=parent["ts"], text=text)
    said = "In the thread, panicroom: eyes emoji @on-call acknowledged P-1 & this. OPS-1"
    await expect(page.locator("#announcer")).to_have_text(said)
    await page.clock.run_for(6_000)
    await expect(page.locator("#announcer")).to_have_text("")
    await app.client.chat_update(channel=INCIDENTS, ts=parent["ts"], text="web-17 panicked again")
    await ws.person("U0KERNEL").say("_on_ it")
    await expect(page.locator("#announcer")).to_have_text("kernel-engineer: on it")
    assert await page.evaluate("heard") == [said, "kernel-engineer: on it"]


async def test_the_fields_of_faults_show_what_is_armed(page: Page, ws: RunningWorkspace) -> None:
    await page.get_by_role("button", name="Faults", exact=True).click()
    limits = page.get_by_role("group", name="Rate limit (429)")
    calls, wait = limits.get_by_label("Calls"), limits.get_by_label("Retry-After, s")
    await calls.fill("-3")
    await wait.fill("9999")
    await limits.get_by_role("button", name="Arm rate limit").click()
    await expect(calls).to_have_value("1")
    await expect(wait).to_have_value("300")
    await expect(page.get_by_role("list", name="Armed now")).to_contain_text("ratelimited × 1")
    armed = ws.workspace.faults.armed()["faults"]
    assert [(fault["count"], fault["retry_after"]) for fault in armed] == [(1, 300)]
    await calls.fill("")
    await calls.blur()
    await expect(calls).to_have_value("3")


async def test_a_direct_message_without_messages_is_not_listed(page: Page, app: PageApp) -> None:
    await page.get_by_role("button", name="App Home").click()
    await expect(page.get_by_role("heading", name="Open incidents")).to_be_visible()
    await page.reload()
    await expect(page.get_by_role("button", name="App Home")).to_be_visible()
    await expect(page.get_by_role("button", name="Messages with panicroom")).to_have_count(0)
    await app.client.chat_postEphemeral(channel="U0ONCALL", user="U0ONCALL", text="only you")
    await expect(page.get_by_role("button", name="Messages with panicroom")).to_be_visible()
