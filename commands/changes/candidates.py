"""Candidates: every change that may have to do with a panic, in one form, from the tracker, the feed and the hosts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from sqlmodel import Session, col, select

from commands.changes import records
from commands.changes.hostside import Before, host_changes, merged
from commands.changes.machine import Machine, read_machine, same_firmware
from commands.changes.picture import Case, Fleets, read_case
from commands.changes.weighing import Picture
from commands.context import Context
from commands.hostrecord import HostRecord, NetworkCard
from integrations.changes import Change, ChangeError, ChangeTracker
from storage import Panic, RunbookRun, RunState, StepResult

_EARLIER = 5  # panics of the same host whose logs are read


@dataclass(frozen=True)
class Gathered:
    """What there is to weigh. `failed`: why the tracker did not answer; the other sources are there all the same."""

    changes: tuple[Change, ...]
    picture: Picture
    since: datetime
    fed: bool  # a feed has told of changes at some time
    asked: bool  # the tracker answered
    failed: ChangeError | None = None

    @property
    def known(self) -> bool:
        """Whether there is anybody who would have told of a change."""
        return self.fed or self.asked or bool(self.changes)


async def gather(
    ctx: Context,
    panic: Panic,
    *,
    fleets: Fleets,
    look_back: timedelta,
    tracker: ChangeTracker | None = None,
) -> Gathered:
    """Changes that were under way in the `look_back` before the first panic of the signature and may touch its hosts.

    `tracker` None: it is not asked (again), and what it told before counts. What it tells is kept, so that the
    next panic of the thread can be weighed without it.
    """
    case, logged = await ctx.db.read(lambda s: _case_and_log(s, fleets, panic, look_back))
    since = case.picture.first_at - look_back
    if logged:
        seen = ctx.clock()
        await ctx.db.write(lambda s: [records.keep(s, change, seen) for change in logged])
    failed: ChangeError | None = None
    if tracker is not None:
        try:
            tickets = await _ask(tracker, panic, case, since)
        except ChangeError as error:
            failed = error
        else:
            now = ctx.clock()
            await ctx.db.write(lambda s: [records.keep(s, ticket, now) for ticket in tickets])
    changes, considered, fed = await ctx.db.read(lambda s: read_stored(s, case, since))
    return Gathered(
        tuple(changes),
        replace(case.picture, considered=considered),
        since,
        fed,
        tracker is not None and failed is None,
        failed,
    )


def read_stored(session: Session, case: Case, since: datetime) -> tuple[list[Change], int, bool]:
    """(candidates in our memory, how many changes of the whole fleet began in the window, whether a feed tells any)."""
    first = case.picture.first_at
    found = merged(records.stored(session, case.struck, since=since, until=first))
    fleet, struck = case.picture.fleet, {s.host for s in case.picture.struck}
    near = [c for c in found if not c.scope.said or struck & fleet.covered(c.scope)]
    return near, records.count_begun(session, since, first), records.any_fed(session)


async def _ask(tracker: ChangeTracker, panic: Panic, case: Case, since: datetime) -> list[Change]:
    found = await tracker.find(
        panic.host,
        ring=panic.ring or case.place.ring,
        hardware=panic.hardware or case.place.hardware,
        service=case.place.service,
        since=since,
        until=case.picture.first_at,
    )
    return [records.ticket_scope(change, case.picture.fleet, case.place) for change in found]


async def keep_host_record(
    ctx: Context, panic: Panic, record: HostRecord, *, fleets: Fleets, look_back: timedelta
) -> list[Change]:
    """What a look at the host says has changed on it, kept for this panic and those to come."""
    now = ctx.clock()

    def write(session: Session) -> list[Change]:
        case = read_case(session, fleets, panic)
        logged = read_machine(panic.text, panic.crash_lines).bios
        # What runs now may have come after the crash.
        same = logged is None or record.bios is None or same_firmware(logged, record.bios)
        told = replace(record, host=case.place.name, bios=record.bios if same else logged)
        found = _of_host(session, case, panic, told, look_back)
        for change in found:
            records.keep(session, change, now)
        return found

    return await ctx.db.write(write)


def _case_and_log(
    session: Session, fleets: Fleets, panic: Panic, look_back: timedelta
) -> tuple[Case, list[Change]]:
    """The case, and what its host's own logs say has changed between this panic and earlier ones."""
    case = read_case(session, fleets, panic)
    machine = read_machine(panic.text, panic.crash_lines)
    if machine == Machine():
        return case, []
    record = HostRecord(case.place.name, bios=machine.bios, cards=machine.cards)
    return case, _of_host(session, case, panic, record, look_back)


def _of_host(
    session: Session, case: Case, panic: Panic, record: HostRecord, look_back: timedelta
) -> list[Change]:
    first = case.picture.first_at
    mine = next((s for s in case.picture.struck if s.host == case.place.name), None)
    triaged = before_of(session, panic)
    return host_changes(
        record,
        since=first - look_back,
        until=first,
        booted=mine.booted if mine is not None else None,
        earlier=[*([triaged] if triaged is not None else []), *logged_before(session, panic)],
    )


def logged_before(session: Session, panic: Panic) -> list[Before]:
    """What the logs of the same host's last few earlier panics said of its firmware and its network cards."""
    rows = session.exec(
        select(Panic.occurred_at, Panic.text, Panic.crash_lines)
        .where(Panic.host == panic.host, col(Panic.id) != panic.id, Panic.occurred_at < panic.occurred_at)
        .order_by(col(Panic.occurred_at).desc())
        .limit(_EARLIER)
    ).all()
    found = []
    for at, text, lines in rows:
        machine = read_machine(text, lines)
        if machine != Machine():
            found.append(Before(at, machine.bios, machine.cards))
    return found


def before_of(session: Session, panic: Panic) -> Before | None:
    """What the last finished look at the same host saw of its firmware and its network cards, for another panic."""
    query = (
        select(StepResult)
        .join(RunbookRun, col(RunbookRun.id) == col(StepResult.run_id))
        .join(Panic, col(Panic.id) == col(RunbookRun.panic_id))
        .where(
            Panic.host == panic.host,
            col(Panic.id) != panic.id,
            StepResult.name == "recent",
            RunbookRun.state == RunState.DONE,
        )
        .order_by(col(StepResult.id).desc())
        .limit(5)
    )
    for step in session.exec(query):
        facts, at = step.facts, step.finished_at
        cards = _cards(facts.get("nics"))
        if at is not None and (facts.get("bios") or cards):
            return Before(at, str(facts["bios"]) if facts.get("bios") else None, cards)
    return None


def _cards(kept: object) -> tuple[NetworkCard, ...]:
    found = []
    for row in kept if isinstance(kept, Sequence) and not isinstance(kept, str) else ():
        if isinstance(row, dict) and row.get("interface") and row.get("driver"):
            version, firmware = row.get("version"), row.get("firmware")
            found.append(
                NetworkCard(
                    str(row["interface"]),
                    str(row["driver"]),
                    str(version) if version else None,
                    str(firmware) if firmware else None,
                )
            )
    return tuple(found)
