"""The composition root: the one file that builds everything and knows every room."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable

import structlog

from bot.analysing import make_analysis, use_redaction
from bot.backup_schedule import BackupSchedule, holding
from bot.central import make_copies
from bot.changes_feed import make_feed
from bot.forgetting import Privacy
from bot.home_notices import retention_notice
from bot.inventory import make_inventory_desk, reloading
from bot.metrics import CountedPager, Metrics
from bot.netconsole import NetconsolePort
from bot.port import Port
from bot.readiness import make_ready, ready_notice
from bot.replicas.following import follow_inventory
from bot.replicas.replica import Replica
from bot.restored import AfterRestore
from bot.retention import make_retention
from bot.schedule import Housekeeping
from bot.settings import Settings
from bot.slack_app import make_bolt
from bot.slack_front import FrontDesk
from bot.slack_health import SlackHealth
from bot.slack_socket import SocketDoor
from bot.sweeping import make_sweep
from bot.version import VERSION
from bot.workflows import Workflows
from commands.access import Access
from commands.analysis.slack import register as register_analysis
from commands.changes.desk import ChangeDesk
from commands.changes.recent import RecentChanges
from commands.changes.slack import register as register_changes
from commands.context import Context
from commands.copies.slack import register as register_copies
from commands.evidence.again import BundleAgain
from commands.evidence.slack import register as register_evidence
from commands.evidence.terms import SlackTerms
from commands.evidence.workflow import EvidenceDesk
from commands.home import publish_home
from commands.hosts.visits import Visits
from commands.incident import parent as _parent  # noqa: F401 - registers how an incident is drawn
from commands.incident.pace import Pace
from commands.incident.printer import Printer
from commands.incident.slack import IncidentDesk
from commands.incident.slack import register as register_incident
from commands.incident.stormdesk import StormDesk
from commands.incident.watch import Watch
from commands.intake.desk import IntakeDesk
from commands.intake.recording import Taken
from commands.intake.slack import register as register_intake
from commands.known.slack import register as register_known
from commands.panics.slack import register as register_panics
from commands.retention.slack import register as register_retention
from commands.router import Router
from commands.similar.slack import register as register_similar
from commands.sweep.slack import register as register_sweep
from commands.trends.slack import register as register_trends
from commands.triage.slack import register as register_triage
from commands.triage.workflow import TriageDesk
from integrations.changes import JiraTracker
from integrations.pager import PagerClient
from integrations.redaction import Redactor
from integrations.slack.client import SlackClient
from integrations.ssh import SshClient
from integrations.stores.local import LocalStore
from storage import utc_now
from storage.inbox import ReportInbox, RequestInbox
from storage.migrations import upgrade

log = structlog.get_logger(__name__)


class Bot:
    """Everything that runs, in the order in which it starts; `stop()` goes the other way."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.metrics = Metrics()
        self.replica = Replica(settings.database.url, settings.replicas, port=settings.server.port)
        self.db = self.replica.make_database()
        self.slack = SlackClient(settings.slack)
        self.slack.before_call = self.replica.prove
        self.inventory = settings.make_inventory()
        self.access = Access(settings.access, self.slack.members_of)
        self.context = Context(
            db=self.db,
            slack=self.slack,
            inventory=self.inventory,
            access=self.access,
            store_dir=settings.store.dir,
        )
        self.printer = Printer(
            self.db, self.slack, store_dir=settings.store.dir, clock=utc_now, pace=Pace(),
            storm=settings.incident.storm,
        )  # fmt: skip
        self.context.wake = self.replica.rung("outbox", self.printer.wake)
        self.read_reports = self.replica.rung("reports", lambda: self.intake.wake())
        self.context.read_reports = self.read_reports
        self.router = Router(self.db, self.access, command=settings.slack.command)
        self.reports = ReportInbox(self.db, on_batch=self.metrics.inbox_batch_rows.labels("reports").observe)
        self.requests = RequestInbox(
            self.db, on_batch=self.metrics.inbox_batch_rows.labels("requests").observe
        )
        self.intake = IntakeDesk(
            self.context,
            settings.intake,
            settings.incident,
            settings.routing,
            admin_channel=settings.slack.admin_channel,
            redact=lambda text: Redactor().redact(text),
            report_within=settings.netconsole.report_within,
        )
        self.intake.crowded = lambda: self.reports.waiting > 0
        self.pager = (
            CountedPager(PagerClient(settings.pager), self.metrics) if settings.pager.enabled else None
        )
        self.netconsole = (
            NetconsolePort(self.context, settings.netconsole, self.reports, self.intake, self.metrics)
            if settings.netconsole.enabled
            else None
        )
        self.watch = Watch(self.context, settings.incident, settings.routing, self.printer, self.pager)
        jira = settings.changes.jira
        self.tracker = JiraTracker(jira) if jira is not None else None
        self.changes = ChangeDesk(self.context, self.tracker, settings.changes, settings.workload)
        self.feed_route, self.feed_files = make_feed(
            settings, self.db, self.metrics, self.replica.rung("fed", self.changes.on_fed)
        )
        self.context.weigh_changes = RecentChanges(self.changes.search, settings.workload).lines
        self.store = LocalStore(settings.store.dir)
        self.ssh = SshClient(settings.ssh)
        self.visits = Visits(self.context, self.ssh)
        self.workflows = Workflows(
            settings.database.url, called=self.replica.session, guard=self.replica.guard_all
        )
        self.triage = TriageDesk(
            self.context, self.visits, settings.triage, central=settings.central.url,
            lives_after=settings.netconsole.lives_after,
        )  # fmt: skip
        self.evidence = EvidenceDesk(self.context, self.visits, self.store, settings.evidence)
        self.storms = StormDesk(self.context, settings.incident.storm, collect=self.evidence.begin)
        self.analysis = make_analysis(self.context, self.store, settings)
        self.terms = SlackTerms(self.context, settings.evidence.slack_days)
        self.again = BundleAgain(self.context, self.store, settings.evidence)
        self.copies = make_copies(self.context, self.visits, settings, self.evidence.begin)
        register_incident(self.router, IncidentDesk(self.context, settings.incident, settings.routing))
        register_intake(self.router, self.intake)
        register_triage(self.router, self.triage)
        register_evidence(self.router, self.evidence)
        self.retention = make_retention(self.context, self.visits, settings, self.copies, self.metrics)
        register_copies(self.router, self.copies)
        register_retention(self.router, self.retention)
        register_analysis(self.router, self.analysis)
        register_changes(self.router, self.changes)
        self.sweep = make_sweep(self.context, self.ssh, self.reports, settings, self.metrics)
        register_sweep(self.router, self.sweep)
        register_panics(self.router, self.context)
        register_known(self.router, self.context)
        register_similar(self.router, self.context)
        register_trends(self.router, self.context)
        self.privacy = Privacy(self.context, self.router, settings, self.workflows)
        self.ready = make_ready(self.context, self.ssh, self.router, settings, self.metrics)
        self.notices = (retention_notice(self.retention), ready_notice(self.ready))
        self.fleet = make_inventory_desk(self.context, settings, self.intake, self.metrics, self.router)
        self.bolt = make_bolt(self.router, self.slack, on_home=self._show_home, tell_home=self._show_home)
        self.front = FrontDesk(self.db, self.requests, self.router, self.bolt, self.slack)
        self.front.replicated = self.replica.leadership is not None
        self.front.on_stored = self.replica.rung("requests", self.front.wake)
        self.socket = SocketDoor(self.front, settings.slack) if settings.slack.mode == "socket" else None
        self.health = SlackHealth(self.slack, self.socket)
        self._feed_metrics()
        self._tasks: list[asyncio.Task[None]] = []
        self._port = Port(self)
        self.address = ""

    def _feed_metrics(self) -> None:
        metrics = self.metrics
        self.slack.on_call = lambda method, outcome: metrics.slack_calls.labels(method, outcome).inc()
        self.front.on_request = lambda kind: metrics.slack_requests.labels(kind).inc()
        if self.socket is not None:
            self.socket.on_acknowledged = metrics.slack_ack_seconds.observe
        self.printer.on_posted = self._posted
        self.intake.on_taken = self._taken
        self.replica.show(metrics)
        metrics.inbox_waiting.labels("requests").set_function(lambda: self.requests.waiting)

    def _posted(self, key: str, seconds: float) -> None:
        if key.startswith("incident:"):
            self.metrics.thread_seconds.observe(seconds)

    def _taken(self, taken: Taken) -> None:
        if taken.how not in ("witness", "moved", "ignored"):
            self.metrics.panics.labels(taken.kind).inc()

    async def start(self) -> None:
        """Opens the port last: who is answered is served, if not by this process then by the one that leads."""
        self.settings.store.dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        await asyncio.to_thread(use_redaction, self.settings)
        await self.slack.start()
        self.reports.start()
        self.requests.start()
        await self.health.greet()
        await self.replica.start(self._lead)
        self._run(self.health.run)
        self._run(lambda: follow_inventory(self.fleet, lambda: self.replica.works))
        if self.socket is not None:
            await self.socket.start()
        self.address = await self._port.open()
        log.info(
            "bot.started", address=self.address, mode=self.settings.slack.mode, version=VERSION,
            leads=self.replica.leads,
        )  # fmt: skip

    async def _lead(self) -> None:
        """Takes up what was under way, and all that is to be done once."""
        left = await asyncio.to_thread(self.store.clear_unfinished)
        if left:
            log.info("store.unfinished_removed", files=left)
        await self.fleet.take_kept()
        self.workflows.start()
        await self.workflows.begin_anew()
        await self.triage.resume()
        await self.evidence.resume()
        await self.analysis.resume()
        await self.copies.resume()
        restored = AfterRestore(self.context, self.intake, self.printer.run, self.settings.routing.channel)
        await restored.catch_up()
        await self.front.start()
        self._run(restored.run)
        self._run(BackupSchedule(self.settings, self.metrics, self.intake.tell, clock=utc_now).run)
        self._run(self.changes.run)
        self._run(self.fleet.run)
        self._run(self.feed_files.run)
        self._run(self.intake.run)
        self._run(self.watch.run)
        self._run(self.storms.run)
        self._run(self.terms.run)
        self._run(self.again.run)
        self._run(self.sweep.run)
        self._run(self.ready.run)
        self._run(self.retention.run)
        self._run(self.privacy.run)
        self._run(Housekeeping(self.db, clock=utc_now).run)
        if self.netconsole is not None:
            await self.netconsole.start()
            self._run(self.netconsole.run)

    async def stop(self) -> None:
        """Lets nothing in, then ends what runs. What is not finished goes on at the next start."""
        await self._port.close()
        await self.replica.stop()
        if self.netconsole is not None:
            self.netconsole.close()
        if self.socket is not None:
            await self.socket.stop()
        await self.front.stop()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.workflows.stop()
        await self.copies.close()
        await self.retention.close()
        await self.privacy.close()
        await self.visits.close()
        self.ssh.close()
        await self.reports.close()
        await self.requests.close()
        if self.pager is not None:
            await self.pager.close()
        if self.tracker is not None:
            await self.tracker.close()
        await self.slack.close()
        await asyncio.to_thread(self.db.close)
        await self.replica.resign()
        log.info("bot.stopped")

    def _run(self, forever: Callable[[], Awaitable[None]]) -> None:
        self._tasks.append(
            asyncio.create_task(_guard(forever), name=getattr(forever, "__qualname__", "task"))
        )

    async def _show_home(self, user: str, said: str = "") -> None:
        await publish_home(self.context, user, said=said, notices=self.notices)


