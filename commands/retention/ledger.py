"""The books as an inventory: which copies and dumps there are, since when, and what keeps each.

All functions work inside the caller's transaction.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlmodel import Session, col, func, or_, select

from commands.retention.items import Clock, Copy, Guard, Inventory, LocalDump, Reason, Standing
from commands.retention.pins import HOLD, in_force
from storage import (
    CopyCare,
    CopyState,
    DumpCopy,
    DumpPart,
    DumpState,
    Incident,
    IncidentState,
    Panic,
    Pin,
    RunbookRun,
    RunState,
    SlackMessage,
    incident_ref,
)
from storage.copies import UNDER_WAY

_STANDINGS = {
    CopyState.VERIFIED: Standing.VERIFIED,
    CopyState.DAMAGED: Standing.DAMAGED,
    CopyState.REMOVED: Standing.LEAVING,
    CopyState.FAILED: Standing.PARTIAL,
    CopyState.CANCELLED: Standing.PARTIAL,
}
_OF_A_FILE = (CopyState.VERIFIED, CopyState.DAMAGED, CopyState.REMOVED)
_THERE = (DumpState.COMPLETE, DumpState.INCOMPLETE, DumpState.UNVERIFIED, DumpState.EMPTY)
_OPEN = (IncidentState.OPEN, IncidentState.ACKNOWLEDGED)
_AT_WORK = (RunState.WAITING, RunState.RUNNING)
_RECORD = re.compile(r"(\d{1,20})/(\d{1,20})")
_LOOKED_BACK = timedelta(
    days=180
)  # for dumps on hosts that nobody copied: they are counted and never removed
_STAMPS = 300  # messages among which Slack's newest stamp is looked for
_CHUNK = 500


@dataclass(frozen=True)
class Place:
    """Which store is set: copies elsewhere are told and not touched. `budget` in bytes. `directories`: those that kdump
    itself writes to over the network; what lies there is on no host."""

    url: str | None
    budget: int | None
    directories: tuple[str, ...] = ()


def inventory(
    session: Session, place: Place, now: datetime, clock: Clock, *, but: int = 0, panic_id: int | None = None
) -> Inventory:
    """All that is there; of one panic only, where one is given. `but`: a copy under way that does not count as
    incoming, because it is asked about."""
    found = _copies(session, panic_id)
    panics = _panics(session, {copy.panic_id for copy, _ in found})
    locals_ = _local_rows(session, panic_id)
    panics |= {p.id or 0: p for p in locals_}
    guards = guards_of(session, panics.values())
    sizes = _part_sizes(session, [c for c, _ in found])
    copies = [
        _copy(copy, care, panics[copy.panic_id], guards[copy.panic_id], sizes, place, now)
        for copy, care in found
        if copy.panic_id in panics
    ]
    history = _history(session, panics)
    dumps = [_local(p, history.get(p.id or 0, []), guards[p.id or 0], place) for p in panics.values()]
    coming = (
        select(func.coalesce(func.sum(DumpCopy.size), 0))
        .where(col(DumpCopy.state).in_(UNDER_WAY), col(DumpCopy.id) != but)
    )  # fmt: skip
    return Inventory(
        tuple(c for c in copies if c is not None),
        tuple(sorted((d for d in dumps if d is not None), key=lambda d: (d.host, d.occurred_at, d.panic_id))),
        place.budget,
        int(session.exec(coming).one() or 0),
        clock,
    )


def note_new(session: Session, now: datetime) -> int:
    """The term of what has none begins now; only to be called while the clock is believed. Where the books are
    begun, it began when the copy ended. Returns how many rows were written."""
    known = session.exec(select(CopyCare.copy_id).limit(1)).first() is not None
    noted = 0
    for copy, care in _copies(session, None):
        verified = copy.state in (CopyState.VERIFIED, CopyState.DAMAGED)
        row = care or CopyCare(copy_id=copy.id or 0)
        if row.term_from is not None and (row.verified or not verified):
            continue
        ended = copy.verified_at or copy.finished_at or copy.asked_at
        row.term_from = now if known else min(ended, now)
        row.verified = verified
        session.add(row)
        noted += 1
    return noted


def care_of(session: Session, copy_id: int) -> CopyCare:
    """The row beside a copy's own; made where there is none yet."""
    row = session.get(CopyCare, copy_id) or CopyCare(copy_id=copy_id)
    session.add(row)
    return row


