"""What `panicroom doctor` says of the replicas: who leads, and how many there are."""

from __future__ import annotations

from sqlalchemy import inspect
from sqlalchemy.exc import SQLAlchemyError

from bot.machine import Finding
from bot.settings import Settings
from bot.version import VERSION
from storage.database import make_engine
from storage.lease import is_replicated, replicas_there, standing


def replicas_findings(settings: Settings) -> list[Finding]:
    """Nothing on SQLite, and nothing of a database without tables; that it does not answer is told elsewhere."""
    if not is_replicated(settings.database.url):
        return []
    engine = make_engine(settings.database.url)
    try:
        with engine.connect() as connection:
            if not inspect(connection).has_table("lease"):
                return []
            lease, there = standing(connection), replicas_there(connection)
    except SQLAlchemyError as error:
        return [Finding("replicas", "fail", str(error).splitlines()[0][:300], "Check database.url.")]
    finally:
        engine.dispose()
    if lease is None:
        return [Finding("replicas", "ok", "no bot has led yet: the first one that starts does")]
    if lease.left <= 0:
        return [
            Finding(
                "replicas",
                "warn",
                f"nobody leads since {-lease.left:.0f} s; {lease.called} was the last (epoch {lease.epoch}). "
                f"Connected: {len(there)}",
                "Start `panicroom run`. One that runs takes over within seconds: its log says why it does not.",
            )
        ]
    others = len(there - {lease.holder})
    return [
        Finding(
            "replicas",
            "ok",
            f"{lease.called} leads (epoch {lease.epoch}, since {lease.taken_at:%Y-%m-%d %H:%M:%S} UTC, version "
            f"{lease.version}; this is {VERSION}), {others} other{'' if others == 1 else 's'} ready to follow it",
        )
    ]
