"""The App Home: what is open, what needs somebody, what is mine, and how to begin."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import structlog
from sqlmodel import Session, col, func, select

from commands.access import Role
from commands.context import Context
from commands.fitting import linked, sections
from commands.incident.wording import redacted, span
from commands.permalinks import permalinks
from integrations.slack import blocks as b
from integrations.slack.client import patiently
from integrations.slack.errors import SlackError
from integrations.slack.text import code, date, escape, shorten, user
from storage import (
    ChangeLink,
    Incident,
    IncidentState,
    Panic,
    ReportState,
    Silence,
    incident_ref,
    panic_ref,
    report_ref,
)
from storage.queries import HeldReport, parents_of, reports_held, reports_waiting

log = structlog.get_logger(__name__)

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
    channel: str | None
    ts: str | None


@dataclass(frozen=True)
class HomeFacts:
    """What a home page is drawn from. Totals count all; lists hold the first `SHOWN`."""

    open: tuple[OpenIncident, ...]
    open_total: int
    mine: tuple[OpenIncident, ...]
    mine_total: int
    quarantined: tuple[HeldReport, ...]
    quarantined_total: int
    parked: tuple[HeldReport, ...]
    parked_total: int
    failed_links: tuple[ChangeLink, ...]
    failed_links_total: int
    silences: tuple[Silence, ...]
    panics_total: int
    panics_week: int


async def publish_home(ctx: Context, user_id: str) -> None:
    """Draws and publishes the person's home page. A failure of Slack is logged: the next visit draws it again."""
    role = await ctx.access.role_of(user_id)
    now = ctx.clock()
    facts = await ctx.db.read(lambda s: home_facts(s, user_id, now)) if role >= Role.VIEWER else None
    view = no_access(role)
    if facts is not None:
        shown = {(o.incident.id, o.channel, o.ts) for o in (*facts.open, *facts.mine)}
        view = draw_home(facts, role, now, await permalinks(ctx.slack, shown))
    try:
        await patiently(lambda: ctx.slack.publish_home(user_id, view))
    except SlackError as error:
        log.warning("home.not_published", user=user_id, error=str(error))


def home_view(session: Session, user_id: str, now: datetime, *, role: Role = Role.VIEWER) -> dict[str, Any]:
    """The view object for views.publish, without links to threads (only Slack knows those)."""
    return draw_home(home_facts(session, user_id, now), role, now, {})


def home_facts(session: Session, user_id: str, now: datetime) -> HomeFacts:
    live = col(Incident.state).in_(_LIVE)
    newest = (
        select(Incident).where(live).order_by(col(Incident.last_panic_at).desc(), col(Incident.id).desc())
    )
    week = now.timestamp() - 7 * 86400
    mine = (live, Incident.assignee == user_id)
    waiting = reports_waiting(session)
    failing = (
        col(ChangeLink.error).is_not(None),
        col(ChangeLink.state).in_(("pending", "failed", "linked")),
    )
    failed = select(ChangeLink).where(*failing).order_by(col(ChangeLink.id).desc())
    return HomeFacts(
        open=_with_threads(session, list(session.exec(newest.limit(SHOWN)).all())),
        open_total=_count(session, select(func.count()).select_from(Incident).where(live)),
        mine=_with_threads(session, list(session.exec(newest.where(*mine).limit(SHOWN)).all())),
        mine_total=_count(session, select(func.count()).select_from(Incident).where(*mine)),
        quarantined=tuple(reports_held(session, ReportState.QUARANTINED, limit=SHOWN)),
        quarantined_total=waiting[ReportState.QUARANTINED],
        parked=tuple(reports_held(session, ReportState.PARKED, limit=SHOWN)),
        parked_total=waiting[ReportState.PARKED],
        failed_links=tuple(session.exec(failed.limit(SHOWN)).all()),
        failed_links_total=_count(session, select(func.count()).select_from(ChangeLink).where(*failing)),
        silences=tuple(
            session.exec(
                select(Silence)
                .where(col(Silence.until) > now, col(Silence.ended_at).is_(None))
                .order_by(col(Silence.until))
                .limit(SHOWN)
            ).all()
        ),
        panics_total=_count(session, select(func.count()).select_from(Panic)),
        panics_week=_count(
            session,
            select(func.count())
            .select_from(Panic)
            .where(col(Panic.occurred_at) >= datetime.fromtimestamp(week, now.tzinfo)),
        ),
    )


