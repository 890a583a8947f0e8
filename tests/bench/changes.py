"""Which change did it, in a made-up year: `python -m tests.bench changes` (`python -m tests.bench.changes SEED`).

2,000 hosts, 50,000 stored changes, 200 incidents: 160 with a planted change, 40 without. The year is made by
tests/bench/changes_history.py, which knows nothing of the weighing; here it is stored, asked and scored. Printed are
how long it takes to have a panic's candidates (out of SQLite, with the picture of the incident) and to weigh them, how
often the planted change came first, and how often "no change found" was right.
"""

from __future__ import annotations

import gc
import sys
import tempfile
import time
from collections import Counter
from dataclasses import replace
from datetime import timedelta

from sqlmodel import Session, SQLModel

from commands.changes.candidates import read_stored
from commands.changes.config import ChangesConfig
from commands.changes.picture import Fleets, read_case
from commands.changes.records import touches
from commands.changes.weighing import weigh
from commands.inventory import Inventory
from storage import ChangeRecord, Database, Host, Incident, Panic
from tests.bench._figures import percentile
from tests.bench.changes_history import History, MadeIncident, make_history

SEEDS = (2026,)


def main() -> None:
    seeds = tuple(int(word) for word in sys.argv[1:]) or SEEDS
    for seed in seeds:
        began = time.perf_counter()
        history = make_history(seed)
        with tempfile.TemporaryDirectory() as folder:
            db = Database(f"sqlite:///{folder}/panicroom.db")
            store(db, history)
            print(
                f"seed {seed}: {len(history.changes)} changes, {len(history.machines)} hosts, "
                f"{len(history.incidents)} incidents made and stored in {time.perf_counter() - began:.0f} s"
            )
            score(db, history)
            db.close()


def store(db: Database, history: History) -> None:
    """All hosts and changes; an incident's panics are stored when its turn comes."""
    SQLModel.metadata.create_all(db.engine)

    def write(session: Session) -> None:
        session.bulk_save_objects(
            [Host(name=m.name, ring=m.ring, hardware=m.hardware, in_inventory=True) for m in history.machines]
        )
        records = [
            ChangeRecord(
                id=number,
                source="deploys",
                key=c.key,
                kind=c.kind,
                summary=c.summary,
                text=c.text,
                started=c.started,
                ended=c.ended,
                scope={
                    name: list(value) if isinstance(value, tuple) else value
                    for name in ("hosts", "rings", "hardware", "services", "everywhere")
                    if (value := getattr(c, name))
                },
            )
            for number, c in enumerate(history.changes, 1)
        ]
        rows = [touch for record in records for touch in touches(record)]
        session.bulk_save_objects(records)
        session.bulk_save_objects(rows)

    db.write_now(write)


def score(db: Database, history: History) -> None:
    fleets = Fleets(
        Inventory(
            tuple(_entry(m.name, m.ring, m.hardware, m.service) for m in history.machines), closed=False
        )
    )
    gc.freeze()  # the year itself is no part of what a bot holds
    look_back = ChangesConfig().look_back
    gathering: list[float] = []
    weighing: list[float] = []
    right, total, misses = Counter[str](), Counter[str](), Counter[str]()
    for number, incident in enumerate(history.incidents):
        panic = _store_incident(db, incident, number)
        began = time.perf_counter()
        case, (changes, considered, _fed) = db.read_now(
            lambda s, p=panic: (
                (c := read_case(s, fleets, p)),
                read_stored(s, c, c.picture.first_at - look_back),
            )
        )
        gathered = time.perf_counter()
        found = weigh(changes, replace(case.picture, considered=considered))
        gathering.append(gathered - began)
        weighing.append(time.perf_counter() - gathered)
        sort = "planted" if incident.cause else "none"
        total[sort] += 1
        total[f"{sort}: {incident.sort}"] += 1
        first = found[0].change.key if found else None
        if first == incident.cause:
            right[sort] += 1
            right[f"{sort}: {incident.sort}"] += 1
        elif incident.cause:
            misses[_missed(incident.cause, [w.change.key for w in found])] += 1
    print(
        f"candidates: p50 {percentile(gathering, 50) * 1e3:.1f} ms, p99 {percentile(gathering, 99) * 1e3:.1f} ms; "
        f"weighing: p50 {percentile(weighing, 50) * 1e3:.1f} ms, p99 {percentile(weighing, 99) * 1e3:.1f} ms"
    )
    print(f"planted change first: {_ratio(right, total, 'planted')}; of the others: {dict(misses)}")
    print(f'"no change found" where there was none: {_ratio(right, total, "none")}')
    for sort in sorted(total):
        if ":" in sort:
            print(f"  {sort}: {_ratio(right, total, sort)}")


def _entry(name: str, ring: str, hardware: str, service: str) -> object:
    from commands.inventory import HostEntry

    return HostEntry(name=name, ring=ring, hardware=hardware, service=service)


def _store_incident(db: Database, made: MadeIncident, number: int) -> Panic:
    """Its panics as intake would have stored them; the first one is what is asked about."""

    def write(session: Session) -> Panic:
        signature = f"bench|{number}"
        incident = Incident(signature_key=signature, title="made up", channel="C0")
        session.add(incident)
        session.flush()
        rows = [
            Panic(
                host=p.host,
                occurred_at=p.at,
                reported_at=p.at + timedelta(minutes=4),
                boot_started_at=p.booted,
                kernel=p.kernel,
                module=p.module,
                function=p.function,
                frames=[p.function],
                kind=p.kind,
                title="made up",
                signature_key=signature,
                incident_id=incident.id,
            )
            for p in made.panics
        ]
        session.add_all(rows)
        session.flush()
        return rows[0]

    return db.write_now(write)


def _missed(cause: str, found: list[str]) -> str:
    if not found:
        return "nothing was found"
    return "it was second or third" if cause in found[:3] else "others were found"


def _ratio(right: Counter[str], total: Counter[str], sort: str) -> str:
    return f"{right[sort]} of {total[sort]} ({100 * right[sort] / max(1, total[sort]):.0f} %)"


if __name__ == "__main__":
    main()
