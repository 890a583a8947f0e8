"""Step "Seen before": the same host, ring, hardware, signature, from the bot's own memory."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import func
from sqlmodel import Session, col, select

from commands.hosts.desk import StepFinding
from commands.triage.identity import worst
from storage import Panic, panic_ref

_UNKNOWN = "unknown"


def look_back(session: Session, panic: Panic, window: timedelta) -> StepFinding:
    """Counts of earlier panics. A panic of unknown cause is like no other, and a deliberate one is no sign."""
    before = (col(Panic.id) != panic.id, col(Panic.occurred_at) <= panic.occurred_at)
    since = col(Panic.occurred_at) >= panic.occurred_at - window
    days = f"{window.total_seconds() / 86400:.0f} d"

    def count(*conditions: object) -> int:
        query = select(func.count()).select_from(Panic).where(*before, *conditions)  # type: ignore[arg-type]
        return int(session.exec(query).one())

    lines: list[tuple[str, str]] = []
    on_host = count(col(Panic.host) == panic.host, since)
    ever = count(col(Panic.host) == panic.host)
    told = (
        f"this host: {_times(on_host)} seen in {days} before, {ever} in all"
        if ever
        else "this host: never before"
    )
    lines.append(("warn" if on_host else "ok", told + (f" ({_refs(session, panic)})" if ever else "")))
    signature = 0
    if panic.signature_key.startswith(_UNKNOWN):
        lines.append(("skipped", "signature: not compared, the cause is unknown"))
    else:
        same = col(Panic.signature_key) == panic.signature_key
        signature = count(same)
        hosts = session.exec(select(func.count(func.distinct(Panic.host))).where(*before, same)).one()
        kernels = list(
            session.exec(select(Panic.kernel).where(*before, same, col(Panic.kernel).is_not(None)).distinct())
        )
        told = f"signature {panic.signature_key}: {_times(signature)} seen before"
        if signature:
            told += f" on {hosts} host{'s' if hosts != 1 else ''}"
        if kernels:
            told += f", kernels {', '.join(sorted(str(k) for k in kernels)[:4])}"
            if panic.kernel and panic.kernel not in kernels:
                told += f"; new on {panic.kernel}"
        lines.append(("warn" if signature and not panic.deliberate else "ok", told))
    for word, column, value in (
        ("ring", Panic.ring, panic.ring),
        ("hardware", Panic.hardware, panic.hardware),
        ("kernel", Panic.kernel, panic.kernel),
    ):
        if not value:
            lines.append(("skipped", f"{word}: unknown"))
            continue
        total = count(col(column) == value, since)
        lines.append(("ok", f"{word} {value}: {_times(total)} seen in {days} before"))
    if panic.deliberate:
        lines.append(("ok", "this one was made on purpose, by its own text"))
    facts = {"host_before": ever, "signature_before": signature}
    return StepFinding(worst(lines), tuple(lines), facts)


def _times(count: int) -> str:
    return {0: "not", 1: "once"}.get(count, f"{count} times")


def _refs(session: Session, panic: Panic) -> str:
    query = (
        select(Panic.id)
        .where(
            Panic.host == panic.host, col(Panic.id) != panic.id, col(Panic.occurred_at) <= panic.occurred_at
        )
        .order_by(col(Panic.occurred_at).desc())
        .limit(4)
    )
    return ", ".join(panic_ref(i) for i in session.exec(query))
