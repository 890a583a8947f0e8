"""Who leads: of all replicas on one PostgreSQL, one holds the lease and does the work that must be done once.

The lease is a row with a term, by the server's clock alone, and an epoch that grows with each holder. Taken over is
what ran out (or was given back), in three steps: the row has a new epoch; the sessions of the one before are ended by
the server, with whatever they had begun; only then does the new holder work. So of a holder that was paused
nothing can be committed any more: what it had begun is rolled back, and what it begins anew fails at the `Fence`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import BigInteger, Connection, Engine, Text, create_engine, event, text
from sqlalchemy.engine import make_url
from sqlmodel import Field, SQLModel

from storage.types import UtcDateTime

_NAME = "leader"
_PREFIX = "panicroom-"
CHANNEL = "panicroom"  # of LISTEN and NOTIFY
_GONE_WITHIN = 10.0  # seconds for the sessions of the one before to end; the server needs milliseconds


class Lease(SQLModel, table=True):
    """One row, from the first start on PostgreSQL on. Times are the server's."""

    __tablename__ = "lease"
    name: str = Field(primary_key=True, max_length=40)
    epoch: int = Field(default=0, sa_type=BigInteger)
    holder: str = Field(default="", max_length=60)
    called: str = Field(default="", max_length=200)  # what people know the holder by
    version: str = Field(default="", max_length=60)
    ending: str = Field(default="", sa_type=Text)  # earlier holders whose sessions nobody has seen end yet
    taken_at: datetime = Field(sa_type=UtcDateTime)
    expires_at: datetime = Field(sa_type=UtcDateTime)


class LeaseTrouble(Exception):
    """The lease was taken, and the sessions of the one before do not end. Look at pg_stat_activity."""


@dataclass(frozen=True)
class Standing:
    """The lease as the server sees it. `left`: seconds until it runs out; 0 or less when it has."""

    epoch: int
    holder: str
    called: str
    version: str
    taken_at: datetime
    left: float


def is_replicated(url: str) -> bool:
    """Whether more than one process may work on such a database."""
    return make_url(url).get_backend_name() == "postgresql"


def session_name(holder: str) -> str:
    """The `application_name` of all of a replica's sessions: by it they are found and ended."""
    return f"{_PREFIX}{holder}"


class LeaseTable:
    """Blocking, over one connection of its own; each statement has a time limit (seconds)."""

    def __init__(self, url: str, holder: str, *, limit: float = 3.0) -> None:
        self.holder = holder
        self._engine = create_engine(
            url,
            pool_size=1,
            max_overflow=1,
            pool_pre_ping=True,
            isolation_level="AUTOCOMMIT",
            connect_args={
                "connect_timeout": max(2, round(limit)),
                "tcp_user_timeout": round(limit * 1000),
                "options": f"-c statement_timeout={round(limit * 1000)}",
                "application_name": "panicroom-lease",
            },
        )

    def take(self, term: float, called: str, version: str) -> int | None:
        """The new epoch, or None: somebody holds it. Raises LeaseTrouble; then the term runs out by itself."""
        with self._engine.connect() as connection:
            connection.execute(
                text(
                    "INSERT INTO lease (name, epoch, holder, called, version, ending, taken_at, expires_at) VALUES "
                    "(:name, 0, '', '', '', '', clock_timestamp(), clock_timestamp()) ON CONFLICT DO NOTHING"
                ),
                {"name": _NAME},
            )
            taken = connection.execute(
                text(
                    "UPDATE lease SET epoch = epoch + 1, ending = trim(ending || ' ' || holder), holder = :holder, "
                    "called = :called, version = :version, taken_at = clock_timestamp(), "
                    "expires_at = clock_timestamp() + make_interval(secs => :term) "
                    "WHERE name = :name AND expires_at <= clock_timestamp() RETURNING epoch, ending"
                ),
                {
                    "name": _NAME, "holder": self.holder, "called": called[:200], "version": version[:60],
                    "term": term,
                },
            ).first()  # fmt: skip
            if taken is None:
                return None
            for holder in set(taken.ending.split()) - {self.holder}:
                _end_sessions(connection, holder)
            connection.execute(
                text(
                    "UPDATE lease SET ending = '' WHERE name = :name AND epoch = :epoch AND holder = :holder"
                ),
                {"name": _NAME, "epoch": taken.epoch, "holder": self.holder},
            )
            return int(taken.epoch)

    def renew(self, epoch: int, term: float) -> bool:
        """False when it is another's now."""
        with self._engine.connect() as connection:
            renewed = connection.execute(
                text(
                    "UPDATE lease SET expires_at = clock_timestamp() + make_interval(secs => :term) "
                    "WHERE name = :name AND epoch = :epoch AND holder = :holder"
                ),
                {"name": _NAME, "holder": self.holder, "term": term, "epoch": epoch},
            )
            return renewed.rowcount == 1

    def give_back(self, epoch: int) -> None:
        """The next one need not wait for the term's end."""
        with self._engine.connect() as connection:
            connection.execute(
                text(
                    "UPDATE lease SET expires_at = clock_timestamp() "
                    "WHERE name = :name AND epoch = :epoch AND holder = :holder"
                ),
                {"name": _NAME, "holder": self.holder, "epoch": epoch},
            )
            connection.execute(text("SELECT pg_notify(:channel, 'lease')"), {"channel": CHANNEL})

    def standing(self) -> Standing | None:
        """None before the first holder."""
        with self._engine.connect() as connection:
            return standing(connection)

    def close(self) -> None:
        self._engine.dispose()


