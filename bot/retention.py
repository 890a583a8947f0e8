"""Retention as the bot runs it: the store and the budget of the copies, their room asked of the plan."""

from __future__ import annotations

import os
import secrets

from bot.central import make_store
from bot.metrics import Metrics
from bot.settings import Settings
from commands.context import Context
from commands.copies.desk import CopyDesk
from commands.hosts.visits import Visits
from commands.retention.desk import RetentionDesk
from commands.retention.ledger import Place


def make_retention(
    context: Context, visits: Visits, settings: Settings, copies: CopyDesk, metrics: Metrics
) -> RetentionDesk:
    """The bot's own desk: what the copies ask for room, and what a verified copy is told to."""
    desk = RetentionDesk(
        context, visits, copies.store, settings.retention, place_of(settings), channel=channel_of(settings)
    )
    desk.on_removed = lambda place, freed: _count(metrics, place, freed)
    copies.room.ask = desk.ask_room
    copies.on_verified.append(desk.on_verified)
    return desk


def make_terminal_desk(context: Context, visits: Visits, settings: Settings) -> RetentionDesk:
    """For one command at a terminal: a process of its own, which leaves a sweep of the bot's alone."""
    store = make_store(settings.central, settings.ssh)
    owner = f"terminal-{os.getpid()}-{secrets.token_hex(4)}"
    return RetentionDesk(
        context,
        visits,
        store,
        settings.retention,
        place_of(settings),
        channel=channel_of(settings),
        owner=owner,
    )


def place_of(settings: Settings) -> Place:
    directories = tuple(str(directory.path) for directory in settings.sweep.directories)
    return Place(settings.central.url, settings.central.budget, directories)


def channel_of(settings: Settings) -> str:
    return settings.slack.admin_channel or settings.routing.channel


def _count(metrics: Metrics, place: str, freed: int) -> None:
    if freed:
        metrics.retention_freed.labels(place).inc(freed)
