"""Erasures as rows: asked for, confirmed by another admin, listed, ended. Inside the caller's transaction."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import func
from sqlmodel import Session, col, delete, select

from commands.errors import Impossible, NotFound, Refused
from commands.forget.extent import Extent, copies_of, extent, obstacles
from commands.forget.rows import is_of
from integrations.slack.text import code, escape
from storage import (
    AuditEntry,
    CopyState,
    DumpCopy,
    Erasure,
    ErasureItem,
    ErasureStage,
    ErasureState,
    Host,
    ItemOutcome,
    MessageState,
    Panic,
    Report,
    RunbookRun,
    SlackMessage,
    panic_ref,
)  # fmt: skip
from storage.names import HostName
from storage.requests import once

WITHIN = timedelta(hours=24)
RENDERER = "erasure"
CENTRAL, FOLDER, FILE, MESSAGE, WORKFLOW = "central", "folder", "file", "message", "workflow"
OUTSIDE = (CENTRAL, FOLDER, FILE, WORKFLOW)
_FILE = "file:"


class Changed(Impossible):
    """What would go is not what it was when it was asked for. Look at it once more: it is shown as it is now."""


def message_key(erasure_id: int | None) -> str:
    return f"{RENDERER}:{erasure_id}"


def summary_of(found: Extent) -> dict[str, Any]:
    return {
        "panics": len(found.panics),
        "incidents": len(found.incidents),
        "pinned": len(found.pinned),
        **found.counts,
    }


def ask(
    session: Session, host: str, mark: str, *, by: str, request_id: str, channel: str, now: datetime
) -> Erasure:
    """Raises Impossible: something forbids it, it is asked for already, or there is other than what was shown."""
    known = session.exec(select(Erasure).where(Erasure.request_id == request_id)).first()
    if not once(session, request_id) and known is not None:
        return known
    running = session.exec(select(Erasure).where(Erasure.slot == host)).first()
    if running is not None and running.state is ErasureState.ASKED and running.until <= now:
        expire(session, running, now)
        running = None
    if running is not None:
        how = "is under way" if running.state is ErasureState.CONFIRMED else "waits for another admin"
        raise Impossible(f"the erasure of {code(host)} was asked for already and {how}.")
    found = extent(session, host)
    if found.empty:
        raise NotFound(f"nothing is known of a host {code(host)}.")
    refuse(session, host)
    if found.mark != mark:
        raise Changed
    made = Erasure(
        slot=host, request_id=request_id, host=host, mark=mark, asked_by=by, asked_at=now, until=now + WITHIN,
        summary=summary_of(found),
    )  # fmt: skip
    session.add(made)
    session.flush()
    made.placeholder = f"erased-host-{made.id}"
    session.add(
        SlackMessage(
            key=message_key(made.id),
            channel=channel,
            renderer=RENDERER,
            subject_id=made.id,
            created_at=now,
            next_at=now,
        )
    )
    _audit(session, made, by, "forget.asked", now)
    return made


def refuse(session: Session, host: str) -> None:
    found = obstacles(session, host)
    if found:
        raise Impossible(
            f"{code(host)} cannot be forgotten now:\n" + "\n".join(f"• {escape(why)}" for why in found)
        )


def confirm(session: Session, erasure_id: int, *, by: str, request_id: str, now: datetime) -> Erasure | None:
    """Another admin's word; the roles of both were checked just now. Raises Refused, Impossible. None: what would go
    has changed since it was shown, and the row says now what it is."""
    row = _asked(session, erasure_id)
    if not once(session, request_id):
        return row
    if row.state is not ErasureState.ASKED:
        raise Impossible(f"this erasure is {row.state.value} already.")
    if row.until <= now:
        raise Impossible("nobody confirmed this erasure within 24 h: it has to be asked for again.")
    if row.asked_by == by:
        raise Refused("an erasure needs two admins: another one than who asked for it has to confirm it.")
    refuse(session, row.host)
    found = extent(session, row.host)
    if found.mark != row.mark:
        row.mark, row.summary = found.mark, summary_of(found)
        session.add(row)
        return None
    row.state, row.stage, row.confirmed_by, row.confirmed_at = (
        ErasureState.CONFIRMED,
        ErasureStage.LISTING,
        by,
        now,
    )
    session.add(row)
    _audit(session, row, by, "forget.confirmed", now)
    return row


def cancel(session: Session, erasure_id: int, *, by: str, request_id: str, now: datetime) -> Erasure:
    """As long as nothing of it was done. Raises Impossible."""
    row = _asked(session, erasure_id)
    if not once(session, request_id):
        return row
    waiting = row.state is ErasureState.CONFIRMED and row.stage is ErasureStage.LISTING
    if row.state is not ErasureState.ASKED and not waiting:
        raise Impossible(f"this erasure is {row.state.value}: it can no longer be cancelled.")
    row.state, row.slot, row.cancelled_by, row.finished_at = ErasureState.CANCELLED, None, by, now
    session.add(row)
    _audit(session, row, by, "forget.cancelled", now)
    return row


def expire(session: Session, row: Erasure, now: datetime) -> None:
    row.state, row.slot, row.finished_at = ErasureState.EXPIRED, None, now
    session.add(row)
    session.flush()


def due(session: Session, now: datetime) -> list[int]:
    """Confirmed ones whose turn it is; those that nobody confirmed in time expire."""
    for row in session.exec(select(Erasure).where(Erasure.state == ErasureState.ASKED, Erasure.until <= now)):
        expire(session, row, now)
    rows = session.exec(
        select(Erasure).where(Erasure.state == ErasureState.CONFIRMED).order_by(col(Erasure.id))
    ).all()
    return [row.id or 0 for row in rows if row.next_at is None or row.next_at <= now]


def host_name(session: Session, row: Erasure) -> HostName:
    """With the names of other hosts that hold this one."""
    longer: set[str] = set()
    for column in (Panic.host, Host.name, Report.host):
        found = session.exec(select(column).where(col(column).ilike(f"%{row.host}%")).distinct())
        longer |= {name for name in found if isinstance(name, str)}
    return HostName(row.host, row.placeholder, longer)


def list_items(
    session: Session, row: Erasure, found: Extent, name: HostName, drawn: list[int], store_url: str | None
) -> None:
    """All that is to go outside of the tables, before the rows that know of it go. Copies count no more."""
    session.exec(delete(ErasureItem).where(col(ErasureItem.erasure_id) == row.id))
    made: dict[tuple[str, str], ErasureItem] = {}

    def add(kind: str, key: str, shown: str, place: Mapping[str, Any] | None = None) -> ErasureItem:
        item = ErasureItem(erasure_id=row.id or 0, kind=kind, key=key, shown=shown, place=dict(place or {}))
        return made.setdefault((kind, key), item)

    for copy in copies_of(session, found.host):
        parent, _, folder = (copy.place or "").rstrip("/").rpartition("/")
        item = add(CENTRAL, folder, f"copy of the dump of {panic_ref(copy.panic_id)}")
        if store_url is None or parent != store_url.rstrip("/"):
            item.outcome, item.note = ItemOutcome.UNREACHED, "in another store than the one that is set"
        copy.state, copy.error = CopyState.REMOVED, "erased"
        session.add(copy)
    for panic_id in found.panics:
        add(FOLDER, panic_ref(panic_id), f"folder of {panic_ref(panic_id)} in the store directory")
    runs = session.exec(
        select(RunbookRun.workflow_id).join(Panic).where(func.lower(Panic.host) == found.host)
    ).all()
    copies = session.exec(
        select(DumpCopy.workflow_id).join(Panic).where(func.lower(Panic.host) == found.host)
    ).all()
    for workflow in (*runs, *copies):
        add(WORKFLOW, workflow.split("~")[0], "what a run had noted of itself")
    for message in session.exec(
        select(SlackMessage).where(col(SlackMessage.incident_id).in_(found.incidents))
    ):
        ts = message.ts or ""
        if ts.startswith(_FILE) and (
            message.incident_id in found.whole or is_of(session, message, found, name)
        ):
            since = (message.attempted_at or message.created_at).timestamp()
            thread = _thread_ts(session, message)
            place = {"channel": message.channel, "thread": thread, "since": since}
            add(FILE, ts.removeprefix(_FILE), "file in Slack", place)
    for item in made.values():
        session.add(item)
    note_messages(session, row.id or 0, drawn)


def note_messages(session: Session, erasure_id: int, ids: list[int]) -> None:
    """Messages in Slack that are to be edited: one that is listed already is looked at again."""
    session.flush()
    for message in session.exec(select(SlackMessage).where(col(SlackMessage.id).in_(ids))):
        if message.ts is None or message.ts.startswith(_FILE):
            continue
        key = str(message.id)
        item = session.exec(
            select(ErasureItem).where(
                ErasureItem.erasure_id == erasure_id, ErasureItem.kind == MESSAGE, ErasureItem.key == key
            )
        ).first() or ErasureItem(erasure_id=erasure_id, kind=MESSAGE, key=key, shown="message in Slack")
        item.outcome = ItemOutcome.OPEN
        item.place = {"channel": message.channel, "ts": message.ts}
        session.add(item)


def items_of(session: Session, erasure_id: int, *kinds: str, open_only: bool = True) -> list[ErasureItem]:
    query = select(ErasureItem).where(ErasureItem.erasure_id == erasure_id, col(ErasureItem.kind).in_(kinds))
    if open_only:
        query = query.where(ErasureItem.outcome == ItemOutcome.OPEN)
    return list(session.exec(query.order_by(col(ErasureItem.id))))


def on_their_way(session: Session, found: Extent) -> bool:
    """Whether a message of the host's may be landing in Slack just now: it could not be edited yet."""
    query = select(SlackMessage.id).where(
        col(SlackMessage.incident_id).in_(found.incidents),
        SlackMessage.state == MessageState.SENDING,
        col(SlackMessage.ts).is_(None),
    )
    return session.exec(query.limit(1)).first() is not None


