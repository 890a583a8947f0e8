"""The App Home's parts: what waits for somebody, how the week went, and that one part's failure leaves the others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import text

from bot.demo.workspace import check_view
from bot.demo.workspace.testing import elements, visible_text
from commands.home import publish_home
from commands.home_trends import bar
from storage import (
    CopyState,
    Database,
    DumpCopy,
    DumpState,
    Incident,
    ItemState,
    KnownCause,
    Panic,
    Report,
    ReportState,
    RetentionItem,
    RetentionRun,
    Signature,
)
from storage.derived import rebuild


async def home(desk: Any, user: str, notices: Sequence[Any] = ()) -> dict[str, Any]:
    await publish_home(desk.ctx, user, notices=notices)
    view: dict[str, Any] = await desk.workspace.person(user).home(timeout=45)
    assert check_view({"type": "home", "blocks": view["blocks"]}) == []
    return view


def names(view: dict[str, Any]) -> list[str]:
    return [element["text"]["text"] for _block, element in elements(view)]


def waiting(store: Callable[..., None], panic: Callable[..., Panic], now: datetime) -> None:
    store(
        Incident(signature_key="k", title="t", channel="C0INCIDENTS", acknowledged_by="U0ONCALL"),
        Report(external_id="q", host="strange-1", state=ReportState.QUARANTINED, received_at=now),
    )
    store(panic("web-1", incident_id=1, dump_state=DumpState.UNVERIFIED), panic("web-2"), panic("web-3"))
    run = RetentionRun(asked_by="panicroom", finished_at=now)
    store(run)
    store(
        DumpCopy(panic_id=2, workflow_id="a", host="web-2", asked_by="U", state=CopyState.FAILED,
                 finished_at=now, error="<!channel> disk full"),
        DumpCopy(panic_id=3, workflow_id="b", host="web-3", asked_by="U", state=CopyState.FAILED, finished_at=now),
        DumpCopy(panic_id=3, workflow_id="c", host="web-3", asked_by="U", state=CopyState.VERIFIED, finished_at=now),
        RetentionItem(run_id=1, place="local", key=2, panic_id=2, host="web-2", path="/var/crash/x", reason="over",
                      state=ItemState.REFUSED, note="it is another file"),
    )  # fmt: skip


async def test_what_waits_stands_there_with_buttons_for_who_may_press_them(
    desk: Any, panic: Callable[..., Panic], store: Callable[..., None], now: datetime
) -> None:
    waiting(store, panic, now)
    admin = await home(desk, "U0ADMIN")
    seen = visible_text(admin)
    assert "P-2 `web-2`: the copy failed: &lt;!channel&gt; disk full" in seen
    assert "P-3" not in seen, "it has a good copy by now"
    assert "P-1 `web-1`: its dump could not be checked" in seen
    assert "The last sweep could not remove 1 item" in seen
    assert "it is another file" in seen
    assert {"Take in R-1", "Copy P-2 again", "What is kept", "Run triage", "Show"} <= set(names(admin))
    responder = names(await home(desk, "U0ONCALL"))
    assert "Take in R-1" not in responder
    assert {"Copy P-2 again", "Resolve", "Report a panic"} <= set(responder)
    assert set(names(await home(desk, "U0VIEWER"))) == {"Show", "What is kept"}


async def test_what_i_acknowledged_is_mine_until_somebody_else_has_it(
    desk: Any, store: Callable[..., None]
) -> None:
    store(
        Incident(signature_key="a", title="first", channel="C", acknowledged_by="U0ONCALL"),
        Incident(signature_key="b", title="second", channel="C", acknowledged_by="U0ONCALL", assignee="U0KERNEL"),
    )  # fmt: skip
    mine = visible_text(await home(desk, "U0ONCALL")).split("*Mine*")[1]
    assert "first" in mine
    assert "second" not in mine


async def test_this_week_stands_against_the_one_before(
    desk: Any, db: Database, panic: Callable[..., Panic], store: Callable[..., None], now: datetime
) -> None:
    store(
        Signature(key="null_deref|nvme_irq|nvme", kind="null_deref", title="NULL <b> in nvme_irq",
                  first_seen=now, last_seen=now),
        *(panic("web-1", days=-n) for n in (0, 0, 0, 2)),
        panic("web-2", days=-8),
        panic("web-3", days=-20),
        panic("web-4", deliberate=True),
    )  # fmt: skip
    with db.engine.connect().execution_options(panicroom_write=True) as connection, connection.begin():
        rebuild(connection)
    seen = visible_text(await home(desk, "U0VIEWER"))
    assert "*4* panics this week, 1 the week before: 3 more" in seen
    assert "Most often: *NULL &lt;b&gt; in nvme_irq* (4 of 4, on 1 host)" in seen
    assert "Host with most: `web-1` (4)" in seen
    assert "this week       ▃ █ 4" in seen


def test_bars() -> None:
    assert bar((0, 1, 4, 8), 8) == " ▁▄█"
    assert bar((0, 0), 0) == "  "
    assert bar((1, 1_000_000), 1_000_000) == "▁█"


async def test_a_part_that_fails_is_told_and_the_others_stand(
    desk: Any, db: Database, panic: Callable[..., Panic], store: Callable[..., None], now: datetime
) -> None:
    waiting(store, panic, now)

    async def broken() -> list[str]:
        raise OSError("the store is away")

    async def full() -> list[str]:
        return [":no_entry: *The central store is full*"]

    seen = visible_text(await home(desk, "U0ONCALL", (broken, full)))
    assert "*what the bot watches* could not be read" in seen
    assert "The central store is full" in seen
    assert "P-2 `web-2`: the copy failed" in seen
    db.write_now(lambda s: s.execute(text("ALTER TABLE dump_copy RENAME TO away")))
    view = await home(desk, "U0ONCALL")
    seen = visible_text(view)
    assert "*Needs attention* could not be read just now" in seen
    assert "Open incidents" in seen
    assert "this week" in seen


async def test_show_and_card_begin_with_the_known_cause(
    desk: Any, panic: Callable[..., Panic], store: Callable[..., None], now: datetime
) -> None:
    key = "null_deref|nvme_irq|nvme"
    store(Signature(key=key, kind="null_deref", title="t", first_seen=now, last_seen=now), panic())
    assert "Known cause" not in (await desk.type("show P-1")).seen
    store(KnownCause(signature_key=key, cause="queue freed <twice>", fixed_in="6.1.0-40", by="U0KERNEL"))
    for line in ("show P-1", "card P-1"):
        seen = (await desk.type(line)).seen
        assert "*Known cause:* queue freed &lt;twice&gt;" in seen
        assert "fixed in `6.1.0-40`" in seen
