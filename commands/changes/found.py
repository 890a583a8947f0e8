"""What a reader sees of a search: at most three changes with the reasons for each, or that none was found."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlmodel import Session, col, select

from commands.changes.config import ChangesConfig
from commands.changes.weighing import NOBODY, SHOWN, Weighed
from commands.changes.workload import NOT_CHECKED
from commands.durations import write_duration
from commands.incident import thread
from commands.incident.rendering import Rendered, renderer
from integrations.changes import Change
from integrations.slack import blocks as b
from integrations.slack.text import date, escape, shorten
from storage import ChangeFinding, ChangeLink, Incident, Panic, panic_ref

RENDERER = "likely_changes"
NOT_ASKED = "changes: not checked, neither a tracker nor a feed tells of any"


def keep_finding(
    session: Session,
    panic: Panic,
    weighed: Sequence[Weighed],
    *,
    considered: int,
    note: str,
    now: datetime,
) -> None:
    """Puts what was found in the place of what was found before, and says it in the thread, once an incident."""
    assert panic.incident_id is not None
    _alone(session, panic.incident_id)
    finding = finding_of(session, panic.incident_id)
    if finding is None:
        finding = ChangeFinding(incident_id=panic.incident_id, panic_id=panic.id or 0)
    told = [_kept(w) for w in weighed[:SHOWN]]
    same = finding.id is not None and (finding.likely, finding.note) == (told, note)
    finding.panic_id, finding.at, finding.considered = panic.id or 0, now, considered
    finding.likely, finding.note = told, note
    session.add(finding)
    if not same:
        show(session, panic.incident_id, now)


def keep_workload(session: Session, panic: Panic, words: str, now: datetime) -> None:
    """What became of the look at the workload, beside the changes. A "not checked" takes no measured one's place."""
    if panic.incident_id is None:
        return
    _alone(session, panic.incident_id)
    finding = finding_of(session, panic.incident_id)
    if finding is None:
        finding = ChangeFinding(incident_id=panic.incident_id, panic_id=panic.id or 0, at=now, note=NOT_ASKED)
    if measured(finding.workload) and not measured(words):
        return
    if finding.workload != words:
        finding.workload = words
        session.add(finding)
        show(session, panic.incident_id, now)


def measured(words: str) -> bool:
    """Whether a line on the workload tells of one."""
    return bool(words) and not words.startswith(NOT_CHECKED)


def _alone(session: Session, incident_id: int) -> None:
    """Two searches of one incident that end together write one after the other (PostgreSQL; SQLite has one writer)."""
    session.exec(select(Incident.id).where(Incident.id == incident_id).with_for_update()).first()


def show(session: Session, incident_id: int, now: datetime) -> None:
    key = f"likely:{incident_id}"
    thread.say(session, incident_id, key, renderer=RENDERER, subject_id=incident_id, now=now)


def finding_of(session: Session, incident_id: int) -> ChangeFinding | None:
    return session.exec(select(ChangeFinding).where(ChangeFinding.incident_id == incident_id)).first()


@renderer(RENDERER)
def draw_finding(session: Session, incident_id: int) -> Rendered | None:
    finding = finding_of(session, incident_id)
    if finding is None:
        return None
    linked = set(
        session.exec(
            select(ChangeLink.key)
            .join(Panic, col(Panic.id) == ChangeLink.panic_id)
            .where(Panic.incident_id == incident_id, ChangeLink.state != "failed")
        ).all()
    )
    return likely_changes(finding, linked)


