"""What is written on a ticket about an incident, and when that has to be written anew."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import and_, or_
from sqlalchemy.orm import aliased
from sqlmodel import Session, col, func, select

from commands.changes import links
from commands.incident.wording import redacted
from integrations.slack.text import clean, shorten
from storage import Artefact, ChangeLink, Incident, IncidentState, Panic, incident_ref, panic_ref

_HOSTS = 40
_BUNDLES = 5


@dataclass(frozen=True)
class Job:
    """A link with what is needed to tell its ticket, read in one go.

    `mark` names the incident, among those of all installations. `lead`: the first panic of the incident that the ticket
    is linked to, which the comment begins with. `artefact`: the newest there was. `elsewhere`: the comment belongs to
    an incident that the panic has left, and a link there keeps it up.
    """

    link: ChangeLink
    panic: Panic
    incident: Incident
    mark: str
    parent: tuple[str, str] | None
    lead: Panic
    automatic: bool
    notes: tuple[str, ...]
    hosts: tuple[str, ...]
    host_count: int
    bundles: tuple[tuple[int, str], ...]  # (panic id, sha256), newest first
    bundle_count: int
    artefact: int
    elsewhere: bool = False

    @property
    def resolved(self) -> bool:
        return self.incident.state is IncidentState.RESOLVED


def read_job(session: Session, link_id: int) -> Job | None:
    """None when the panic or its thread is gone."""
    link = session.get(ChangeLink, link_id)
    panic = session.get(Panic, link.panic_id) if link is not None else None
    incident = session.get(Incident, panic.incident_id) if panic is not None and panic.incident_id else None
    if link is None or panic is None or incident is None or incident.id is None:
        return None
    beside = session.exec(
        select(ChangeLink, Panic)
        .join(Panic, col(Panic.id) == ChangeLink.panic_id)
        .where(ChangeLink.key == link.key, Panic.incident_id == incident.id, ChangeLink.state != "removed")
        .order_by(col(Panic.id))
        .limit(50)
    ).all()
    here = links.mark(session, incident.id)
    of_incident = Panic.incident_id == incident.id
    hosts = session.exec(
        select(Panic.host).where(of_incident).distinct().order_by(Panic.host).limit(_HOSTS)
    ).all()
    count = session.exec(select(func.count(func.distinct(Panic.host))).where(of_incident)).one()
    bundles = session.exec(
        select(Artefact.id, Artefact.panic_id, Artefact.sha256)
        .join(Panic, col(Panic.id) == Artefact.panic_id)
        .where(of_incident, col(Artefact.kind).startswith("bundle"))
        .order_by(col(Artefact.id).desc())
    ).all()
    said = [other for other, _panic in beside if other.note and not other.automatic]
    return Job(
        link=link,
        panic=panic,
        incident=incident,
        mark=link.told_mark or here,
        parent=links.parent_of(session, incident.id),
        lead=beside[0][1] if beside else panic,
        automatic=all(other.automatic for other, _panic in beside) if beside else link.automatic,
        notes=tuple(dict.fromkeys(other.note for other in said)) or ((link.note,) if link.automatic else ()),
        hosts=tuple(hosts),
        host_count=count,
        bundles=tuple((panic_id, sha256) for _id, panic_id, sha256 in bundles[:_BUNDLES]),
        bundle_count=len(bundles),
        artefact=bundles[0][0] or 0 if bundles else 0,
        elsewhere=bool(link.told_mark) and link.told_mark != here and _kept_up(session, link, incident.id),
    )


def _kept_up(session: Session, link: ChangeLink, incident_id: int) -> bool:
    """Whether another link of this ticket still stands in the incident whose comment it is."""
    others = session.exec(
        select(Panic.incident_id)
        .join(ChangeLink, col(Panic.id) == ChangeLink.panic_id)
        .where(
            ChangeLink.key == link.key,
            ChangeLink.told_mark == link.told_mark,
            ChangeLink.state == "linked",
            Panic.incident_id != incident_id,
        )
        .distinct()
    ).all()
    return any(other is not None and links.mark(session, other) == link.told_mark for other in others)


def comment_body(job: Job, address: str) -> str:
    """What is written on the ticket, as plain text: host text is on one line and bounded."""
    lead, incident = job.lead, job.incident
    lines = [
        f"Kernel panic {panic_ref(lead.id)} ({incident_ref(incident.id)}) on {line(lead.host, 80)}: "
        f"{line(redacted(lead.title, *job.hosts, lead.host), 200)}",
        f"Kernel {line(lead.kernel or 'unknown', 80)}, {_utc(lead.occurred_at)}.",
    ]
    if job.host_count > 1:
        more = f" and {job.host_count - len(job.hosts)} more" if job.host_count > len(job.hosts) else ""
        lines.append(f"{job.host_count} hosts: {', '.join(line(host, 80) for host in job.hosts)}{more}.")
    if job.automatic:
        why = line(job.notes[0], 200) if job.notes else "fits"
        lines.append(f"Panicroom found this change by itself: it {why}. It may have nothing to do with it.")
    else:
        lines += [f"Note: {line(note, 400)}" for note in job.notes[:5]]
    for panic_id, sha256 in job.bundles:
        lines.append(f"Evidence bundle of {panic_ref(panic_id)}: sha256 {line(sha256, 64)}")
    if job.bundle_count > len(job.bundles):
        lines.append(f"{job.bundle_count - len(job.bundles)} earlier bundles are named in the thread.")
    if job.resolved:
        when = f" {_utc(incident.resolved_at)}" if incident.resolved_at else ""
        lines.append(f"Resolved{when}.")
        lines += [f"Cause: {line(incident.cause, 400)}"] if incident.cause else []
        lines += [f"Fixed by: {line(incident.fixed_by, 400)}"] if incident.fixed_by else []
    return "\n".join([*lines, f"Thread: {address}"])


def line(text: str, limit: int) -> str:
    return shorten(" ".join(clean(text).split()), limit)


def _utc(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"


def told_now(link: ChangeLink, job: Job) -> None:
    """Keeps with the link what the ticket's comment says, so that what comes later is seen."""
    link.told_mark, link.told_resolved, link.told_artefact = job.mark, job.resolved, job.artefact


