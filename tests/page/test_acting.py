"""What a person does on the page reaches the app: clicks, choices, commands, mentions, shortcuts, the home."""

from __future__ import annotations

import pytest
from playwright.async_api import Page, expect

from bot.demo.workspace.testing import RunningWorkspace
from tests.page.conftest import CountedHosts
from tests.page.gallery import CHOICES, INCIDENT
from tests.page.page_app import PageApp

pytestmark = pytest.mark.asyncio(loop_scope="session")

INCIDENTS = "C0INCIDENTS"


async def test_a_click_reaches_the_app(page: Page, app: PageApp) -> None:
    posted = await app.client.chat_postMessage(channel=INCIDENTS, text="web-17", blocks=INCIDENT)
    await page.get_by_role("button", name="Run triage").click()
    body = await app.got("action")
    assert body["user"]["id"] == "U0ONCALL"
    assert body["message"]["ts"] == posted["ts"]
    assert (body["actions"][0]["action_id"], body["actions"][0]["value"]) == ("triage.run", "P-41")


async def test_a_confirmation_is_asked_first(page: Page, app: PageApp) -> None:
    await app.client.chat_postMessage(channel=INCIDENTS, text="web-17", blocks=INCIDENT)
    await page.get_by_role("button", name="Silence").click()
    question = page.get_by_role("dialog", name="Silence web-17?")
    await question.get_by_role("button", name="No").click()
    await expect(question).to_have_count(0)
    await page.get_by_role("button", name="Silence").click()
    await question.get_by_role("button", name="Yes").click()
    body = await app.got("action")
    assert body["actions"][0]["action_id"] == "incident.silence"
    assert len(app.received) == 1


async def test_the_overflow_menu_by_keyboard(page: Page, app: PageApp) -> None:
    await app.client.chat_postMessage(channel=INCIDENTS, text="web-17", blocks=INCIDENT)
    await page.locator(".overflow").focus()
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("menuitem", name="Assign…")).to_be_focused()
    await page.keyboard.press("ArrowDown")
    await page.keyboard.press("Enter")
    body = await app.got("action")
    assert body["actions"][0]["selected_option"]["value"] == "resolve"
    await expect(page.locator(".overflow")).to_be_focused()


async def test_selects_by_mouse_and_keyboard(page: Page, app: PageApp) -> None:
    await app.client.chat_postMessage(channel=INCIDENTS, text="choices", blocks=CHOICES)
    await page.get_by_role("button", name="Kind").click()
    await page.keyboard.type("hung")
    await expect(page.get_by_role("option")).to_have_count(1)
    await page.keyboard.press("Enter")
    first = await app.got("action")
    assert first["actions"][0]["selected_option"]["value"] == "hung"
    await expect(page.locator(".select-button").first).to_have_text("Hung task")
    await page.get_by_role("button", name="Assign to").click()
    await page.get_by_role("option", name="kernel-engineer").click()
    second = await app.got("action", count=2)
    assert second["actions"][0]["selected_user"] == "U0KERNEL"
    assert second["state"]["values"]["kind"]["kind"]["selected_option"]["value"] == "hung"
    await page.get_by_role("checkbox", name="Pinned only").check()
    third = await app.got("action", count=3)
    assert [option["value"] for option in third["actions"][0]["selected_options"]] == ["pinned"]
    await page.locator("input[type=date]").fill("2026-11-20")
    fourth = await app.got("action", count=4)
    assert fourth["actions"][0]["selected_date"] == "2026-11-20"


async def test_a_multi_select_tells_the_app_once_when_it_closes(page: Page, app: PageApp) -> None:
    await app.client.chat_postMessage(channel=INCIDENTS, text="choices", blocks=CHOICES)
    await page.get_by_role("button", name="Rings").click()
    await page.get_by_role("option", name="canary").click()
    await page.get_by_role("option", name="prod-1").click()
    await page.get_by_role("option", name="prod-2").click()
    assert app.received == []
    await page.keyboard.press("Escape")
    body = await app.got("action")
    assert [option["value"] for option in body["actions"][0]["selected_options"]] == ["canary", "prod-1"]
    await expect(page.locator(".chip")).to_have_text(["canary", "prod-1"])


async def test_what_was_chosen_stays_when_the_message_is_edited(page: Page, app: PageApp) -> None:
    posted = await app.client.chat_postMessage(channel=INCIDENTS, text="choices", blocks=CHOICES)
    await page.get_by_role("radio", name="All hosts").check()
    await app.got("action")
    longer = [*CHOICES, {"type": "divider"}]
    await app.client.chat_update(channel=INCIDENTS, ts=posted["ts"], text="choices", blocks=longer)
    await expect(page.locator(".main .block-divider")).to_have_count(1)
    await expect(page.get_by_role("radio", name="All hosts")).to_be_checked()
    await expect(page.get_by_role("radio", name="All hosts")).to_be_focused()