def standing(connection: Connection) -> Standing | None:
    """The same over the caller's connection."""
    row = connection.execute(
        text(
            "SELECT epoch, holder, called, version, taken_at, "
            "extract(epoch FROM expires_at - clock_timestamp())::float AS left_over FROM lease WHERE name = :name"
        ),
        {"name": _NAME},
    ).first()
    if row is None or not row.holder:
        return None
    return Standing(row.epoch, row.holder, row.called, row.version, row.taken_at, row.left_over)


def replicas_there(connection: Connection) -> frozenset[str]:
    """The holders' names of all processes with a session on this database."""
    found = connection.execute(
        text(
            "SELECT DISTINCT application_name FROM pg_stat_activity "
            "WHERE datname = current_database() AND application_name LIKE :like AND application_name <> :lease"
        ),
        {"like": f"{_PREFIX}%", "lease": "panicroom-lease"},
    ).scalars()
    return frozenset(str(name).removeprefix(_PREFIX) for name in found)


def _end_sessions(connection: Connection, holder: str) -> None:
    """Ended by the server and seen to be gone, with their locks and all that they had not committed."""
    asked = text(
        "SELECT count(*) FILTER (WHERE pg_terminate_backend(pid)), count(*) FROM pg_stat_activity "
        "WHERE datname = current_database() AND application_name = :name AND pid <> pg_backend_pid()"
    )
    until = time.monotonic() + _GONE_WITHIN
    while connection.execute(asked, {"name": session_name(holder)}).one()[1]:
        if time.monotonic() >= until:
            raise LeaseTrouble((LeaseTrouble.__doc__ or "").strip())
        time.sleep(0.02)


class Fence:
    """Before each writing transaction of the process that leads: is it still this epoch's?

    Unarmed (a follower, or SQLite) it asks nothing. `deposed()` is called where the answer is no, and must not return.
    """

    def __init__(self, holder: str, deposed: Callable[[], object]) -> None:
        self.holder = holder
        self.epoch: int | None = None
        self._deposed = deposed

    def arm(self, epoch: int) -> None:
        self.epoch = epoch

    def guard(self, engine: Engine, *, all_transactions: bool = False) -> None:
        """`all_transactions`: for an engine whose owner does not say which ones write."""

        @event.listens_for(engine, "begin")
        def _on_begin(connection: Connection) -> None:
            writes = all_transactions or connection.get_execution_options().get("panicroom_write", False)
            if self.epoch is None or not writes:
                return
            found = connection.exec_driver_sql(
                "SELECT 1 FROM lease WHERE name = %s AND epoch = %s AND holder = %s",
                (_NAME, self.epoch, self.holder),
            ).first()
            if found is None:
                self._deposed()
                raise LeaseLost((LeaseLost.__doc__ or "").strip())


class LeaseLost(Exception):
    """Another replica leads now. This one must not go on."""
