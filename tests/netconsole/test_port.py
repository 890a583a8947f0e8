"""From datagrams on a real UDP port to threads in a real workspace."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlmodel import col, select

from bot.demo.workspace.testing import RunningWorkspace
from bot.metrics import Metrics
from bot.netconsole import NetconsolePort
from commands.intake.config import NetconsoleConfig
from commands.inventory import HostEntry
from storage import (
    IncidentState,
    LiveSighting,
    LiveState,
    Panic,
    Report,
    ReportState,
    RunbookRun,
    RunState,
    SlackMessage,
    StepResult,
)
from storage.inbox import ReportInbox
from tests.incident.floor import Floor, floor, until
from tests.incident.texts import oops
from tests.netconsole.datagrams import extended, lines

WEB = HostEntry(name="web-17", address="127.0.0.17")
DB = HostEntry(name="db-1", address="127.0.0.18")


class Host:
    """A kernel that speaks UDP from an address of its own."""

    def __init__(self, address: str, port: int) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind((address, 0))
        self.port = port

    def say(self, datagrams: Iterable[bytes]) -> None:
        for datagram in datagrams:
            self.socket.sendto(datagram, ("127.0.0.1", self.port))


class Listening:
    """The port of a floor, and hosts that speak to it. Its time is the floor's."""

    def __init__(self, bot: Floor, config: NetconsoleConfig) -> None:
        self.bot = bot
        self.metrics = Metrics()
        self.inbox = ReportInbox(bot.db)
        self.port = NetconsolePort(
            bot.context,
            config,
            self.inbox,
            bot.intake,
            self.metrics,
            clock=lambda: bot.clock().timestamp(),
        )
        self.hosts: list[Host] = []

    def host(self, address: str = "127.0.0.17") -> Host:
        made = Host(address, self.port.address[1])
        self.hosts.append(made)
        return made

    async def taken(self, count: int) -> None:
        """Until so many datagrams were read from the socket."""

        async def there() -> bool:
            counts = self.port.receiver.counts
            return counts.taken + counts.unknown + counts.limited + counts.refused >= count

        await until(there, 40)

    async def sightings(self) -> list[LiveSighting]:
        query = select(LiveSighting).order_by(col(LiveSighting.panic_id))
        return list(await self.bot.db.read(lambda s: s.exec(query).all()))

    async def sighting(self, state: LiveState, *, final: bool = True, panic_id: int = 1) -> LiveSighting:
        async def there() -> LiveSighting | None:
            for row in await self.sightings():
                if row.panic_id == panic_id and row.state is state and row.provisional is not final:
                    return row
            return None

        try:
            found = await until(there, 40)
        except AssertionError as error:
            raise AssertionError(f"waited for {state}: {await self.sightings()}") from error
        assert found is not None
        return found

    async def figure(self, name: str, **labels: str) -> float:
        self.port.count()
        return self.metrics.registry.get_sample_value(name, labels) or 0.0


@asynccontextmanager
async def listening(
    folder: Path,
    ws: RunningWorkspace | None = None,
    *,
    settings: dict[str, object] | None = None,
    ahead: timedelta = timedelta(0),
    **options: object,
) -> AsyncIterator[Listening]:
    given = {
        "enabled": True,
        "listen": "127.0.0.1",
        "port": 0,
        "resolve": False,
        "quiet": "300ms",
        **(settings or {}),
    }
    async with floor(folder, ws, hosts=(WEB, DB), **options) as bot:
        bot.clock.ahead = ahead
        made = Listening(bot, NetconsoleConfig.model_validate(given))
        made.inbox.start()
        await made.port.start()
        tasks = [asyncio.create_task(made.port.run()), asyncio.create_task(bot.intake.run())]
        try:
            yield made
        finally:
            made.port.close()
            for host in made.hosts:
                host.socket.close()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await made.inbox.close()


@pytest.fixture
async def net(tmp_path: Path) -> AsyncIterator[Listening]:
    """Without Slack: what is decided is looked at in the database."""
    async with listening(tmp_path) as made:
        yield made


async def test_a_panic_line_opens_the_thread_which_says_what_the_host_does(
    tmp_path: Path, ws: RunningWorkspace
) -> None:
    async with listening(tmp_path, ws) as net:
        web = net.host()
        for datagram in extended("sysrq-c"):
            web.say([datagram.data])
        parent = await ws.message("web-17 is panicking; kdump is saving")
        (panic,) = await net.bot.rows(Panic)
        assert (panic.deliberate, panic.boot_id, panic.down_since is not None) == (True, None, True)
        known = await net.sighting(LiveState.PANICKING)
        assert (known.kdump, known.fatal, known.read_here) == ("loaded", True, True)
        text = await ws.reply(parent, "sysrq_handle_crash")
        assert "netconsole: " in str(text)  # the capture itself lacks some messages
        net.bot.clock.forward(seconds=3)
        assert await net.figure("panicroom_netconsole_lost_total", where="network") > 0
        # The host comes back and tells itself.
        died = panic.occurred_at
        assert panic.boot_started_at is not None
        later = await net.bot.report(
            "web-17",
            panic.text,
            occurred_at=died + timedelta(seconds=20),
            back_at=died + timedelta(minutes=3),
            crashed_boot_id="a" * 32,
            dump={"path": "/var/crash/202611230525/dump.202611230525", "size": 29649158, "complete": True},
        )
        assert (later.id, later.boot_id) == (panic.id, "a" * 32)
        net.bot.printer.wake()
        await ws.message("web-17 panicked: ")
        assert (await net.sightings())[0].state is LiveState.DIED