def likely_changes(finding: ChangeFinding, linked: set[str]) -> Rendered:
    """The message; tickets that are not `linked` have a button that does it."""
    if not finding.likely:
        return _nothing(finding)
    title = "*Likely change*" if len(finding.likely) == 1 else "*Likely changes*"
    made: list[b.Block] = [b.section(f":mag: {title}, the likeliest first")]
    for number, entry in enumerate(finding.likely, 1):
        made.append(b.section(f"{number}. {_line(entry)}"))
        key = str(entry["key"])
        if entry["source"] == "jira" and key not in linked:
            made.append(
                b.actions(
                    [b.button(f"Link {key}", "changes.confirm", f"{panic_ref(finding.panic_id)} {key}")]
                )
            )
    if _below(finding):
        made.append(b.context(" · ".join(_below(finding))))
    first = finding.likely[0]
    return Rendered(escape(shorten(f"Likely change: {first['summary']}", 300)), made)


def _nothing(finding: ChangeFinding) -> Rendered:
    if finding.note == NOT_ASKED:
        words = " · ".join(_below(finding))
        return Rendered(NOT_ASKED, [b.context(f":mag: {words}")])
    text = f":mag: *{NOBODY}* that stands out"
    if finding.considered:
        many = f"{finding.considered} changes" if finding.considered > 1 else "1 change"
        text += f" ({many} of the window looked at)"
    parts = [f"{text}.", *_below(finding)]
    return Rendered(f"{NOBODY} that stands out", [b.context(" · ".join(parts))])


def _below(finding: ChangeFinding) -> list[str]:
    return [escape(shorten(words, 600)) for words in (finding.workload, finding.note) if words]


def _line(entry: dict[str, Any]) -> str:
    key, summary = str(entry["key"]), " ".join(str(entry["summary"]).split())
    name = escape(shorten(key, 100)) if entry["source"] == "jira" else escape(shorten(summary or key, 300))
    url = str(entry.get("url") or "")
    if re.fullmatch(r"https?://[^\s<>|]{1,2000}", url):
        name = f"<{url.replace('&', '&amp;')}|{name.replace('|', '/')}>"
    text = f"*{name}*"
    if entry["source"] == "jira":
        text += f" {escape(shorten(summary, 300))}"
    else:
        text += f" ({escape(shorten(_where(entry), 100))})"
    reasons = "; ".join(escape(shorten(str(r), 200)) for r in entry["reasons"])
    begun = entry.get("started")
    moment = f" {date(datetime.fromisoformat(str(begun)), '{date_short_pretty} {time}')}" if begun else ""
    return f"{text}{moment}\n{reasons}"


def _where(entry: dict[str, Any]) -> str:
    source = str(entry["source"])
    if source.startswith("host:"):
        return f"read on {source.removeprefix('host:')}"
    return f"{source} {entry['key']}"


def _kept(weighed: Weighed) -> dict[str, Any]:
    change = weighed.change
    return {
        "source": change.source,
        "key": change.key,
        "summary": shorten(change.summary, 400),
        "kind": change.kind,
        "url": change.url,
        "started": change.started.isoformat() if change.started else None,
        "ended": change.ended.isoformat() if change.ended else None,
        "reasons": list(weighed.reasons),
    }


def told(weighed: Weighed) -> str:
    """One line, plain text: `OPS-1182 kernel 6.1.0-31 to ring prod-2: started 14 min before; names nvme`."""
    change = weighed.change
    return f"{named(change)}: {'; '.join(weighed.reasons)}"


def named(change: Change) -> str:
    summary = " ".join(change.summary.split())
    if change.source == "jira":
        return f"{change.key} {shorten(summary, 120)}".strip()
    if change.source.startswith("host:"):
        return f"{shorten(summary, 160)} (read on {change.source.removeprefix('host:')})"
    return f"{shorten(summary, 160)} ({change.source} {shorten(change.key, 60)})"


def nothing_found(config: ChangesConfig, considered: int) -> str:
    """Plain text for the runbook and the timeline."""
    window = write_duration(config.look_back)
    if not considered:
        return f"{NOBODY}: none is known of the {window} before the first panic"
    many = f"{considered} changes" if considered > 1 else "1 change"
    return f"{NOBODY}: of the {window} before the first panic {many} are known, and none stands out"
