"""Files that the bot has put into Slack for a time: when each is to go, and whether it has."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Text
from sqlmodel import Field, SQLModel

from storage.types import UtcDateTime, utc_now


class Upload(SQLModel, table=True):
    """A file of ours in Slack that has a term. Begun when its message was seen to stand there."""

    __tablename__ = "upload"
    id: int | None = Field(default=None, primary_key=True)
    message_id: int = Field(foreign_key="slack_message.id", unique=True)
    panic_id: int = Field(foreign_key="panic.id", index=True)
    run_id: int | None = Field(default=None, foreign_key="runbook_run.id")
    file_id: str = Field(max_length=40)  # Slack's
    name: str = Field(max_length=255)
    uploaded_at: datetime = Field(default_factory=utc_now, sa_type=UtcDateTime)
    removed_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    next_at: datetime | None = Field(default=None, sa_type=UtcDateTime)  # after an attempt that failed
    attempts: int = 0
    error: str | None = Field(default=None, sa_type=Text)
