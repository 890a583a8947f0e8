"""A signature's known cause: said once, seen in every thread of it."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest
from sqlmodel import select

from bot.demo.workspace.testing import RunningWorkspace, visible_text
from commands.access import AccessConfig
from commands.incident.parent import draw_incident
from commands.known.slack import register
from storage import AuditEntry, Incident, IncidentState, KnownCause, Panic, Signature, TimelineEntry
from tests.incident.floor import Floor, floor
from tests.incident.texts import deliberate, oops


async def known_rows(bot: Floor) -> list[KnownCause]:
    return list(
        await bot.db.read(lambda s: s.exec(select(KnownCause).order_by(KnownCause.signature_key)).all())
    )


async def head(bot: Floor, incident_id: int | None) -> str:
    """What the incident's parent message says now."""
    drawn = await bot.db.read(lambda s: draw_incident(s, incident_id or 0))
    assert drawn is not None
    return json.dumps(drawn.blocks, ensure_ascii=False)


async def test_said_in_one_line_it_stands_in_the_open_thread_and_at_the_head_of_the_next(
    bot: Floor, ws: RunningWorkspace
) -> None:
    on_call = ws.person("U0ONCALL")
    first = await bot.report("web-17", oops())
    bot.printer.wake()
    parent = await ws.message("web-17 panicked")
    assert "Known" not in visible_text(parent)
    await on_call.command(
        '/panic known P-1 cause:"queue freed twice" fixed:6.1.0-40 ticket:ops-1182 use the old one'
    )
    await on_call.ephemeral("It stands in I-1 now")
    told = "*Known cause:* queue freed twice · ticket *OPS-1182* · fixed in `6.1.0-40`"
    parent = await ws.changed(parent, f"{told} (this host ran `6.1.0-31-amd64`) · note: use the old one")
    await ws.reply(parent, f":bulb: {told} · note: use the old one · said by <@U0ONCALL>")
    assert [t.verb for t in await bot.rows(TimelineEntry)] == ["opened", "known"]
    audits = [(a.actor, a.verb, a.outcome) for a in await bot.rows(AuditEntry)]
    assert audits == [("U0ONCALL", "known", "done")]
    await bot.say("resolve I-1 cause: an old driver")
    bot.clock.forward(hours=30)
    later = await bot.report("web-18", oops(uptime=9.0))
    assert later.incident_id != first.incident_id
    bot.printer.wake()
    fresh = await ws.message("web-18 panicked")
    assert told in visible_text(fresh)


async def test_a_form_opens_where_nothing_is_said_and_holds_what_is_known(
    bot: Floor, ws: RunningWorkspace
) -> None:
    on_call = ws.person("U0ONCALL")
    await bot.report("web-17", oops())
    await on_call.command("/panic known P-1")
    form = await on_call.modal("Known cause")
    wrong = (await on_call.submit(form, {"Ticket": "what", "Fixed in": "soon"}))["errors"]
    assert "no ticket key" in wrong["ticket"]
    assert "no kernel release" in wrong["fixed_in"]
    assert "Say a cause" in (await on_call.submit(form, {"Cause": " "}))["errors"]["cause"]
    assert await on_call.submit(form, {"Cause": "bad DIMM", "Ticket": "ops-7", "Fixed in": "6.1.0-40"}) == {}
    await on_call.ephemeral("Noted for")
    (known,) = await known_rows(bot)
    assert (known.cause, known.ticket, known.fixed_in, known.note) == ("bad DIMM", "OPS-7", "6.1.0-40", None)
    await on_call.command(f"/panic known {known.signature_key}")
    again = await on_call.modal("Known cause")
    shown = json.dumps(again["blocks"])
    assert all(f'"initial_value": "{v}"' in shown for v in ("bad DIMM", "OPS-7", "6.1.0-40"))


async def test_all_that_is_known_newest_first_with_how_often(quiet: Floor) -> None:
    assert "Nothing is known of any signature yet" in await quiet.say("known")
    for number, function in enumerate(("nvme_irq", "ext4_writepages", "nvme_irq")):
        await quiet.report(f"web-{number}", oops(function, uptime=10.0 + number))
    await quiet.say("known P-1 cause: a DIMM")
    quiet.clock.forward(minutes=1)
    await quiet.say("known P-2 fixed:6.1.0-40")
    blocks = await answered(quiet, "known")
    shown = json.dumps(blocks, ensure_ascii=False)
    assert "Known causes (2)" in shown
    assert shown.index("ext4_writepages") < shown.index("nvme_irq")
    assert "(2 panics)" in shown
    assert "(1 panic)" in shown


