"""From a panic to the message in its thread: feed, hosts, and no tracker. With a tracker: tests/changes_verb."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from sqlmodel import select

from bot.demo.workspace import check_message
from commands.access import Access, AccessConfig
from commands.changes import records
from commands.changes.config import ChangesConfig
from commands.changes.desk import ChangeDesk
from commands.changes.found import likely_changes
from commands.changes.picture import Fleets, read_case
from commands.changes.recent import RecentChanges
from commands.context import Context
from commands.hostrecord import HostRecord, NetworkCard, PackageEvent
from commands.incident.rendering import draw
from commands.inventory import HostEntry, Inventory
from integrations.changes.feed import FeedChange
from integrations.slack.client import SlackClient, SlackConfig
from integrations.workload import WorkloadConfig
from storage import (
    ChangeFinding,
    ChangeRecord,
    Database,
    Incident,
    Panic,
    RunbookRun,
    RunState,
    SlackMessage,
    StepResult,
    TimelineEntry,
)

from .conftest import on_both

NOW = datetime(2026, 11, 23, 9, 30, tzinfo=UTC)
FIRST = NOW - timedelta(minutes=10)
HOSTS = tuple(
    HostEntry(name=f"{ring}-{n}", ring=ring, hardware="R640" if n % 4 else "DL380", service="web")
    for ring in ("canary", "prod-1", "prod-2")
    for n in range(40)
)


class World:
    """A database with a fleet, and a desk that nobody but the test moves."""

    def __init__(self, db: Database, folder: Path, **config: Any) -> None:
        self.db = db
        slack = SlackClient(SlackConfig(api_url="http://127.0.0.1:9/api/", bot_token=SecretStr("xoxb-none")))
        access = Access(AccessConfig(), slack.members_of)
        self.now = NOW
        self.ctx = Context(db, slack, Inventory(HOSTS), access, folder, clock=lambda: self.now)
        self.desk = ChangeDesk(self.ctx, None, ChangesConfig(**config))
        self.recent = RecentChanges(self.desk.search, WorkloadConfig(sysstat=False))
        self.task = asyncio.create_task(self.desk.run())

    def feed(self, key: str, minutes: float, **said: Any) -> None:
        """A change that began so many minutes before the first panic."""
        began = (FIRST - timedelta(minutes=minutes)).isoformat()
        told = FeedChange.model_validate({"source": "deploys", "key": key, "started": began, **said})
        self.db.write_now(lambda s: records.take(s, told, NOW))

    def panics(self, *hosts: str, **facts: Any) -> list[Panic]:
        """One incident, a panic a minute."""

        def write(session: Any) -> list[Panic]:
            incident = Incident(
                signature_key="null_deref|f", title="NULL", channel="C0", opened_at=FIRST, last_panic_at=FIRST
            )
            session.add(incident)
            session.flush()
            known: dict[str, Any] = {
                "title": "NULL", "signature_key": "null_deref|f", "kind": "null_deref", "kernel": "6.1.0-31-amd64",
                "boot_started_at": FIRST - timedelta(minutes=3), "reported_at": NOW,
            }  # fmt: skip
            rows = [
                Panic(
                    host=h,
                    occurred_at=FIRST + timedelta(minutes=n),
                    incident_id=incident.id,
                    **{**known, **facts},
                )
                for n, h in enumerate(hosts)
            ]
            session.add_all(rows)
            return rows

        return self.db.write_now(write)

    def shown(self) -> str:
        """What a reader of the thread sees of the search."""

        def look(session: Any) -> str:
            messages = session.exec(
                select(SlackMessage).where(SlackMessage.renderer == "likely_changes")
            ).all()
            if not messages:
                return ""
            assert len(messages) == 1, "one message an incident"
            drawn = draw("likely_changes", session, messages[0].subject_id)
            assert drawn is not None
            assert check_message({"text": drawn.text, "blocks": drawn.blocks}) == []
            return "\n".join(_texts(drawn.blocks))

        return self.db.read_now(look)

    async def until(self, condition: Callable[[], Any]) -> Any:
        async with asyncio.timeout(30):
            while not (value := condition()):
                await asyncio.sleep(0.01)
        return value

    def timeline(self) -> list[str]:
        return self.db.read_now(lambda s: list(s.exec(select(TimelineEntry.text).order_by(TimelineEntry.id))))


def _texts(node: Any) -> list[str]:
    if isinstance(node, list):
        return [text for item in node for text in _texts(item)]
    if not isinstance(node, dict):
        return []
    own = [node["text"]] if isinstance(node.get("text"), str) else []
    return own + [text for key in ("text", "elements") for text in _texts(node.get(key))]


@pytest.fixture
async def world(db: Database, tmp_path: Path) -> AsyncIterator[World]:
    made = World(db, tmp_path)
    yield made
    made.task.cancel()
    with suppress(asyncio.CancelledError):
        await made.task


KERNEL = {"summary": "rollout of 6.1.0-31 to ring prod-2", "kind": "kernel", "ring": "prod-2"}


@on_both
async def test_the_likely_change_stands_in_the_thread_with_its_reasons(world: World) -> None:
    world.feed("r-prod-1", 3000, **{**KERNEL, "ring": "prod-1"})
    world.feed("r-prod-2", 14, url="https://deploys.example.com/31", **KERNEL)
    world.feed("web", 30, summary="deploy web build 12", kind="deployment", service="web")
    (panic, *_rest) = world.panics("prod-2-1", "prod-2-2", "prod-2-3")
    await world.desk.on_panic(panic.id or 0)
    shown = await world.until(world.shown)
    assert "*<https://deploys.example.com/31|rollout of 6.1.0-31 to ring prod-2>* (deploys r-prod-2)" in shown
    assert (
        "started 14 min before; covers 3 of 3 panicking hosts and 37 of 117 calm ones; names kernel 6.1.0-31; "
        "booted since, 3 min before" in shown
    )
    assert "prod-1" not in shown
    (said,) = await world.until(world.timeline)
    assert said == "likely change of P-1: rollout of 6.1.0-31 to ring prod-2 (deploys r-prod-2)"


@on_both
async def test_a_shift_of_the_workload_with_no_ticket_is_no_change_found(world: World) -> None:
    world.feed("log", 600, summary="log level", kind="configuration", ring="prod-1")
    world.feed("web", 100, summary="deploy web build 12", kind="deployment", service="web")
    (panic, *_rest) = world.panics(
        "prod-1-1", "prod-2-1", "canary-5", boot_started_at=FIRST - timedelta(days=90)
    )
    await world.desk.on_panic(panic.id or 0)
    assert "*no change found* that stands out (2 changes of the window looked at)." in await world.until(
        world.shown
    )
    (said,) = await world.until(world.timeline)
    assert (
        said
        == "no change found: of the 7d before the first panic 2 changes are known, and none stands out (P-1)"
    )


@on_both
async def test_with_nobody_to_tell_of_changes_it_says_not_checked(world: World) -> None:
    (panic,) = world.panics("prod-2-1")
    await world.desk.on_panic(panic.id or 0)
    (said,) = await world.until(world.timeline)
    assert said == "changes: not checked, neither a tracker nor a feed tells of any"
    assert world.shown() == "", "a thread is not for saying that there is nothing to say"


@on_both
async def test_a_change_told_late_and_more_hosts_are_weighed_again(world: World) -> None:
    world.feed("log", 600, summary="log level", kind="configuration", ring="prod-1")
    (panic, *_rest) = world.panics("prod-2-1", "prod-2-2")
    await world.desk.on_panic(panic.id or 0)
    assert "no change found" in await world.until(world.shown)
    world.feed("r-prod-2", 14, **KERNEL)
    world.desk.on_fed()
    await world.until(lambda: "covers 2 of 2 panicking hosts" in world.shown() and world.timeline())
    assert len(world.timeline()) == 1


@on_both
async def test_beyond_the_searches_of_an_incident_it_is_weighed_again_without_asking(
    db: Database, tmp_path: Path
) -> None:
    world = World(db, tmp_path, searches_per_incident=1)
    world.feed("r-prod-2", 14, **KERNEL)
    first, *rest = world.panics(*(f"prod-2-{n}" for n in range(1, 6)))
    await world.desk.on_panic(first.id or 0)
    await world.until(lambda: "covers 5 of 5" in world.shown() and world.timeline())
    world.now += timedelta(minutes=1)
    late = Panic(
        host="prod-1-1", occurred_at=FIRST + timedelta(minutes=9), reported_at=world.now, title="NULL",
        signature_key="null_deref|f", kernel="6.1.0-31-amd64", incident_id=first.incident_id,
    )  # fmt: skip
    db.write_now(lambda s: s.add(late))
    world.now += timedelta(seconds=1)
    for panic in (*rest, late):
        await world.desk.on_panic(panic.id or 0)
    await world.until(lambda: "covers 5 of 6" in world.shown())
    await world.until(lambda: not world.desk._searches)
    assert len(world.timeline()) == 1
    world.task.cancel()
    with suppress(asyncio.CancelledError):
        await world.task


async def _no_commands(argv: Any) -> Any:
    raise AssertionError(f"nothing should be run: {argv}")


@on_both
async def test_what_the_host_says_is_weighed_and_told_in_the_runbook(world: World) -> None:
    panic, other = world.panics("prod-2-1", "prod-2-2", module="ixgbe")
    earlier = Panic(host="prod-2-1", occurred_at=FIRST - timedelta(days=3), title="x", signature_key="other")

    def before(session: Any) -> None:
        session.add(earlier)
        session.flush()
        run = RunbookRun(panic_id=earlier.id, workflow_id="w-1", state=RunState.DONE, asked_by="on-call")
        session.add(run)
        session.flush()
        facts = {"bios": "Dell 2.20", "nics": [{"interface": "eth0", "driver": "ixgbe", "version": "5.1"}]}
        at = FIRST - timedelta(days=3)
        session.add(StepResult(run_id=run.id, name="recent", title="Recent", facts=facts, finished_at=at))

    world.db.write_now(before)
    kernel = PackageEvent(
        FIRST - timedelta(hours=5), "install", "linux-image-6.1.0-31-amd64", "6.1.128-1", "kernel"
    )
    curl = PackageEvent(FIRST - timedelta(hours=5), "upgrade", "curl", "8.1", "other")
    record = HostRecord(
        "prod-2-1",
        packages=(kernel, curl),
        kernel="6.1.0-31-amd64",
        kernel_first_booted=FIRST - timedelta(minutes=3),
        bios="Dell 2.20",
        cards=(NetworkCard("eth0", "ixgbe", "6.0"),),
    )
    lines = await world.recent.lines(panic.id or 0, record, _no_commands)
    words = [line for _state, line in lines]
    assert words[0].startswith(
        "likely change: network driver ixgbe 6.0 (before: 5.1) (read on prod-2-1): started "
    )
    assert any(
        "first boot of kernel 6.1.0-31-amd64" in w and "names kernel 6.1.0-31-amd64" in w for w in words
    )
    assert words[-1] == "workload: not checked, no source for it is configured"
    shown = world.shown()
    assert "read on prod-2-1" in shown
    assert "seen on 1 of 2 panicking hosts" in shown
    assert "workload: not checked, no source for it is configured" in shown
    kept = world.db.read_now(lambda s: s.exec(select(ChangeRecord)).all())
    assert {r.source for r in kept} == {"host:prod-2-1"}
    await world.recent.lines(
        other.id or 0, HostRecord("prod-2-2", packages=(kernel,), kernel="6.1.0-31-amd64"), _no_commands
    )
    assert "seen on 2 of 2 panicking hosts" in world.shown()
    again = await world.recent.lines(panic.id or 0, record, _no_commands)
    assert len(world.db.read_now(lambda s: s.exec(select(ChangeRecord)).all())) == len(kept) + 1
    assert again


@on_both
async def test_a_signature_that_kept_still_for_a_week_has_begun_anew(world: World) -> None:
    old, *_ = world.panics("prod-1-1")
    world.db.write_now(lambda s: setattr(s.get(Panic, old.id), "occurred_at", FIRST - timedelta(days=8)))
    near, *_ = world.panics("prod-1-2")
    world.db.write_now(lambda s: setattr(s.get(Panic, near.id), "occurred_at", FIRST - timedelta(days=1)))
    now, *_ = world.panics("prod-2-1")
    case = world.db.read_now(lambda s: read_case(s, Fleets(world.ctx.inventory), s.get_one(Panic, now.id)))
    assert case.picture.first_at == FIRST - timedelta(days=8), (
        "seven days apart is not quiet for longer than that"
    )
    world.db.write_now(
        lambda s: setattr(s.get(Panic, old.id), "occurred_at", FIRST - timedelta(days=8, minutes=1))
    )
    case = world.db.read_now(lambda s: read_case(s, Fleets(world.ctx.inventory), s.get_one(Panic, now.id)))
    assert case.picture.first_at == FIRST - timedelta(days=1)
    assert [p.name for p in case.struck] == ["prod-1-2", "prod-2-1"]


# -- what the logs of earlier panics say ----------------------------------------------------------------------


def log_of(bios: str, ixgbe: str = "5.1.0-k") -> str:
    return (
        f"[    2.3] ixgbe: Intel(R) 10 Gigabit PCI Express Network Driver - version {ixgbe}\n"
        f"[   99.1] Hardware name: Dell Inc. PowerEdge R640/0H28RR, BIOS {bios}\n"
    )


def panicked_before(world: World, days: float, text: str, host: str = "prod-2-1") -> None:
    at = FIRST - timedelta(days=days)
    world.db.write_now(
        lambda s: s.add(Panic(host=host, occurred_at=at, title="x", signature_key="other|x", text=text))
    )


@on_both
async def test_a_bios_update_between_two_panics_is_found_without_a_triage_of_either(world: World) -> None:
    panicked_before(world, 90, log_of("2.10.0 01/02/2020"))
    panicked_before(world, 5, log_of("2.19.1 06/14/2023"))
    panicked_before(world, 4, log_of("9.9.9 09/09/2025"), host="prod-2-9")
    panicked_before(world, 3, "no machine is named in this one")
    (panic,) = world.panics(
        "prod-2-1", kind="mce", signature_key="mce|x", text=log_of("2.21.2 01/02/2024", "5.2.0-k")
    )
    await world.desk.on_panic(panic.id or 0)
    await world.until(lambda: "firmware" in world.shown())
    shown = world.shown()
    assert "firmware 2.21.2 01/02/2024 (before: 2.19.1 06/14/2023)" in shown
    assert "read on prod-2-1" in shown
    kept = {r.key: r for r in world.db.read_now(lambda s: s.exec(select(ChangeRecord)).all())}
    assert set(kept) == {"bios:2.21.2 01/02/2024", "nic:ixgbe:5.2.0-k"}
    assert kept["bios:2.21.2 01/02/2024"].started == FIRST - timedelta(minutes=3), "it came with that boot"
    # The same one, read on the host in triage with its vendor, is no second change.
    record = HostRecord("prod-2-1", bios="Dell Inc. 2.21.2 01/02/2024")
    lines = await world.recent.lines(panic.id or 0, record, _no_commands)
    assert len([w for _s, w in lines if "2.21.2 01/02/2024 (before: 2.19.1 06/14/2023)" in w]) == 1
    assert len(world.db.read_now(lambda s: s.exec(select(ChangeRecord)).all())) == 2


@on_both
async def test_in_triage_the_earlier_panics_log_stands_in_for_an_earlier_triage(world: World) -> None:
    panicked_before(world, 5, log_of("2.19.1 06/14/2023"))
    (panic,) = world.panics("prod-2-1", kind="mce", signature_key="mce|x")
    record = HostRecord("prod-2-1", bios="Dell Inc. 2.21.2 01/02/2024")
    lines = await world.recent.lines(panic.id or 0, record, _no_commands)
    assert "firmware Dell Inc. 2.21.2 01/02/2024 (before: 2.19.1 06/14/2023)" in lines[0][1]


@on_both
async def test_firmware_that_came_after_the_crash_did_not_cause_it(world: World) -> None:
    """The host was repaired before anybody looked at it: its own log says what it died with."""
    panicked_before(world, 5, log_of("2.19.1 06/14/2023"))
    (panic,) = world.panics("prod-2-1", kind="mce", signature_key="mce|x", text=log_of("2.19.1 06/14/2023"))
    record = HostRecord("prod-2-1", bios="Dell Inc. 2.21.2 01/02/2024")
    lines = await world.recent.lines(panic.id or 0, record, _no_commands)
    assert not [w for _s, w in lines if "firmware" in w]
    assert world.db.read_now(lambda s: s.exec(select(ChangeRecord)).all()) == []


def test_hostile_texts_of_a_feed_do_nothing() -> None:
    bad = "<!channel> <https://evil.example|x> *b* `c`"
    entry = {
        "source": "deploys", "key": bad, "summary": bad, "kind": "", "url": "https://e.example/|x>",
        "started": None, "ended": None, "reasons": [bad],
    }  # fmt: skip
    finding = ChangeFinding(
        incident_id=1, panic_id=1, likely=[entry, {**entry, "source": "jira", "key": "OPS-1"}], note=bad
    )
    drawn = likely_changes(finding, set())
    assert check_message({"text": drawn.text, "blocks": drawn.blocks}) == []
    shown = drawn.text + str(drawn.blocks)
    assert "<!channel" not in shown
    assert "<https" not in shown
