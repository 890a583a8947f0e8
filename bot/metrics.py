"""What the bot counts, for Prometheus (`/metrics`). Each name is explained in docs/configuration.md."""

from __future__ import annotations

from collections.abc import Awaitable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from integrations.pager import PagerClient, PagerError

_QUICK = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_SLOW = (0.05, 0.1, 0.15, 0.25, 0.4, 0.6, 1.0, 2.5, 5.0, 15.0, 60.0, 300.0, 1800.0)


class Metrics:
    """One registry a process (and one a test). Labels take values from closed sets only, never a host's text."""

    content_type = CONTENT_TYPE_LATEST

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        self.reports = Counter(
            "panicroom_reports_total",
            "Notifications at POST /v1/panics by outcome: accepted, duplicate, quarantined, or the error code.",
            ["outcome"],
            registry=self.registry,
        )
        self.report_seconds = Histogram(
            "panicroom_report_seconds",
            "Seconds from the request's head to the answer, for notifications that were stored (commit included).",
            buckets=_QUICK,
            registry=self.registry,
        )
        self.inbox_batch_rows = Histogram(
            "panicroom_inbox_batch_rows",
            "Rows in one committed batch of an inbox (reports, requests).",
            ["inbox"],
            buckets=(1, 2, 5, 10, 25, 50, 100, 250),
            registry=self.registry,
        )
        self.inbox_waiting = Gauge(
            "panicroom_inbox_waiting",
            "Rows of an inbox (reports, requests) that are not committed yet.",
            ["inbox"],
            registry=self.registry,
        )
        self.reports_waiting = Gauge(
            "panicroom_reports_waiting",
            "Stored reports that are no panics yet, by state: new (not read yet), quarantined (the inventory does not "
            "know the host), parked (could not be read, and waits for a person).",
            ["state"],
            registry=self.registry,
        )
        self.leads = Gauge(
            "panicroom_leads",
            "1 when this replica leads, or needs no lease (SQLite): it does the work, and the others take in.",
            registry=self.registry,
        )
        self.lease_epoch = Gauge(
            "panicroom_lease_epoch",
            "The number of the lease that this replica leads by, one more with each change of leader; 0 else.",
            registry=self.registry,
        )
        self.ready = Gauge(
            "panicroom_ready",
            "1 when this readiness check passed the last time /readyz was asked, else 0.",
            ["check"],
            registry=self.registry,
        )
        self.panics = Counter(
            "panicroom_panics_total", "Panics recorded, by kind.", ["kind"], registry=self.registry
        )
        self.thread_seconds = Histogram(
            "panicroom_thread_seconds",
            "Seconds from a report's arrival to its incident's message in Slack.",
            buckets=_SLOW,
            registry=self.registry,
        )
        self.slack_requests = Counter(
            "panicroom_slack_requests_total",
            "Requests from Slack by kind: command, block_actions, view_submission, view_closed, event, shortcut, "
            "block_suggestion, other.",
            ["kind"],
            registry=self.registry,
        )
        self.slack_ack_seconds = Histogram(
            "panicroom_slack_ack_seconds",
            "Seconds until a request from Slack was acknowledged.",
            buckets=_QUICK,
            registry=self.registry,
        )
        self.slack_calls = Counter(
            "panicroom_slack_calls_total",
            "Calls to Slack's Web API by method and outcome: ok, refused, rate_limited, down, unclear.",
            ["method", "outcome"],
            registry=self.registry,
        )
        self.sweep_places = Counter(
            "panicroom_sweep_places_total",
            "Looks of sweeps by kind (host, directory) and outcome: swept, unreachable, refused, left (somebody was at "
            "work there), failed.",
            ["kind", "outcome"],
            registry=self.registry,
        )
        self.sweep_dumps = Counter(
            "panicroom_sweep_dumps_total",
            "Dumps that sweeps saw: new (nobody had told of it), history (new, and old), known, test, in_progress, "
            "unread, unplaced (no host of the inventory).",
            ["what"],
            registry=self.registry,
        )
        self.retention_freed = Counter(
            "panicroom_retention_freed_bytes_total",
            "Bytes of dumps that retention removed: central, local (on hosts).",
            ["place"],
            registry=self.registry,
        )
        self.sweep_finished = Gauge(
            "panicroom_sweep_finished_timestamp_seconds",
            "When the last sweep of this process was done, in seconds since the epoch; 0 before the first.",
            registry=self.registry,
        )
        self.readiness_hosts = Gauge(
            "panicroom_readiness_hosts",
            "Hosts by their readiness for the next panic: ready, at risk, not ready, unknown.",
            ["state"],
            registry=self.registry,
        )
        self.readiness_looks = Counter(
            "panicroom_readiness_looks_total",
            "Hosts asked for their readiness, by outcome: answered, unanswered.",
            ["outcome"],
            registry=self.registry,
        )
        self.inventory_hosts = Gauge(
            "panicroom_inventory_hosts",
            "Entries of the inventory, patterns included.",
            registry=self.registry,
        )
        self.inventory_reloads = Counter(
            "panicroom_inventory_reloads_total",
            "Readings of the inventory's source by outcome: taken, unchanged, failed, waiting (too many hosts would "
            "go: an admin must confirm).",
            ["outcome"],
            registry=self.registry,
        )
        self.inventory_taken = Gauge(
            "panicroom_inventory_timestamp_seconds",
            "When the source last said what the inventory holds, in seconds since the epoch; 0 before that.",
            registry=self.registry,
        )
        self.backups = Counter(
            "panicroom_backups_total",
            "Backups of the database that the bot took by itself, by outcome: ok, failed.",
            ["outcome"],
            registry=self.registry,
        )
        self.backup_finished = Gauge(
            "panicroom_backup_timestamp_seconds",
            "Of which moment the newest backup in database.backup_dir is, in seconds since the epoch; 0 when there is "
            "none.",
            registry=self.registry,
        )
        self.pages = Counter(
            "panicroom_pages_total",
            "Events sent to the pager by action and outcome (ok, failed).",
            ["action", "outcome"],
            registry=self.registry,
        )

        self.netconsole_datagrams = Counter(
            "panicroom_netconsole_datagrams_total",
            "netconsole datagrams by outcome: taken, unknown (no host has that address), limited (over the sender's "
            "rate), refused (no memory, or too large), doubled (basic lines of a sender of extended ones).",
            ["outcome"],
            registry=self.registry,
        )
        self.netconsole_lost = Counter(
            "panicroom_netconsole_lost_total",
            "netconsole messages that never reached the bot, by where they were lost: network (gaps in the senders' "
            "numbers), kernel (the socket's receive buffer was full).",
            ["where"],
            registry=self.registry,
        )
        self.netconsole_crashes = Counter(
            "panicroom_netconsole_crashes_total",
            "Crashes seen by netconsole as they happened.",
            registry=self.registry,
        )
        self.netconsole_senders = Gauge(
            "panicroom_netconsole_senders", "Senders of netconsole lines remembered.", registry=self.registry
        )
        self.netconsole_bytes = Gauge(
            "panicroom_netconsole_bytes", "Bytes of netconsole lines kept in memory.", registry=self.registry
        )
        self.alerts = Counter(
            "panicroom_alerts_total",
            "Alerts at POST /v1/alertmanager by outcome: accepted, duplicate, quarantined, ignored (no matcher of "
            "alertmanager.alerts), no_host, invalid, truncated (Alertmanager left them out), or the error code.",
            ["outcome"],
            registry=self.registry,
        )

        self.jira_hooks = Counter(
            "panicroom_jira_hooks_total",
            "Notifications at POST /v1/jira by outcome: accepted (a linked ticket is read again), ignored (no ticket "
            "of ours is in it), or the error code.",
            ["outcome"],
            registry=self.registry,
        )
        self.changes_told = Counter(
            "panicroom_changes_told_total",
            "Changes told at POST /v1/changes and by feed files, by outcome: new, updated, unchanged; bad_file, or the "
            "error code, for a request or a file that was refused.",
            ["outcome"],
            registry=self.registry,
        )

    def names(self) -> list[str]:
        """The names as Prometheus knows them, of the bot's own metrics."""
        return sorted(
            family.name + ("_total" if family.type == "counter" else "")
            for family in self.registry.collect()
            if family.name.startswith("panicroom_")
        )

    def exposition(self) -> bytes:
        """All of it in Prometheus' text format."""
        return generate_latest(self.registry)


class CountedPager:
    """The pager, with what came of each call counted."""

    def __init__(self, client: PagerClient, metrics: Metrics) -> None:
        self.client = client
        self.metrics = metrics

    async def trigger(
        self,
        dedup_key: str,
        summary: str,
        *,
        source: str,
        severity: str,
        details: dict[str, str],
        link: str | None,
    ) -> None:
        await self._counted(
            "trigger",
            self.client.trigger(
                dedup_key, summary, source=source, severity=severity, details=details, link=link
            ),
        )

    async def resolve(self, dedup_key: str) -> None:
        await self._counted("resolve", self.client.resolve(dedup_key))

    async def close(self) -> None:
        await self.client.close()

    async def _counted(self, action: str, work: Awaitable[object]) -> None:
        try:
            await work
        except PagerError:
            self.metrics.pages.labels(action, "failed").inc()
            raise
        self.metrics.pages.labels(action, "ok").inc()
