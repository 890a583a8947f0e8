"""A made-up memory of years: panics by the million, their hosts, signatures and incidents, loaded in bulk.

Crashes are not spread evenly: few signatures make most of the panics, a fresh kernel brings its own, and bugs come in
bursts. Texts are short here; how long they are changes the database's size and nothing that is asked of it.
"""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Table
from sqlmodel import SQLModel

import storage  # noqa: F401 - its tables
from storage import derived

BEGAN = datetime(2023, 11, 24, tzinfo=UTC)
DAYS = 1095
HOSTS, SIGNATURES = 20_000, 5_000
RINGS = ("canary", "staging", "lab", *(f"prod-{n}" for n in range(1, 9)))
_RING_WEIGHTS = (1, 3, 2, *(12,) * 8)
HARDWARE = ("Dell Inc. PowerEdge R640", "Dell Inc. PowerEdge R740xd", "HPE ProLiant DL380 Gen10",
            "Supermicro SYS-1029P", "Lenovo ThinkSystem SR650", "Dell Inc. PowerEdge R7525", "QEMU Standard PC (Q35)")  # fmt: skip  # noqa: E501
KINDS = ("null_deref", "page_fault", "soft_lockup", "hung_task", "mce", "kernel_bug", "hard_lockup", "panic")
DRIVERS = ("ixgbe", "i40e", "mlx5_core", "nvme", "megaraid_sas", "bnxt_en", "xfs", "ext4", "nfsd", "kvm")
_WORDS = (
    "poll",
    "irq",
    "xmit",
    "alloc",
    "free",
    "read",
    "write",
    "flush",
    "probe",
    "timeout",
    "dispatch",
    "complete",
)
_BATCH = 5_000


def load(connection: Connection, panics: int, *, seed: int = 1) -> None:
    """Fills a database that has the schema and is empty. `connection` is in a transaction that the caller commits."""
    dice = random.Random(seed)
    derived.suspend(connection)
    fleet = _fleet(dice)
    bugs = _bugs(dice)
    _put(connection, "host", _hosts(fleet))
    _put(connection, "signature", _signatures(bugs))
    incidents: list[dict[str, Any]] = []
    rows = _panics(dice, panics, fleet, bugs, incidents)
    # Into a table without indexes, which are made at once after it: by row it takes several times as long.
    indexes = [i for name in ("panic", "incident") for i in SQLModel.metadata.tables[name].indexes]
    for index in indexes:
        index.drop(connection)
    if connection.dialect.name != "sqlite":
        connection.exec_driver_sql("ALTER TABLE panic DISABLE TRIGGER ALL")
    for batch in _batches(rows):
        new = [i for i in incidents if not i.pop("stored", False)]
        _put(connection, "incident", new)
        for incident in incidents:
            incident["stored"] = True
        incidents.clear()
        _put(connection, "panic", batch)
    if connection.dialect.name != "sqlite":
        connection.exec_driver_sql("ALTER TABLE panic ENABLE TRIGGER ALL")
        for name in ("panic", "incident"):
            connection.exec_driver_sql(f"SELECT setval('{name}_id_seq', (SELECT max(id) FROM {name}))")
    for index in indexes:
        index.create(connection)
    _put(connection, "change_finding", _findings(dice, panics))
    _put(connection, "change_record", _changes(dice))
    derived.install(connection)
    derived.rebuild(connection)
    connection.exec_driver_sql("ANALYZE")


def _fleet(dice: random.Random) -> list[tuple[str, str, str]]:
    """(name, ring, hardware)"""
    services = ("web", "api", "db", "cache", "queue", "store", "search", "batch", "edge", "auth")
    return [
        (f"{dice.choice(services)}-{n}", dice.choices(RINGS, _RING_WEIGHTS)[0],
         dice.choices(HARDWARE, (35, 20, 20, 10, 9, 5, 1))[0])
        for n in range(HOSTS)
    ]  # fmt: skip


def _bugs(dice: random.Random) -> list[tuple[str, str, str, list[str]]]:
    """(signature, kind, title, frames), the most frequent first."""
    made = []
    for n in range(SIGNATURES):
        driver, kind = dice.choice(DRIVERS), dice.choice(KINDS)
        function = f"{driver}_{dice.choice(_WORDS)}_{dice.choice(_WORDS)}_{n}"
        frames = [function, *(f"{dice.choice(DRIVERS)}_{dice.choice(_WORDS)}" for _ in range(9))]
        made.append((f"{kind}|{function}|{driver}", kind, f"{kind.replace('_', ' ')} in {function}", frames))
    return made


def _panics(
    dice: random.Random,
    count: int,
    fleet: Sequence[tuple[str, str, str]],
    bugs: Sequence[tuple[str, str, str, list[str]]],
    incidents: list[dict[str, Any]],
) -> Iterator[dict[str, Any]]:
    """In the order of time, in bursts of one bug."""
    weights = list(itertools.accumulate(1 / (rank + 8) for rank in range(len(bugs))))
    at, step, number, incident_id = BEGAN, timedelta(days=DAYS) / max(count, 1), 0, 0
    while number < count:
        bug = bugs[dice.choices(range(len(bugs)), cum_weights=weights)[0]]
        incident_id += 1
        burst = min(count - number, 1 + int(dice.expovariate(1 / 5)))
        state = "resolved" if number < count * 0.999 else dice.choice(["open", "acknowledged", "resolved"])
        incidents.append(_incident(incident_id, bug, at, state))
        for _ in range(burst):
            number += 1
            at += step * dice.uniform(0, 2)
            yield _panic(dice, number, at, dice.choice(fleet), bug, incident_id)