async def test_a_slash_command_is_hinted_and_answered(page: Page, app: PageApp) -> None:
    composer = page.get_by_label("Message #incidents")
    await composer.fill("")
    await composer.press_sequentially("/pa")
    await expect(page.get_by_role("option")).to_contain_text("list | show P-41 | help")
    await page.keyboard.press("Tab")
    await expect(composer).to_have_value("/panic ")
    await composer.press_sequentially("sh")
    await page.keyboard.press("Tab")
    await expect(composer).to_have_value("/panic show ")
    await composer.press_sequentially("P-41")
    await page.keyboard.press("Enter")
    assert (await app.got("command"))["text"] == "show P-41"
    await expect(page.locator(".message.ephemeral")).to_contain_text("heard: show P-41")
    await expect(composer).to_have_value("")


async def test_slash_commands_are_refused_in_threads(page: Page, app: PageApp) -> None:
    await app.client.chat_postMessage(channel=INCIDENTS, text="web-17", blocks=INCIDENT)
    await page.locator(".main .message").hover()
    await page.get_by_role("button", name="Reply in thread").click()
    await expect(page.get_by_label("Reply…")).to_be_focused()
    await page.keyboard.type("/panic list")
    await page.keyboard.press("Enter")
    refusal = page.locator(".thread .message.ephemeral")
    await expect(refusal).to_contain_text("/panic is not supported in threads. Sorry!")
    assert app.received == []


async def test_a_mention_in_a_thread_reaches_the_app(page: Page, app: PageApp) -> None:
    parent = await app.client.chat_postMessage(channel=INCIDENTS, text="web-17", blocks=INCIDENT)
    await page.locator(".main .message").hover()
    await page.get_by_role("button", name="Reply in thread").click()
    await page.keyboard.type("@panicr")
    await page.keyboard.press("Enter")
    await page.keyboard.type("triage")
    await page.keyboard.press("Enter")
    event = await app.got("mention")
    assert (event["text"], event["thread_ts"]) == ("<@U0PANICROOM> triage", parent["ts"])


async def test_a_message_shortcut(page: Page, app: PageApp) -> None:
    posted = await app.client.chat_postMessage(channel=INCIDENTS, text="web-17", blocks=INCIDENT)
    await page.locator(".main .message").hover()
    await page.locator(".toolbar").get_by_role("button", name="More actions").click()
    await page.get_by_role("menuitem", name="Run triage here").click()
    body = await app.got("shortcut")
    assert (body["callback_id"], body["message"]["ts"]) == ("triage_here", posted["ts"])


async def test_a_global_shortcut(page: Page, app: PageApp) -> None:
    await page.get_by_role("button", name="Shortcuts").click()
    await page.get_by_role("menuitem", name="Report a panic").click()
    assert (await app.got("shortcut"))["callback_id"] == "report_panic"


async def test_the_home_is_published_and_acts(page: Page, app: PageApp) -> None:
    await page.get_by_role("button", name="App Home").click()
    await expect(page.get_by_role("heading", name="Open incidents")).to_be_visible()
    await page.get_by_role("button", name="Refresh").click()
    body = await app.got("action")
    assert body["view"]["type"] == "home"
    assert body["actions"][0]["action_id"] == "home.refresh"


async def test_hosts_panic_from_the_strip_and_the_drawer(page: Page, hosts: CountedHosts) -> None:
    await page.get_by_role("button", name="Panic another host").click()
    await expect(page.get_by_role("button", name="web-17, rebooting")).to_be_visible()
    await page.get_by_role("button", name="Hosts", exact=True).click()
    await expect(page.get_by_role("button", name="Panic web-17")).to_be_disabled()
    await page.get_by_role("button", name="Panic db-03").click()
    await expect(page.get_by_role("button", name="db-03, rebooting")).to_be_visible()
    assert [host["panics"] for host in hosts.known] == [1, 1]


async def test_faults_are_armed_from_the_drawer(page: Page, ws: RunningWorkspace) -> None:
    await page.get_by_role("button", name="Faults", exact=True).click()
    await page.get_by_role("button", name="Arm rate limit").click()
    await expect(page.get_by_role("list", name="Armed now")).to_contain_text(
        "chat.postMessage: ratelimited × 3"
    )
    failures = page.get_by_role("group", name="Failures and time-outs")
    await failures.get_by_label("What happens").select_option("late_landing")
    await failures.get_by_role("button", name="Arm failure").click()
    await expect(page.get_by_role("list", name="Armed now")).to_contain_text("late_landing × 1")
    armed = ws.workspace.faults.armed()["faults"]
    assert [(fault["mode"], fault["count"]) for fault in armed] == [("ratelimited", 3), ("late_landing", 1)]
    await page.get_by_role("button", name="Clear all").click()
    await expect(page.get_by_role("list", name="Armed now")).to_contain_text("Nothing")
    assert ws.workspace.faults.armed()["faults"] == []
