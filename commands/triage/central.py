"""The other half of step "The dump exists": what the central store has of it."""

from __future__ import annotations

from sqlmodel import Session, col, select

from commands.hosts.crashdump import size_words
from commands.triage.identity import clock
from storage import Panic
from storage.copies import UNDER_WAY, CopyState, DumpCopy


def central_copy(session: Session, panic: Panic) -> DumpCopy | None:
    """The copy that counts: the newest verified one, else the newest of all."""
    query = select(DumpCopy).where(DumpCopy.panic_id == panic.id).order_by(col(DumpCopy.id).desc())
    copies = list(session.exec(query))
    return next((c for c in copies if c.state is CopyState.VERIFIED), copies[0] if copies else None)


def told_central(url: str | None, copy: DumpCopy | None) -> tuple[str, str]:
    """(state, plain words). `url`: the store's, None where none is configured; a copy from before is told all the
    same."""
    if copy is None:
        if url is None:
            return "skipped", "central: no central store configured"
        return "warn", "central: not copied yet"
    size = f", {size_words(copy.size)}" if copy.size is not None else ""
    if copy.state is CopyState.VERIFIED:
        at = f", verified {clock(copy.verified_at)}" if copy.verified_at is not None else ""
        return "ok", f"central: {copy.place}{size}, sha256 {copy.sha256}{at}"
    if copy.state in UNDER_WAY:
        done = f"{size_words(copy.bytes_done)} of {size_words(copy.size)}" if copy.size else "nothing yet"
        paused = ", paused" if copy.paused else ""
        return "warn", f"central: being copied, {done}{paused}; only a verified copy counts"
    if copy.state is CopyState.REMOVED:
        return "warn", "central: it was copied, and has been removed since"
    if copy.state is CopyState.DAMAGED:
        return "failed", f"central: the copy in {copy.place} is damaged; only a verified copy counts"
    if copy.state is CopyState.CANCELLED:
        return "warn", "central: not copied, the copy was cancelled"
    return (
        "failed",
        f"central: not copied ({' '.join((copy.error or copy.note).split())[:200] or 'it failed'})",
    )
