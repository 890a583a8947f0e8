"""Copies as rows: begun once for a panic, told in one message, paused, taken up again, ended.

All functions work inside the caller's transaction; call `context.wake()` after it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlmodel import Session, col, delete, func, select

from commands.errors import Impossible, NotFound
from commands.hosts import runs
from commands.hosts.crashdump import in_central_directory
from commands.hosts.patience import Patience
from commands.incident import thread
from integrations.stores import Part
from storage import CopyState, DumpCopy, DumpPart, Panic, panic_ref
from storage.copies import UNDER_WAY

ENDED = (
    CopyState.VERIFIED, CopyState.FAILED, CopyState.CANCELLED, CopyState.DAMAGED, CopyState.REMOVED,
)  # fmt: skip


class UnderWayAlready(Impossible):
    """One copy of it is enough."""

    def __init__(self, copy: DumpCopy) -> None:
        self.copy_id = copy.id or 0
        self.paused = copy.paused
        self.asked_by = copy.asked_by
        super().__init__(f"the dump of {panic_ref(copy.panic_id)} is being copied already.")


class CopiedAlready(Impossible):
    """A verified copy is in the store."""

    def __init__(self, copy: DumpCopy) -> None:
        self.copy_id = copy.id or 0
        self.place, self.sha256 = copy.place or "", copy.sha256 or ""
        super().__init__(
            f"a verified copy of the dump of {panic_ref(copy.panic_id)} is in the store already."
        )


class InCentralDirectory(Impossible):
    """kdump wrote the dump to a central directory itself: on the host there is nothing to copy."""

    def __init__(self, panic: Panic, path: str) -> None:
        self.path = path
        super().__init__(
            f"the dump of {panic_ref(panic.id)} needs no copy from the host: it is in the central directory already: "
            f"{path}"
        )


def message_key(copy: DumpCopy) -> str:
    return f"copy:{copy.id}"


def begin(
    session: Session, *, panic: Panic, asked_by: str, request_key: str, patience: Patience, now: datetime
) -> tuple[DumpCopy, bool]:
    """The copy for this request, and whether it is to be started. Its message is said in the panic's thread.

    The same request finds its own. A copy that had failed goes on where it stood. Raises UnderWayAlready (and remembers
    who asked, too), CopiedAlready, InCentralDirectory.
    """
    assert panic.id is not None
    moment = f"{request_key}|{panic.host}|{panic.occurred_at.isoformat()}"
    digest = hashlib.blake2s(moment.encode(), digest_size=6).hexdigest()
    workflow_id = f"copy:{panic_ref(panic.id)}:{digest}"
    last = latest(session, panic.id)
    if last is not None and last.workflow_id.split("~")[0] == workflow_id:
        return last, last.state in UNDER_WAY and not last.paused
    if last is not None and last.state in UNDER_WAY:
        if asked_by not in (last.asked_by, *last.also_asked):
            last.also_asked = [*last.also_asked, asked_by][-20:]
            session.add(last)
            thread.redraw(session, message_key(last))
        raise UnderWayAlready(last)
    if last is not None and last.state is CopyState.VERIFIED:
        raise CopiedAlready(last)
    where = in_central_directory(session, panic)
    if where is not None:
        raise InCentralDirectory(panic, where.path)
    copy = last if last is not None and last.state is CopyState.FAILED and last.place else None
    if copy is None:
        copy = DumpCopy(panic_id=panic.id, host=panic.host, asked_by=asked_by, workflow_id=workflow_id)
    copy.workflow_id, copy.slot = workflow_id, panic.id
    copy.state, copy.asked_by, copy.asked_at = CopyState.WAITING, asked_by, now
    copy.paused, copy.paused_by, copy.also_asked = False, None, []
    copy.finished_at, copy.error, copy.note, copy.attempts, copy.resent = None, None, "", 0, 0
    copy.give_up_at = now + timedelta(seconds=patience.give_up_after)
    session.add(copy)
    session.flush()
    _tell(session, copy, f"copy of the dump of {panic_ref(panic.id)} started", asked_by, now)
    return copy, True


def folder_of(copy: DumpCopy) -> str:
    """The copy's own folder in the store: unique also where two bots share a store."""
    host = re.sub(r"[^A-Za-z0-9.-]", "_", copy.host)[:80]
    return f"{panic_ref(copy.panic_id)}-{host}-{copy.workflow_id.split('~')[0].rsplit(':', 1)[1]}"


def latest(session: Session, panic_id: int) -> DumpCopy | None:
    query = select(DumpCopy).where(DumpCopy.panic_id == panic_id).order_by(col(DumpCopy.id).desc())
    return session.exec(query).first()


def under_way(session: Session) -> list[DumpCopy]:
    query = select(DumpCopy).where(col(DumpCopy.state).in_(UNDER_WAY)).order_by(col(DumpCopy.id))
    return list(session.exec(query))


def stored_bytes(session: Session, *, but: int) -> int:
    """Bytes that copies hold or will hold in the store, without the one given."""
    kept = (*UNDER_WAY, CopyState.VERIFIED)
    query = select(func.coalesce(func.sum(DumpCopy.size), 0)).where(
        col(DumpCopy.state).in_(kept), col(DumpCopy.id) != but
    )
    return int(session.exec(query).one() or 0)


