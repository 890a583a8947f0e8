"""The full-text index over panics' titles and frames: FTS5 in SQLite, GIN over a tsvector in PostgreSQL.

Both are kept by the database itself in the transaction that writes the panic's row: SQLite by triggers, PostgreSQL
because it is an index over an expression. A word is a run of letters and digits; `nvme_irq` is two, one after the
other. A wanted word matches those that begin with it.
"""

from __future__ import annotations

import re
import string
from collections.abc import Sequence
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Connection, column, func, literal_column, select, table
from sqlmodel import col

from storage.tables import Panic

INDEX = "ix_panic_words"  # in PostgreSQL; Alembic is told to leave it alone
_WORD = re.compile(r"[^\W_]+")
_BLANKS = " " * len(string.punctuation)
_QUOTED = string.punctuation.replace("'", "''")
# Punctuation becomes blanks: PostgreSQL's parser would read hosts, paths and signed numbers out of it.
_VECTOR = (
    "to_tsvector('simple'::regconfig, "
    f"translate(panic.title || ' ' || panic.frames::text, '{_QUOTED}', '{_BLANKS}'))"
)
_FTS = table("panic_words", column("rowid", BigInteger))

_SQLITE_TABLE = (
    "CREATE VIRTUAL TABLE IF NOT EXISTS panic_words USING fts5(title, frames, content='panic', content_rowid='id', "
    'tokenize="unicode61 remove_diacritics 0")'
)
_ADD = "INSERT INTO panic_words(rowid, title, frames) VALUES (NEW.id, NEW.title, NEW.frames);"
_TAKE = (
    "INSERT INTO panic_words(panic_words, rowid, title, frames) "
    "VALUES ('delete', OLD.id, OLD.title, OLD.frames);"
)
_SQLITE_TRIGGERS = (
    f"CREATE TRIGGER IF NOT EXISTS panic_words_insert AFTER INSERT ON panic BEGIN {_ADD} END",
    f"CREATE TRIGGER IF NOT EXISTS panic_words_delete AFTER DELETE ON panic BEGIN {_TAKE} END",
    "CREATE TRIGGER IF NOT EXISTS panic_words_update AFTER UPDATE OF id, title, frames ON panic "
    f"BEGIN {_TAKE} {_ADD} END",
)


def install(connection: Connection) -> None:
    """Makes what is missing; what is there stays."""
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql(_SQLITE_TABLE)
        for trigger in _SQLITE_TRIGGERS:
            connection.exec_driver_sql(trigger)
    else:
        vector = _VECTOR.replace("panic.", "").replace("%", "%%")
        connection.exec_driver_sql(f"CREATE INDEX IF NOT EXISTS {INDEX} ON panic USING gin (({vector}))")


def remove(connection: Connection) -> None:
    if connection.dialect.name == "sqlite":
        for name in ("insert", "delete", "update"):
            connection.exec_driver_sql(f"DROP TRIGGER IF EXISTS panic_words_{name}")
        connection.exec_driver_sql("DROP TABLE IF EXISTS panic_words")
    else:
        connection.exec_driver_sql(f"DROP INDEX IF EXISTS {INDEX}")


def rebuild(connection: Connection) -> None:
    """Reads every panic's title and frames again. PostgreSQL needs none of it."""
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("INSERT INTO panic_words(panic_words) VALUES ('rebuild')")


def searchable(word: str) -> bool:
    """Whether there is a letter or a digit in it; what has none is not in the index."""
    return _WORD.search(word) is not None


def holds_words(title: str, frames: Sequence[str], words: Sequence[str]) -> bool:
    """What the index says, for a panic that is at hand: each word in the title or in the frames."""
    texts = [_WORD.findall(title.lower()), _WORD.findall(" ".join(frames).lower())]
    return all(any(_in_row(_WORD.findall(word.lower()), text) for text in texts) for word in words)


def _in_row(pieces: Sequence[str], text: Sequence[str]) -> bool:
    """The pieces one after the other, the last as the beginning of a word."""
    whole, last = list(pieces[:-1]), pieces[-1]
    return any(
        text[at + len(whole)].startswith(last) and text[at : at + len(whole)] == whole
        for at in range(len(text) - len(whole))
    )


def letters_of(word: str) -> list[str]:
    """The pieces of a word that stand as they are in the stored text; other letters may have been escaped there."""
    return [piece for piece in _WORD.findall(word.lower()) if piece.isascii()]


def in_words(
    dialect: str, words: Sequence[str], between: tuple[int, int] | None = None
) -> ColumnElement[bool]:
    """Each of the (searchable) words stands in the panic's title or frames; its pieces one after the other.

    `between`: only panics with such ids are wanted, which spares SQLite the rest of a long list of matches.
    """
    if dialect != "sqlite":
        return _matching_vector(words)
    found = select(_FTS.c.rowid).where(_matching_fts(words))
    if between is not None:
        found = found.where(_FTS.c.rowid >= between[0], _FTS.c.rowid <= between[1])
    return col(Panic.id).in_(found)


def ids_with_words(dialect: str, words: Sequence[str], upto_id: int | None) -> Any:
    """The ids of all panics in which the words stand, from the index alone where it can."""
    if dialect != "sqlite":
        found: Any = select(col(Panic.id)).where(_matching_vector(words))
        return found if upto_id is None else found.where(col(Panic.id) <= upto_id)
    found = select(_FTS.c.rowid).where(_matching_fts(words))
    return found if upto_id is None else found.where(_FTS.c.rowid <= upto_id)


def _matching_fts(words: Sequence[str]) -> ColumnElement[bool]:
    wanted = " AND ".join('"' + " ".join(_WORD.findall(word)) + '" *' for word in words)
    return literal_column("panic_words").op("MATCH", is_comparison=True)(wanted)


def _matching_vector(words: Sequence[str]) -> ColumnElement[bool]:
    phrases = [_WORD.findall(word) for word in words]
    query = " & ".join(
        "(" + " <-> ".join([*(f"'{p}'" for p in pieces[:-1]), f"'{pieces[-1]}':*"]) + ")"
        for pieces in phrases
    )
    wanted = func.to_tsquery(literal_column("'simple'::regconfig"), query)
    return literal_column(_VECTOR).op("@@", is_comparison=True)(wanted)
