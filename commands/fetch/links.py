"""Links and fetches as rows, each told in the audit and in the incident's timeline. Inside the caller's transaction."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import datetime

from sqlmodel import Session, col, select

from commands.errors import Impossible
from commands.hosts.crashdump import size_words
from commands.incident import thread
from integrations.slack.text import code, escape
from storage import (
    AuditEntry,
    CopyState,
    DumpCopy,
    DumpFetch,
    DumpLink,
    DumpPart,
    FetchState,
    Panic,
    panic_ref,
)  # fmt: skip
from storage.copies import UNDER_WAY


class Closed(Exception):
    """A link that opens nothing (any more). `code` for programs, `gone`: it once did."""

    def __init__(self, code: str, message: str, *, gone: bool) -> None:
        self.code, self.message, self.gone = code, message, gone
        super().__init__(message)


@dataclass(frozen=True)
class Opened:
    """A fetch that was let in, with the parts in order as (number, size, sha256); what is wanted begins at `start`."""

    fetch_id: int
    panic_id: int
    folder: str
    sha256: str
    size: int
    start: int
    parts: tuple[tuple[int, int, str], ...]


def copy_to_fetch(session: Session, panic: Panic) -> DumpCopy:
    """The panic's verified copy. Raises Impossible, which says what there is instead."""
    ref = panic_ref(panic.id)
    copies = list(
        session.exec(select(DumpCopy).where(DumpCopy.panic_id == panic.id).order_by(col(DumpCopy.id).desc()))
    )
    found = next((c for c in copies if c.state is CopyState.VERIFIED and c.place and c.size), None)
    if found is not None:
        return found
    last = copies[0] if copies else None
    if last is None:
        raise Impossible(f"no dump of {ref} is in the central store. `/panic copy {ref}` copies it there.")
    if last.state in UNDER_WAY:
        raise Impossible(
            f"the dump of {ref} is still on its way to the central store; its thread says how far."
        )
    why = f" ({escape(last.error[:300])})" if last.error else ""
    said = {
        CopyState.REMOVED: f"was removed from the central store{why}.",
        CopyState.DAMAGED: f"is damaged in the central store{why}. `/panic copy {ref}` copies it anew.",
    }
    raise Impossible(
        f"the dump of {ref} {said.get(last.state, f'was not copied{why}. `/panic copy {ref}` tries again.')}"
    )


def issue(
    session: Session, copy: DumpCopy, *, asked_by: str, request_id: str, direct: bool, uses: int, now: datetime,
    expires_at: datetime,
) -> DumpLink:  # fmt: skip
    """The same request finds its own link."""
    known = session.exec(select(DumpLink).where(DumpLink.request_id == request_id)).first()
    if known is not None:
        return known
    link = DumpLink(
        request_id=request_id, copy_id=copy.id or 0, panic_id=copy.panic_id, asked_by=asked_by,
        salt=secrets.token_hex(16), direct=direct, made_at=now, expires_at=expires_at, uses_left=0 if direct else uses,
    )  # fmt: skip
    session.add(link)
    session.flush()
    how = "signed by the store" if direct else f"for {uses} use{'s' if uses > 1 else ''}"
    told = f"link {link.id} to the dump, {how}, until {expires_at:%Y-%m-%d %H:%M:%S} UTC"
    _tell(session, link, "dump.link", "done", told, now)
    return link


