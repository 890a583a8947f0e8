"""`/panic quarantine`: reports from hosts that the inventory does not know."""

from __future__ import annotations

from sqlmodel import col, func, select

from commands.access import Role
from commands.errors import BadArguments, NotFound
from commands.intake.desk import IntakeDesk
from commands.router import Ask, Router
from integrations.slack.text import code, date
from storage import Report, ReportState, parse_ref, report_ref


def register(router: Router, desk: IntakeDesk) -> None:
    async def quarantine(ask: Ask) -> None:
        words = ask.words()
        if not words:
            await ask.reply(await _listing(desk))
            return
        if len(words) != 2 or words[0] != "accept":
            raise BadArguments(
                "it is `quarantine`, or `quarantine accept R-12`.", example="/panic quarantine accept R-12"
            )
        await take_in(ask, words[1])

    async def accept(ask: Ask) -> None:
        """The button of the App Home."""
        await take_in(ask, ask.value or "")

    async def take_in(ask: Ask, word: str) -> None:
        report_id = parse_ref(word, "R")
        report = await desk.release(report_id, request_id=ask.request_id) if report_id else None
        if report is None:
            raise NotFound(f"no report {code(word[:40])} is in quarantine. `/panic quarantine` lists them.")
        await ask.reply(
            f"{report_ref(report.id)} of {code(report.host)} is taken in; its thread opens in a moment."
        )

    router.action("quarantine.accept", accept, role=Role.ADMIN)
    router.verb(
        "quarantine",
        quarantine,
        role=Role.ADMIN,
        usage="quarantine [accept R-12]",
        help="reports from unknown hosts, and ones that could not be read",
        example="/panic quarantine accept R-12",
    )


async def _listing(desk: IntakeDesk) -> str:
    rows = await desk.context.db.read(
        lambda s: s.exec(
            select(Report)
            .where(col(Report.state).in_((ReportState.QUARANTINED, ReportState.PARKED)))
            .order_by(col(Report.id).desc())
            .limit(20)
        ).all()
    )
    total = await desk.context.db.read(
        lambda s: s.exec(
            select(func.count())
            .select_from(Report)
            .where(col(Report.state).in_((ReportState.QUARANTINED, ReportState.PARKED)))
        ).one()
    )
    if not rows:
        return "Nothing is in quarantine."
    lines = [f"• {report_ref(r.id)} {code(r.host)} {date(r.received_at)} ({r.state.value})" for r in rows]
    more = f"\n{total - len(rows)} older ones." if total > len(rows) else ""
    return "\n".join(lines) + more + "\n`/panic quarantine accept R-12` takes one in."
