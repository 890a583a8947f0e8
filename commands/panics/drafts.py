"""Messages that somebody made a panic of, or is about to: one report a message, whoever asks and how often.

A message is known by its channel and ts. It is kept among Slack's requests, which are forgotten after a week; the
report itself is known for good by the same name.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlmodel import Session, select

from storage import Report, ReportState, SlackRequest, utc_now
from storage.inbox import Stored, insert_once

SOURCE = "slack"
_KIND = "message"


@dataclass(frozen=True)
class Draft:
    """`text`: what was read; "" once it is reported. `report_id`: the report that was made of it."""

    text: str
    report_id: int | None


def external_id(message: tuple[str, str]) -> str:
    return f"slack:{message[0]}:{message[1]}"[:200]


def keep(session: Session, message: tuple[str, str], text: str) -> Draft:
    """Takes the text down; of a message that is reported already, what it became."""
    row: dict[str, Any] = {
        "dedupe": external_id(message), "kind": _KIND, "body": json.dumps({"text": text}), "state": "done",
        "received_at": utc_now(), "attempts": 0, "error": None,
    }  # fmt: skip
    insert_once(session, SlackRequest, [row], ("dedupe",))
    found = find(session, message)
    if found is None or found.report_id is None:  # it may have been edited since somebody looked at it first
        known = _row(session, message)
        assert known is not None
        known.body = row["body"]
        session.add(known)
        return Draft(text, None)
    return found


def find(session: Session, message: tuple[str, str]) -> Draft | None:
    """Within a transaction that writes, nobody else reports it meanwhile."""
    row = _row(session, message)
    if row is None:
        return None
    try:
        told = json.loads(row.body or "{}")
    except ValueError:
        told = {}
    report = told.get("report")
    return Draft(str(told.get("text") or ""), report if isinstance(report, int) else None)


def report_once(
    session: Session,
    host: str,
    body: dict[str, Any],
    state: ReportState,
    now: datetime,
    message: tuple[str, str] | None = None,
) -> Stored:
    """Stores the report; of a message that was reported before, the first one's id. `body["id"]` is its name."""
    if message is not None:
        known = find(session, message)
        if known is not None and known.report_id is not None:
            return Stored(known.report_id, duplicate=True)
    row = Report(
        host=host, external_id=body["id"], body=body, source=SOURCE, state=state, received_at=now, next_at=now
    )
    stored = insert_once(session, Report, [row.model_dump(exclude={"id"})], ("host", "external_id"))[0]
    draft = _row(session, message) if message is not None else None
    if draft is not None:
        draft.body = json.dumps({"report": stored.id})
        session.add(draft)
    return stored


def _row(session: Session, message: tuple[str, str]) -> SlackRequest | None:
    query = select(SlackRequest).where(SlackRequest.dedupe == external_id(message))
    return session.exec(query.with_for_update()).first()