async def _guard(forever: Callable[[], Awaitable[None]]) -> None:
    """A loop that ends by an exception is a defect; it is logged and started again, never silently gone."""
    while True:
        try:
            await forever()
            return
        except asyncio.CancelledError:
            raise
        except Exception:
            log.exception("task.died", task=getattr(forever, "__qualname__", "?"))
            await asyncio.sleep(1.0)


async def serve(settings: Settings, *, ready: Callable[[str], None] = lambda _address: None) -> None:
    """Runs until SIGINT or SIGTERM. Raises OSError at once when the port cannot be had."""
    await _try_port(settings.server.listen, settings.server.port)
    async with holding(settings.database.url):
        await asyncio.to_thread(upgrade, settings.database.url)
        bot = Bot(settings)
        stopping = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stopping.set)
        reloading(bot.fleet)
        try:
            await bot.start()
            ready(bot.address)
            await stopping.wait()
        finally:
            await bot.stop()


async def _try_port(listen: str, port: int) -> None:
    """Before anything is touched: a second bot must not take up the first one's work until it finds the port taken."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(asyncio.Protocol, listen, port, start_serving=False)
    server.close()
    await server.wait_closed()


def run(settings: Settings) -> None:
    """`panicroom run`: blocks until it is told to stop."""
    asyncio.run(serve(settings, ready=_announce))


def _announce(address: str) -> None:
    print(f"panicroom is up at {address}", flush=True)