async def answered(bot: Floor, text: str) -> list[dict[str, object]]:
    kept: list[dict[str, object]] = []

    async def respond(
        text: str, blocks: object = None, *, replace: bool = False, in_channel: bool = False
    ) -> None:
        if isinstance(blocks, list):
            kept.extend(blocks)

    await bot.say(text, respond=respond)
    return kept


async def test_one_part_is_changed_and_the_others_stay(quiet: Floor) -> None:
    await quiet.report("web-1", oops())
    await quiet.say('known P-1 cause:"a DIMM" ticket:OPS-1')
    await quiet.say("known P-1 fixed:6.1.0-40")
    (known,) = await known_rows(quiet)
    assert (known.cause, known.ticket, known.fixed_in) == ("a DIMM", "OPS-1", "6.1.0-40")
    marked = known.marked_at
    quiet.clock.forward(hours=1)
    await quiet.say("known P-1 ticket:none a note")
    (known,) = await known_rows(quiet)
    assert (known.ticket, known.note, known.marked_at) == (None, "a note", marked)
    assert "already" in await quiet.say("known P-1 a note")
    await quiet.say("known P-1 fixed:none")
    assert (await known_rows(quiet))[0].marked_at is None
    assert "say a cause" in await quiet.say("known P-1 cause:none note:none")
    assert (await known_rows(quiet))[0].cause == "a DIMM"


async def test_what_was_known_is_taken_back_and_open_threads_are_told(quiet: Floor) -> None:
    await quiet.report("web-1", oops())
    assert "nothing is known of" in await quiet.say("unknown P-1")
    await quiet.say("known P-1 cause: a DIMM")
    assert "a DIMM" in await head(quiet, 1)
    assert "I-1 was told" in await quiet.say("unknown P-1")
    assert await known_rows(quiet) == []
    assert "Known cause" not in await head(quiet, 1)
    assert len(await quiet.sayings("took back what was known of this signature (“a DIMM”)")) == 1
    assert "nothing else" in await quiet.say("unknown P-1 because")


async def test_a_signature_is_named_by_itself_its_beginning_or_its_incident(quiet: Floor) -> None:
    panic = await quiet.report("web-1", oops())
    await quiet.report("web-2", oops("nvme_poll", uptime=4.0))
    assert "Noted for" in await quiet.say(f"known {panic.signature_key} cause: a DIMM")
    assert "begins several signatures" in await quiet.say("known null_deref|nvme cause: both")
    assert "Noted for `null_deref|nvme_poll" in await quiet.say("known null_deref|nvme_p cause: the other")
    assert "Noted for" in await quiet.say("known I-1 ticket:OPS-1")
    assert "there is no signature `gpf|x`" in await quiet.say("known gpf|x cause: none such")
    assert "there is no panic P-99" in await quiet.say("known P-99 cause: x y")


async def test_what_nobody_could_read_has_no_known_cause(quiet: Floor) -> None:
    await quiet.report("web-1")
    assert "nobody could read its cause" in await quiet.say("known P-1 cause: a DIMM")
    assert "nobody could read its cause" in await quiet.say("known unknown cause: a DIMM")
    assert await known_rows(quiet) == []


async def test_hostile_and_secret_words_do_nothing_in_slack(quiet: Floor) -> None:
    await quiet.report("web-1", oops())
    await quiet.say(
        'known P-1 cause:"<!channel> *loud* <https://evil.example|x> `code`" <@U0ADMIN> password=hunter22xyz'
    )
    shown = await head(quiet, 1)
    assert "<!channel>" not in shown
    assert "<https://evil" not in shown
    assert "&lt;!channel&gt;" in shown
    assert "hunter22xyz" not in shown
    (said,) = await quiet.sayings("Known cause")
    assert "<!channel>" not in str(said.payload)
    assert "hunter22xyz" not in str(said.payload)


