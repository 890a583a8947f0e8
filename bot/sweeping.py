"""The sweep as the bot runs it: through the bot's one SSH client, and old crashes kept as `panicroom import` does."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from bot.machine import Finding
from bot.metrics import Metrics
from bot.settings import Settings
from commands.context import Context
from commands.intake.archive import ArchivedCrash, read_archived, take
from commands.sweep.central import CentralLook
from commands.sweep.desk import SweepDesk
from commands.sweep.found import FoundDump, name_of
from commands.sweep.naming import Fleet, addresses, owner_of
from commands.sweep.visitor import Visitor
from integrations.ssh import SshClient
from storage import DumpState
from storage.inbox import ReportInbox


def make_sweep(
    context: Context, client: SshClient, reports: ReportInbox, settings: Settings, metrics: Metrics
) -> SweepDesk:
    """`client` is the one that triage goes by: sweep and triage together connect to no more hosts than it allows."""
    config, ssh = settings.sweep, settings.ssh
    visitor = Visitor(
        context, client, reports, config, CrashHistory(context, settings.intake.same_boot_within),
        lives_after=settings.netconsole.lives_after,
    )  # fmt: skip
    desk = SweepDesk(
        context,
        visitor,
        config,
        channel=settings.slack.admin_channel or settings.routing.channel,
        channels=(settings.routing.channel, *(rule.channel for rule in settings.routing.rules)),
        # Without a key to log in with, the clock would only collect refusals.
        hosts_by_clock=ssh.key_file is not None or ssh.agent or ssh.config_file is not None,
    )
    desk.on_place = lambda kind, outcome: metrics.sweep_places.labels(kind, outcome).inc()
    desk.on_dumps = lambda what, count: metrics.sweep_dumps.labels(what).inc(count)
    desk.on_done = metrics.sweep_finished.set_to_current_time
    return desk


def sweep_findings(settings: Settings) -> list[Finding]:
    """Whether the central directories can be read, and whose the dumps in them are; nothing where none is set."""
    inventory = settings.make_inventory()
    fleet = Fleet.of(inventory, ())
    known = addresses(fleet)
    findings: list[Finding] = []
    for directory in settings.sweep.directories:
        name = f"sweep {directory.path}"
        try:
            dumps = CentralLook(directory.path).listed()
        except OSError as error:
            said = error.strerror or str(error)
            findings.append(
                Finding(name, "fail", f"cannot be read: {said}", "Mount it, or give the bot's user access.")
            )
            continue
        owners = [owner_of(name_of(dump), fleet, inventory, known) for dump in dumps if not dump.test]
        strangers = sorted({owner.called for owner in owners if owner.host is None})
        said = f"{len(owners)} crash directories"
        if strangers:
            said += f", those of {', '.join(strangers[:5])}{' and others' if len(strangers) > 5 else ''} are no host's"
            remedy = "Give the hosts' `address` in [[hosts]]; addresses that DNS knows are found at a sweep."
            findings.append(Finding(name, "warn", said, remedy))
        else:
            findings.append(Finding(name, "ok", said))
    return findings


class CrashHistory:
    """What a sweep hands on when a crash is too old to wake anybody."""

    def __init__(self, context: Context, same_boot: timedelta) -> None:
        self.context = context
        self.same_boot = same_boot

    async def keep(self, found: FoundDump) -> None:
        """Once a crash, by its directory's name and its dmesg; an import of the same directory finds it there."""
        crash = archived(found)
        now = self.context.clock()
        reading = await asyncio.to_thread(read_archived, crash, now)
        await self.context.db.write(
            lambda s: take(s, crash, reading, self.context.inventory, now, self.same_boot)
        )
        self.context.wake()


def archived(found: FoundDump) -> ArchivedCrash:
    return ArchivedCrash(
        host=found.host,
        directory=found.archive_name,
        layout=found.layout,
        text=found.text.replace("\x00", "\N{REPLACEMENT CHARACTER}"),
        digest=found.digest,
        saved_at=found.saved_at,
        stamped=found.stamped,
        crash_time=found.crash_time,
        release=found.release,
        dump_state=_state(found),
        dump_path=found.dump_path,
        dump_size=found.dump_size,
        dump_note=found.reason or None,
    )


def _state(found: FoundDump) -> DumpState:
    """A text of pstore's says nothing about a dump."""
    if found.dump_path is None:
        return DumpState.UNKNOWN if found.layout == "pstore" else DumpState.NONE
    if found.dump_size == 0:
        return DumpState.EMPTY
    if found.complete is None:
        return DumpState.UNVERIFIED
    return DumpState.COMPLETE if found.complete else DumpState.INCOMPLETE
