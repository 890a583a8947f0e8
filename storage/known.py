"""What people know of a signature: its cause, the ticket, the kernel that mends it, a note."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Text, func
from sqlalchemy import select as sa_select
from sqlmodel import Field, Session, SQLModel, col, select

from storage.tables import Panic, Signature
from storage.types import UtcDateTime, utc_now


class KnownCause(SQLModel, table=True):
    """One a signature. What nobody has said is None; `marked_at` is when `fixed_in` was said."""

    __tablename__ = "known_cause"
    signature_key: str = Field(primary_key=True, max_length=300, foreign_key="signature.key")
    cause: str | None = Field(default=None, sa_type=Text)
    ticket: str | None = Field(default=None, max_length=60)
    fixed_in: str | None = Field(default=None, max_length=100)
    note: str | None = Field(default=None, sa_type=Text)
    by: str
    at: datetime = Field(default_factory=utc_now, sa_type=UtcDateTime, index=True)
    marked_at: datetime | None = Field(default=None, sa_type=UtcDateTime)


@dataclass(frozen=True)
class KnownRow:
    """A known cause as a list shows it. `panics` counts those with its signature, deliberate ones included."""

    known: KnownCause
    title: str
    panics: int


def known_cause(session: Session, signature_key: str) -> KnownCause | None:
    return session.get(KnownCause, signature_key)


def known_causes(session: Session, signature_keys: Collection[str]) -> dict[str, KnownCause]:
    """{signature: what is known of it}, of those of which something is."""
    rows = session.exec(select(KnownCause).where(col(KnownCause.signature_key).in_(signature_keys))).all()
    return {row.signature_key: row for row in rows}


def list_known(session: Session, *, limit: int = 20) -> tuple[int, list[KnownRow]]:
    """How many there are, and those that were said last, newest first."""
    total = session.exec(select(func.count()).select_from(KnownCause)).one()
    rows = session.execute(
        sa_select(KnownCause, col(Signature.title))
        .join(Signature, col(Signature.key) == col(KnownCause.signature_key))
        .order_by(col(KnownCause.at).desc(), col(KnownCause.signature_key))
        .limit(limit)
    ).all()
    counts = panics_of(session, [known.signature_key for known, _title in rows])
    return total, [KnownRow(known, title, counts.get(known.signature_key, 0)) for known, title in rows]


def panics_of(session: Session, signature_keys: Sequence[str]) -> dict[str, int]:
    """{signature: its panics, deliberate ones included}; by an index alone."""
    key = col(Panic.signature_key)
    rows = session.execute(sa_select(key, func.count()).where(key.in_(signature_keys)).group_by(key))
    return {row[0]: row[1] for row in rows}


def signatures_from(session: Session, beginning: str, *, limit: int = 6) -> list[str]:
    """The signatures that begin so, in order; the one that is exactly this, alone. By the primary key's index."""
    if session.get(Signature, beginning) is not None:
        return [beginning]
    key = col(Signature.key)
    return list(
        session.exec(
            select(Signature.key)
            .where(key >= beginning, key < beginning + "\U0010ffff")
            .order_by(key)
            .limit(limit)
        ).all()
    )
