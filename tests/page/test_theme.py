"""Both themes can be read, the page fits a phone, every control has a name, every drawn emoji has its picture."""

from __future__ import annotations

import re

import pytest
from playwright.async_api import Page, expect

from bot.demo.page import STATIC
from tests.page.gallery import CHOICES, INCIDENT, READING
from tests.page.page_app import PageApp

pytestmark = pytest.mark.asyncio(loop_scope="session")

INCIDENTS = "C0INCIDENTS"
ENOUGH = 4.5

# Every visible element with text of its own: its colour on the first opaque background below it, composited.
CONTRASTS = """() => {
  const canvas = new OffscreenCanvas(1, 1).getContext('2d', { willReadFrequently: true });
  const read = (colour) => {
    canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
    return [r, g, b, a / 255];
  };
  const over = (top, below) => [0, 1, 2].map((i) => top[i] * top[3] + below[i] * (1 - top[3])).concat(1);
  const background = (node) => {
    const layers = [];
    for (let at = node; at; at = at.parentElement) layers.push(read(getComputedStyle(at).backgroundColor));
    return layers.reverse().reduce((below, top) => over(top, below), [255, 255, 255, 1]);
  };
  const light = ([r, g, b]) => {
    const [x, y, z] = [r, g, b].map((v) => (v / 255 <= .03928 ? v / 255 / 12.92 : ((v / 255 + .055) / 1.055) ** 2.4));
    return .2126 * x + .7152 * y + .0722 * z;
  };
  const out = [];
  for (const node of document.querySelectorAll('body *')) {
    const own = [...node.childNodes].some((child) => child.nodeType === 3 && child.textContent.trim());
    const shown = node.checkVisibility({ opacityProperty: true, visibilityProperty: true });
    if (!own || !shown || node.closest('svg, :disabled, .visually-hidden, noscript')) continue;
    const below = background(node);
    const [a, b] = [light(over(read(getComputedStyle(node).color), below)), light(below)];
    const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
    out.push([ratio, `${node.nodeName}.${node.className}: ${node.textContent.slice(0, 40)}`]);
  }
  return out;
}"""


async def furnished(page: Page, app: PageApp) -> None:
    parent = await app.client.chat_postMessage(channel=INCIDENTS, text="web-17", blocks=INCIDENT)
    await app.client.chat_postMessage(
        channel=INCIDENTS,
        thread_ts=parent["ts"],
        text="<@U0ONCALL> `code` ```block``` <https://a.example|link>",
    )
    await app.client.chat_postMessage(channel=INCIDENTS, text="choices", blocks=CHOICES)
    await app.client.chat_postMessage(channel=INCIDENTS, text="reading", blocks=READING)
    await app.client.chat_postMessage(channel="C0KERNEL", text="<@U0ONCALL> unread")
    await app.client.files_upload_v2(
        channel=INCIDENTS, thread_ts=parent["ts"], filename="a.txt", content="one\ntwo"
    )
    await app.client.chat_postEphemeral(channel=INCIDENTS, user="U0ONCALL", text="only you")
    await page.get_by_role("button", name="2 replies").click()
    await expect(page.locator(".thread .file-preview")).to_contain_text("two")


@pytest.mark.parametrize("theme", ["light", "dark"])
async def test_all_text_has_contrast(page: Page, app: PageApp, theme: str) -> None:
    await page.emulate_media(color_scheme=theme)  # type: ignore[arg-type]
    await furnished(page, app)
    await page.get_by_role("button", name="Hosts", exact=True).click()
    seen = await page.evaluate(CONTRASTS)
    await page.get_by_role("button", name="Close", exact=True).click()
    await page.locator(".main").get_by_role("button", name="Resolve").click()
    form = page.get_by_role("dialog", name="Resolve I-7")
    await form.get_by_role("button", name="Resolve").click()
    await expect(form.get_by_role("alert")).to_be_visible()
    seen += await page.evaluate(CONTRASTS)
    assert len(seen) > 100
    assert [entry for entry in seen if entry[0] < ENOUGH] == []


async def test_the_theme_is_chosen_and_kept(page: Page) -> None:
    background = "getComputedStyle(document.body).backgroundColor"
    await page.emulate_media(color_scheme="light")
    assert await page.evaluate(background) == "rgb(255, 255, 255)"
    await page.get_by_role("button", name="Theme: As the system").click()
    await page.get_by_role("menuitemradio", name="Dark").click()
    assert await page.evaluate(background) == "rgb(25, 28, 33)"
    await page.reload()
    await expect(page.get_by_role("button", name="Theme: Dark")).to_be_visible()
    assert await page.evaluate(background) == "rgb(25, 28, 33)"


async def test_every_control_has_a_name(page: Page, app: PageApp) -> None:
    await furnished(page, app)
    nameless = await page.evaluate(
        """() => [...document.querySelectorAll('button, a[href], input, textarea, select')].filter((node) => {
          const ids = (node.getAttribute('aria-labelledby') ?? '').split(' ');
          const by = ids.map((id) => document.getElementById(id)?.textContent ?? '').join('');
          const label = node.getAttribute('aria-label') || node.labels?.[0]?.textContent;
          const own = label || node.textContent || node.placeholder;
          return node.checkVisibility() && !(own || by).trim();
        }).map((node) => node.outerHTML)"""
    )
    assert nameless == []


@pytest.mark.parametrize("width", [360, 1280])
async def test_nothing_sticks_out_sideways(page: Page, app: PageApp, width: int) -> None:
    await page.set_viewport_size({"width": width, "height": 800})
    await furnished(page, app)
    wide = "document.documentElement.scrollWidth"
    assert await page.evaluate(wide) == width
    lists = page.locator(".list")
    assert [
        await lists.nth(row).evaluate("list => list.scrollWidth - list.clientWidth") for row in (0, 1)
    ] == [0, 0]


async def test_a_phone_has_channels_behind_a_button_and_threads_on_top(page: Page, app: PageApp) -> None:
    await page.set_viewport_size({"width": 360, "height": 740})
    await furnished(page, app)
    thread = page.get_by_role("complementary", name="Thread", exact=True)
    box = await thread.bounding_box()
    assert box is not None
    assert (box["x"], box["width"]) == (0, 360)
    await page.get_by_role("button", name="Close thread").click()
    await page.get_by_role("button", name="Channels", exact=True).click()
    await page.get_by_role("button", name="Channel kernel-crashes").click()
    await expect(page.get_by_role("heading", name="kernel-crashes")).to_be_visible()
    await expect(page.get_by_role("button", name="Channel incidents")).not_to_be_visible()


async def test_every_drawn_emoji_has_its_picture(page: Page) -> None:
    names = await page.evaluate("import('/static/js/emoji.js').then((module) => module.drawnNames)")
    symbols = re.findall(r'<symbol id="([^"]+)"', (STATIC / "emoji.svg").read_text("utf-8"))
    assert sorted(name.replace("+", "plus") for name in names) == sorted(symbols)
