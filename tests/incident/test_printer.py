"""A message is made once, whatever happens to the call that makes it."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from sqlmodel import Session

from bot.demo.workspace.testing import RunningWorkspace
from commands.incident import printer as printer_module
from commands.incident import thread
from commands.incident.pace import EDIT, PARENT, POST, Pace
from commands.incident.printer import Printer
from commands.incident.rendering import Rendered, renderer
from storage import MessageState, SlackMessage
from tests.forks import run_file
from tests.incident.floor import CHANNEL, Floor, floor, until
from tests.incident.texts import oops

ROOT = Path(__file__).resolve().parents[2]
drawn_numbers = {1: 0}


@renderer("test.number")
def _draw_number(_session: Session, subject_id: int) -> Rendered:
    return Rendered(f"number {drawn_numbers[subject_id]}")


@renderer("test.broken")
def _draw_broken(_session: Session, _subject_id: int) -> Rendered:
    raise ZeroDivisionError("a defect in a renderer")


@renderer("test.gone")
def _draw_gone(_session: Session, _subject_id: int) -> None:
    return None


async def ours(ws: RunningWorkspace, key: str, channel: str = CHANNEL) -> list[str]:
    """The ts of all messages in the channel that carry this key, as Slack's own history tells them."""
    async with (
        aiohttp.ClientSession() as session,
        session.post(
            f"{ws.api_url}conversations.history",
            json={"channel": channel, "include_all_metadata": True, "limit": 200},
            headers={"Authorization": f"Bearer {ws.bot_token}"},
        ) as answer,
    ):
        messages = (await answer.json())["messages"]
    return [m["ts"] for m in messages if _key(m) == key]


def _key(message: dict[str, Any]) -> str | None:
    return (message.get("metadata") or {}).get("event_payload", {}).get("key")


async def outbox(bot: Floor, key: str, text: str = "hello", **columns: Any) -> None:
    row = SlackMessage(
        **{"key": key, "channel": CHANNEL, "payload": {"text": text, "blocks": []}, **columns},
    )
    await bot.db.write(lambda s: s.add(row))
    bot.printer.wake()


async def message(bot: Floor, key: str) -> SlackMessage:
    return next(m for m in await bot.rows(SlackMessage) if m.key == key)


async def in_state(bot: Floor, key: str, state: MessageState, seconds: float = 45) -> SlackMessage:
    async def there() -> SlackMessage | None:
        found = await message(bot, key)
        return found if found.state is state else None

    found = await until(there, seconds)
    assert found is not None
    return found


async def checked_for_doubles(bot: Floor, key: str) -> None:
    async def done() -> bool:
        found = await message(bot, key)
        return found.state is MessageState.SENT and found.check_doubles_at is None

    await until(done)


def test_the_second_look_comes_ten_seconds_after_the_first(tmp_path: Path) -> None:
    assert timedelta(seconds=10) == printer_module.LOOK_AGAIN
    bot = Floor(tmp_path)
    made = Printer(bot.db, bot.slack, store_dir=tmp_path, clock=bot.clock)
    assert made.look_again == timedelta(seconds=10)
    assert made.double_checks == printer_module.DOUBLE_CHECKS
    assert made.double_checks[0] > timedelta(seconds=10)
    bot.db.close()


async def test_a_panic_has_one_parent_and_its_text_as_a_reply(bot: Floor, ws: RunningWorkspace) -> None:
    panic = await bot.report("web-17", oops())
    bot.printer.wake()
    parent = await ws.message("web-17 panicked: NULL pointer dereference in nvme_irq")
    await ws.reply(parent, "Fatal exception")
    assert await ours(ws, f"incident:{panic.incident_id}") == [parent["ts"]]
    stored = await bot.printed(f"incident:{panic.incident_id}")
    assert (stored.ts, stored.state) == (parent["ts"], MessageState.SENT)