def _panic(
    dice: random.Random,
    number: int,
    at: datetime,
    host: tuple[str, str, str],
    bug: tuple[str, str, str, list[str]],
    incident_id: int,
) -> dict[str, Any]:
    signature, kind, title, frames = bug
    age = (at - BEGAN).days // 40
    kernel = (
        f"6.1.0-{max(1, 5 + age - dice.choice((0, 0, 1, 2)))}-amd64"
        if dice.random() < 0.92
        else "5.10.0-28-amd64"
    )
    lines = f"BUG: {title}\nRIP: 0010:{frames[0]}+0x1a/0x90\n" + "\n".join(f" {f}+0x12/0x40" for f in frames)
    dump = dice.choices(("complete", "none", "incomplete", "unknown"), (60, 25, 5, 10))[0]
    return {
        "id": number, "host": host[0], "ring": host[1], "hardware": host[2], "criticality": "normal",
        "boot_id": f"{number:032x}", "occurred_at": at, "reported_at": at, "kernel": kernel, "arch": "x86_64",
        "uptime_seconds": 86400.0, "kind": kind, "title": title, "signature_key": signature, "function": frames[0],
        "frames": json.dumps(frames), "taint": "[]", "deliberate": number % 997 == 0, "head_lost": False,
        "dump_state": dump, "silenced": False, "reclassified": False, "incident_id": incident_id,
        "crash_lines": lines, "text": lines,
    }  # fmt: skip


def _incident(number: int, bug: tuple[str, str, str, list[str]], at: datetime, state: str) -> dict[str, Any]:
    return {"id": number, "signature_key": bug[0], "title": bug[2], "wave": False, "channel": "C0INCIDENTS",
            "severity": "normal", "state": state, "silenced": False, "opened_at": at, "last_panic_at": at}  # fmt: skip


def _hosts(fleet: Sequence[tuple[str, str, str]]) -> Iterator[dict[str, Any]]:
    for name, ring, hardware in fleet:
        yield {"name": name, "ring": ring, "hardware": hardware, "criticality": "normal", "in_inventory": True,
               "first_seen": BEGAN}  # fmt: skip


def _signatures(bugs: Sequence[tuple[str, str, str, list[str]]]) -> Iterator[dict[str, Any]]:
    for key, kind, title, _frames in bugs:
        yield {"key": key, "kind": kind, "title": title, "first_seen": BEGAN, "last_seen": BEGAN}


def _findings(dice: random.Random, panics: int) -> Iterator[dict[str, Any]]:
    """For the first tenth of the incidents."""
    for number in range(1, panics // 100):
        likely = json.dumps([{"key": f"OPS-{dice.randrange(1, 5000)}", "summary": "rollout", "reasons": []}])
        yield {"incident_id": number, "panic_id": number, "at": BEGAN, "considered": 1, "likely": likely,
               "workload": "", "note": ""}  # fmt: skip


def _changes(dice: random.Random) -> Iterator[dict[str, Any]]:
    for number in range(400):
        at = BEGAN + timedelta(days=dice.uniform(0, DAYS))
        yield {"source": "feed", "key": f"OPS-{number}", "kind": dice.choice(["kernel", "driver", "configuration"]),
               "status": "done", "started": at, "first_told": at, "last_told": at, "url": "", "scope": "{}",
               "summary": "rollout", "text": ""}  # fmt: skip


def _batches(rows: Iterator[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    while batch := list(itertools.islice(rows, _BATCH)):
        yield batch


def _put(connection: Connection, name: str, rows: Iterator[dict[str, Any]] | list[dict[str, Any]]) -> None:
    """Past the ORM: `executemany` in SQLite, COPY in PostgreSQL. Columns that a model fills get what it would."""
    made = iter(rows)
    first = next(made, None)
    if first is None:
        return
    first = _defaults(SQLModel.metadata.tables[name]) | first
    columns = list(first)
    known = _defaults(SQLModel.metadata.tables[name])
    values = (tuple((known | row)[c] for c in columns) for row in itertools.chain([first], made))
    raw: Any = connection.connection.driver_connection
    names = ", ".join(columns)
    if connection.dialect.name == "sqlite":
        marks = ", ".join("?" * len(columns))
        raw.executemany(
            f"INSERT INTO {name} ({names}) VALUES ({marks})",
            (tuple(_plain(v) for v in row) for row in values),
        )
        return
    with raw.cursor().copy(f"COPY {name} ({names}) FROM STDIN") as copy:
        for row in values:
            copy.write_row(row)


def _defaults(table: Table) -> dict[str, Any]:
    """What the model puts into columns that may not be null."""
    return {
        c.name: {"JSON": "{}", "INTEGER": 0, "BOOLEAN": False}.get(str(c.type), "")
        for c in table.columns
        if not c.nullable and not c.primary_key and "DATETIME" not in str(c.type).upper()
    }


def _plain(value: Any) -> Any:
    return value.replace(tzinfo=None).isoformat(" ", "microseconds") if isinstance(value, datetime) else value
