"""Stored Slack requests: worked off in order, each one's effect made once.

A request is `new` until its effect is committed (`effected`, by the verb that claims it with `once`, in the same
transaction), and `done` when it was audited, too. `failed`: the person was told so, or it ended the process
too often. What is `new` or `effected` when the process ends is taken up by the next one.
"""

from __future__ import annotations

from collections.abc import Collection

from sqlmodel import Session, col, select

from storage.work import SlackRequest

TRIES = 3
_UNFINISHED = ("new", "effected")


def unfinished(session: Session, limit: int = 500, *, but: Collection[str] = ()) -> list[SlackRequest]:
    """Acknowledged and not worked off, oldest first; without those whose keys are in `but`."""
    return list(
        session.exec(
            select(SlackRequest)
            .where(col(SlackRequest.state).in_(_UNFINISHED), col(SlackRequest.dedupe).not_in(list(but)))
            .order_by(col(SlackRequest.id))
            .limit(limit)
        ).all()
    )


def once(session: Session, request_id: str) -> bool:
    """Claims the request inside the transaction that makes its effect; False when the effect is there already.

    Requests that were not stored (they change nothing that could not be repeated) always answer True.
    """
    row = _row(session, request_id)
    if row is None:
        return True
    if row.state != "new":
        return False
    row.state = "effected"
    session.add(row)
    return True


def settle(session: Session, request_id: str, *, failed: bool = False) -> bool:
    """Closes the request inside the transaction that audits it; False when it was audited before.

    Requests that were not stored always answer True.
    """
    row = _row(session, request_id)
    if row is None:
        return True
    if row.state not in _UNFINISHED:
        return False
    _close(row, "failed" if failed else "done")
    session.add(row)
    return True


def finish(session: Session, dedupe: str, error: str | None) -> None:
    """What nobody audited is done now. A failure is final: the person was told, and may have tried again."""
    row = _row(session, dedupe)
    if row is None:
        return
    if error is not None:
        row.error = error[:2000]
        _close(row, "failed")
    elif row.state in _UNFINISHED:
        _close(row, "done")
    session.add(row)


def given_up(session: Session, dedupe: str) -> bool:
    """Whether it ended the process too often; the person who asked is to be told."""
    row = _row(session, dedupe)
    return row is not None and row.state == "failed" and row.attempts > TRIES


def begin(session: Session, dedupe: str) -> bool:
    """Counts a resumed attempt before it is made: a request which kills the process is not tried for ever.

    False when it is not to be tried (again).
    """
    row = _row(session, dedupe)
    if row is None or row.state not in _UNFINISHED:
        return False
    row.attempts += 1
    if row.attempts > TRIES:
        row.error = f"the process ended {TRIES} times while it was worked on"
        _close(row, "failed")
    session.add(row)
    return row.state in _UNFINISHED


def _close(row: SlackRequest, state: str) -> None:
    """What was sent is needed no longer; that it came is, for Slack's repeated deliveries (`storage.pruning`)."""
    row.state, row.body = state, ""


def _row(session: Session, dedupe: str) -> SlackRequest | None:
    return session.exec(select(SlackRequest).where(SlackRequest.dedupe == dedupe)).first()
