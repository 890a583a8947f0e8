"""A sweep as its reader sees it: how far it is, what it found, what it could not look at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlmodel import Session, col, select

from commands.fitting import linked
from commands.incident.rendering import Rendered, renderer
from commands.incident.wording import redacted
from commands.sweep import ledger
from integrations.slack import blocks as b
from integrations.slack.text import code, date, escape, sections, shorten, user
from storage import Panic, Report, ReportState, SweepRun, SweepState, panic_ref, report_ref
from storage.queries import threads_of

RENDERER = "sweep"
_NAMED = 12  # of a list in one line
_FOUND = 20
_BY_CLOCK = "panicroom"


def message_key(run_id: int) -> str:
    return f"sweep:{run_id}"


@renderer(RENDERER)
def draw_sweep(session: Session, run_id: int) -> Rendered | None:
    run = session.get(SweepRun, run_id)
    if run is None:
        return None
    result = ledger.tally(session, run)
    head = head_line(run, result)
    lines = [*_found(session, result), *_rest(result)]
    made = [b.section(head), *(b.section(text) for text in sections(lines))]
    return Rendered(head.replace("*", ""), b.within_limit(made, "There is more than one message holds."))


def head_line(run: SweepRun, result: Mapping[str, Any]) -> str:
    """`Sweep S-4 done: 14 of 16 hosts and 1 directory looked at, 1 dump that nobody had told of`."""
    by = "by the clock" if run.asked_by == _BY_CLOCK else f"for {user(run.asked_by)}"
    places = result.get("places", {})
    hosts, directories = places.get(ledger.HOST, {}), places.get(ledger.DIRECTORY, {})
    swept = [_of(hosts, "host")] if hosts else []
    swept += [_of(directories, "central directory", "central directories")] if directories else []
    new = sum(not f["history"] for f in result.get("found", ()))
    told = f"{' and '.join(swept) or 'nothing'} looked at, {_count(new, 'dump')} that nobody had told of"
    if run.state is SweepState.RUNNING:
        return f":hourglass_flowing_sand: *Sweep* {by} is under way: {told} so far"
    if run.state is SweepState.CUT:
        return f":warning: *Sweep* {by} was cut short ({escape(run.note)}): {told}"
    icon = ":mag:" if new else ":white_check_mark:"
    took = f" in {_span((run.finished_at - run.asked_at).total_seconds())}" if run.finished_at else ""
    return f"{icon} *Sweep* {by} done{took}, {date(run.asked_at)}: {told}"


def _found(session: Session, result: Mapping[str, Any]) -> list[str]:
    found: Sequence[Mapping[str, Any]] = result.get("found", ())
    ids = [int(entry["report"]) for entry in found]
    rows = {
        row[0]: row[1:]
        for row in session.exec(
            select(Report.id, Report.panic_id, Report.state).where(col(Report.id).in_(ids))
        )
    }
    panics = sorted({row[0] for row in rows.values() if row[0] is not None})
    titles: dict[int | None, str] = dict(
        session.exec(select(Panic.id, Panic.title).where(col(Panic.id).in_(panics))).all()
    )
    threads = threads_of(session, panics)
    lines: list[str] = []
    for entry in [e for e in found if not e["history"]][:_FOUND]:
        panic_id, state = rows.get(int(entry["report"]), (None, None))
        where = f"{code(entry['host'])} {code(redacted(entry['name'], entry['host']))}"
        if entry["kind"] == ledger.DIRECTORY:
            where += f" in {code(entry['at'])}: kdump writes it there, none is missing on the host"
        if panic_id is not None:
            ref = linked(panic_ref(panic_id), threads.get(panic_id))
            lines.append(f":package: {ref} {escape(shorten(titles.get(panic_id, ''), 120))} · {where}")
        elif state is ReportState.PARKED:
            lines.append(f":warning: {report_ref(entry['report'])} could not be read · {where}")
        else:
            lines.append(f":package: {where} · being read")
    new = sum(not e["history"] for e in found)
    lines += [f"… and {new - _FOUND} more"] if new > _FOUND else []
    old = [rows.get(int(e["report"]), (None, None))[0] for e in found if e["history"]]
    if old:
        refs = [panic_ref(i) for i in old[:_NAMED] if i is not None]
        more = f" and {len(old) - len(refs)} more" if len(old) > len(refs) else ""
        lines.append(
            f":file_cabinet: {_count(len(old), 'older crash', 'older crashes')} kept as history, without a thread and "
            f"without waking anybody: {', '.join(refs)}{more}"
        )
    return lines


def _rest(result: Mapping[str, Any]) -> list[str]:
    lines: list[str] = []
    counts = [
        _count(int(result.get("known", 0)), "known dump") if result.get("known") else "",
        _count(int(result.get("tests", 0)), "test of kdump", "tests of kdump") if result.get("tests") else "",
    ]
    if any(counts):
        lines.append("• " + ", ".join(filter(None, counts)) + ": passed over")
    totals = result.get("totals", {})
    for key, words in (
        ("in_progress", "may still be written, left for the next sweep"),
        ("unread", "could not be read, left for the next sweep"),
        ("empty", "empty, nothing was saved there"),
    ):
        entries = result.get(key, ())
        if entries:
            named = ", ".join(
                f"{code(place)} {code(shorten(redacted(name, place), 120))}"
                for place, name in entries[:_NAMED]
            )
            lines.append(
                f"• {totals.get(key, len(entries))} {words}: {named}{_more(entries, totals.get(key))}"
            )
    if result.get("later"):
        lines.append(f"• {result['later']} more than one look reads: the next sweep goes on")
    for state, words in (
        ("unreachable", "not reached"),
        ("refused", "refused"),
        ("failed", "could not be read"),
    ):
        missed = [m for m in result.get("missed", ()) if m[1] == state]
        if missed:
            named = "; ".join(
                f"{code(name)}: {escape(shorten(redacted(note, name), 160))}" for name, _, note in missed[:5]
            )
            total = sum(int(kind.get(state, 0)) for kind in result.get("places", {}).values())
            lines.append(f"• {total} {words}: {named}" + (f"; and {total - 5} more" if total > 5 else ""))
    left = sum(int(kind.get("left", 0)) for kind in result.get("places", {}).values())
    if left:
        lines.append(f"• {_count(left, 'host')} left alone: somebody is at work there")
    for place, called, why, count in result.get("unplaced", ())[:_NAMED]:
        lines.append(
            f":question: {_count(int(count), 'dump')} of {code(called)} in {code(place)}: {escape(why)}. "
            "`address` or `name` of a `[[hosts]]` entry says whose it is."
        )
    for name, note in result.get("remarks", ())[:3]:
        lines.append(f"• {code(name)}: {escape(redacted(note, name))}")
    return lines


def _more(entries: Sequence[Any], total: int | None) -> str:
    left = (total or len(entries)) - min(len(entries), _NAMED)
    return f" and {left} more" if left > 0 else ""


def _of(counts: Mapping[str, int], one: str, many: str = "") -> str:
    total = sum(counts.values())
    return f"{counts.get('swept', 0)} of {_count(total, one, many)}"


def _count(count: int, one: str, many: str = "") -> str:
    return f"{count} {one if count == 1 else many or one + 's'}"


def _span(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
