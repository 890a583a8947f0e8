"""Slack knocks by HTTP: signatures, storing before the acknowledgement, deliveries that come twice, garbage."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlmodel import Session

from bot.demo.workspace.testing import RunningWorkspace
from bot.slack_payloads import BadPayload, event_text, from_http, identify, to_ask, typed
from commands.access import Role
from commands.router import Ask
from storage import SlackRequest
from storage.requests import TRIES, begin, finish, once, settle, unfinished
from tests.incident.floor import CHANNEL, Floor, command_payload, floor, until
from tests.incident.texts import oops


@pytest.fixture
async def door(tmp_path: Path) -> AsyncIterator[Floor]:
    """The front desk behind its HTTP route; nobody is there to be answered."""
    async with floor(tmp_path, doors="http") as running:
        yield running


def event(text: str, event_id: str = "Ev1") -> dict[str, Any]:
    inner = {"type": "app_mention", "user": "U0ONCALL", "text": text, "channel": CHANNEL, "ts": "1.000001"}
    return {"type": "event_callback", "event_id": event_id, "team_id": "T0", "event": inner}


async def settled(bot: Floor, count: int = 1) -> list[SlackRequest]:
    async def done() -> list[SlackRequest] | None:
        rows = await bot.requests_stored()
        return rows if len(rows) >= count and all(r.state in ("done", "failed") for r in rows) else None

    rows = await until(done)
    assert rows is not None
    return rows


# -- who knocks ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrong",
    [
        {"secret": "another secret altogether"},
        {"signature": ""},
        {"signature": "v0=zz"},
        {"at": str(int(time.time()) - 400)},
        {"at": ""},
        {"at": "²"},
        {"at": "9" * 5000},
        {"at": "-1"},
    ],
)
async def test_a_wrong_or_stale_signature_is_401_and_does_nothing(door: Floor, wrong: dict[str, str]) -> None:
    if wrong.get("at") == "²":
        wrong = {"at": "²"}
    status, body = await door.post(urlencode(command_payload("ack I-1")), **wrong)
    assert status == 401
    assert json.loads(body)["error"] == "bad_signature"
    assert await door.requests_stored() == []


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ("", "application/json"),
        ("{", "application/json"),
        ("[]", "application/json"),
        ("{}", "application/json"),
        ("[" * 100_000, "application/json"),
        ('{"hello": "world"}', "application/json"),
        ("", "application/x-www-form-urlencoded"),
        ("nonsense", "application/x-www-form-urlencoded"),
        ("payload=%7B", "application/x-www-form-urlencoded"),
        ("payload=[1]", "application/x-www-form-urlencoded"),
        ('{"type":"block_actions","actions":"x"}', "application/json"),
        ('{"type":"block_actions","actions":{"a":1}}', "application/json"),
        ('{"type":"view_submission","view":[]}', "application/json"),
        ('{"type":"view_submission","view":"v"}', "application/json"),
        ('{"type":"view_submission","view":{"state":{"values":{"cause":[]}}}}', "application/json"),
        ('{"type":"event_callback","event":"x"}', "application/json"),
    ],
)
async def test_garbage_is_answered_with_400(door: Floor, body: str, kind: str) -> None:
    if body == '{"type":"view_submission","view":[]}':
        body = '{"type":"view_submission","view":[1]}'
    status, answer = await door.post(body, kind=kind)
    assert (status, json.loads(answer)["error"]) == (400, "bad_payload")
    assert await door.requests_stored() == []


async def test_slacks_own_questions_are_answered(door: Floor) -> None:
    status, body = await door.post('{"type":"url_verification","challenge":"c1"}', kind="application/json")
    assert (status, json.loads(body)) == (200, {"challenge": "c1"})
    assert await door.post("ssl_check=1&token=x") == (200, "")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(
            ["type", "command", "view", "state", "values", "actions", "event", "user", "id", "channel", "container",
             "message", "trigger_id", "response_url", "private_metadata", "action_id", "selected_option", "text"]
        ),
        inner,
        max_size=5,
    ),
    max_leaves=20,
)  # fmt: skip
KINDS = st.sampled_from(
    [
        "block_actions",
        "view_submission",
        "view_closed",
        "message_action",
        "event_callback",
        "block_suggestion",
    ]
)


@settings(max_examples=75, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    payload=st.dictionaries(
        st.sampled_from(
            ["view", "actions", "event", "user", "message", "state", "channel", "trigger_id", "container"]
        ),
        JSON,
        max_size=6,
    ),
    kind=KINDS,
)
def test_no_payload_makes_taking_it_apart_fail_otherwise(payload: dict[str, Any], kind: str) -> None:
    async def nobody(*_: Any, **__: Any) -> None: ...

    try:
        incoming = identify({"type": kind, **payload})
        to_ask(incoming, nobody, "U0PANICROOM")
    except BadPayload:
        return
    assert identify({"type": kind, **payload}).dedupe == incoming.dedupe


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("a &amp; b &lt;c&gt;", "a & b <c>"),
        ("host:<http://web-17.example.com|web-17.example.com>", "host:web-17.example.com"),
        ("<https://jira.example/OPS-1|OPS-1> <https://x.example>", "OPS-1 https://x.example"),
        ("assign I-7 <@U0KERNEL|kernel>", "assign I-7 <@U0KERNEL|kernel>"),
        ("&amp;lt;", "&lt;"),
    ],
)
def test_what_was_typed_is_what_arrives(said: str, meant: str) -> None:
    assert typed(said) == meant
    assert event_text({"text": f"<@U0PANICROOM> {said}"}, "U0PANICROOM") == meant


def test_a_form_without_payload_is_a_command() -> None:
    assert from_http("command=%2Fpanic&text=", "application/x-www-form-urlencoded") == {
        "command": "/panic",
        "text": "",
    }


# -- stored before the acknowledgement ------------------------------------------------------------------------


async def test_what_acts_is_committed_before_it_is_acknowledged_and_the_rest_is_not(tmp_path: Path) -> None:
    async with floor(tmp_path, doors="http") as bot:
        held = asyncio.Event()

        async def hold(_ask: Ask) -> None:
            await held.wait()

        bot.router.verb("hold", hold, role=Role.VIEWER, usage="", help="", example="")
        assert (await bot.command("hold"))[0] == 200
        (row,) = await bot.requests_stored()  # acknowledged, and not worked off
        assert (row.state, row.kind) == ("new", "command")
        held.set()
        assert [r.state for r in await settled(bot)] == ["done"]
        for text in ("timeline I-1", "silences", "frobnicate", ""):
            assert (await bot.command(text))[0] == 200
        assert len(await bot.requests_stored()) == 1


async def test_a_command_delivered_twice_has_one_effect(door: Floor) -> None:
    await door.report("web-1", oops())
    for _ in range(2):
        assert (await door.command("note I-1 once", trigger="t.same"))[0] == 200
    await settled(door)
    assert (await door.command("note I-1 once", trigger="t.same"))[0] == 200
    assert len(await door.requests_stored()) == 1
    assert len(await door.sayings(": once")) == 1
    assert [a[1] for a in await door.audits()] == ["note"]


async def test_an_event_delivered_twice_has_one_effect(door: Floor) -> None:
    await door.report("web-1", oops())
    body = json.dumps(event("<@U0PANICROOM> note I-1 heard"))
    statuses = await asyncio.gather(*(door.post(body, kind="application/json") for _ in range(4)))
    assert {s for s, _ in statuses} == {200}
    await settled(door)
    assert len(await door.sayings(": heard")) == 1


async def test_an_unstored_event_delivered_twice_is_worked_on_once(door: Floor) -> None:
    body = json.dumps({**event("x"), "event": {"type": "app_home_opened", "user": "U0ONCALL", "tab": "home"}})
    for _ in range(3):
        assert (await door.post(body, kind="application/json"))[0] == 200

    async def opened() -> bool:
        return bool(door.homes)

    await until(opened)
    await door.command("note I-99 x")
    await settled(door)
    assert door.homes == ["U0ONCALL"]


async def test_a_form_that_is_wrong_is_answered_with_its_errors_and_not_stored(door: Floor) -> None:
    view = {
        "callback_id": "incident.resolve",
        "private_metadata": json.dumps({"subject": "I-1"}),
        "state": {"values": {"cause": {"value": {"type": "plain_text_input", "value": " "}}}},
    }
    payload = {"type": "view_submission", "trigger_id": "t.v", "user": {"id": "U0ONCALL"}, "view": view}
    status, body = await door.interaction(payload)
    assert status == 200
    assert json.loads(body)["response_action"] == "errors"
    assert list(json.loads(body)["errors"]) == ["cause"]
    assert await door.requests_stored() == []


async def test_too_much_is_answered_busy_and_a_later_delivery_is_heard(tmp_path: Path) -> None:
    async with floor(tmp_path, doors="http", queue=1) as bot:
        held = asyncio.Event()
        answered: list[str] = []

        async def hold(ask: Ask) -> None:
            await held.wait()
            answered.append(ask.text)

        bot.router.verb("look", hold, role=Role.VIEWER, usage="", help="", example="", acts=False)
        bot.router.verb("act", hold, role=Role.VIEWER, usage="", help="", example="", acts=True)

        async def full() -> bool:
            status, body = await bot.command(f"look {len(answered)}")
            return status == 200 and "more to do than it can take" in body

        await until(full)
        opened = json.dumps(
            {**event("x", "Ev9"), "event": {"type": "app_home_opened", "user": "U0KERNEL", "tab": "home"}}
        )
        assert (await bot.post(opened, kind="application/json"))[0] == 503
        for n in range(5):  # stored: acknowledged though the queue is full
            assert await bot.command(f"act {n}") == (200, "")
        held.set()
        rows = await settled(bot, 5)
        assert [r.state for r in rows] == ["done"] * 5
        assert {"0", "1", "2", "3", "4"} <= set(answered)

        async def heard() -> bool:
            await bot.post(opened, kind="application/json")
            return bot.homes == ["U0KERNEL"]

        await until(heard)


async def test_a_database_that_cannot_store_is_told(tmp_path: Path) -> None:
    async with floor(tmp_path, doors="http") as bot:
        await bot.requests.close()
        status, body = await bot.command("note I-1 x")
        assert status == 200
        assert "Nothing was done" in body
        assert (await bot.post(json.dumps(event("<@U0PANICROOM> ack I-1")), kind="application/json"))[
            0
        ] == 503
        assert await bot.requests_stored() == []


# -- after a crash --------------------------------------------------------------------------------------------


def stored(text: str, trigger: str = "t.crash", **columns: Any) -> SlackRequest:
    payload = command_payload(text, trigger=trigger)
    return SlackRequest(dedupe=f"command:{trigger}", kind="command", body=json.dumps(payload), **columns)


async def test_what_was_acknowledged_before_a_crash_is_done_after_it(tmp_path: Path) -> None:
    async with floor(tmp_path) as before:
        await before.report("web-1", oops())
        await before.db.write(lambda s: s.add(stored("note I-1 acknowledged before the crash")))
    async with floor(tmp_path, doors="http") as bot:
        assert [r.state for r in await settled(bot)] == ["done"]
        assert len(await bot.sayings("acknowledged before the crash")) == 1
        assert [a[1:] for a in await bot.audits()] == [("note", "I-1 acknowledged before the crash", "done")]


async def test_killed_between_the_effect_and_its_record_there_is_one_effect_and_one_audit(
    tmp_path: Path,
) -> None:
    async with floor(tmp_path) as before:
        await before.report("web-1", oops())
        await before.db.write(lambda s: s.add(stored("note I-1 just once")))

        def effect(session: Session) -> None:
            from commands.incident import life
            from storage import Incident

            assert once(session, "command:t.crash")
            life.note(session, session.get_one(Incident, 1), "just once", "U0ONCALL", before.clock())

        await before.db.write(effect)  # and here the process dies: no audit, not finished
    async with floor(tmp_path, doors="http") as bot:
        assert [r.state for r in await settled(bot)] == ["done"]
        assert len(await bot.sayings("just once")) == 1
        assert [a[1] for a in await bot.audits()] == ["note"]
    async with floor(tmp_path, doors="http") as again:
        assert len(await again.audits()) == 1


async def test_more_than_the_queue_holds_is_taken_up_little_by_little(tmp_path: Path) -> None:
    async with floor(tmp_path) as before:
        await before.report("web-1", oops())
        for n in range(12):
            await before.db.write(lambda s, n=n: s.add(stored(f"note I-1 number-{n}", f"t.{n}")))  # type: ignore[misc]
    async with floor(tmp_path, doors="http", queue=2) as bot:
        await settled(bot, 12)
        assert len(await bot.sayings("number-")) == 12


async def test_a_request_that_ends_the_process_each_time_is_given_up(tmp_path: Path) -> None:
    async with floor(tmp_path) as bot:
        await bot.db.write(lambda s: s.add(stored("note I-1 deadly")))
        for _ in range(TRIES):
            assert await bot.db.write(lambda s: begin(s, "command:t.crash"))
            assert len(await bot.db.read(unfinished)) == 1
        assert not await bot.db.write(lambda s: begin(s, "command:t.crash"))
        assert await bot.db.read(unfinished) == []
        (row,) = await bot.requests_stored()
        assert (row.state, row.error) == ("failed", "the process ended 3 times while it was worked on")


async def test_a_failed_request_was_told_and_is_not_done_again_behind_the_persons_back(
    tmp_path: Path,
) -> None:
    calls = 0

    async def fail(_ask: Ask) -> None:
        nonlocal calls
        calls += 1
        raise RuntimeError("a defect")

    for _ in range(2):
        async with floor(tmp_path) as bot:
            bot.router.verb("fail", fail, role=Role.VIEWER, usage="", help="", example="")
        async with floor(tmp_path, doors="http") as bot:
            bot.router.verb("fail", fail, role=Role.VIEWER, usage="", help="", example="")
            await bot.command("fail", trigger="t.fail")
            assert [r.state for r in await settled(bot)] == ["failed"]
            assert calls == 1
            assert [a[3] for a in await bot.audits()] == ["failed"]


def test_the_states_of_a_stored_request(tmp_path: Path) -> None:
    bot = Floor(tmp_path)
    bot.db.write_now(lambda s: s.add(stored("x")))
    key = "command:t.crash"
    assert bot.db.write_now(lambda s: [once(s, key), once(s, key)]) == [True, False]
    assert bot.db.write_now(lambda s: [settle(s, key), settle(s, key)]) == [True, False]
    bot.db.write_now(lambda s: finish(s, key, None))
    assert bot.db.read_now(unfinished) == []
    assert bot.db.write_now(lambda s: [once(s, "not stored"), settle(s, "not stored"), begin(s, "none")]) == [
        True, True, False,
    ]  # fmt: skip
    bot.db.close()


async def test_a_button_on_the_parent_is_answered_in_the_channel(
    tmp_path: Path, ws: RunningWorkspace
) -> None:
    """An ephemeral answer in a thread is seen only by who has the thread open."""
    async with floor(tmp_path, ws, doors="http") as bot:
        await bot.report("web-1", oops())
        bot.printer.wake()
        parent = await ws.message("web-1 panicked")
        await ws.reply(parent, "P-1")
        await ws.person().click(parent, "Acknowledge")
        answer = await ws.person().ephemeral("I-1 is yours")
        assert answer.get("thread_ts") in (None, "")


async def test_killed_after_the_audit_the_act_is_not_audited_again(tmp_path: Path) -> None:
    async with floor(tmp_path) as bot:
        await bot.report("web-1", oops())
        await bot.db.write(lambda s: s.add(stored("note I-1 x")))
        for _ in range(2):  # as a resumed request would
            ask = Ask(request_id="command:t.crash", user="U0ONCALL", channel=CHANNEL, text="note I-1 audited")
            await bot.router.command_line(ask)
        assert len(await bot.sayings(": audited")) == 1
        assert [a[1] for a in await bot.audits()] == ["note"]


async def test_a_second_delivery_does_not_reach_the_handler(tmp_path: Path) -> None:
    async with floor(tmp_path, doors="http") as bot:
        heard: list[str] = []

        async def hear(ask: Ask) -> None:
            heard.append(ask.request_id)

        bot.router.verb("hear", hear, role=Role.VIEWER, usage="", help="", example="")
        for _ in range(3):
            assert await bot.command("hear", trigger="t.again") == (200, "")
        await bot.command("hear", trigger="t.last")
        await settled(bot, 2)
        assert sorted(heard) == ["command:t.again", "command:t.last"]