async def test_killed_between_the_post_and_its_record_there_is_one_parent(
    tmp_path: Path, ws: RunningWorkspace
) -> None:
    async with floor(tmp_path, ws, printing=False) as bot:
        panic = await bot.report("web-17", oops())
        key = f"incident:{panic.incident_id}"
        await ws.fail("chat.postMessage", "timeout_after_landing", delay=60)
        script = Path(__file__).with_name("printer_process.py")
        process = run_file(script, str(tmp_path), ws.api_url, ws.bot_token)
        try:
            parent = await ws.message(
                "web-17 panicked", timeout=30
            )  # it landed; the answer is on its way for ever
        finally:
            process.kill()
            await process.wait()
        before = await message(bot, key)
        assert (before.state, before.ts) == (MessageState.SENDING, None)
        task = asyncio.create_task(bot.printer.run())
        try:
            after = await bot.printed(key)
            await bot.printed(f"text:{panic.id}:{panic.incident_id}")
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        assert after.ts == parent["ts"]
        assert await ours(ws, key) == [parent["ts"]]
        posts = await ws.calls("chat.postMessage")
        assert sum(_key_of_call(c) == key for c in posts) == 1


def _key_of_call(call: dict[str, Any]) -> str | None:
    return (call["arguments"].get("metadata") or {}).get("event_payload", {}).get("key")


async def test_killed_before_the_call_the_message_is_looked_for_twice_and_then_posted(
    bot: Floor, ws: RunningWorkspace
) -> None:
    await outbox(bot, "begun", state=MessageState.SENDING, attempts=1)
    done = await in_state(bot, "begun", MessageState.SENT)
    assert await ours(ws, "begun") == [done.ts]
    looks = [c for c in await ws.calls("conversations.history") if c["arguments"].get("include_all_metadata")]
    first, second = (c["at"] for c in looks[:2])
    assert second - first >= 0.35  # look_again is 0.4 s here


@pytest.mark.parametrize("mode", ["timeout_after_landing", "reset_after_landing"])
async def test_a_post_whose_answer_was_lost_is_found(tmp_path: Path, ws: RunningWorkspace, mode: str) -> None:
    async with floor(tmp_path, ws, timeout=1) as bot:
        await ws.fail("chat.postMessage", mode, delay=5)
        await outbox(bot, "lost-answer")
        done = await in_state(bot, "lost-answer", MessageState.SENT)
        await checked_for_doubles(bot, "lost-answer")
        assert await ours(ws, "lost-answer") == [done.ts]
        assert len(await ws.calls("chat.postMessage")) == 1


async def test_a_post_that_lands_between_the_two_looks_is_not_made_again(
    tmp_path: Path, ws: RunningWorkspace
) -> None:
    async with floor(tmp_path, ws, look_again=60) as bot:
        await ws.fail("chat.postMessage", "late_landing", delay=600)
        await outbox(bot, "late")

        async def looked() -> bool:
            return (await message(bot, "late")).looked == 1

        async def landed() -> bool:
            return len(await ours(ws, "late")) == 1

        await until(looked)
        ws.workspace.faults.landing.set()
        await until(landed)
        bot.clock.forward(seconds=61)
        bot.printer.wake()
        done = await in_state(bot, "late", MessageState.SENT)
        bot.clock.forward(seconds=61)
        bot.printer.wake()
        await checked_for_doubles(bot, "late")
        assert await ours(ws, "late") == [done.ts]
        assert len(await ws.calls("chat.postMessage")) == 1


async def test_a_double_that_lands_after_the_second_look_is_removed(
    tmp_path: Path, ws: RunningWorkspace
) -> None:
    async with floor(tmp_path, ws, look_again=0.1, double_checks=(60, 0.2)) as bot:
        await ws.fail("chat.postMessage", "late_landing", delay=600)
        await outbox(bot, "very-late")
        done = await in_state(bot, "very-late", MessageState.SENT)
        ws.workspace.faults.landing.set()

        async def two() -> bool:
            return len(await ours(ws, "very-late")) == 2

        await until(two)
        bot.clock.forward(seconds=61)
        bot.printer.wake()
        await checked_for_doubles(bot, "very-late")
        assert await ours(ws, "very-late") == [done.ts]
        assert len(await ws.calls("chat.postMessage")) == 2


async def test_edits_in_between_do_not_prolong_the_search_for_doubles(
    tmp_path: Path, ws: RunningWorkspace
) -> None:
    async with floor(tmp_path, ws, double_checks=(0.2, 0.2)) as bot:
        drawn_numbers[1] = 0
        await ws.fail("chat.postMessage", "500")
        await outbox(bot, "edited", renderer="test.number", subject_id=1, payload=None)
        await in_state(bot, "edited", MessageState.SENT)
        looks = 0
        deadline = time.monotonic() + 45
        while (await message(bot, "edited")).check_doubles_at is not None:
            assert time.monotonic() < deadline
            await bot.db.write(lambda s: thread.redraw(s, "edited"))
            bot.printer.wake()
            await in_state(bot, "edited", MessageState.SENT)
        looks = (await message(bot, "edited")).looked
        assert looks == 2


