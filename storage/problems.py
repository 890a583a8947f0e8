"""Problem tickets: one a signature that keeps coming back."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Text
from sqlmodel import Field, SQLModel

from storage.types import UtcDateTime, utc_now


class ProblemTicket(SQLModel, table=True):
    """The ticket of a signature. `key` is None until the tracker has made it.

    next_at: when there is something to do (make it, or tell it of later panics); None: nothing.
    told_panic_id, told_at: the last panic that the ticket was told of, and when.
    """

    __tablename__ = "problem_ticket"
    id: int | None = Field(default=None, primary_key=True)
    signature_key: str = Field(max_length=300, unique=True)
    wanted_at: datetime = Field(default_factory=utc_now, sa_type=UtcDateTime)
    key: str | None = Field(default=None, max_length=60)
    told_panic_id: int = 0
    told_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    attempts: int = 0
    next_at: datetime | None = Field(default=None, sa_type=UtcDateTime, index=True)
    error: str | None = Field(default=None, sa_type=Text)