async def test_the_longest_that_can_be_said_fits_into_every_message(quiet: Floor) -> None:
    for number in range(14):
        await quiet.report(f"web-{number}", oops(f"driver_{number}", uptime=5.0 + number))
        words = f'known P-{number + 1} cause:"{"<&>" * 650}" ticket:OPS-1 fixed:6.1.0-40 {"&" * 1000}'
        assert "Noted for" in await quiet.say(words)
    blocks = await answered(quiet, "known")
    shown = json.dumps(blocks, ensure_ascii=False)
    assert "… and 2 more" in shown
    assert len(shown) < 12_900
    assert all(len(b["text"]["text"]) <= 3000 for b in blocks if b["type"] == "section")  # type: ignore[index]
    assert len(await head(quiet, 1)) < 12_900


async def test_only_responders_may_say_it(tmp_path: Path) -> None:
    async with floor(tmp_path, access=AccessConfig(everyone="viewer", responders=("U0ONCALL",))) as bot:
        register(bot.router, bot.context)
        await bot.report("web-1", oops())
        assert "needs the role *responder*" in await bot.say("known P-1 cause: x y", user="U0NOBODY")
        assert "Noted for" in await bot.say("known P-1 cause: x y", user="U0ONCALL")
        assert [(a[1], a[3]) for a in await bot.audits()] == [("known", "refused"), ("known", "done")]


async def test_in_a_thread_the_panic_is_the_thread_s_and_no_form_can_open(
    bot: Floor, ws: RunningWorkspace
) -> None:
    on_call = ws.person("U0ONCALL")
    await bot.report("web-17", oops())
    bot.printer.wake()
    parent = await ws.message("web-17 panicked")
    await on_call.mention("known ticket:OPS-9", thread=parent)
    await ws.changed(parent, "ticket *OPS-9*")
    await on_call.mention("known P-1", thread=parent)
    await on_call.ephemeral("ticket *OPS-9*")


async def test_back_on_a_kernel_that_should_have_the_fix_is_told_in_the_line(quiet: Floor) -> None:
    await quiet.report("web-1", oops())
    await quiet.say("known P-1 fixed:6.1.0-29")
    await quiet.say("resolve I-1 cause: an old kernel fixed: 6.1.0-29")
    quiet.clock.forward(hours=30)
    later = await quiet.report("web-2", oops(uptime=8.0), occurred_at=quiet.clock())
    shown = await head(quiet, later.incident_id)
    assert "came back after being marked fixed in 6.1.0-29" in shown
    assert "fixed in `6.1.0-29` (this host ran that one or a later one)" in shown
    assert "Came back after I-1 was resolved (cause: an old kernel · fixed by: 6.1.0-29)." in shown


async def test_a_signature_that_a_person_gave_is_remembered(quiet: Floor) -> None:
    await quiet.report("web-1")

    def give(session):  # type: ignore[no-untyped-def]
        panic = session.get_one(Panic, 1)
        panic.kind, panic.signature_key, panic.title = "mce", "mce|cpu", "machine check"
        session.add(panic)

    await quiet.db.write(give)
    assert "Noted for `mce|cpu`" in await quiet.say("known P-1 cause: a CPU")
    assert [s.key for s in await quiet.db.read(lambda s: s.exec(select(Signature)).all())] == ["mce|cpu"]


@pytest.mark.parametrize("text", ["", "deliberate"])
async def test_neither_a_test_nor_an_unreadable_cause_reopens_or_comes_back(quiet: Floor, text: str) -> None:
    crash = deliberate() if text else ""
    first = await quiet.report("web-1", crash, occurred_at=quiet.clock() - timedelta(minutes=10))
    await quiet.say(f"resolve I-{first.incident_id} cause: planned")
    quiet.clock.forward(hours=1)
    again = await quiet.report("web-1", deliberate(uptime=900.0) if text else "", occurred_at=quiet.clock())
    assert again.id != first.id
    assert again.incident_id != first.incident_id
    assert (await quiet.incident(first.incident_id or 0)).state is IncidentState.RESOLVED
    fresh = await quiet.row(Incident, again.incident_id or 0)
    assert fresh.previous_id is None
    assert await quiet.sayings("It came back") == []


async def test_told_late_of_an_unreadable_one_it_goes_to_its_thread_and_reopens_nothing(quiet: Floor) -> None:
    first = await quiet.report("web-1", occurred_at=quiet.clock() - timedelta(minutes=30))
    await quiet.say(f"resolve I-{first.incident_id} cause: planned")
    late = await quiet.report("web-1", occurred_at=quiet.clock() - timedelta(minutes=5))
    assert late.id != first.id
    assert late.incident_id == first.incident_id
    assert (await quiet.incident(first.incident_id or 0)).state is IncidentState.RESOLVED
