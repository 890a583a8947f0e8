"""The fleet's source as the bot reads it: by the clock, by SIGHUP, by `/panic inventory reload`."""

from __future__ import annotations

import asyncio
import signal

from bot.metrics import Metrics
from bot.settings import Settings
from commands.context import Context
from commands.intake.desk import IntakeDesk
from commands.inventory_desk import InventoryDesk
from commands.inventory_slack import register
from commands.router import Router


def make_inventory_desk(
    context: Context, settings: Settings, intake: IntakeDesk, metrics: Metrics, router: Router
) -> InventoryDesk:
    desk = InventoryDesk(context, settings.inventory, settings.hosts, tell=intake.tell, on_known=intake.wake)
    desk.on_reload = lambda outcome: metrics.inventory_reloads.labels(outcome).inc()
    metrics.inventory_hosts.set_function(lambda: len(context.inventory.entries))
    metrics.inventory_taken.set_function(lambda: _seconds(desk))
    register(router, desk)
    return desk


def _seconds(desk: InventoryDesk) -> float:
    taken = desk.standing.taken_at
    return taken.timestamp() if taken is not None else 0.0


def reloading(desk: InventoryDesk) -> None:
    """SIGHUP reads the source again. Without a source it is ignored: it ends no bot."""
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, desk.reload_soon)