async def test_retry_after_is_honoured_and_nothing_is_lost(bot: Floor, ws: RunningWorkspace) -> None:
    await ws.rate_limit("chat.postMessage", retry_after=1)
    began = time.monotonic()
    await outbox(bot, "limited-1")
    await outbox(bot, "limited-2")
    for key in ("limited-1", "limited-2"):
        done = await in_state(bot, key, MessageState.SENT)
        assert await ours(ws, key) == [done.ts]
    assert time.monotonic() - began >= 0.95
    calls = await ws.calls("chat.postMessage")
    assert [c["ok"] for c in calls] == [False, True, True]
    assert calls[1]["at"] - calls[0]["at"] >= 0.95


async def test_an_http_500_is_tried_again_after_looking(bot: Floor, ws: RunningWorkspace) -> None:
    await ws.fail("chat.postMessage", "500")
    await outbox(bot, "five-hundred")
    done = await in_state(bot, "five-hundred", MessageState.SENT)
    assert await ours(ws, "five-hundred") == [done.ts]
    assert bot.printer.failing_since is None


async def test_while_slack_cannot_be_reached_messages_wait_and_then_go_out(
    tmp_path: Path, ws: RunningWorkspace
) -> None:
    async with floor(tmp_path, ws, api_url="http://127.0.0.1:9/api/") as bot:
        await outbox(bot, "refused-connection")

        async def failing() -> bool:
            return bot.printer.failing_since is not None

        await until(failing)
        waiting = await in_state(bot, "refused-connection", MessageState.WAITING)
        assert waiting.ts is None
        assert "cannot be reached" in (waiting.error or "")
        bot.slack.web.base_url = ws.api_url
        done = await in_state(bot, "refused-connection", MessageState.SENT)
        assert await ours(ws, "refused-connection") == [done.ts]
        assert bot.printer.failing_since is None


async def test_twenty_changes_cost_few_edits(tmp_path: Path, ws: RunningWorkspace) -> None:
    async with floor(tmp_path, ws, pace=Pace(per_second=2, burst=2)) as bot:
        drawn_numbers[1] = 0
        await outbox(bot, "busy", renderer="test.number", subject_id=1, payload=None)
        await in_state(bot, "busy", MessageState.SENT)
        for number in range(1, 21):
            drawn_numbers[1] = number
            await bot.db.write(lambda s: thread.redraw(s, "busy"))
            bot.printer.wake()
        await ws.message("number 20")
        stored = await bot.printed("busy")
        assert stored.sent == 21
        assert len(await ws.calls("chat.update")) <= 6


async def test_a_busy_message_starves_nobody(tmp_path: Path, ws: RunningWorkspace) -> None:
    """The oldest message changes all the time; posts and another message's edits get their turns."""
    async with floor(tmp_path, ws, pace=Pace(per_second=4, burst=1)) as bot:
        drawn_numbers[1] = drawn_numbers[2] = 0
        await outbox(bot, "restless", renderer="test.number", subject_id=1, payload=None)
        await outbox(bot, "other", renderer="test.number", subject_id=2, payload=None)
        await in_state(bot, "other", MessageState.SENT)
        running = True

        async def unrest() -> None:
            while running:
                drawn_numbers[1] += 1
                await bot.db.write(lambda s: thread.redraw(s, "restless"))
                bot.printer.wake()
                await asyncio.sleep(0)

        task = asyncio.create_task(unrest())
        try:
            drawn_numbers[2] = 77
            await bot.db.write(lambda s: thread.redraw(s, "other"))
            await outbox(bot, "new-parent")
            await in_state(bot, "new-parent", MessageState.SENT)
            await ws.message("number 77", timeout=45)
        finally:
            running = False
            await task


