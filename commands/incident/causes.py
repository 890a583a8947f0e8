"""What people know of a signature, as every thread of it shows it: known cause, ticket, the kernel with the fix."""

from __future__ import annotations

from datetime import datetime

from sqlmodel import Session, col, select

from commands.fitting import cut
from commands.incident import thread
from commands.incident.membership import LIVE
from commands.incident.wording import redacted
from integrations.slack.text import code, date, escape, shorten, user
from storage import Incident, KnownCause, Panic, incident_ref
from storage.kernels import includes_fix
from storage.known import known_cause
from storage.recurrence import is_readable

_LIVE_SHOWN = 50  # open incidents of one signature that are told of a change; more there never were


def known_line(session: Session, panic: Panic) -> str:
    """What is known of the panic's signature, in mrkdwn; "" when nothing is."""
    if not is_readable(panic.kind, panic.signature_key):
        return ""
    known = known_cause(session, panic.signature_key)
    if known is None:
        return ""
    here = ""
    if known.fixed_in and panic.kernel and not panic.deliberate:
        has = includes_fix(panic.kernel, known.fixed_in)
        here = "this host ran that one or a later one" if has else f"this host ran {code(panic.kernel[:100])}"
    return f":bulb: {known_words(known, here=here)}"


def known_words(known: KnownCause, *, here: str = "", limit: int = 1500) -> str:
    """`*Known cause:* … · ticket *OPS-1* · fixed in …`; `here` (mrkdwn) stands behind the fix. Never over `limit`."""
    parts = [f"*Known cause:* {_told(known.cause, 700)}" if known.cause else "*Known*"]
    if known.ticket:
        parts.append(f"ticket *{escape(shorten(known.ticket, 60))}*")
    if known.fixed_in:
        parts.append(f"fixed in {code(shorten(known.fixed_in, 100))}" + (f" ({here})" if here else ""))
    if known.note:
        parts.append(f"note: {_told(known.note, 500)}")
    parts.append(f"said by {user(known.by)} {date(known.at, '{date_short}')}")
    return cut(" · ".join(parts), limit)


def resolution_words(previous: Incident) -> str:
    """What the earlier incident was resolved with, in mrkdwn: `. Cause: … · fixed by: …`; "" when nothing was said."""
    parts = [f"cause: {_told(previous.cause, 300)}"] if previous.cause else []
    parts += [f"fixed by: {_told(previous.fixed_by, 200)}"] if previous.fixed_by else []
    return f" ({' · '.join(parts)})" if parts else ""


def tell_open(
    session: Session, signature_key: str, key: str, words: str, actor: str, now: datetime
) -> list[str]:
    """Says it (mrkdwn, once for `key`) in all open threads of a signature, and has their heads drawn again. Returns
    their names."""
    incidents = session.exec(
        select(Incident)
        .where(Incident.signature_key == signature_key, col(Incident.state).in_(LIVE))
        .order_by(col(Incident.id).desc())
        .limit(_LIVE_SHOWN)
    ).all()
    for incident in incidents:
        incident_id = incident.id or 0
        thread.note(session, incident_id, "known", words, actor=actor, at=now)
        thread.say(session, incident_id, f"known:{incident_id}:{key}", text=words, now=now)
        thread.touch(session, incident_id)
    return [incident_ref(i.id) for i in incidents]


def _told(text: str, limit: int) -> str:
    return escape(shorten(" ".join(redacted(text).split()), limit))