def guards_of(session: Session, panics: Iterable[Panic]) -> dict[int, Guard]:
    """What keeps the dumps of each panic, by the panic's id."""
    rows = {p.id or 0: p for p in panics}
    ids = list(rows)
    kept: defaultdict[int, list[Pin]] = defaultdict(list)
    for pin in in_force(session):
        if pin.panic_id in rows:
            kept[pin.panic_id].append(pin)
    busy: dict[int, str] = {}
    for start in range(0, len(ids), _CHUNK):
        chunk = ids[start : start + _CHUNK]
        runs = select(RunbookRun.panic_id, RunbookRun.kind).where(
            col(RunbookRun.panic_id).in_(chunk), col(RunbookRun.state).in_(_AT_WORK)
        )
        busy |= {panic_id: f"{kind} is under way" for panic_id, kind in session.exec(runs)}
        copying = select(DumpCopy.panic_id).where(
            col(DumpCopy.panic_id).in_(chunk), col(DumpCopy.state).in_(UNDER_WAY)
        )
        busy |= dict.fromkeys(session.exec(copying), "a copy is under way")
    open_ = _open_incidents(session)
    made = {}
    for panic_id, panic in rows.items():
        pins = [p for p in kept[panic_id] if p.kind != HOLD]
        made[panic_id] = Guard(
            pinned=bool(pins),
            pinned_until=pins[0].until if pins else None,
            held=any(p.kind == HOLD for p in kept[panic_id]),
            incident=open_.get(panic.incident_id or 0),
            busy=busy.get(panic_id),
        )
    return made


def witness(session: Session) -> datetime | None:
    """The newest of Slack's own stamps on the bot's messages; it is the time of Slack's clock."""
    query = select(SlackMessage.ts).where(col(SlackMessage.ts).is_not(None))
    stamps = [
        float(ts)
        for ts in session.exec(query.order_by(col(SlackMessage.id).desc()).limit(_STAMPS))
        if ts is not None and re.fullmatch(r"\d{9,10}\.\d{1,9}", ts)
    ]
    return datetime.fromtimestamp(max(stamps), UTC) if stamps else None


def record_of(copy: DumpCopy) -> tuple[int, int] | None:
    """(mtime, inode) of the file that a copy was made of; None where an older helper could not tell them."""
    found = _RECORD.fullmatch(copy.source_stamp or "")
    return (int(found[1]), int(found[2])) if found is not None and copy.source_path and copy.size else None


# -- below --------------------------------------------------------------------------------------------------


def _copies(session: Session, panic_id: int | None) -> list[tuple[DumpCopy, CopyCare | None]]:
    query = (
        select(DumpCopy, CopyCare)
        .outerjoin(CopyCare, col(CopyCare.copy_id) == DumpCopy.id)
        .where(
            col(DumpCopy.state).in_(_STANDINGS),
            col(DumpCopy.place).is_not(None),
            or_(col(CopyCare.copy_id).is_(None), col(CopyCare.removed_at).is_(None)),
        )
        .order_by(col(DumpCopy.id))
    )
    if panic_id is not None:
        query = query.where(DumpCopy.panic_id == panic_id)
    return [(copy, care) for copy, care in session.exec(query).all()]


def _panics(session: Session, ids: Iterable[int]) -> dict[int, Panic]:
    wanted = sorted(ids)
    made: dict[int, Panic] = {}
    for start in range(0, len(wanted), _CHUNK):
        rows = session.exec(select(Panic).where(col(Panic.id).in_(wanted[start : start + _CHUNK])))
        made |= {p.id or 0: p for p in rows}
    return made


def _local_rows(session: Session, panic_id: int | None) -> list[Panic]:
    """Panics whose dump is known to lie on the host."""
    query = select(Panic).where(
        col(Panic.dump_path).is_not(None),
        col(Panic.dump_state).in_(_THERE),
        col(Panic.dump_size).is_not(None),
    )
    if panic_id is not None:
        return list(session.exec(query.where(Panic.id == panic_id)))
    newest = session.exec(select(func.max(Panic.occurred_at))).one()
    if newest is None:
        return []
    return list(session.exec(query.where(Panic.occurred_at >= newest - _LOOKED_BACK)))


def _part_sizes(session: Session, copies: list[DumpCopy]) -> dict[int, int]:
    """Bytes of the parts that stand in the store, of copies that did not come to their end."""
    ids = [c.id or 0 for c in copies if _STANDINGS[c.state] is Standing.PARTIAL]
    made: dict[int, int] = {}
    for start in range(0, len(ids), _CHUNK):
        query = (
            select(DumpPart.copy_id, func.sum(DumpPart.size))
            .where(col(DumpPart.copy_id).in_(ids[start : start + _CHUNK]))
            .group_by(col(DumpPart.copy_id))
        )
        made |= {copy_id: int(size) for copy_id, size in session.exec(query)}
    return made


