"""What the fleet's channel is told: hosts that stopped being ready, in groups, each change once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlmodel import Session, col, select

from commands.fitting import cut
from commands.ready import ledger
from integrations.slack.text import code, escape
from storage import ChangeRecord, ChangeTouch, ReadinessChange, SlackMessage

_LOST = {
    "reservation": "lost their reservation",
    "loaded": "have no capture kernel loaded any more",
    "space": "have no room left for a dump",
}
_NAMED = 5
_LOOK_BACK = timedelta(days=7)  # of a host that answered never before


def tell(session: Session, channel: str, now: datetime) -> int:
    """One message of all that is untold; returns how many hosts are in it. In the transaction in which they are marked,
    so it is told once."""
    changes = ledger.untold(session)
    if not changes:
        return 0
    groups: dict[tuple[str, str], list[ReadinessChange]] = defaultdict(list)
    for change in changes:
        groups[change.ring, change.check_name].append(change)
        change.told_at = now
        session.add(change)
    lines = [
        line(session, ring, check, group)
        for (ring, check), group in sorted(groups.items(), key=lambda item: -len(item[1]))
    ]
    lines.append("`/panic ready` says what mends each.")
    session.add(
        SlackMessage(
            key=f"readiness:{changes[-1].id}",
            channel=channel,
            payload={
                "text": cut(":warning: *Not ready for the next panic*\n" + "\n".join(lines)),
                "blocks": [],
            },
            created_at=now,
            next_at=now,
        )
    )
    return len(changes)


def line(session: Session, ring: str, check: str, group: Sequence[ReadinessChange]) -> str:
    """`41 hosts of ring prod-2 lost their reservation after OPS-1182: web-1, web-2 and 39 more`."""
    count = len({change.host for change in group})
    whose = f"{count} host{'' if count == 1 else 's'}"
    whose += f" of ring {escape(ring)}" if ring else " of no ring"
    what = _LOST.get(check, f"failed the check {code(check)}" if check else "are not ready any more")
    if count == 1:
        what = what.replace("their", "its").replace("have ", "has ").replace("are ", "is ")
    hosts = sorted({change.host for change in group})
    named = ", ".join(code(host) for host in hosts[:_NAMED])
    more = f" and {count - _NAMED} more" if count > _NAMED else ""
    after = suspect(session, ring, group)
    return f"• *{whose}* {what}{f' after {after}' if after else ''}: {named}{more}"


def suspect(session: Session, ring: str, group: Sequence[ReadinessChange]) -> str:
    """The newest change that touched this ring, or every one of these hosts, and was under way since they were seen
    well; linked where it has an address. "" where there is none: then nothing is said of a cause."""
    until = max(change.at for change in group)
    since = min(change.last_good or change.at - _LOOK_BACK for change in group)
    touched = select(ChangeTouch).where(
        col(ChangeTouch.started) <= until,
        col(ChangeTouch.ended) >= since,
        col(ChangeTouch.what).in_(("ring", "host", "everywhere")),
    )
    hosts = {change.host.lower() for change in group}
    of_hosts: dict[int, set[str]] = defaultdict(set)
    found: set[int] = set()
    for touch in session.exec(touched):
        if touch.what == "everywhere" or (touch.what == "ring" and ring and touch.name == ring.lower()):
            found.add(touch.change_id)
        elif touch.what == "host" and touch.name in hosts:
            of_hosts[touch.change_id].add(touch.name)
    found |= {change_id for change_id, names in of_hosts.items() if names == hosts}
    if not found:
        return ""
    record = session.exec(
        select(ChangeRecord)
        .where(col(ChangeRecord.id).in_(found))
        .order_by(col(ChangeRecord.started).desc())
        .limit(1)
    ).first()
    if record is None:
        return ""
    key = escape(record.key[:80])
    safe = record.url.startswith(("https://", "http://")) and not set("|<> ") & set(record.url)
    return f"<{escape(record.url)}|{key}>" if safe and record.url else key
