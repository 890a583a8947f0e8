"""The App Home's incidents: what is open, and what is mine, each with the buttons that the reader may press."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlmodel import Session, and_, col, func, or_, select

from commands.access import Role
from commands.fitting import linked
from commands.incident.wording import redacted, span
from integrations.slack import blocks as b
from integrations.slack.text import code, escape, shorten, user
from storage import Incident, IncidentState, Panic, incident_ref, panic_ref
from storage.queries import parents_of

SHOWN = 8  # of each kind; what is beyond is counted
HOSTS_NAMED = 3  # of one incident
_LIVE = (IncidentState.OPEN, IncidentState.ACKNOWLEDGED)
_LIGHT = {IncidentState.OPEN: ":red_circle:", IncidentState.ACKNOWLEDGED: ":large_orange_circle:"}


@dataclass(frozen=True)
class OpenIncident:
    """An incident that is not resolved, with how many panics it holds, and of which hosts (the first few by name)."""

    incident: Incident
    panics: int
    hosts: tuple[str, ...]
    hosts_total: int
    newest: int | None  # its newest panic
    channel: str | None
    ts: str | None


@dataclass(frozen=True)
class IncidentFacts:
    """Totals count all; lists hold the first `SHOWN`, newest first."""

    open: tuple[OpenIncident, ...]
    open_total: int
    mine: tuple[OpenIncident, ...]
    mine_total: int


def incident_facts(session: Session, user_id: str) -> IncidentFacts:
    """`mine`: assigned to the person, or acknowledged by them and assigned to nobody."""
    live = col(Incident.state).in_(_LIVE)
    newest = (
        select(Incident).where(live).order_by(col(Incident.last_panic_at).desc(), col(Incident.id).desc())
    )
    taken = and_(col(Incident.assignee).is_(None), Incident.acknowledged_by == user_id)
    mine = (live, or_(col(Incident.assignee) == user_id, taken))
    return IncidentFacts(
        open=_with_threads(session, list(session.exec(newest.limit(SHOWN)).all())),
        open_total=_count(session, select(func.count()).select_from(Incident).where(live)),
        mine=_with_threads(session, list(session.exec(newest.where(*mine).limit(SHOWN)).all())),
        mine_total=_count(session, select(func.count()).select_from(Incident).where(*mine)),
    )


def draw_incidents(
    facts: IncidentFacts, reader: str, role: Role, now: datetime, links: Mapping[int, str]
) -> list[b.Block]:
    """`links`: incident id -> permalink of its thread, for those known."""
    everything = "; `/panic list state:active` has all"
    made = [b.section(_heading("Open incidents", facts.open_total, len(facts.open), all_at=everything))]
    if not facts.open:
        made.append(b.section(":white_check_mark: Nothing is open."))
    for shown in facts.open:
        made += _incident(shown, reader, role, now, links)
    made.append(b.divider())
    made.append(b.section(_heading("Mine", facts.mine_total, len(facts.mine), all_at="")))
    for shown in facts.mine:
        made += _incident(shown, reader, role, now, links)
    if not facts.mine:
        how = "*Acknowledge* above or in its thread, or `/panic assign I-7 me`"
        take = f" To take one: {how}." if role >= Role.RESPONDER else ""
        made.append(b.context(f"Nothing is yours just now.{take}"))
    return made


def _incident(
    shown: OpenIncident, reader: str, role: Role, now: datetime, links: Mapping[int, str]
) -> list[b.Block]:
    return [b.section(_incident_line(shown, now, links)), b.actions(_buttons(shown, reader, role))]


def _buttons(shown: OpenIncident, reader: str, role: Role) -> list[b.Block]:
    """What the next step is, by how the incident stands; never one that the reader's role would be refused."""
    incident, ref = shown.incident, incident_ref(shown.incident.id)
    buttons = []
    if role >= Role.RESPONDER:
        mine = reader in (incident.assignee, incident.acknowledged_by)
        if incident.state is IncidentState.OPEN:
            buttons.append(b.button("Acknowledge", "incident.acknowledge", ref, style="primary"))
        if incident.runbook_done_at is None and shown.newest is not None:
            buttons.append(b.button("Run triage", "triage.run", panic_ref(shown.newest)))
        if mine:
            buttons.append(b.button("Resolve", "incident.resolve", ref))
    buttons.append(b.button("Show", "panics.show", ref))
    return buttons


def _heading(title: str, total: int, shown: int, *, all_at: str) -> str:
    count = f" ({total})" if total else ""
    return f"*{title}*" + (f" (the newest {shown} of {total}{all_at})" if total > shown else count)


def _incident_line(shown: OpenIncident, now: datetime, links: Mapping[int, str]) -> str:
    incident = shown.incident
    ref = incident_ref(incident.id)
    name = linked(ref, links.get(incident.id or 0))
    parts = [
        *_hosts(shown),
        _counted(shown.panics, "panic"),
        f"open for {span(now - incident.opened_at)}",
    ]
    if incident.severity == "critical":
        parts.insert(0, ":rotating_light: critical")
    if incident.assignee:
        parts.append(user(incident.assignee))
    elif incident.acknowledged_by:
        parts.append(f"acknowledged by {user(incident.acknowledged_by)}")
    else:
        parts.append("nobody has it")
    if incident.runbook_done_at is None:
        parts.append("runbook not done")
    if incident.silenced:
        parts.append("silenced")
    light = _LIGHT.get(incident.state, "")
    return f"{light} *{name}* {escape(shorten(redacted(incident.title), 200))}\n" + " · ".join(parts)


def _hosts(shown: OpenIncident) -> list[str]:
    """`web-17, web-18 and 40 more`; nothing where no panic is left in the incident."""
    named = ", ".join(code(shorten(host, 80)) for host in shown.hosts)
    more = shown.hosts_total - len(shown.hosts)
    return [f"{named} and {more} more" if more > 0 else named] if named else []


def _with_threads(session: Session, incidents: list[Incident]) -> tuple[OpenIncident, ...]:
    ids = {i.id for i in incidents if i.id is not None}
    counted = session.exec(
        select(Panic.incident_id, func.count(), func.count(col(Panic.host).distinct()), func.max(Panic.id))
        .where(col(Panic.incident_id).in_(ids))
        .group_by(col(Panic.incident_id))
    ).all()
    panics = {incident: (number, hosts, newest) for incident, number, hosts, newest in counted}
    threads = parents_of(session, ids)
    made = []
    for incident in incidents:
        _state, channel, ts = threads.get(incident.id or 0, (None, None, None))
        number, hosts, newest = panics.get(incident.id, (0, 0, None))
        named = session.exec(
            select(Panic.host).where(Panic.incident_id == incident.id).group_by(Panic.host)
            .order_by(Panic.host).limit(HOSTS_NAMED)
        ).all()  # fmt: skip
        made.append(OpenIncident(incident, number, tuple(named), hosts, newest, channel, ts))
    return tuple(made)


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _count(session: Session, query: Any) -> int:
    return int(session.exec(query).one())