async def test_replies_wait_for_their_parent_and_keep_their_order(bot: Floor, ws: RunningWorkspace) -> None:
    await ws.fail("chat.postMessage", "500")
    await outbox(bot, "parent", "the parent")
    for number in range(4):
        await outbox(bot, f"reply-{number}", f"reply {number}", thread_key="parent")
    done = await in_state(bot, "reply-3", MessageState.SENT)
    parent = await ws.message("the parent")
    replies = await ws.replies(parent)
    assert [r["text"] for r in replies] == [f"reply {n}" for n in range(4)]
    assert done.ts == replies[3]["ts"]
    assert {m["text"] for m in await ws.history()} & {"reply 0", "reply 3"} == set()


async def test_what_slack_refuses_for_good_fails_with_the_reason_and_blocks_nobody(
    bot: Floor, ws: RunningWorkspace
) -> None:
    bad = {"text": "x", "blocks": [{"type": "section", "text": {"type": "mrkdwn", "text": "x" * 3001}}]}
    await outbox(bot, "too-long", payload=bad)
    await outbox(bot, "its-reply", thread_key="too-long")
    await outbox(bot, "good")
    failed = await in_state(bot, "too-long", MessageState.FAILED)
    assert "invalid_blocks" in (failed.error or "")
    reply = await in_state(bot, "its-reply", MessageState.FAILED)
    assert "its parent could not be posted" in (reply.error or "")
    await in_state(bot, "good", MessageState.SENT)
    assert sum(_key_of_call(c) == "too-long" for c in await ws.calls("chat.postMessage")) == 1


async def test_what_a_person_can_mend_is_said_when_it_is_mended(bot: Floor, ws: RunningWorkspace) -> None:
    await ws.fail("chat.postMessage", "error", error="not_in_channel")
    await outbox(bot, "uninvited")
    done = await in_state(bot, "uninvited", MessageState.SENT)
    assert await ours(ws, "uninvited") == [done.ts]


async def test_a_message_that_cannot_be_drawn_blocks_nobody(bot: Floor, ws: RunningWorkspace) -> None:
    await outbox(bot, "cannot-draw", renderer="test.broken", subject_id=1, payload=None)
    await outbox(bot, "subject-gone", renderer="test.gone", subject_id=1, payload=None)
    await outbox(bot, "no-renderer", renderer="test.of-a-later-version", subject_id=1, payload=None)
    await outbox(bot, "fine")
    await in_state(bot, "fine", MessageState.SENT)
    await ws.message("cannot-draw could not be drawn")
    assert "gone" in ((await in_state(bot, "subject-gone", MessageState.FAILED)).error or "")
    assert "later-version" in ((await in_state(bot, "no-renderer", MessageState.FAILED)).error or "")


async def test_a_parent_that_somebody_deleted_is_posted_anew(bot: Floor, ws: RunningWorkspace) -> None:
    panic = await bot.report("web-17", oops())
    bot.printer.wake()
    first = await bot.printed(f"incident:{panic.incident_id}")
    await bot.slack.delete(CHANNEL, first.ts or "")
    assert "yours" in await bot.say(f"ack P-{panic.id}")

    async def anew() -> SlackMessage | None:
        found = await bot.printed(f"incident:{panic.incident_id}")
        return found if found.ts != first.ts else None

    second = await until(anew)
    assert second is not None
    assert await ours(ws, f"incident:{panic.incident_id}") == [second.ts]
    assert "note" in await bot.say(f"note P-{panic.id} the thread goes on")
    parent = await ws.message("Acknowledged by")
    await ws.reply(parent, "the thread goes on")


async def test_a_failed_message_is_tried_again_when_its_content_changes(
    bot: Floor, ws: RunningWorkspace
) -> None:
    drawn_numbers[1] = 5
    await outbox(bot, "mended", renderer="test.number", subject_id=1, payload=None, state=MessageState.FAILED)
    await bot.db.write(lambda s: thread.redraw(s, "mended"))
    bot.printer.wake()
    await in_state(bot, "mended", MessageState.SENT)
    await ws.message("number 5")


def keep(bot: Floor, name: str, text: str = "the whole text") -> str:
    path = bot.context.store_dir / "files" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return f"files/{name}"


async def files(ws: RunningWorkspace, parent: dict[str, Any]) -> list[str]:
    return [f["name"] for r in await ws.replies(parent) for f in r.get("files", [])]