async def test_the_trace_that_goes_on_changes_the_signature_and_the_panic_moves(tmp_path: Path) -> None:
    """Its first lines name no function; another host's panic of the right signature has a thread already."""
    async with listening(tmp_path, settings={"quiet": "1m"}) as net:  # it ends when the clock is moved on
        await _goes_on(net)


async def _goes_on(net: Listening) -> None:
    await net.bot.report("db-1", oops())
    web = net.host()
    datagrams = lines(oops(uptime=700.5))
    web.say(datagrams[:5])
    first = await net.sighting(LiveState.MAY_LIVE, final=False, panic_id=2)
    assert first.provisional
    provisional = await net.bot.row(Panic, 2)
    assert provisional.incident_id == 2
    web.say(datagrams[5:])
    await net.taken(len(datagrams))
    net.bot.clock.forward(seconds=61)
    await net.sighting(LiveState.PANICKING, panic_id=2)
    panic = await net.bot.row(Panic, 2)
    assert (panic.signature_key, panic.incident_id) == ((await net.bot.row(Panic, 1)).signature_key, 1)
    old = await net.bot.incident(2)
    assert (old.state, old.merged_into_id) == (IncidentState.MERGED, 1)
    assert len(await net.bot.sayings("moved:2:2:1")) == 1
    assert len(await net.bot.rows(Panic)) == 2
    assert {r.panic_id for r in await net.bot.rows(Report) if r.source == "netconsole"} == {2}


async def test_the_hosts_whole_text_overrules_what_netconsole_saw_of_it(net: Listening) -> None:
    web = net.host()
    whole = lines(oops())
    web.say([*whole[:5], *whole[12:]])  # the trace was lost
    await net.sighting(LiveState.PANICKING)
    seen = await net.bot.row(Panic, 1)
    panic = await net.bot.report("web-17", oops(), occurred_at=seen.occurred_at, crashed_boot_id="b" * 32)
    assert (panic.id, panic.function) == (1, "nvme_irq")
    assert panic.signature_key != seen.signature_key
    assert "lost" not in panic.text
    assert (await net.sightings())[0].read_here is False


async def test_an_oops_may_live_and_is_closed_when_the_boot_talks_on(
    tmp_path: Path, ws: RunningWorkspace
) -> None:
    async with listening(tmp_path, ws) as net:
        web = net.host()
        text = oops(uptime=700.5).rpartition("\n")[0]
        web.say(lines(text))
        await ws.message("web-17 has a crash; host may live: NULL pointer dereference in nvme_irq")
        await net.sighting(LiveState.MAY_LIVE)
        net.bot.clock.forward(seconds=90)
        web.say([b"6,200,790600000,-;eth0: link is up\n"])
        await net.sighting(LiveState.SURVIVED)
        incident = await net.bot.incident(1)
        assert (incident.state, incident.resolved_by) == (IncidentState.RESOLVED, "panicroom")
        net.bot.printer.wake()
        await ws.message("web-17 survived a crash: NULL pointer dereference in nvme_irq")
        # ... and a report says that it was a crash all the same.
        died = (await net.bot.row(Panic, 1)).occurred_at
        again = await net.bot.report("web-17", text, occurred_at=died, crashed_boot_id="c" * 32)
        assert again.id == 1
        assert (await net.bot.incident(1)).state is IncidentState.OPEN
        net.bot.printer.wake()
        await ws.message("web-17 panicked: NULL pointer dereference in nvme_irq")


async def test_a_death_after_a_survived_oops_is_another_panic(net: Listening) -> None:
    web = net.host()
    web.say(lines(oops(uptime=700.5).rpartition("\n")[0]))
    await net.sighting(LiveState.MAY_LIVE)
    net.bot.clock.forward(seconds=90)
    web.say([b"6,200,790600000,-;eth0: link is up\n"])
    await net.sighting(LiveState.SURVIVED)
    # The inbox stamps reports by the machine's own clock: half an hour ahead of it, a host counts as silent at once.
    net.bot.clock.forward(seconds=1500)
    web.say(lines(oops("ext4_writepages", uptime=2290.6), seq=300))
    await net.sighting(LiveState.PANICKING, panic_id=2)
    dead = await net.bot.row(Panic, 2)
    told = await net.bot.report(
        "web-17", oops("ext4_writepages", uptime=2290.6), occurred_at=dead.occurred_at
    )
    assert told.id == 2
    assert (await net.bot.row(LiveSighting, 1)).state is LiveState.SURVIVED