def draw_home(facts: HomeFacts, role: Role, now: datetime, links: Mapping[int, str]) -> dict[str, Any]:
    """`links`: incident id -> permalink of its thread, for those known."""
    made = [b.header("Panicroom")]
    made.append(
        b.context(
            f"{_counted(facts.panics_total, 'panic')} known, {facts.panics_week} in the last 7 d · as of {date(now)}"
        )
    )
    everything = "; `/panic list state:active` has all"
    made.append(b.section(_heading("Open incidents", facts.open_total, len(facts.open), all_at=everything)))
    if not facts.open:
        made.append(b.section(":white_check_mark: Nothing is open."))
    made += [b.section(_incident_line(o, now, links)) for o in facts.open]
    made.append(b.divider())
    made.append(b.section(_heading("Mine", facts.mine_total, len(facts.mine), all_at="")))
    if facts.mine:
        made += [b.section(_incident_line(o, now, links)) for o in facts.mine]
    else:
        made.append(
            b.context(
                "Nothing is yours just now. To take one: *Acknowledge* in its thread, or `/panic assign I-7 me`."
            )
        )
    made.append(b.divider())
    made.append(b.section("*Needs attention*"))
    made += _attention(facts) or [
        b.context("Nothing: no report is held back or unread, and no link has failed.")
    ]
    made += sections("Planned work", [_silence_line(s) for s in facts.silences])
    made.append(b.divider())
    made.append(b.section(_begin(role)))
    return {"type": "home", "blocks": made[:100]}


def no_access(role: Role) -> dict[str, Any]:
    text = (
        f"*Panicroom* tells of kernel panics. Your role is *{role.word}*, which may not see them yet. "
        "An admin of Panicroom can give you another one (`[access]` in panicroom.toml)."
    )
    return {"type": "home", "blocks": [b.section(text)]}


def _heading(title: str, total: int, shown: int, *, all_at: str) -> str:
    count = f" ({total})" if total else ""
    return f"*{title}*" + (f" (the newest {shown} of {total}{all_at})" if total > shown else count)


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


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


def _attention(facts: HomeFacts) -> list[b.Block]:
    made: list[b.Block] = []
    if facts.quarantined:
        verb = "is" if facts.quarantined_total == 1 else "are"
        title = f":lock: {_counted(facts.quarantined_total, 'report')} {verb} held back: from no known host"
        lines = [_held_line(r) for r in facts.quarantined]
        more = _more(facts.quarantined_total, len(lines))
        accept = f"`/panic quarantine accept {report_ref(facts.quarantined[0].id)}`"
        made += sections(title, [*lines, *more, f"An admin can take one in: {accept}"])
    if facts.parked:
        title = f":warning: {_counted(facts.parked_total, 'report')} could not be read"
        lines = [_held_line(r) for r in facts.parked]
        more = _more(facts.parked_total, len(lines))
        accept = f"`/panic quarantine accept {report_ref(facts.parked[0].id)}`"
        made += sections(
            title, [*lines, *more, f"Nothing is lost. Once it is mended, an admin can try again: {accept}"]
        )
    if facts.failed_links:
        title = ":ticket: Change tickets that could not be linked or told"
        lines = [_link_line(link) for link in facts.failed_links]
        made += sections(title, lines + _more(facts.failed_links_total, len(lines)))
    return made


def _more(total: int, shown: int) -> list[str]:
    return [f"and {total - shown} more"] if total > shown else []


def _held_line(report: HeldReport) -> str:
    why = f": {escape(shorten(redacted(' '.join(report.error.split())), 160))}" if report.error else ""
    return f"{report_ref(report.id)} from {code(shorten(report.host, 80))} {date(report.received_at)}{why}"


def _link_line(link: ChangeLink) -> str:
    again = f"; next try {date(link.next_at)}" if link.next_at else ""
    why = escape(shorten(link.error or "", 160))
    return f"{escape(link.key)} on {panic_ref(link.panic_id)}: {why}{again}"


def _silence_line(silence: Silence) -> str:
    why = f": {escape(shorten(silence.reason, 120))}" if silence.reason else ""
    return f":no_bell: {code(silence.pattern)} until {date(silence.until)} by {user(silence.created_by)}{why}"


def _begin(role: Role) -> str:
    lines = ["*How to begin*"]
    if role >= Role.RESPONDER:
        lines.append("In a panic's thread: *Run triage*, *Collect evidence*, *Link change*, *Acknowledge*.")
    else:
        lines.append("You may look at everything; triage, evidence and the rest need the role *responder*.")
    lines.append("`/panic list since:7d` what happened · `/panic list host:web-* kernel:6.1.*` narrower")
    lines.append("`/panic show P-41` all of one panic · `/panic help` everything that can be typed")
    return "\n".join(lines)


def _with_threads(session: Session, incidents: list[Incident]) -> tuple[OpenIncident, ...]:
    ids = {i.id for i in incidents if i.id is not None}
    counted = session.exec(
        select(Panic.incident_id, func.count(), func.count(col(Panic.host).distinct()))
        .where(col(Panic.incident_id).in_(ids))
        .group_by(col(Panic.incident_id))
    ).all()
    panics = {incident: (number, hosts) for incident, number, hosts in counted}
    threads = parents_of(session, ids)
    made = []
    for incident in incidents:
        _state, channel, ts = threads.get(incident.id or 0, (None, None, None))
        number, hosts = panics.get(incident.id, (0, 0))
        named = session.exec(
            select(Panic.host).where(Panic.incident_id == incident.id).group_by(Panic.host)
            .order_by(Panic.host).limit(HOSTS_NAMED)
        ).all()  # fmt: skip
        made.append(OpenIncident(incident, number, tuple(named), hosts, channel, ts))
    return tuple(made)


def _count(session: Session, query: Any) -> int:
    return int(session.exec(query).one())