def stale(session: Session) -> list[int]:
    """Links whose comment is behind: their incident was resolved or reopened since, or has another bundle."""
    sibling = aliased(Panic)
    newer = (
        select(Artefact.id)
        .join(sibling, col(sibling.id) == Artefact.panic_id)
        .where(
            sibling.incident_id == Panic.incident_id,
            col(Artefact.kind).startswith("bundle"),
            Artefact.id > ChangeLink.told_artefact,  # type: ignore[operator]
        )
        .exists()
    )
    over = col(Incident.state) == IncidentState.RESOLVED
    rows = session.exec(
        select(ChangeLink.id)
        .join(Panic, col(Panic.id) == ChangeLink.panic_id)
        .join(Incident, col(Incident.id) == Panic.incident_id)
        .where(
            ChangeLink.state == "linked",
            col(ChangeLink.problem).is_(False),
            col(ChangeLink.told_at).is_not(None),
            col(ChangeLink.next_at).is_(None),
            col(ChangeLink.error).is_(None),
            col(ChangeLink.gone).is_(None),
            or_(
                and_(over, col(ChangeLink.told_resolved).is_(False)),
                and_(~over, col(ChangeLink.told_resolved).is_(True)),
                newer,
            ),
        )
        .limit(200)
    ).all()
    return [row for row in rows if row is not None]


def renew(session: Session, link_ids: list[int], now: datetime) -> None:
    for link in session.exec(select(ChangeLink).where(col(ChangeLink.id).in_(link_ids))):
        link.next_at = link.next_at or now
        session.add(link)