@pytest.mark.parametrize(
    ("method", "mode"),
    [
        ("files.completeUploadExternal", "timeout_after_landing"),
        ("files.completeUploadExternal", "500"),
        ("files.completeUploadExternal", "ratelimited"),
        ("files.getUploadURLExternal", "reset"),
    ],
)
async def test_a_file_is_uploaded_once(tmp_path: Path, ws: RunningWorkspace, method: str, mode: str) -> None:
    async with floor(tmp_path, ws, timeout=1) as bot:
        await outbox(bot, "parent", "the parent")
        await in_state(bot, "parent", MessageState.SENT)
        await ws.fail(method, mode, delay=3)
        path = keep(bot, "P-1-dmesg.txt")
        await outbox(
            bot, "upload", "all of it", thread_key="parent", file_path=path, file_name="P-1-dmesg.txt"
        )
        await in_state(bot, "upload", MessageState.SENT)
        await checked_for_doubles(bot, "upload")
        parent = await ws.message("the parent")
        assert await files(ws, parent) == ["P-1-dmesg.txt"]
        reply = await ws.reply(parent, "all of it")
        assert await ws.download(reply["files"][0]) == b"the whole text"


async def test_a_second_file_of_the_same_name_is_not_taken_for_the_first(
    tmp_path: Path, ws: RunningWorkspace
) -> None:
    async with floor(tmp_path, ws, timeout=1) as bot:
        await outbox(bot, "parent", "the parent")
        path = keep(bot, "bundle.tar.gz")
        await outbox(bot, "one", "first", thread_key="parent", file_path=path)
        await in_state(bot, "one", MessageState.SENT)
        await ws.fail("files.completeUploadExternal", "500")
        await outbox(bot, "two", "second", thread_key="parent", file_path=path)
        await in_state(bot, "two", MessageState.SENT)
        await checked_for_doubles(bot, "two")
        assert await files(ws, await ws.message("the parent")) == ["bundle.tar.gz"] * 2


async def test_a_file_that_is_gone_fails_with_the_reason(bot: Floor) -> None:
    await outbox(bot, "no-file", file_path="files/nowhere.txt")
    failed = await in_state(bot, "no-file", MessageState.FAILED)
    assert "nowhere.txt" in (failed.error or "")


async def test_an_idle_printer_asks_nothing_and_a_blocked_one_does_not_spin(
    bot: Floor, ws: RunningWorkspace
) -> None:
    """A message that stands, whose edit waits for later while a look for doubles is due, once made a busy loop."""
    await outbox(bot, "standing")
    done = await in_state(bot, "standing", MessageState.SENT)
    commits = 0

    def later(session: Session) -> None:
        row = session.get_one(SlackMessage, done.id)
        row.state, row.wanted = MessageState.WAITING, 2
        row.next_at = bot.clock() + timedelta(seconds=60)
        row.check_doubles_at = bot.clock()
        session.add(row)

    await bot.db.write(later)
    bot.printer.wake()

    async def looked() -> bool:
        return (await message(bot, "standing")).check_doubles_at is None

    await until(looked)
    commits = len(await ws.calls("conversations.history"))
    await outbox(bot, "after")
    await in_state(bot, "after", MessageState.SENT)
    assert len(await ws.calls("conversations.history")) == commits


def test_the_pace_is_a_bucket_a_kind_and_a_pause_stops_all_kinds() -> None:
    now = 100.0
    pace = Pace(per_second=1.0, burst=2, monotonic=lambda: now)
    assert [pace.delay("C1", PARENT), pace.delay("C1", POST), pace.delay("C1", EDIT)] == [0.0, 0.0, 0.0]
    pace.take("C1", POST)
    assert pace.delay("C1", POST) == pytest.approx(1.0)  # the last token is a parent's
    assert pace.delay("C1", PARENT) == 0.0
    pace.take("C1", PARENT)
    assert [pace.delay("C1", PARENT), pace.delay("C1", POST)] == [pytest.approx(1.0), pytest.approx(2.0)]
    assert [pace.delay("C1", EDIT), pace.delay("C2", POST)] == [0.0, 0.0]
    now += 0.75
    assert pace.delay("C1", PARENT) == pytest.approx(0.25)
    pace.pause("C1", 30)
    pace.pause("C1", 5)
    assert [pace.delay("C1", POST), pace.delay("C1", EDIT)] == [30.0, 30.0]
    now += 31
    assert pace.delay("C1", POST) == 0.0