def change(session: Session, copy_id: int, **values: Any) -> DumpCopy:
    """Set columns and have the copy's message drawn again."""
    copy = session.get_one(DumpCopy, copy_id)
    for name, value in values.items():
        setattr(copy, name, value)
    session.add(copy)
    thread.redraw(session, message_key(copy))
    return copy


def touch(session: Session, copy: DumpCopy) -> None:
    """The parent's dump line is out of date."""
    incident = runs.incident_of(session, session.get_one(Panic, copy.panic_id))
    if incident is not None and incident.id is not None:
        thread.touch(session, incident.id)


def parts_of(session: Session, copy_id: int) -> list[Part]:
    query = select(DumpPart).where(DumpPart.copy_id == copy_id).order_by(col(DumpPart.number))
    return [Part(p.number, p.size, p.sha256) for p in session.exec(query)]


def keep_part(session: Session, copy_id: int, part: Part) -> None:
    known = session.exec(
        select(DumpPart).where(DumpPart.copy_id == copy_id, DumpPart.number == part.number)
    ).first()
    row = known or DumpPart(copy_id=copy_id, number=part.number, size=0, sha256="")
    row.size, row.sha256 = part.size, part.sha256
    session.add(row)


def forget_parts(session: Session, copy_id: int, after: int = 0) -> None:
    """Parts with higher numbers than `after` are to be sent (again)."""
    session.exec(delete(DumpPart).where(col(DumpPart.copy_id) == copy_id, col(DumpPart.number) > after))


def pause(session: Session, panic_id: int, by: str, now: datetime) -> DumpCopy:
    """Raises NotFound, Impossible."""
    copy = _active(session, panic_id)
    if copy.paused:
        raise Impossible(f"the copy of {panic_ref(panic_id)} is paused already.")
    change(session, copy.id or 0, paused=True, paused_by=by, rate=None, next_try_at=None)
    _tell(session, copy, f"copy of the dump of {panic_ref(panic_id)} paused", by, now)
    return copy


def unpause(session: Session, panic_id: int, by: str, patience: Patience, now: datetime) -> DumpCopy:
    """Raises NotFound, Impossible. The copy gets a workflow of its own from here on."""
    copy = _active(session, panic_id)
    if not copy.paused:
        raise Impossible(f"the copy of {panic_ref(panic_id)} is not paused.")
    change(
        session, copy.id or 0, paused=False, paused_by=None, workflow_id=next_workflow(copy),
        give_up_at=now + timedelta(seconds=patience.give_up_after), attempts=0,
    )  # fmt: skip
    _tell(session, copy, f"copy of the dump of {panic_ref(panic_id)} goes on", by, now)
    return copy


def next_workflow(copy: DumpCopy) -> str:
    base, _, count = copy.workflow_id.partition("~")
    return f"{base}~{int(count or 1) + 1}"


def cancel(session: Session, panic_id: int, by: str, now: datetime) -> DumpCopy:
    """Raises NotFound when nothing is under way."""
    copy = _active(session, panic_id)
    end(session, copy.id or 0, CopyState.CANCELLED, now, cancelled_by=by)
    return copy


def end(session: Session, copy_id: int, state: CopyState, now: datetime, **values: Any) -> DumpCopy | None:
    """End a copy; None when it had ended before."""
    copy = session.get_one(DumpCopy, copy_id)
    if copy.state not in UNDER_WAY:
        return None
    change(
        session, copy_id, state=state, slot=None, finished_at=now, paused=False, rate=None, next_try_at=None,
        **values,
    )  # fmt: skip
    words = f"copy of the dump of {panic_ref(copy.panic_id)} {state.value}"
    _tell(session, copy, words, copy.cancelled_by or copy.asked_by, now)
    return copy


def worth_a_copy(session: Session, since: datetime) -> Sequence[int]:
    """Panics of critical hosts since then that no copy was ever begun of."""
    query = (
        select(Panic.id)
        .where(
            Panic.criticality == "critical",
            Panic.reported_at >= since,
            Panic.occurred_at >= since,
            col(Panic.incident_id).is_not(None),
            col(Panic.id).not_in(select(DumpCopy.panic_id)),
        )
        .order_by(col(Panic.id))
    )
    return [panic_id for panic_id in session.exec(query) if panic_id is not None]


def _active(session: Session, panic_id: int) -> DumpCopy:
    copy = latest(session, panic_id)
    if copy is None or copy.state not in UNDER_WAY:
        raise NotFound(f"no copy of the dump of {panic_ref(panic_id)} is under way.")
    return copy


def _tell(session: Session, copy: DumpCopy, words: str, actor: str, now: datetime) -> None:
    panic = session.get_one(Panic, copy.panic_id)
    incident = runs.incident_of(session, panic)
    if incident is not None and incident.id is not None:
        thread.say(session, incident.id, message_key(copy), renderer="dump_copy", subject_id=copy.id, now=now)
        thread.note(session, incident.id, "copy", words, actor=actor, panic_id=panic.id, at=now)
        thread.touch(session, incident.id)
