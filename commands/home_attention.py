"""The App Home's "needs attention": what waits for a person, with the button that settles it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy.orm import aliased
from sqlmodel import Session, col, func, select

from commands.access import Role
from commands.fitting import sections
from commands.incident.wording import redacted
from integrations.slack import blocks as b
from integrations.slack.text import code, date, escape, shorten
from storage import (
    ChangeLink,
    CopyState,
    DumpCopy,
    DumpState,
    Incident,
    IncidentState,
    ItemState,
    Panic,
    ReportState,
    RetentionItem,
    RetentionRun,
    panic_ref,
    report_ref,
)
from storage.queries import HeldReport, reports_held, reports_waiting

SHOWN = 8
_OFFERED = 4  # buttons of one kind
_COPIES_TOLD = timedelta(days=14)

# What another part of the bot has to say here: lines of mrkdwn, none where all is well.
Notice = Callable[[], Awaitable[Sequence[str]]]


@dataclass(frozen=True)
class DumpTold:
    """A panic whose dump is in doubt; `why` is plain text of a host or a store."""

    panic_id: int
    host: str
    why: str


@dataclass(frozen=True)
class AttentionFacts:
    """Totals count all; lists hold the first `SHOWN`."""

    quarantined: tuple[HeldReport, ...]
    quarantined_total: int
    parked: tuple[HeldReport, ...]
    parked_total: int
    failed_links: tuple[ChangeLink, ...]
    failed_links_total: int
    copies: tuple[DumpTold, ...]  # that failed, or were found damaged, and were not made again
    unverified: tuple[DumpTold, ...]  # dumps of open incidents that nobody could check
    stuck: tuple[RetentionItem, ...]  # what the last sweep of retention could not remove
    stuck_total: int


def attention_facts(session: Session, now: datetime) -> AttentionFacts:
    waiting = reports_waiting(session)
    failing = (
        col(ChangeLink.error).is_not(None),
        col(ChangeLink.state).in_(("pending", "failed", "linked")),
    )
    failed = select(ChangeLink).where(*failing).order_by(col(ChangeLink.id).desc())
    stuck = _stuck(session)
    return AttentionFacts(
        quarantined=tuple(reports_held(session, ReportState.QUARANTINED, limit=SHOWN)),
        quarantined_total=waiting[ReportState.QUARANTINED],
        parked=tuple(reports_held(session, ReportState.PARKED, limit=SHOWN)),
        parked_total=waiting[ReportState.PARKED],
        failed_links=tuple(session.exec(failed.limit(SHOWN)).all()),
        failed_links_total=_count(session, select(func.count()).select_from(ChangeLink).where(*failing)),
        copies=_failed_copies(session, now),
        unverified=_unverified(session),
        stuck=tuple(stuck[:SHOWN]),
        stuck_total=len(stuck),
    )


def _failed_copies(session: Session, now: datetime) -> tuple[DumpTold, ...]:
    """The latest copy of its panic, and none that is good."""
    later = aliased(DumpCopy)
    good = select(later.id).where(
        later.panic_id == DumpCopy.panic_id,
        (col(later.state) == CopyState.VERIFIED) | (col(later.id) > col(DumpCopy.id)),
    )
    rows = session.exec(
        select(DumpCopy)
        .where(
            col(DumpCopy.state).in_((CopyState.FAILED, CopyState.DAMAGED)),
            (col(DumpCopy.finished_at) >= now - _COPIES_TOLD) | (col(DumpCopy.state) == CopyState.DAMAGED),
            ~good.exists(),
        )
        .order_by(col(DumpCopy.id).desc())
        .limit(SHOWN)
    ).all()
    words = {CopyState.FAILED: "the copy failed", CopyState.DAMAGED: "the copy in central is damaged"}
    return tuple(
        DumpTold(c.panic_id, c.host, words[c.state] + (f": {c.error or c.note}" if c.error or c.note else ""))
        for c in rows
    )


def _unverified(session: Session) -> tuple[DumpTold, ...]:
    live = (IncidentState.OPEN, IncidentState.ACKNOWLEDGED)
    rows = session.execute(
        select(Panic.id, Panic.host, Panic.dump_state)
        .join(Incident, col(Incident.id) == col(Panic.incident_id))
        .where(
            col(Incident.state).in_(live),
            col(Panic.dump_state).in_((DumpState.UNVERIFIED, DumpState.INCOMPLETE)),
        )
        .order_by(col(Panic.id).desc())
        .limit(SHOWN)
    ).all()
    words = {DumpState.UNVERIFIED: "could not be checked", DumpState.INCOMPLETE: "is incomplete"}
    return tuple(DumpTold(ident or 0, host, f"its dump {words[state]}") for ident, host, state in rows)


def _stuck(session: Session) -> list[RetentionItem]:
    last = session.exec(
        select(RetentionRun.id)
        .where(col(RetentionRun.finished_at).is_not(None))
        .order_by(col(RetentionRun.id).desc())
        .limit(1)
    ).first()
    if last is None:
        return []
    return list(
        session.exec(
            select(RetentionItem)
            .where(
                RetentionItem.run_id == last,
                col(RetentionItem.state).in_((ItemState.FAILED, ItemState.REFUSED)),
            )
            .order_by(col(RetentionItem.id))
        ).all()
    )


def draw_attention(facts: AttentionFacts, notices: Sequence[b.Block], role: Role) -> list[b.Block]:
    """`notices`: what other parts of the bot say here."""
    made = [*notices, *_reports(facts, role), *_dumps(facts, role)]
    if facts.failed_links:
        title = ":ticket: Change tickets that could not be linked or told"
        lines = [_link_line(link) for link in facts.failed_links]
        made += sections(title, lines + _more(facts.failed_links_total, len(lines)))
    nothing = "Nothing: no report is held back or unread, no copy and no link has failed."
    return [b.section("*Needs attention*"), *(made or [b.context(nothing)])]


def _reports(facts: AttentionFacts, role: Role) -> list[b.Block]:
    made: list[b.Block] = []
    if facts.quarantined:
        verb = "is" if facts.quarantined_total == 1 else "are"
        title = f":lock: {_counted(facts.quarantined_total, 'report')} {verb} held back: from no known host"
        lines = [_held_line(r) for r in facts.quarantined]
        more = _more(facts.quarantined_total, len(lines))
        accept = f"`/panic quarantine accept {report_ref(facts.quarantined[0].id)}`"
        made += sections(title, [*lines, *more, f"An admin can take one in: {accept}"])
        made += _accepting(facts.quarantined, "Take in", role)
    if facts.parked:
        title = f":warning: {_counted(facts.parked_total, 'report')} could not be read"
        lines = [_held_line(r) for r in facts.parked]
        more = _more(facts.parked_total, len(lines))
        accept = f"`/panic quarantine accept {report_ref(facts.parked[0].id)}`"
        made += sections(
            title, [*lines, *more, f"Nothing is lost. Once it is mended, an admin can try again: {accept}"]
        )
        made += _accepting(facts.parked, "Try again:", role)
    return made


def _accepting(held: Sequence[HeldReport], words: str, role: Role) -> list[b.Block]:
    if role < Role.ADMIN:
        return []
    buttons = []
    for report in held[:_OFFERED]:
        ref = report_ref(report.id)
        said = f"{report.host[:200]} is not in the inventory, or its report could not be read. It is taken as it is."
        sure = b.confirm(f"Take {ref} in?", said, "Take it in")
        buttons.append(b.button(f"{words} {ref}", f"quarantine.accept:{report.id}", ref, confirm=sure))
    return [b.actions(buttons)]


def _dumps(facts: AttentionFacts, role: Role) -> list[b.Block]:
    made: list[b.Block] = []
    if facts.copies:
        made += sections(":floppy_disk: Dumps without a good copy", [_dump_line(c) for c in facts.copies])
        if role >= Role.RESPONDER:
            made.append(
                b.actions(
                    [
                        b.button(
                            f"Copy {panic_ref(c.panic_id)} again",
                            f"copies.begin:{c.panic_id}",
                            panic_ref(c.panic_id),
                        )
                        for c in facts.copies[:_OFFERED]
                    ]
                )
            )
    if facts.unverified:
        hint = "*Run triage* looks once more; `/panic copy P-41` keeps what there is"
        lines = [_dump_line(d) for d in facts.unverified]
        made += sections(":grey_question: Dumps in doubt", [*lines, hint])
    if facts.stuck:
        count = f"{facts.stuck_total} item{'' if facts.stuck_total == 1 else 's'}"
        lines = [
            f"{panic_ref(i.panic_id)} {code(shorten(i.host, 80))} ({escape(i.place)}): "
            f"{escape(shorten(' '.join(redacted(i.note or i.why, i.host).split()), 160))}"
            for i in facts.stuck
        ]
        title = f":wastebasket: The last sweep could not remove {count}"
        made += sections(title, lines + _more(facts.stuck_total, len(lines)))
        made.append(b.actions([b.button("What is kept", "retention.page:home", "1")]))
    return made


def _dump_line(told: DumpTold) -> str:
    why = escape(shorten(" ".join(redacted(told.why, told.host).split()), 200))
    return f"{panic_ref(told.panic_id)} {code(shorten(told.host, 80))}: {why}"


def _more(total: int, shown: int) -> list[str]:
    return [f"and {total - shown} more"] if total > shown else []


def _held_line(report: HeldReport) -> str:
    why = f": {escape(shorten(redacted(' '.join(report.error.split())), 160))}" if report.error else ""
    return f"{report_ref(report.id)} from {code(shorten(report.host, 80))} {date(report.received_at)}{why}"


def _link_line(link: ChangeLink) -> str:
    again = f"; next try {date(link.next_at)}" if link.next_at else ""
    why = escape(shorten(link.error or "", 160))
    return f"{escape(link.key)} on {panic_ref(link.panic_id)}: {why}{again}"


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _count(session: Session, query: Any) -> int:
    return int(session.exec(query).one())
