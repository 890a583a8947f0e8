"""What the bot knows before it looks: which crashes somebody told of, which hosts there are, who is at work where."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator
from itertools import pairwise

from sqlalchemy import select as sa_select
from sqlmodel import Session, col, select

from commands.sweep.found import SOURCE
from commands.sweep.look import Told
from integrations.kernel import Crash
from storage import Host, Panic, Report, RunbookRun, RunState, SweepRun
from storage.copies import UNDER_WAY, DumpCopy

_AT_WORK = (RunState.WAITING, RunState.RUNNING)
_MICROSECOND = 1.5e-6
_CHUNK = 500


def told_of(session: Session, hosts: Collection[str], run: SweepRun) -> dict[str, Told]:
    """What is known of each host's crashes: by the paths that reports and panics name, by `panicroom import`, and by
    earlier sweeps. A crash directory's name says when it was made, so a host does not use one twice."""
    names: defaultdict[str, set[str]] = defaultdict(set)
    ids: defaultdict[str, set[str]] = defaultdict(set)
    mine: defaultdict[str, set[str]] = defaultdict(set)
    body = col(Report.body)
    wanted = sorted(hosts)
    for start in range(0, len(wanted), _CHUNK):
        chunk = wanted[start : start + _CHUNK]
        rows = session.execute(
            sa_select(
                col(Report.id),
                col(Report.host),
                col(Report.source),
                col(Report.external_id),
                body["crash_dir"].as_string(),
                body[("dump", "path")].as_string(),
                body["directory"].as_string(),
            ).where(col(Report.host).in_(chunk))
        )
        for report_id, host, source, external_id, *paths in rows:
            heard = {name for path in paths for name in _names(path)}
            names[host] |= heard
            if source == SOURCE:
                ids[host].add(external_id)
            if (report_id or 0) > run.since_report and source in (SOURCE, "import"):
                mine[host] |= {external_id, *([paths[2]] if paths[2] else ())}
        for host, path in session.exec(
            select(Panic.host, Panic.dump_path).where(
                col(Panic.host).in_(chunk), col(Panic.dump_path).is_not(None)
            )
        ):
            names[host] |= set(_names(path))
    return {h: Told(frozenset(names[h]), frozenset(ids[h]), frozenset(mine[h])) for h in hosts}


def _names(path: str | None) -> Iterator[str]:
    """The parts of a path, and each two of them that follow each other (pstore's texts lie two deep)."""
    parts = [part for part in (path or "").split("/") if part]
    yield from parts
    yield from ("/".join(pair) for pair in pairwise(parts))


def has_panic(session: Session, host: str, crash: Crash) -> bool:
    """Whether a panic of the host is this very crash: the same signature at the same microsecond of printk."""
    if crash.uptime is None:
        return False
    query = select(Panic.id).where(
        Panic.host == host,
        Panic.signature_key == crash.signature.key[:300],
        col(Panic.uptime_seconds).between(crash.uptime - _MICROSECOND, crash.uptime + _MICROSECOND),
    )
    return session.exec(query.limit(1)).first() is not None


def heard_of(session: Session) -> list[str]:
    """The names of all hosts that ever panicked."""
    return list(session.exec(select(Host.name)))


def at_work(session: Session, host: str) -> str | None:
    """What is under way on a host for one of its panics (triage, evidence, copy); None when nothing is."""
    run = session.exec(
        select(RunbookRun.kind)
        .join(Panic, col(Panic.id) == RunbookRun.panic_id)
        .where(Panic.host == host, col(RunbookRun.state).in_(_AT_WORK))
        .limit(1)
    ).first()
    if run is not None:
        return run
    copy = session.exec(
        select(DumpCopy.id).where(DumpCopy.host == host, col(DumpCopy.state).in_(UNDER_WAY)).limit(1)
    ).first()
    return "copy" if copy is not None else None
