"""Readiness as the bot runs it: through the bot's one SSH client, told in the fleet's channel, counted."""

from __future__ import annotations

from collections.abc import Sequence

from bot.metrics import Metrics
from bot.settings import Settings
from commands.context import Context
from commands.home_attention import Notice
from commands.ready.desk import ReadyDesk
from commands.ready.slack import register
from commands.ready.visitor import Visitor
from commands.router import Router
from integrations.ssh import SshClient


def make_ready(
    context: Context, client: SshClient, router: Router, settings: Settings, metrics: Metrics
) -> ReadyDesk:
    """The desk, with its verb registered. `client` is the one that triage goes by."""
    ssh, config = settings.ssh, settings.ready
    visitor = Visitor(context, client, config, copies=settings.central.url is not None)
    desk = ReadyDesk(
        context,
        visitor,
        config,
        channel=settings.routing.channel,
        # Without a key to log in with, the clock would only collect refusals.
        by_clock=ssh.key_file is not None or ssh.agent or ssh.config_file is not None,
    )
    desk.on_look = lambda outcome: metrics.readiness_looks.labels(outcome).inc()

    def count(counts: dict[str, int]) -> None:
        for state, number in counts.items():
            metrics.readiness_hosts.labels(state).set(number)

    desk.on_counts = count
    register(router, desk)
    return desk


def ready_notice(desk: ReadyDesk) -> Notice:
    """How many hosts would leave no dump; nothing where all is well, or nobody was asked yet."""

    async def look() -> Sequence[str]:
        counts = await desk.counts()
        bad = counts["not ready"]
        if not sum(counts.values()):
            return []
        rest = ", ".join(f"{counts[s]} {s}" for s in ("at risk", "unknown", "ready") if counts[s])
        told = f"*Readiness for the next panic*: {bad} not ready{f', {rest}' if rest else ''}."
        if not bad and not counts["at risk"] and not counts["unknown"]:
            return []
        return [f"{':no_entry:' if bad else ':warning:'} {told} `/panic ready board` says what is wrong."]

    return look
