"""A stranger's first five minutes, in a real browser: the demo's page, a thread, triage, a bundle, the memory."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from playwright.async_api import Page, async_playwright, expect

from bot.demo.supervisor import Demo
from tests.e2e.conftest import chromium

pytestmark = pytest.mark.timeout(300)  # its steps have deadlines of their own
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture
async def page() -> AsyncIterator[Page]:
    executable = chromium()
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=executable, args=FLAGS)
        opened = await browser.new_page(viewport={"width": 1440, "height": 1000})
        opened.set_default_timeout(30_000)
        yield opened
        await browser.close()


async def test_the_demo_page_tells_the_whole_story(
    start_demo: Callable[..., tuple[Demo, str]], page: Page, artefacts: Path
) -> None:
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    _demo, address = await asyncio.to_thread(start_demo)
    await page.goto(address)
    parent = page.locator("[data-ts]", has_text="web-17 panicked: NULL pointer dereference").first
    await expect(parent).to_be_visible(timeout=60_000)
    await expect(page.get_by_text("This is a demo of Panicroom")).to_be_visible()
    await parent.get_by_role("button", name=re.compile("repl")).first.click()
    thread = page.get_by_role("complementary", name=re.compile("thread", re.IGNORECASE))
    await expect(thread).to_contain_text("Call Trace", timeout=60_000)
    await thread.get_by_role("button", name="Run triage").first.click()
    await expect(thread).to_contain_text("next panic", timeout=60_000)
    await thread.get_by_role("button", name="Collect evidence").first.click()
    await expect(thread).to_contain_text(".tar.gz", timeout=60_000)
    composer = page.get_by_label("Message #incidents")
    await composer.fill("/panic list host:web-*")
    await composer.press("Enter")
    await expect(page.get_by_text("Only visible to you").first).to_be_visible()
    await page.screenshot(path=artefacts / "demo.png")
    assert errors == []
    assert os.path.getsize(artefacts / "demo.png") > 20_000