def bury(session: Session, row: Erasure, name: HostName) -> None:
    """The record without the name: of the items, only what came of them stays."""
    items = items_of(session, row.id or 0, *OUTSIDE, MESSAGE, open_only=False)
    gone: dict[str, int] = {}
    unreached: list[str] = []
    for item in items:
        if item.outcome is ItemOutcome.GONE:
            gone[item.kind] = gone.get(item.kind, 0) + 1
        else:
            unreached.append(name.replaced(f"{item.shown}: {item.note}" if item.note else item.shown))
        item.key, item.place, item.note = f"over:{item.id}", {}, name.replaced(item.note)
        session.add(item)
    record = {**row.record, "gone": gone, "unreached": unreached[:200]}
    row.record = name.replaced_in(record)
    row.summary = name.replaced_in(row.summary)
    row.host, row.slot, row.note, row.stage, row.mark = row.placeholder, None, "", ErasureStage.PAGES, ""
    session.add(row)


def finish(session: Session, row: Erasure, channel: str, now: datetime) -> None:
    """Told to both, and recorded for good."""
    row.state, row.stage, row.finished_at, row.note, row.next_at = (
        ErasureState.DONE, ErasureStage.OVER, now, "", None,
    )  # fmt: skip
    session.add(row)
    detail = f"summary {row.summary}; record {row.record}; asked by {row.asked_by}, confirmed by {row.confirmed_by}"
    session.add(
        AuditEntry(
            at=now,
            actor="panicroom",
            verb="forget.done",
            subject=row.placeholder,
            outcome="done",
            detail=detail,
        )
    )
    session.add(
        SlackMessage(
            key=f"{RENDERER}-done:{row.id}", channel=channel, renderer=f"{RENDERER}_done", subject_id=row.id,
            created_at=now, next_at=now,
        )
    )  # fmt: skip


def _asked(session: Session, erasure_id: int) -> Erasure:
    row = session.exec(select(Erasure).where(Erasure.id == erasure_id).with_for_update()).first()
    if row is None:
        raise NotFound("there is no such erasure.")
    return row


def _thread_ts(session: Session, message: SlackMessage) -> str | None:
    if message.thread_ts is not None or message.thread_key is None:
        return message.thread_ts
    return session.exec(select(SlackMessage.ts).where(SlackMessage.key == message.thread_key)).first()


def _audit(session: Session, row: Erasure, by: str, verb: str, now: datetime) -> None:
    session.add(
        AuditEntry(at=now, actor=by, verb=verb, subject=row.host, outcome="done", detail=f"erasure {row.id}")
    )
