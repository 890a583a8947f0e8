"""The connection to the workspace breaks and comes back: the page says so and misses nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.async_api import BrowserContext, expect

from bot.demo.workspace.testing import running_workspace
from tests.support_ports import free_port

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_a_restart_of_the_workspace(context: BrowserContext, tmp_path: Path) -> None:
    page = await context.new_page()
    port = free_port()  # no port of the kernel's choice: a connection may be given that in between
    async with running_workspace(data_dir=tmp_path, port=port) as ws:
        await page.goto(ws.url)
        await ws.person("U0KERNEL").say("before")
        await expect(page.locator(".main .message")).to_contain_text("before")
    banner = page.get_by_role("status").filter(has_text="Reconnecting")
    await expect(banner).to_be_visible()
    await page.get_by_label("Message #incidents").fill("written meanwhile")
    await page.keyboard.press("Enter")
    await expect(page.locator(".message.ephemeral")).to_contain_text("That was not sent")
    await expect(page.get_by_label("Message #incidents")).to_have_value("written meanwhile")
    async with running_workspace(data_dir=tmp_path, port=port) as ws:
        await ws.person("U0KERNEL").say("meanwhile")
        await expect(banner).to_be_hidden(timeout=45_000)
        await expect(page.locator(".main .message-text")).to_contain_text(["before", "meanwhile"])
        await ws.person("U0KERNEL").say("after")
        await expect(page.locator(".main .message-text").last).to_have_text("after")
        await page.close()


async def test_a_page_whose_workspace_fails_says_so(context: BrowserContext) -> None:
    page = await context.new_page()
    async with running_workspace() as ws:
        await page.route("**/page/api/state*", lambda route: route.fulfill(status=500, body="broken"))
        await page.goto(ws.url)
        await expect(page.get_by_role("main")).to_contain_text("The workspace could not be loaded")
        await page.unroute("**/page/api/state*")
        await page.get_by_role("button", name="Try again").click()
        await expect(page.get_by_role("heading", name="incidents", exact=True)).to_be_visible()
        await page.close()
