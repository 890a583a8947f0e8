"""Likely changes by their key: which incidents have OPS-1182 among the changes that were found for them.

`change_finding.likely` is a list in one row an incident; triggers keep its keys in a table with an index.
"""

from __future__ import annotations

from sqlalchemy import Column, Connection, Index, Integer, String, Table

from storage.rollups import DERIVED

change_suspect = Table(
    "change_suspect",
    DERIVED,
    Column("incident_id", Integer, primary_key=True),
    Column("key", String, primary_key=True),  # in lower case
    Index("ix_change_suspect_key", "key", "incident_id"),
    sqlite_with_rowid=False,
)
_TRIGGERS = ("change_suspect_insert", "change_suspect_delete", "change_suspect_update")
_EVENTS = ("INSERT", "DELETE", "UPDATE OF incident_id, likely")
_TAKE = "DELETE FROM change_suspect WHERE incident_id = OLD.incident_id;"
_KEY = {"sqlite": "json_extract(j.value, '$.key')", "postgresql": "j.value ->> 'key'"}
_EACH = {"sqlite": "json_each", "postgresql": "json_array_elements"}


def _keys(dialect: str, row: str, likely: str) -> str:
    return f"lower({_KEY[dialect]}) FROM {row}{_EACH[dialect]}({likely}) j"


def _add(connection: Connection) -> str:
    keys = _keys(connection.dialect.name, "", "NEW.likely")
    return (
        f"INSERT INTO change_suspect (incident_id, key) SELECT NEW.incident_id, {keys} "
        f"WHERE {_KEY[connection.dialect.name]} IS NOT NULL ON CONFLICT DO NOTHING;"
    )


def install(connection: Connection) -> None:
    """Makes what is missing; what is there stays."""
    DERIVED.create_all(connection, tables=[change_suspect])
    add = _add(connection)
    if connection.dialect.name == "sqlite":
        for name, event, body in zip(_TRIGGERS, _EVENTS, (add, _TAKE, f"{_TAKE} {add}"), strict=True):
            connection.exec_driver_sql(
                f"CREATE TRIGGER IF NOT EXISTS {name} AFTER {event} ON change_finding BEGIN {body} END"
            )
        return
    connection.exec_driver_sql(
        f"""CREATE OR REPLACE FUNCTION change_suspect_keep() RETURNS trigger LANGUAGE plpgsql AS $body$
        BEGIN
        IF TG_OP <> 'INSERT' THEN {_TAKE} END IF;
        IF TG_OP <> 'DELETE' THEN {add} END IF;
        RETURN NULL;
        END $body$"""
    )
    for name, event in zip(_TRIGGERS, _EVENTS, strict=True):
        connection.exec_driver_sql(
            f"CREATE OR REPLACE TRIGGER {name} AFTER {event} ON change_finding "
            "FOR EACH ROW EXECUTE FUNCTION change_suspect_keep()"
        )


def remove(connection: Connection) -> None:
    suspend(connection)
    DERIVED.drop_all(connection, tables=[change_suspect])


def suspend(connection: Connection) -> None:
    for name in _TRIGGERS:
        where = "" if connection.dialect.name == "sqlite" else " ON change_finding"
        connection.exec_driver_sql(f"DROP TRIGGER IF EXISTS {name}{where}")


def rebuild(connection: Connection) -> None:
    """Reads all findings again."""
    connection.exec_driver_sql("DELETE FROM change_suspect")
    keys = _keys(connection.dialect.name, "change_finding f, ", "f.likely")
    connection.exec_driver_sql(
        f"INSERT INTO change_suspect (incident_id, key) SELECT f.incident_id, {keys} "
        f"WHERE {_KEY[connection.dialect.name]} IS NOT NULL ON CONFLICT DO NOTHING"
    )