async def test_triage_that_finds_the_same_boot_closes_it_too(net: Listening) -> None:
    net.host().say(lines(oops(uptime=700.5).rpartition("\n")[0]))
    await net.sighting(LiveState.MAY_LIVE)
    panic = await net.bot.row(Panic, 1)
    net.bot.clock.forward(seconds=300)
    assert panic.boot_started_at is not None

    def visited(session: object) -> None:
        run = RunbookRun(
            panic_id=1, kind="triage", workflow_id="t-1", state=RunState.DONE, asked_by="U0ONCALL"
        )
        session.add(run)  # type: ignore[attr-defined]
        session.flush()  # type: ignore[attr-defined]
        facts = {"booted_at": panic.boot_started_at.isoformat()}  # type: ignore[union-attr]
        session.add(  # type: ignore[attr-defined]
            StepResult(
                run_id=run.id or 0, name="identity", title="", facts=facts, finished_at=net.bot.clock()
            )
        )

    await net.bot.db.write(visited)
    await net.port.desk.watch()
    assert (await net.sightings())[0].state is LiveState.SURVIVED


async def test_no_report_within_the_limit_is_told_and_the_headline_ends(tmp_path: Path) -> None:
    async with listening(tmp_path, settings={"report_within": "10m"}) as net:
        net.host().say(lines(oops()))
        await net.sighting(LiveState.PANICKING)
        net.bot.intake.report_within = timedelta(minutes=10)
        net.bot.clock.forward(minutes=31)
        await net.port.desk.watch()
        assert (await net.sightings())[0].state is LiveState.SILENT
        assert len(await net.bot.sayings("No report of web-17 came within")) == 1


async def test_strangers_are_told_once_an_hour_and_panic_nobody(tmp_path: Path) -> None:
    to_the_middle_of_one = timedelta(minutes=90 - datetime.now(UTC).minute)
    async with listening(tmp_path, ahead=to_the_middle_of_one) as net:
        await _strangers(net)


async def _strangers(net: Listening) -> None:

    async def told() -> list[SlackMessage]:
        return [m for m in await net.bot.rows(SlackMessage) if m.channel == "C0ADMINS"]

    async def again() -> bool:
        return len(await told()) == 2

    stranger, other = net.host("127.0.0.99"), net.host("127.0.0.98")
    stranger.say(lines(oops()))
    other.say([b"6,1,1,-;hello\n"])
    await net.taken(17)
    await net.port.desk.watch()
    stranger.say(lines(oops()))
    await net.taken(33)
    await net.port.desk.watch()
    (once,) = await until(told)  # the port watches as well, and may be telling them at this moment
    assert "`127.0.0.99` (" in str(once.payload)
    stranger.say([b"6,1,1,-;hello\n"])
    await net.taken(34)
    net.bot.clock.forward(hours=1)
    await net.port.desk.watch()
    await until(again)
    assert await net.bot.rows(Panic) == []
    assert await net.figure("panicroom_netconsole_datagrams_total", outcome="unknown") == 34


async def test_where_strangers_are_allowed_a_closed_inventory_still_quarantines(tmp_path: Path) -> None:
    async with listening(tmp_path, settings={"allow_unknown": True}, closed=True) as net:
        net.host("127.0.0.99").say(lines(oops()))

        async def kept() -> list[Report]:
            return [r for r in await net.bot.rows(Report) if r.body["live"]["final"]]

        (report,) = await until(kept)
        assert (report.host, report.state) == ("127.0.0.99", ReportState.QUARANTINED)
        assert await net.bot.rows(Panic) == []


async def test_a_full_receive_buffer_is_counted(tmp_path: Path) -> None:
    async with listening(tmp_path, settings={"receive_buffer": "64KiB"}) as net:
        web = net.host()
        web.say([b"6,1,1,-;" + b"x" * 900 + b"\n"] * 3000)  # the loop has no turn while it sends
        await net.taken(1)
        assert await net.figure("panicroom_netconsole_lost_total", where="kernel") > 0


async def test_after_a_restart_survival_is_still_seen(tmp_path: Path) -> None:
    async with listening(tmp_path) as net:
        net.host().say(lines(oops(uptime=700.5).rpartition("\n")[0]))
        await net.sighting(LiveState.MAY_LIVE)
    async with listening(tmp_path) as net:
        net.bot.clock.forward(seconds=90)
        net.host().say([b"6,200,790600000,-;eth0: link is up\n"])
        await net.sighting(LiveState.SURVIVED)


async def test_names_of_the_inventory_are_looked_up(tmp_path: Path) -> None:
    async with listening(tmp_path) as net:
        net.port.senders.names["self"] = "localhost"
        net.port.senders.names["nowhere"] = "no-such-name.invalid"
        await net.port.look_up()
        assert net.port.senders.host_of("127.0.0.1") == "self"
