"""A workspace with a Bolt app behind it, replayed hosts that do nothing but count, and Chromium in front."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, Page, Request, async_playwright, expect

from bot.demo.workspace import Command, Shortcut, SlackApp
from bot.demo.workspace.testing import RunningWorkspace, running_workspace
from tests.page.browser import ARGUMENTS, DEADLINE_MS, chromium
from tests.page.page_app import PageApp, page_app

Json = dict[str, Any]

APP = SlackApp(
    commands=(Command(command="/panic", usage_hint="list | show P-41 | help", description="Kernel panics"),),
    shortcuts=(
        Shortcut(name="Run triage here", callback_id="triage_here"),
        Shortcut(name="Report a panic", callback_id="report_panic", type="global"),
    ),
)


expect.set_options(timeout=DEADLINE_MS)


class CountedHosts:
    """Two hosts; a panic makes one of them reboot."""

    def __init__(self) -> None:
        self.known: list[Json] = [
            {
                "name": name,
                "ring": "prod-2",
                "hardware": "R640",
                "case": "c",
                "title": title,
                "state": "up",
                "panics": 0,
            }
            for name, title in (
                ("web-17", "NULL pointer dereference"),
                ("db-03", "<img src=x onerror=alert(1)>"),
            )
        ]

    def hosts(self) -> list[Json]:
        return self.known

    async def panic(self, host: str | None, case: str | None) -> Json:
        chosen = next(entry for entry in self.known if host in (None, entry["name"]))
        chosen.update(state="rebooting", panics=chosen["panics"] + 1)
        return {"host": chosen["name"], "case": case or chosen["case"]}


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    path = chromium()
    async with async_playwright() as playwright:
        started = await playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield started
        await started.close()


@pytest_asyncio.fixture(loop_scope="session")
async def hosts() -> CountedHosts:
    return CountedHosts()


@pytest_asyncio.fixture(loop_scope="session")
async def ws(hosts: CountedHosts) -> AsyncIterator[RunningWorkspace]:
    async with running_workspace(app=APP, hosts=hosts, event_retry_delays=(0.0, 0.05)) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="session")
async def app(ws: RunningWorkspace) -> AsyncIterator[PageApp]:
    async with page_app(ws) as running:
        yield running


class Watch:
    """What a page did that it should not: script errors, requests elsewhere, violations of its policy."""

    def __init__(self, page: Page, origin: str) -> None:
        self.faults: list[str] = []
        self._origin = origin
        page.on("pageerror", lambda error: self.faults.append(f"error: {error}"))
        page.on("request", self._requested)
        page.on("console", lambda message: self._said(message.type, message.text))

    def _requested(self, request: Request) -> None:
        if not request.url.startswith((self._origin, "data:", "blob:")):
            self.faults.append(f"request: {request.url}")

    def _said(self, kind: str, text: str) -> None:
        if "Content Security Policy" in text or "Trusted" in text:
            self.faults.append(f"{kind}: {text}")


@pytest_asyncio.fixture(loop_scope="session")
async def context(browser: Browser) -> AsyncIterator[BrowserContext]:
    made = await browser.new_context(
        viewport={"width": 1280, "height": 800},
        timezone_id="Asia/Tokyo",
        locale="en-GB",
        reduced_motion="reduce",
    )
    made.set_default_timeout(DEADLINE_MS)
    yield made
    await made.close()


@pytest_asyncio.fixture(loop_scope="session")
async def page(context: BrowserContext, ws: RunningWorkspace, app: PageApp) -> AsyncIterator[Page]:
    """The page as the on-call engineer sees it. Any fault that `Watch` knows fails the test."""
    opened = await context.new_page()
    watch = Watch(opened, ws.url)
    await opened.goto(ws.url)
    await opened.get_by_role("heading", name="incidents", exact=True).wait_for()
    yield opened
    await opened.close()
    assert watch.faults == []
