"""What a reader sees of retention: how much there is, what the next sweep would do and why, and what one did."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlmodel import Session

from commands.hosts.crashdump import size_words
from commands.incident.rendering import Rendered, renderer
from commands.incident.wording import redacted, share
from commands.retention.desk import BOT, RENDERER, Survey
from commands.retention.items import Copy, Decision
from commands.retention.kdump import Keeps, conflict
from commands.retention.policy import RetentionConfig
from commands.retention.usage import SPAN, Share, Usage
from integrations.slack import blocks as b
from integrations.slack.text import code, date, escape, sections, shorten, user
from storage import RetentionRun, panic_ref

PAGE = 12
_NAMED = 5


def pages_of(survey: Survey) -> int:
    return max(1, -(-len(survey.decisions) // PAGE))


def survey_message(
    survey: Survey, policy: RetentionConfig, next_at: datetime | None, *, page: int = 1, admin: bool = False
) -> Rendered:
    """The whole of `/panic retention`; `page` is from 1."""
    goes, total = survey.goes, pages_of(survey)
    page = min(max(page, 1), total)
    size = sum(d.bytes for d in goes)
    when = f"next sweep {date(next_at, '{date_short_pretty} {time}')}" if next_at else "no sweep by the clock"
    head = f"*Retention* · {when}: {_count(len(goes), 'item')} to go, {size_words(size)}"
    lines = usage_lines(survey.usage)
    lines += [f":alarm_clock: {escape(survey.inventory.clock.why)}: nothing goes by its age"] * (
        not survey.inventory.clock.trusted
    )
    lines += conflict_lines(survey.keeps, policy)
    ordered = [*goes, *(d for d in survey.decisions if not d.remove)]
    shown = ordered[(page - 1) * PAGE : page * PAGE]
    made = [b.section(head), *(b.section(text) for text in sections(lines))]
    if shown:
        made.append(b.divider())
        made += [b.section(text) for text in sections([decision_line(d) for d in shown])]
    buttons = []
    if page > 1:
        buttons.append(b.button("Previous", "retention.page:previous", str(page - 1)))
    if page < total:
        buttons.append(b.button("Next", "retention.page:next", str(page + 1)))
    if goes and admin:
        buttons.append(run_button(survey))
    made.append(
        b.context(f"Page {page} of {total} · what somebody pinned, holds or works on stays beyond any term")
    )
    if buttons:
        made.append(b.actions(buttons))
    foot = 2 if buttons else 1
    return Rendered(
        head.replace("*", ""), b.within_limit(made, "There is more than one message holds.", foot=foot)
    )


def run_button(survey: Survey) -> b.Block:
    size = size_words(sum(d.bytes for d in survey.goes))
    title = f"Remove {_count(len(survey.goes), 'item')}, {size}?"
    said = "What goes is gone for good. Each is looked at once more before it goes, and is an audit entry."
    return b.button(
        "Sweep now", "retention.run", survey.mark, style="danger", confirm=b.confirm(title, said, "Remove")
    )


def usage_lines(usage: Usage) -> list[str]:
    central = (
        f"*Central:* {size_words(usage.central.size)} in {_count(usage.central.count, 'copy', 'copies')}"
    )
    if usage.budget is not None:
        central += f", {share(usage.central.size, usage.budget)} of the budget of {size_words(usage.budget)}"
    grows = f"{'+' if usage.growth >= 0 else '−'}{size_words(abs(usage.growth))} a day in the last {SPAN} d"
    if usage.full_in is not None:
        grows += ": the budget is full" + (f" in {usage.full_in:.0f} d" if usage.full_in > 0 else "")
    return [
        f"{central} · {grows}",
        *_by(usage.central),
        f"*On hosts:* {size_words(usage.hosts.size)} in {_count(usage.hosts.count, 'dump')}",
        *_by(usage.hosts),
    ]


def _by(held: Share) -> list[str]:
    made = []
    for word, entries in (
        ("host", held.by_host),
        ("ring", held.by_ring),
        ("signature", held.by_signature),
    ):
        if entries:
            named = ", ".join(
                f"{code(shorten(name, 60))} {size_words(size)}" for name, size in entries[:_NAMED]
            )
            more = f" and {len(entries) - _NAMED} more" if len(entries) > _NAMED else ""
            made.append(f"• by {word}: {named}{more}")
    return made


def conflict_lines(keeps: Mapping[str, Keeps], policy: RetentionConfig) -> list[str]:
    """Hosts whose own kdump removes dumps, by what it says."""
    said: dict[str, list[str]] = {}
    for host, kept in sorted(keeps.items()):
        words = conflict(kept, policy.normal.local)
        if words is not None:
            said.setdefault(words, []).append(host)
    made = []
    for words, hosts in said.items():
        named = ", ".join(code(host) for host in hosts[:_NAMED])
        more = f" and {len(hosts) - _NAMED} more" if len(hosts) > _NAMED else ""
        made.append(f":warning: {named}{more}: {escape(words)}")
    return made


def decision_line(decision: Decision) -> str:
    """`:wastebasket: P-41 central 312.0 MB web-17 — why`"""
    item = decision.item
    icon = ":wastebasket:" if decision.remove else ":lock:"
    place = "central" if isinstance(item, Copy) else "on the host"
    return (
        f"{icon} {panic_ref(item.panic_id)} {code(item.host)} {place}, {size_words(item.size)}: "
        f"{escape(decision.why)}"
    )


def run_words(run: RetentionRun) -> list[str]:
    """What a sweep did, in lines of mrkdwn."""
    by = "by the clock" if run.asked_by == BOT else f"for {user(run.asked_by)}"
    states: Mapping[str, int] = run.result.get("states", {})
    if run.finished_at is None:
        return [f":hourglass_flowing_sand: *Retention sweep* {by} is under way"]
    freed: Mapping[str, int] = run.result.get("freed", {})
    removed = states.get("removed", 0) + states.get("gone", 0)
    total = sum(freed.values())
    lines = [
        f":wastebasket: *Retention sweep* {by} done {date(run.finished_at)}: {_count(removed, 'item')} removed, "
        f"{size_words(total)} freed ({size_words(freed.get('central', 0))} in central, "
        f"{size_words(freed.get('local', 0))} on hosts); {run.result.get('kept', 0)} stay"
    ]
    if states.get("kept"):
        lines.append(f"• {_count(states['kept'], 'item')} kept: something came to keep it since the plan")
    lines += _failed(run.result.get("failed", ()))
    scrub: Mapping[str, Any] = run.result.get("scrub", {})
    if scrub.get("read"):
        bad = len(scrub.get("damaged", ()))
        mark = ":warning:" if bad else "•"
        lines.append(
            f"{mark} {_count(scrub['read'], 'copy', 'copies')} read back from central, {bad} damaged"
        )
    if scrub.get("unread"):
        why = scrub["unread"][0][1]
        lines.append(
            f":warning: {_count(len(scrub['unread']), 'copy', 'copies')} could not be read: {escape(why)}"
        )
    return lines


def _failed(failed: Sequence[Sequence[Any]]) -> list[str]:
    made = []
    for panic_id, place, host, note in failed[:_NAMED]:
        where = "central" if place == "central" else code(host)
        made.append(
            f":warning: {panic_ref(panic_id)} in {where}: {escape(shorten(redacted(note, host), 200))}"
        )
    if len(failed) > _NAMED:
        made.append(f"… and {len(failed) - _NAMED} more")
    return made


@renderer(RENDERER)
def draw_run(session: Session, run_id: int) -> Rendered | None:
    run = session.get(RetentionRun, run_id)
    if run is None:
        return None
    lines = run_words(run)
    return Rendered(lines[0].replace("*", ""), [b.section(text) for text in sections(lines)])


def _count(count: int, one: str, many: str = "") -> str:
    return f"{count} {one if count == 1 else many or one + 's'}"
