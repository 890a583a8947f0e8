"""The questions of the scale bench once more, in the plainest SQL, for `sqlite3` and psycopg: no ORM, no roll-ups.

What comes back has the form of the application's answers, so that the bench can hold one against the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

# A filter as it is typed, and what it means in SQL; {words} is the database's own full-text condition.
ATOMS: dict[str, str] = {
    "host:web-17": "host LIKE 'web-17%'",
    "host:web-*": "host LIKE 'web-%'",
    "host:*77": "host LIKE '%77'",
    "host:none-*": "host LIKE 'none-%'",
    "host:={host}": "host = '{host}'",
    "kernel:6.1.0-31": "kernel LIKE '6.1.0-31%'",
    "kernel:6.1.0-12": "kernel LIKE '6.1.0-12%'",
    "kernel:6.1.0-20..6.1.0-24": "kernel >= '6.1.0-20' AND kernel < '6.1.0-25'",
    "kernel:5.10.*": "kernel LIKE '5.10.%'",
    "kind:mce": "kind = 'mce'",
    "kind:hung_task": "kind = 'hung_task'",
    "ring:canary": "ring = 'canary'",
    "ring:prod-3": "ring = 'prod-3'",
    "hw:QEMU": "hardware LIKE '%QEMU%'",
    "hw:R640": "hardware LIKE '%R640%'",
    "sig:P-{rare}": "signature_key = (SELECT signature_key FROM panic WHERE id = {rare})",
    "sig:P-{common}": "signature_key = (SELECT signature_key FROM panic WHERE id = {common})",
    "state:active": "incident_id IN (SELECT id FROM incident WHERE state IN ('open', 'acknowledged'))",
    "state:resolved": "incident_id IN (SELECT id FROM incident WHERE state = 'resolved')",
    "has:dump": "dump_state IN ('incomplete', 'unverified', 'complete')",
    "since:24h": "occurred_at >= '2026-11-22 00:00:00.000000'",
    "since:30d": "occurred_at >= '2026-10-24 00:00:00.000000'",
    "since:365d": "occurred_at >= '2025-11-23 00:00:00.000000'",
    "until:2024-06-01": "occurred_at < '2024-06-02 00:00:00.000000'",
    "nvme": "words:nvme",
    "xfs": "words:xfs",
    "{function}": "words:{function}",
    "change:OPS-{change}": (
        "incident_id IN (SELECT f.incident_id FROM change_finding f, {each} j WHERE {key} = 'OPS-{change}')"
    ),
}
_ORDER = {
    "sort:newest": "occurred_at DESC, id DESC",
    "sort:oldest": "occurred_at, id",
    "sort:host": "host, occurred_at, id",
    # The loader's 6.1.0-9 and 6.1.0-10 need the number; a hand would write it for the one form it knows.
    "sort:kernel": "CASE WHEN kernel LIKE '6.%' THEN 1 ELSE 0 END DESC, length(kernel) DESC, kernel DESC, "
    "occurred_at DESC, id DESC",
}
_JSON = {
    "sqlite": ("json_each(f.likely)", "json_extract(j.value, '$.key')"),
    "postgresql": ("json_array_elements(f.likely)", "(j.value ->> 'key')"),
}
_PANIC = (
    "id, host, occurred_at, kernel, kind, title, signature_key, ring, hardware, deliberate, dump_state, dump_size, "
    "incident_id"
)
_COLUMN = {"signature": "signature_key"}


@dataclass(frozen=True)
class Plain:
    """A connection of the driver itself."""

    raw: Any
    dialect: str
    names: dict[str, Any]  # what the braces in ATOMS stand for

    def ask(self, statement: str) -> list[Any]:
        """All rows, without parameters: the values stand in the statement."""
        cursor = self.raw.cursor()
        cursor.execute(statement)
        rows = cursor.fetchall()
        cursor.close()
        return list(rows)

    def where(self, atoms: Sequence[str]) -> str:
        made = []
        for atom in atoms:
            if atom.startswith("sort:"):
                continue
            each, key = _JSON[self.dialect]
            meant = ATOMS[atom].format(each=each, key=key, **self.names)
            made.append(self._words(meant.removeprefix("words:")) if meant.startswith("words:") else meant)
        return " AND ".join(made) or "1 = 1"

    def _words(self, word: str) -> str:
        pieces = word.split("_")
        if self.dialect == "sqlite":
            phrase = '"' + " ".join(pieces) + '" *'
            return f"id IN (SELECT rowid FROM panic_words WHERE panic_words MATCH '{phrase}')"
        from storage.wordindex import _VECTOR

        query = " <-> ".join([*(f"''{p}''" for p in pieces[:-1]), f"''{pieces[-1]}'':*"])
        return f"{_VECTOR} @@ to_tsquery('simple'::regconfig, '{query}')"

    def page(self, atoms: Sequence[str], limit: int) -> list[int]:
        """The ids of the first page; the rows and their incidents are read, too."""
        order = next((_ORDER[a] for a in atoms if a.startswith("sort:")), _ORDER["sort:newest"])
        rows = self.ask(
            f"SELECT {_PANIC} FROM panic WHERE {self.where(atoms)} ORDER BY {order} LIMIT {limit}"
        )
        incidents = ", ".join({str(row[12]) for row in rows if row[12] is not None})
        if incidents:
            self.ask(f"SELECT id, state FROM incident WHERE id IN ({incidents})")
        return [row[0] for row in rows]

    def count(self, atoms: Sequence[str], most: int) -> int:
        """At most one more than `most`."""
        some = f"SELECT 1 FROM panic WHERE {self.where(atoms)} LIMIT {most + 1}"
        return int(self.ask(f"SELECT count(*) FROM ({some}) AS counted")[0][0])

    def top(self, cut: str, since: str | None, limit: int = 10) -> list[tuple[str, int, int]]:
        column = _COLUMN.get(cut, cut)
        when = f"AND occurred_at >= '{since} 00:00:00.000000'" if since else ""
        rows = self.ask(
            f"SELECT {column}, count(*), count(DISTINCT host) FROM panic WHERE NOT deliberate {when} "
            f"GROUP BY {column} ORDER BY 2 DESC, 1 LIMIT {limit}"
        )
        return [(row[0], row[1], row[2]) for row in rows]

    def trend(self, atoms: Sequence[str], cut: str) -> list[tuple[str, str, int]]:
        """(day, value, panics)"""
        column = _COLUMN.get(cut, cut)
        day = (
            "substr(occurred_at, 1, 10)"
            if self.dialect == "sqlite"
            else "to_char(occurred_at AT TIME ZONE 'UTC', 'YYYY-MM-DD')"
        )
        rows = self.ask(
            f"SELECT {day}, {column}, count(*) FROM panic WHERE NOT deliberate AND {self.where(atoms)} GROUP BY 1, 2"
        )
        return [(row[0], row[1], row[2]) for row in rows]

    def show(self, panic_id: int) -> dict[str, Any]:
        """The panic, what hangs on it and its past: the facts that `show` tells, one question each."""
        panic = self.ask(f"SELECT * FROM panic WHERE id = {panic_id}")
        incident = f"(SELECT incident_id FROM panic WHERE id = {panic_id})"
        for table, where in (
            ("incident", f"id = {incident}"), ("timeline_entry", f"incident_id = {incident}"),
            ("correction", f"incident_id = {incident}"), ("runbook_run", f"panic_id = {panic_id}"),
            ("report", f"panic_id = {panic_id}"), ("artefact", f"panic_id = {panic_id}"),
            ("change_link", f"panic_id = {panic_id}"),
        ):  # fmt: skip
            self.ask(f"SELECT * FROM {table} WHERE {where}")
        others = self.ask(f"SELECT count(*) - 1 FROM panic WHERE incident_id = {incident}")
        return {"id": panic[0][0], "others": others[0][0], **self.recurrence(panic_id)}

    def recurrence(self, panic_id: int) -> dict[str, Any]:
        """The figures of the line about a panic's past."""
        host, at, signature, ring, hardware = self.ask(
            f"SELECT host, occurred_at, signature_key, ring, hardware FROM panic WHERE id = {panic_id}"
        )[0]
        same = f"FROM panic WHERE signature_key = '{signature}'"
        upto = f"(occurred_at < '{at}' OR (occurred_at = '{at}' AND id <= {panic_id}))"
        on_host = self.ask(f"SELECT count(*) FROM panic WHERE host = '{host}' AND {upto}")[0][0]
        total, hosts, before = self.ask(
            f"SELECT count(*), count(DISTINCT host), count(*) FILTER (WHERE {upto}) {same}"
        )[0]
        kernels = {k: n for k, n in self.ask(f"SELECT kernel, count(*) {same} GROUP BY kernel") if k}
        rings = dict(self.ask(f"SELECT ring, count(*) {same} GROUP BY ring"))
        machines = dict(self.ask(f"SELECT hardware, count(*) {same} GROUP BY hardware"))
        similar = self.ask(
            f"SELECT id {same} AND id <> {panic_id} ORDER BY occurred_at DESC, id DESC LIMIT 3"
        )
        return {
            "host_ordinal": on_host, "signature_ordinal": before, "signature_total": total, "signature_hosts": hosts,
            "by_kernel": kernels, "same_ring": rings[ring], "same_hardware": machines[hardware],
            "similar": tuple(row[0] for row in similar),
        }  # fmt: skip