def _copy(
    copy: DumpCopy,
    care: CopyCare | None,
    panic: Panic,
    guard: Guard,
    sizes: dict[int, int],
    place: Place,
    now: datetime,
) -> Copy | None:
    standing = _STANDINGS[copy.state]
    if standing is Standing.PARTIAL and not sizes.get(copy.id or 0):
        return None
    verified = standing in (Standing.VERIFIED, Standing.DAMAGED)
    noted = care is not None and care.term_from is not None and (care.verified or not verified)
    return Copy(
        id=copy.id or 0,
        panic_id=copy.panic_id,
        host=panic.host,
        criticality=panic.criticality,
        signature=panic.signature_key,
        size=sizes[copy.id or 0] if standing is Standing.PARTIAL else copy.size or 0,
        since=care.term_from if noted and care is not None and care.term_from is not None else now,
        standing=standing,
        sha256=copy.sha256 if verified else None,
        guard=guard,
        reachable=in_store(copy, place),
        ring=panic.ring,
    )


def in_store(copy: DumpCopy, place: Place) -> bool:
    """Whether a copy lies in the store that is set now."""
    folder, _, name = (copy.place or "").rstrip("/").rpartition("/")
    return bool(name) and place.url is not None and folder == place.url.rstrip("/")


def _history(session: Session, panics: Iterable[int]) -> dict[int, list[tuple[DumpCopy, CopyCare | None]]]:
    """The copies that say which file on the host they were made of, the newest first."""
    made: defaultdict[int, list[tuple[DumpCopy, CopyCare | None]]] = defaultdict(list)
    ids = sorted(panics)
    for start in range(0, len(ids), _CHUNK):
        query = (
            select(DumpCopy, CopyCare)
            .outerjoin(CopyCare, col(CopyCare.copy_id) == DumpCopy.id)
            .where(
                col(DumpCopy.panic_id).in_(ids[start : start + _CHUNK]),
                col(DumpCopy.state).in_(_OF_A_FILE),
                col(DumpCopy.source_path).is_not(None),
                col(DumpCopy.verified_at).is_not(None),
            )
            .order_by(col(DumpCopy.id).desc())
        )
        for copy, care in session.exec(query).all():
            made[copy.panic_id].append((copy, care))
    return made


def _local(
    panic: Panic, history: list[tuple[DumpCopy, CopyCare | None]], guard: Guard, place: Place
) -> LocalDump | None:
    """None where nothing of it is on the host any more, or never was."""
    there = panic.dump_state in _THERE or (bool(history) and panic.dump_state is DumpState.UNKNOWN)
    if not there or any(care is not None and care.local_gone_at for _, care in history):
        return None
    made_of = next(((c, k) for c, k in history if c.state is CopyState.VERIFIED), None)
    newest = made_of or (history[0] if history else None)
    path = newest[0].source_path if newest is not None else panic.dump_path
    if path is None or (newest is None and panic.dump_size is None):
        return None
    if any(path.startswith(directory.rstrip("/") + "/") for directory in place.directories):
        return None
    return LocalDump(
        panic_id=panic.id or 0,
        host=panic.host,
        criticality=panic.criticality,
        path=path,
        size=(newest[0].size if newest is not None else panic.dump_size) or 0,
        occurred_at=panic.occurred_at,
        recorded=newest is not None and record_of(newest[0]) is not None,
        copy_id=made_of[0].id if made_of is not None else None,
        parted=newest is not None and made_of is None and _had_its_term(*newest),
        guard=guard,
        made_of=newest[0].id if newest is not None else None,
        ring=panic.ring,
    )


def _had_its_term(copy: DumpCopy, care: CopyCare | None) -> bool:
    return copy.state is CopyState.REMOVED and care is not None and care.begun_for == Reason.AGE.value


def _open_incidents(session: Session) -> dict[int, str]:
    """Names of the open incidents, by the id of each incident that leads there (merged ones, too)."""
    into = dict(
        session.exec(
            select(Incident.id, Incident.merged_into_id).where(col(Incident.merged_into_id).is_not(None))
        ).all()
    )
    live = {i for i in session.exec(select(Incident.id).where(col(Incident.state).in_(_OPEN))) if i}
    made = {i: incident_ref(i) for i in live}
    for start in into:
        at: int | None = start
        for _ in range(len(into) + 1):
            at = into.get(at) if at in into else at
        if start is not None and at in live:
            made[start] = incident_ref(at)
    return made
