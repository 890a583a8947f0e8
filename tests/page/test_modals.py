"""Modals: open, check, correct, submit, update, push, close; the focus stays where a person needs it."""

from __future__ import annotations

import pytest
from playwright.async_api import Locator, Page, expect

from tests.page.gallery import INCIDENT
from tests.page.page_app import PageApp

pytestmark = pytest.mark.asyncio(loop_scope="session")

INCIDENTS = "C0INCIDENTS"


async def opened(page: Page, app: PageApp) -> Locator:
    await app.client.chat_postMessage(channel=INCIDENTS, text="web-17", blocks=INCIDENT)
    await page.get_by_role("button", name="Resolve").click()
    form = page.get_by_role("dialog", name="Resolve I-7")
    await expect(form.get_by_label("Cause")).to_be_focused()
    return form


async def test_the_round_trip_with_corrections(page: Page, app: PageApp) -> None:
    form = await opened(page, app)
    submit = form.get_by_role("button", name="Resolve")
    await submit.click()
    await expect(form.get_by_role("alert")).to_have_text("Please complete this required field.")
    await form.get_by_label("Cause").fill("bad")
    await form.get_by_label("Hosts").fill("1.5")
    await submit.click()
    await expect(form.get_by_role("alert")).to_have_text(
        ["Enter at least 5 characters.", "Enter a whole number."]
    )
    assert not any(kind == "submit" for kind, _ in app.received)
    await form.get_by_label("Cause").fill("unknown so far")
    await form.get_by_label("Hosts").fill("3")
    await submit.click()
    await expect(form.get_by_role("alert")).to_have_text("Say what it was.")
    await expect(form.get_by_label("Cause")).to_be_focused()
    await form.get_by_label("Cause").fill("a driver that frees twice")
    await form.get_by_role("button", name="Change").click()
    await page.keyboard.type("17")
    await page.get_by_role("option", name="OPS-1182 17").click()
    await form.get_by_role("button", name="Tell").click()
    await page.get_by_role("option", name="admin").click()
    await page.keyboard.press("Escape")
    await expect(form).to_be_visible()
    await submit.click()
    await expect(form).to_have_count(0)
    values = (await app.got("submit", count=2))["view"]["state"]["values"]
    assert values["cause"]["text"]["value"] == "a driver that frees twice"
    assert values["change"]["change.key"]["selected_option"]["value"] == "OPS-1182"
    assert values["tell"]["people"]["selected_users"] == ["U0ADMIN"]
    assert values["hosts"]["count"]["value"] == "3"
    await expect(page.get_by_role("button", name="Resolve")).to_be_focused()


async def test_an_update_keeps_what_was_typed(page: Page, app: PageApp) -> None:
    form = await opened(page, app)
    await form.get_by_label("Cause").fill("half a sentence")
    await form.get_by_role("button", name="Refresh").click()
    await expect(form).to_contain_text("Refreshed just now")
    await expect(form.get_by_label("Cause")).to_have_value("half a sentence")


async def test_a_pushed_view_goes_back_to_the_one_below(page: Page, app: PageApp) -> None:
    form = await opened(page, app)
    await form.get_by_label("Cause").fill("kept below")
    await form.get_by_role("button", name="Details").click()
    above = page.get_by_role("dialog", name="Details")
    await expect(above).to_contain_text("Deeper")
    await page.keyboard.press("Escape")
    await expect(form.get_by_label("Cause")).to_have_value("kept below")


async def test_escape_closes_and_tells_the_app(page: Page, app: PageApp) -> None:
    form = await opened(page, app)
    await page.keyboard.press("Escape")
    await expect(form).to_have_count(0)
    assert (await app.got("close"))["view"]["callback_id"] == "resolve"


async def test_the_tab_key_stays_inside(page: Page, app: PageApp) -> None:
    form = await opened(page, app)
    for _ in range(12):
        await page.keyboard.press("Tab")
        assert await form.evaluate(
            "form => [document.body, ...form.querySelectorAll('*')].includes(document.activeElement)"
        )


async def test_an_app_that_does_not_answer_is_told_in_the_modal(page: Page, app: PageApp, ws: object) -> None:
    form = await opened(page, app)
    await form.get_by_label("Cause").fill("the app is gone")
    ws.request_url = "http://127.0.0.1:9/slack/events"  # type: ignore[attr-defined]
    await form.get_by_role("button", name="Resolve").click()
    await expect(form.get_by_role("alert")).to_have_text("We had some trouble connecting. Try again?")
    await expect(form.get_by_label("Cause")).to_have_value("the app is gone")
