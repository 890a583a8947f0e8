"""What people type and press about retention, and what they are told."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlmodel import select

from commands.incident.rendering import draw
from commands.retention.kdump import Keeps, conflict, read_keeps
from commands.retention.ledger import Place
from storage import CopyState, HostKeeps, IncidentState, Pin, SlackMessage
from tests.retention.conftest import KIB, Make, Scene

pytestmark = pytest.mark.timeout(120)


async def pins(scene: Scene) -> list[Pin]:
    return await scene.world.db.read(lambda s: list(s.exec(select(Pin).order_by(Pin.id))))  # type: ignore[arg-type]


async def test_the_view_says_how_much_there_is_and_why_each_stays_or_goes(make_scene: Make) -> None:
    scene: Scene = await make_scene(budget=100 * 8 * KIB)
    await scene.dump(ring="canary")
    await scene.dump(resolved=False)
    await scene.stamped()
    said = await scene.say("retention", user="U0VIEWER")
    assert "1 item to go, 8.2 kB" in said
    assert "*Central:* 16.4 kB in 2 copies, 2 % of the budget of 819.2 kB" in said
    assert "by ring: `canary` 8.2 kB, `no ring` 8.2 kB" in said
    assert "by signature: `null_deref|f` 16.4 kB" in said
    assert ":wastebasket: P-1 `web-17` on the host, 8.2 kB: 1 dump of its host newer" in said
    assert ":lock: P-2 `web-17` central, 8.2 kB: I-2 is open" in said
    assert "Sweep now" not in said, "only an admin is offered that"
    assert "Sweep now" in await scene.say("retention")
    one = await scene.say("retention P-2")
    assert one.count("I-2 is open") >= 2
    assert "P-1" not in one


async def test_pages(make_scene: Make) -> None:
    scene: Scene = await make_scene()
    for _ in range(8):
        await scene.dump()
    first = await scene.say("retention")
    assert "Page 1 of 2" in first
    assert "retention.page:next" in first
    second = await scene.click("retention.page:next", "2")
    assert "Page 2 of 2" in second
    assert "retention.page:previous" in second
    assert "Page 2 of 2" in await scene.say("retention page 99")
    assert first != second


async def test_a_sweep_is_confirmed_and_only_what_was_confirmed_goes(make_scene: Make) -> None:
    scene: Scene = await make_scene()
    assert "nothing to remove" in await scene.say("retention run")
    await scene.dump()
    await scene.dump()
    asked = await scene.say("retention run")
    assert "would remove 1 of 4 items" in asked
    assert '"confirm"' in asked
    mark = (await scene.desk.survey()).mark
    await scene.dump()
    assert "is not what it was when you were asked" in await scene.click("retention.run", mark)
    assert await scene.items() == []
    mark = (await scene.desk.survey()).mark
    assert "the sweep runs, said <@U0ADMIN>" in await scene.click("retention.run", mark)
    assert len(await scene.items()) == 2


async def test_who_is_no_admin_is_refused(make_scene: Make) -> None:
    scene: Scene = await make_scene()
    await scene.dump()
    for text in ("retention run", "hold P-1 because", "release P-1"):
        assert "needs the role *admin*" in await scene.say(text, user="U0ONCALL")
    assert "needs the role *admin*" in await scene.click("retention.run", "x", user="U0ONCALL")
    assert await pins(scene) == []


@pytest.mark.parametrize(
    ("text", "days", "reason"),
    [
        ("pin P-1", None, ""),
        ("pin P-1 30d", 30, ""),
        ("pin P-1 until 2w for the vendor", 14, "for the vendor"),
        ("pin P-1 case 4711 is open", None, "case 4711 is open"),
        ("pin P-1 the vendor's <!channel> *asked*", None, "the vendor's <!channel> *asked*"),
    ],
)
async def test_pins_as_they_are_typed(make_scene: Make, text: str, days: int | None, reason: str) -> None:
    scene: Scene = await make_scene()
    await scene.dump()
    said = await scene.say(text.replace("'", "\\'"), user="U0ONCALL")
    (pin,) = await pins(scene)
    assert pin.until == (scene.clock.now + timedelta(days=days) if days else None)
    assert pin.reason == reason
    assert "are pinned by <@U0ONCALL>" in said
    assert "<!channel>" not in said
    assert "`/panic unpin P-1` ends that" in said
    (told,) = await scene.messages("keep:")
    assert "<!channel>" not in (told.payload or {})["text"]
    assert ("until" in said) == (days is not None)


async def test_a_pin_until_a_day_lasts_to_its_end(make_scene: Make) -> None:
    scene: Scene = await make_scene()
    await scene.dump()
    day = (scene.clock.now + timedelta(days=3)).strftime("%Y-%m-%d")
    await scene.say(f"pin P-1 until {day}")
    (pin,) = await pins(scene)
    assert pin.until is not None
    assert pin.until.strftime("%Y-%m-%d %H:%M") == f"{(scene.clock.now + timedelta(days=4)):%Y-%m-%d} 00:00"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("pin", "say which panic"),
        ("pin P-99", "there is no panic P-99"),
        ("pin P-1 until", "until when?"),
        ("pin P-1 until yesterday", "is no day"),
        ("pin P-1 until 2020-01-01", "is over already"),
        ("pin P-1 until 99999d", "is no day"),
        ("unpin P-1", "is not pinned"),
        ("hold P-1", "needs a reason"),
        ("release P-1", "is not on legal hold"),
        ("retention nonsense", "that is `retention`"),
        ("retention P-1", "there is no copy in central and no dump"),
    ],
)
async def test_what_cannot_be_done_is_said_with_the_way(make_scene: Make, text: str, words: str) -> None:
    scene: Scene = await make_scene()
    await scene.world.panic()
    assert words in await scene.say(text)
    assert await pins(scene) == []


async def test_a_pin_outlives_the_term_and_unpin_ends_it(make_scene: Make) -> None:
    scene: Scene = await make_scene()
    await scene.dump()
    await scene.say("pin P-1 until 40d")
    await scene.say("pin P-1 until 50d again")
    assert [p.slot for p in await pins(scene)] == [None, "pin:1"]
    scene.clock.forward(days=45)
    await scene.sweep()
    assert scene.folders() != []
    await scene.say("unpin P-1", user="U0ONCALL")
    await scene.sweep()
    assert scene.folders() == []
    assert (await scene.copies())[0].state is CopyState.REMOVED
    assert "was removed <!date" in await scene.say("pin P-1")
    drawn = await scene.world.db.read(lambda s: draw("retention", s, 2))
    assert drawn is not None
    assert "1 item removed, 8.2 kB freed (8.2 kB in central, 0 B on hosts)" in drawn.text


async def test_a_hold_needs_an_admin_to_end_and_stays_beside_a_pin(make_scene: Make) -> None:
    scene: Scene = await make_scene()
    await scene.dump()
    assert "are on legal hold by <@U0ADMIN> (asked for by legal)" in await scene.say(
        "hold P-1 asked for by legal"
    )
    assert "is on legal hold already" in await scene.say("hold P-1 again")
    await scene.say("pin P-1")
    await scene.say("unpin P-1")
    scene.clock.forward(days=400)
    await scene.sweep()
    assert scene.folders() != []
    assert "legal hold" in await scene.say("retention P-1")
    assert "is released by <@U0ADMIN>" in await scene.say("release P-1")
    await scene.sweep()
    assert scene.folders() == []
    verbs = [e.detail for e in await scene.audit("retention.keep")]
    assert [v.split(":")[0] for v in verbs] == [
        "put on legal hold",
        "pinned",
        "unpinned",
        "released from legal hold",
    ]


async def test_the_same_request_pins_once(make_scene: Make) -> None:
    from storage import SlackRequest

    scene: Scene = await make_scene()
    await scene.dump()
    row = SlackRequest(dedupe="again", kind="command", body="{}")
    await scene.world.db.write(lambda s: s.add(row))
    await scene.say("pin P-1", request_id="again")
    await scene.say("pin P-1", request_id="again")
    assert len(await pins(scene)) == 1


async def test_in_its_thread_a_panic_need_not_be_named_and_a_button_pins_it(make_scene: Make) -> None:
    scene: Scene = await make_scene()
    panic_id = await scene.dump()

    def parent(session: object) -> str:
        from sqlmodel import Session

        assert isinstance(session, Session)
        message = session.exec(select(SlackMessage).where(SlackMessage.key == "incident:1")).one()
        return message.ts or ""

    ts = await scene.world.db.read(parent)
    await scene.say("pin 30d while we look", thread_ts=ts)
    (pin,) = await pins(scene)
    assert (pin.panic_id, pin.reason) == (panic_id, "while we look")
    await scene.say("unpin", thread_ts=ts)
    await scene.click("retention.pin", f"P-{panic_id}", user="U0ONCALL")
    assert [p.slot for p in await pins(scene)] == [None, "pin:1"]


async def test_a_merged_incident_that_is_open_keeps_its_dumps(make_scene: Make) -> None:
    from sqlmodel import Session

    from storage import Incident

    scene: Scene = await make_scene()
    await scene.dump()
    _, open_ = await scene.world.panic("db-3")

    def merge(session: Session) -> None:
        row = session.get_one(Incident, 1)
        row.state, row.merged_into_id = IncidentState.MERGED, open_

    await scene.world.db.write(merge)
    assert f"I-{open_} is open" in await scene.say("retention P-1")


async def test_a_hosts_own_kdump_that_removes_dumps_is_told(make_scene: Make) -> None:
    scene: Scene = await make_scene(normal={"local": 2})
    scene.host.kdump.write_text(scene.host.kdump.read_text() + 'KDUMP_NUM_DUMPS="1"\n')
    for _ in range(3):
        await scene.dump()
    await scene.sweep()
    row = await scene.world.db.read(lambda s: s.get_one(HostKeeps, "web-17"))
    assert (row.setting, row.value) == ("KDUMP_NUM_DUMPS", 1)
    assert (
        "KDUMP_NUM_DUMPS=1 lets kdump keep 1 dump: fewer than the 2 that the policy keeps"
        in await scene.say("retention")
    )


@pytest.mark.parametrize(
    ("text", "dumps", "words"),
    [
        ("KDUMP_NUM_DUMPS=0\n", None, None),
        ("#KDUMP_NUM_DUMPS=1\n", None, None),
        ("KDUMP_NUM_DUMPS=1\nKDUMP_NUM_DUMPS=5\n", 5, "remove older ones, copied or not"),
        ('KDUMP_KEEP_OLD_DUMPS="-1"\n', 1, "fewer than the 2"),
        ("KDUMP_KEEP_OLD_DUMPS=0\n", None, None),
        ("KDUMP_KEEP_OLD_DUMPS=1\n", 2, "before a new one is saved"),
        ("path /var/crash\n", None, None),
        ("", None, None),
    ],
)
def test_what_the_distributions_keep(text: str, dumps: int | None, words: str | None) -> None:
    keeps = read_keeps(text)
    assert keeps.dumps == dumps
    told = conflict(keeps, 2)
    assert (told is None) == (words is None)
    assert words is None or words in (told or "")
    assert Keeps().dumps is None


async def test_a_doubtful_clock_and_a_full_store_are_in_the_view(make_scene: Make) -> None:
    scene: Scene = await make_scene(budget=KIB)
    await scene.dump()
    said = await scene.say("retention")
    assert "no message of Slack's vouches for that yet: nothing goes by its age" in said.replace("’", "'")
    assert "the budget is full" in said
    assert isinstance(scene.desk.place, Place)
