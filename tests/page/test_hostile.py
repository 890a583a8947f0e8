"""Text from hosts, tickets and people is text: it runs nothing, loads nothing, links nowhere it should not."""

from __future__ import annotations

import pytest
from playwright.async_api import BrowserContext, Page, expect

from bot.demo.workspace.testing import RunningWorkspace
from tests.page.gallery import INCIDENT, mrkdwn, option, plain, rich_section, rich_text, section, text_part
from tests.page.page_app import PageApp

pytestmark = pytest.mark.asyncio(loop_scope="session")

INCIDENTS = "C0INCIDENTS"

HOSTILE = (
    '"><img src=x onerror="window.hacked=1"><script>window.hacked=1</script>'
    "<svg/onload=window.hacked=1>{{7*7}}\u202e"
)


def escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


async def untouched(page: Page) -> None:
    assert await page.evaluate("window.hacked") is None
    assert (
        await page.locator(
            "main script, aside script, dialog script, [onerror], [onload], main iframe"
        ).count()
        == 0
    )


async def test_in_every_place_a_message_has(page: Page, app: PageApp) -> None:
    blocks = [
        {"type": "header", "text": plain(HOSTILE[:150])},
        section(escaped(HOSTILE), fields=[mrkdwn(HOSTILE), {"type": "plain_text", "text": HOSTILE}]),
        {"type": "context", "elements": [mrkdwn(f"`{HOSTILE}`"), mrkdwn(f"```{escaped(HOSTILE)}```")]},
        rich_text(rich_section(text_part(HOSTILE), text_part(HOSTILE, code=True))),
        {"type": "table", "rows": [[{"type": "raw_text", "text": HOSTILE}]]},
        {
            "type": "actions",
            "elements": [
                {"type": "button", "text": plain(HOSTILE[:75]), "action_id": "b", "value": HOSTILE},
                {
                    "type": "static_select",
                    "action_id": "s",
                    "placeholder": plain(HOSTILE[:150]),
                    "options": [option(HOSTILE[:75], "v")],
                },
            ],
        },
    ]
    await app.client.chat_postMessage(channel=INCIDENTS, text=HOSTILE)
    await app.client.chat_postMessage(channel=INCIDENTS, text="blocks", blocks=blocks)
    await app.client.files_upload_v2(
        channel=INCIDENTS, filename=f"{HOSTILE[:50]}.txt", content=HOSTILE, title=HOSTILE
    )
    messages = page.locator(".main .message")
    await expect(messages).to_have_count(3)
    await expect(messages.nth(1).locator(".header")).to_have_text(HOSTILE[:150])
    await expect(messages.nth(1).locator(".section-text")).to_have_text(HOSTILE)
    await expect(messages.nth(1).locator(".context pre")).to_have_text(HOSTILE)
    await expect(messages.nth(1).locator("td, th")).to_have_text(HOSTILE)
    await expect(messages.nth(2).locator(".file-name")).to_have_text(HOSTILE)
    await expect(messages.nth(2).locator(".file-preview")).to_have_text(HOSTILE)
    await page.locator(".select-button").click()
    await expect(page.get_by_role("option")).to_have_text(HOSTILE[:75])
    await page.keyboard.press("Escape")
    await untouched(page)


async def test_from_a_person_and_in_a_host_list(page: Page, ws: RunningWorkspace) -> None:
    await ws.person("U0VIEWER").say(HOSTILE)
    await expect(page.locator(".main .message-text")).to_have_text(HOSTILE)
    await page.get_by_role("button", name="Hosts", exact=True).click()
    await expect(page.locator(".host-case").last).to_have_text("<img src=x onerror=alert(1)>")
    ws.workspace.notice(HOSTILE)
    await expect(page.locator(".toast-text")).to_have_text(HOSTILE)
    await untouched(page)


async def test_links_lead_to_the_web_or_nowhere(page: Page, app: PageApp) -> None:
    text = (
        "<javascript:alert(1)|one> <data:text/html,x|two> <vbscript:x|three> <JAVASCRIPT:alert(1)|four> "
        "<file:///etc/passwd|five> <blob:x|six> <https://example.com|seven>"
    )
    await app.client.chat_postMessage(channel=INCIDENTS, text=text)
    links = page.locator(".main .message-text a")
    await expect(links).to_have_text(["seven"])
    await expect(links).to_have_attribute("rel", "noopener noreferrer")
    await expect(page.locator(".main .message-text")).to_contain_text("one two three four five six seven")


async def test_mentions_in_escaped_text_do_nothing(page: Page, app: PageApp) -> None:
    await page.get_by_role("button", name="Channel kernel-crashes").click()
    text = "&lt;!channel&gt; &lt;@U0ONCALL&gt; &amp;lt;!here&amp;gt;"
    await app.client.chat_postMessage(channel=INCIDENTS, text=text)
    await expect(page.get_by_role("button", name="Channel incidents, 1 unread")).to_be_visible()
    assert await page.locator(".count").count() == 0
    assert await page.title() == "#kernel-crashes – Panicroom demo"
    await page.get_by_role("button", name="Channel incidents").click()
    await expect(page.locator(".main .message-text")).to_have_text("<!channel> <@U0ONCALL> &lt;!here&gt;")
    assert await page.locator(".main .mention").count() == 0


async def test_markup_from_strings_is_impossible(context: BrowserContext, ws: RunningWorkspace) -> None:
    """The page's policy makes the browser refuse innerHTML with a string: a slip cannot become a hole."""
    page = await context.new_page()
    await page.goto(ws.url)
    refused = await page.evaluate(
        """() => {
          try { document.createElement('p').innerHTML = '<b>x</b>'; return ''; } catch (error) { return error.name; }
        }"""
    )
    assert refused == "TypeError"
    await page.close()


async def test_a_flood_of_marks_is_drawn(page: Page, app: PageApp) -> None:
    for mark in ("*a ", "_", "`x", "<", "&lt;", "~b~ ", ":red", "> "):
        await app.client.chat_postMessage(channel=INCIDENTS, text=(mark * 20_000)[:39_000])
    await app.client.chat_postMessage(channel=INCIDENTS, text="still here", blocks=INCIDENT)
    await expect(page.get_by_role("button", name="Run triage")).to_be_visible()