def open_link(session: Session, link: DumpLink, start: int, remote: str, now: datetime) -> Opened:
    """Lets a fetch in, and counts it; the caller has checked the token. Raises Closed."""
    link = session.exec(
        select(DumpLink)
        .where(DumpLink.id == link.id)
        .with_for_update()
        .execution_options(populate_existing=True)
    ).one()
    copy = session.get_one(DumpCopy, link.copy_id)
    ref = panic_ref(link.panic_id)
    if link.expires_at <= now:
        raise Closed("link_expired", f"this link expired; ask for a new one: /panic fetch {ref}", gone=True)
    if copy.state is CopyState.REMOVED:
        raise Closed("dump_removed", f"the dump of {ref} was removed from the central store.", gone=True)
    if copy.state is not CopyState.VERIFIED:
        raise Closed("dump_damaged", f"the copy of the dump of {ref} is {copy.state.value}.", gone=True)
    if not (0 < start <= _broke_off_at(session, link)):
        if link.uses_left <= 0:
            raise Closed("link_used", f"this link was used; ask for a new one: /panic fetch {ref}", gone=True)
        link.uses_left -= 1
        session.add(link)
    fetch = DumpFetch(link_id=link.id or 0, remote=remote[:100], start=start, reached=start, begun_at=now)
    session.add(fetch)
    session.flush()
    _tell(
        session, link, "dump.fetch", "begun", f"link {link.id}, from byte {start}, by {remote}", now, remote
    )
    parts = session.exec(select(DumpPart).where(DumpPart.copy_id == copy.id).order_by(col(DumpPart.number)))
    return Opened(
        fetch.id or 0, link.panic_id, (copy.place or "").rstrip("/").rpartition("/")[2], copy.sha256 or "",
        copy.size or 0, start, tuple((p.number, p.size, p.sha256) for p in parts),
    )  # fmt: skip


def end(session: Session, fetch_id: int, state: FetchState, reached: int, note: str, now: datetime) -> None:
    """Told once, however often it is called."""
    fetch = session.get(DumpFetch, fetch_id)
    if fetch is None or fetch.state is not FetchState.BEGUN:
        return
    fetch.state, fetch.reached, fetch.note, fetch.ended_at = state, reached, note[:1000], now
    session.add(fetch)
    link = session.get_one(DumpLink, fetch.link_id)
    sent = reached - fetch.start
    if state is FetchState.BROKEN and reached == 0:
        link.uses_left += 1  # not a byte was sent: that was no use of it
        session.add(link)
    how = "finished" if state is FetchState.FINISHED else "broke off"
    told = f"link {link.id}, {how}: {sent} bytes from byte {fetch.start} to {fetch.remote}"
    outcome = "done" if state is FetchState.FINISHED else "failed"
    _tell(session, link, "dump.fetch", outcome, told + (f"; {note}" if note else ""), now, fetch.remote, sent)


def end_left(session: Session, now: datetime) -> int:
    """Fetches that a process left when it died: they broke off. Returns how many."""
    left = session.exec(select(DumpFetch).where(DumpFetch.state == FetchState.BEGUN)).all()
    for fetch in left:
        end(session, fetch.id or 0, FetchState.BROKEN, fetch.reached, "the bot ended meanwhile", now)
    return len(left)


def _broke_off_at(session: Session, link: DumpLink) -> int:
    """How far the last fetch came, where it broke off: from there on (or before) it may be continued; else 0."""
    last = session.exec(
        select(DumpFetch).where(DumpFetch.link_id == link.id).order_by(col(DumpFetch.id).desc()).limit(1)
    ).first()
    return last.reached if last is not None and last.state is FetchState.BROKEN else 0


def _tell(
    session: Session, link: DumpLink, verb: str, outcome: str, detail: str, now: datetime, remote: str = "",
    sent: int | None = None,
) -> None:  # fmt: skip
    ref = panic_ref(link.panic_id)
    session.add(
        AuditEntry(at=now, actor=link.asked_by, verb=verb, subject=ref, outcome=outcome, detail=detail[:2000])
    )
    panic = session.get_one(Panic, link.panic_id)
    if panic.incident_id is None:
        return
    if verb == "dump.link":
        said = f"a link to the dump of {ref} was made"
    elif outcome == "begun":
        said = f"the dump of {ref} is being fetched by its link from {code(remote)}"
    else:
        word = "was fetched" if outcome == "done" else "was fetched in part, and broke off"
        said = f"the dump of {ref} {word} ({size_words(sent or 0)}) from {code(remote)}"
    thread.note(session, panic.incident_id, verb, said, actor=link.asked_by, panic_id=panic.id, at=now)
