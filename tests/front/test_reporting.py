"""A person brings a panic: the form, the entry in a message's menu; and asks for a card, at a real workspace."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from bot.demo.workspace import SlackApp
from bot.demo.workspace.testing import RunningWorkspace, running_workspace, visible_text
from bot.manifest import app_manifest
from commands.access import AccessConfig
from commands.home import publish_home
from commands.inventory import HostEntry
from commands.panics.report_forms import LONGEST, SHORTCUT
from commands.panics.slack import register as register_panics
from storage import Incident, Panic, Report, ReportState
from tests.incident.floor import Floor, floor, until
from tests.incident.texts import oops

Json = dict[str, Any]
LONG = 45.0
HOSTS = (HostEntry(name="web-17", ring="prod-2"), HostEntry(name="db-*"))


@pytest.fixture
async def shop() -> AsyncIterator[RunningWorkspace]:
    """With the app as its manifest describes it."""
    app = SlackApp.from_manifest(app_manifest(socket_mode=False, public_url="https://panicroom.example.org"))
    async with running_workspace(app=app, event_retry_delays=(0.05,)) as running:
        yield running


@pytest.fixture
async def bot(tmp_path: Path, shop: RunningWorkspace) -> AsyncIterator[Floor]:
    access = AccessConfig(responders=("U0ONCALL", "U0KERNEL"), admins=("U0ADMIN",))
    async with floor(tmp_path, shop, doors="http", hosts=HOSTS, closed=True, access=access) as running:
        running.context.read_reports = running.intake.wake
        register_panics(running.router, running.context)
        reading = asyncio.create_task(running.intake.run())
        yield running
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)


async def panics(bot: Floor, count: int = 1) -> list[Panic]:
    async def there() -> list[Panic] | None:
        found = await bot.rows(Panic)
        return found if len(found) >= count else None

    found = await until(there)
    assert found is not None
    return found


async def said(shop: RunningWorkspace, text: str, user: str = "U0ONCALL") -> Json:
    message = (await shop.person(user).say(text, channel="C0KERNEL"))["message"]
    return dict(message)


async def test_the_form_opens_a_panic_with_what_it_says(bot: Floor, shop: RunningWorkspace) -> None:
    person = shop.person("U0ONCALL")
    await person.command("/panic report")
    form = await person.modal("Report a panic", timeout=LONG)
    offered = await person.suggestions(form, "panics.host", "web")
    assert [o["value"] for o in offered] == ["web", "web-17"]
    wrong = await person.submit(form, {"kernel": "6.1 or so"})
    assert set(wrong["errors"]) == {"host"}, "Slack's own check of a field that must be filled comes first"
    web = {"type": "plain_text", "text": "web-17"}
    block = {
        "host": {
            "panics.host": {"type": "external_select", "selected_option": {"text": web, "value": "web-17"}}
        }
    }
    later = {"when": {"value": {"type": "datetimepicker", "selected_date_time": 3_999_999_999}}}
    odd = {"kernel": {"value": {"type": "plain_text_input", "value": "6.1 or so"}}}
    text = {"text": {"value": {"type": "plain_text_input", "value": "hello?"}}}
    body = {"user": person.id, "view_id": form["id"], "state": {"values": {**block, **later, **odd, **text}}}
    wrong = await shop.post("view_submit", body)
    assert set(wrong["errors"]) == {"when", "kernel", "text"}
    assert (await person.modal("Report a panic"))["id"] == form["id"], "the form is still there"
    body["state"] = {"values": {**block, "text": {"value": {"type": "plain_text_input", "value": oops()}}}}
    assert not (await shop.post("view_submit", body)).get("errors")
    (panic,) = await panics(bot)
    assert (panic.host, panic.ring, panic.kernel) == ("web-17", "prod-2", "6.1.0-31-amd64")
    assert panic.title == "NULL pointer dereference in nvme_irq"
    await person.ephemeral("P-1", timeout=LONG)

    async def audited() -> bool:
        return ("U0ONCALL", "panics.report", "", "done") in await bot.audits()

    await until(audited)


async def test_a_host_that_nobody_knows_is_held_back_and_nothing_is_a_panic_with_the_box_ticked(
    bot: Floor, shop: RunningWorkspace
) -> None:
    person = shop.person("U0ONCALL")
    await person.command("/panic report strange-1")
    form = await person.modal("Report a panic", timeout=LONG)
    empty = await person.submit(form, {})
    assert "tick the box" in empty["errors"]["text"]
    assert await person.submit(form, {"anyway": ["anyway"], "ring": "lab", "kernel": "6.6.1"}) == {}
    told = await person.ephemeral("held back", timeout=LONG)
    assert "quarantine accept R-1" in visible_text(told)
    (report,) = await bot.rows(Report)
    assert (report.state, report.host) == (ReportState.QUARANTINED, "strange-1")
    admin = shop.person("U0ADMIN")
    await admin.command("/panic quarantine accept R-1")
    (panic,) = await panics(bot)
    assert (panic.ring, panic.kernel, panic.kind) == ("lab", "6.6.1", "unknown")


async def test_a_viewer_gets_no_form(bot: Floor, shop: RunningWorkspace) -> None:
    viewer = shop.person("U0VIEWER")
    await viewer.command("/panic report")
    await viewer.ephemeral("needs the role *responder*", timeout=LONG)
    message = await said(shop, f"web-17 died\n```{oops()}```", "U0VIEWER")
    await viewer.shortcut(SHORTCUT, message, channel="C0KERNEL")
    await viewer.ephemeral("responder", channel="C0KERNEL", timeout=LONG)
    assert await bot.rows(Report) == []


async def test_a_message_that_says_all_opens_its_panic_once(bot: Floor, shop: RunningWorkspace) -> None:
    message = await said(shop, f"web-17 just died:\n```\n{oops()}\n```")
    for user in ("U0ONCALL", "U0KERNEL", "U0ONCALL"):
        await shop.person(user).shortcut(SHORTCUT, message, channel="C0KERNEL")
    (panic,) = await panics(bot)
    assert (panic.host, panic.title) == ("web-17", "NULL pointer dereference in nvme_irq")
    await shop.person("U0KERNEL").ephemeral("P-1", channel="C0KERNEL", timeout=LONG)
    await shop.person("U0ONCALL").ephemeral("P-1", channel="C0KERNEL", timeout=LONG)
    assert len(await bot.rows(Report)) == 1


async def test_a_message_without_a_host_asks_for_it_and_keeps_the_whole_text(
    bot: Floor, shop: RunningWorkspace
) -> None:
    noise = "\n".join(f"[ 4999.{n:06}] eth0: link is up, {n}" for n in range(200))
    assert len(noise) > LONGEST
    boxes = [{"title": "console", "text": f"```{noise}\n{oops('xfs_iget')}```", "fallback": "console"}]
    shop.workspace.messages.post(
        "C0KERNEL", {"type": "message", "bot_id": "B0OTHER", "text": "", "attachments": boxes}, thread_ts=None
    )
    message = (await shop.history("C0KERNEL"))[-1]
    person = shop.person("U0ONCALL")
    await person.shortcut(SHORTCUT, message, channel="C0KERNEL")
    form = await person.modal("NULL pointer dereference in xfs_iget", timeout=LONG)
    web = {"text": {"type": "plain_text", "text": "web-17"}, "value": "web-17"}
    state = {"values": {"host": {"panics.host": {"type": "external_select", "selected_option": web}}}}
    answer = await shop.post("view_submit", {"user": person.id, "view_id": form["id"], "state": state})
    assert not answer.get("errors")
    (panic,) = await panics(bot)
    assert panic.title == "NULL pointer dereference in xfs_iget"
    assert "link is up, 0" in panic.text
    await person.ephemeral("P-1", channel="C0KERNEL", timeout=LONG)
    await shop.person("U0KERNEL").shortcut(SHORTCUT, message, channel="C0KERNEL")
    await shop.person("U0KERNEL").ephemeral("reported already", channel="C0KERNEL", timeout=LONG)
    assert len(await bot.rows(Report)) == 1


async def test_a_message_without_a_crash_says_so_and_nothing_is_opened_by_cancelling(
    bot: Floor, shop: RunningWorkspace
) -> None:
    message = await said(shop, "who broke web-17? <!channel> *now*")
    person = shop.person("U0ONCALL")
    await person.shortcut(SHORTCUT, message, channel="C0KERNEL")
    form = await person.modal("I read no kernel crash", timeout=LONG)
    await person.close(form)
    await person.shortcut(SHORTCUT, message, channel="C0KERNEL")
    form = await person.modal("I read no kernel crash", timeout=LONG)
    assert await person.submit(form, {}) == {}, "the host is filled in: the message names it"
    (panic,) = await panics(bot)
    assert (panic.host, panic.kind) == ("web-17", "unknown")


async def test_a_mention_is_answered_with_cards_in_its_thread(bot: Floor, shop: RunningWorkspace) -> None:
    await bot.report("web-17", oops())
    person = shop.person("U0VIEWER")
    asked = (await person.mention("P-1 and I-1, P-999 too?"))["message"]
    card = await shop.reply(asked, "NULL pointer dereference in nvme_irq", timeout=LONG)
    seen = visible_text(card)
    assert "There is no P-999" in seen
    assert re.search(r"I-1>? · NULL pointer", seen), "a link, where its thread was posted by then"
    assert "first panic on this host" in seen
    assert "nvme_irq_caller" not in seen, "the crash itself is not in a card"
    many = (await person.mention(" ".join(f"P-{n}" for n in range(1, 9))))["message"]
    assert "3 more in that message" in visible_text(await shop.reply(many, "P-1", timeout=LONG))
    lost = (await person.mention("P-999"))["message"]
    await person.ephemeral("There is no P-999", timeout=LONG)
    assert await shop.replies(lost) == []
    await person.mention("lits P-1")
    await person.ephemeral("Did you mean", timeout=LONG)


async def test_a_card_is_for_one_alone_where_not_everybody_may_look(
    tmp_path: Path, shop: RunningWorkspace
) -> None:
    access = AccessConfig(everyone="nobody", viewers=("U0VIEWER",))
    async with floor(tmp_path, shop, doors="http", access=access) as bot:
        register_panics(bot.router, bot.context)
        await bot.report("web-17", oops())
        person = shop.person("U0VIEWER")
        asked = (await person.mention("P-1"))["message"]
        await person.ephemeral("NULL pointer dereference", timeout=LONG)
        assert await shop.replies(asked) == []


async def test_buttons_of_the_home_answer_on_the_home(bot: Floor, shop: RunningWorkspace) -> None:
    async def show(user: str, text: str = "") -> None:
        await publish_home(bot.context, user, said=text)

    from bot.slack_app import make_bolt

    bot.front.bolt = make_bolt(bot.router, bot.slack, on_home=show, tell_home=show)
    await bot.report("web-17", oops())
    person = shop.person("U0ONCALL")
    await person.open_home()
    home = await person.home("nobody has it", timeout=LONG)
    await person.click(home, "Acknowledge")
    home = await person.home("I-1 is yours", timeout=LONG)
    assert (await bot.rows(Incident))[0].acknowledged_by == "U0ONCALL"
    await person.click(home, "Show")
    record = await person.modal("I-1", timeout=LONG)
    assert "NULL pointer dereference" in visible_text(record)
    await person.click(await person.home("Resolve"), "Resolve")
    form = await person.modal("Cause", timeout=LONG)
    assert await person.submit(form, {"Cause": "bad DIMM"}) == {}
    await person.home("I-1 is resolved", timeout=LONG)
    viewer = shop.person("U0VIEWER")
    await bot.report("db-1", oops("other"))
    await viewer.open_home()
    seen = visible_text(await viewer.home("Open incidents", timeout=LONG))
    assert "Acknowledge" not in seen.replace("*Acknowledge*", "")
    assert "Report a panic" not in seen
    assert "Show" in seen
