"""What there is to be explained: which hosts panicked since when, which are calm, and what the traces name."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlmodel import Session, col, select

from commands.changes.fleet import Fleet, Place
from commands.changes.trace import Trace, read_trace
from commands.changes.weighing import Picture, Struck
from commands.inventory import Inventory
from storage import Host, Incident, Panic

_Seen = tuple[str, str | None, str | None]  # host, ring, hardware
_HOSTS = select(Host.name, Host.ring, Host.hardware).order_by(Host.name)
QUIET = timedelta(days=7)  # a signature that kept still for so long has begun anew
_ROWS = 2000


@dataclass(frozen=True)
class Case:
    """The picture of a panic's signature, with the place of its host and of all that panicked."""

    picture: Picture
    place: Place
    struck: tuple[Place, ...]


class Fleets:
    """The fleet as it was last read; made anew only when a host, or what it belongs to, has changed."""

    def __init__(self, inventory: Inventory) -> None:
        self._inventory = inventory
        self._look()

    def _look(self) -> None:
        inventory = self._inventory
        self._version = inventory.version
        self._named = {e.name.lower(): e for e in inventory.entries if not e.is_pattern}
        self._services = any(e.service for e in inventory.entries)
        self._last: tuple[list[_Seen], Fleet] | None = None

    def read(self, session: Session) -> Fleet:
        """Hosts by name in the inventory, and those ever seen; the inventory's word counts first."""
        if self._version != self._inventory.version:
            self._look()
        seen: list[_Seen] = [tuple(row) for row in session.execute(_HOSTS).all()]
        last = self._last
        if last is None or last[0] != seen:
            last = self._last = (seen, self.of(seen))
        return last[1]

    def of(self, seen: Iterable[_Seen]) -> Fleet:
        known: dict[str, tuple[str | None, str | None]] = dict.fromkeys(self._named, (None, None))
        for host, ring, hardware in seen:
            name = self.known_as(host)
            before = known.get(name, (None, None))
            known[name] = (before[0] or ring, before[1] or hardware)
        return Fleet(self._place(name, *belongs) for name, belongs in known.items())

    def known_as(self, host: str) -> str:
        """The inventory's name of a host that says its domain, or the host's own."""
        name = host.lower()
        short = name.split(".", 1)[0]
        return short if name not in self._named and short in self._named else name

    def _place(self, name: str, ring: str | None, hardware: str | None) -> Place:
        entry = self._named.get(name) or (self._inventory.find(name) if self._services else None)
        if entry is None:
            return Place(name, _low(ring), _low(hardware))
        return Place(name, _low(entry.ring or ring), _low(entry.hardware or hardware), _low(entry.service))


def read_case(session: Session, fleets: Fleets, panic: Panic) -> Case:
    """The panics of this signature back to the last seven days without one, and those of the panic's own thread.

    A panic of unknown cause, or one made on purpose, has only its thread: it is like no other.
    """
    rows = _run_of(session, panic)
    first: dict[str, Struck] = {}
    for row in rows:
        name = fleets.known_as(row.host)
        known = first.get(name)
        if known is None or row.occurred_at < known.at:
            first[name] = Struck(name, row.occurred_at, row.booted)
    fleet = fleets.read(session)
    if not first.keys() <= fleet.names:
        # A host that nobody wrote down: its panics tell what it belongs to.
        rest = ((p.name, p.ring, p.hardware) for p in fleet.places.values())
        fleet = fleets.of([*rest, *((r.host, r.ring, r.hardware) for r in rows)])
    struck = tuple(sorted(first.values(), key=lambda s: (s.at, s.host)))
    places = tuple(fleet.places[s.host] for s in struck)
    return Case(Picture(fleet, struck, _trace(rows)), fleet.places[fleets.known_as(panic.host)], places)


@dataclass(frozen=True)
class _Row:
    host: str
    ring: str | None
    hardware: str | None
    occurred_at: datetime
    boot_started_at: datetime | None
    kernel: str | None
    kernel_build: str | None
    kind: str
    function: str | None
    module: str | None
    frames: Sequence[str]
    uptime_seconds: float | None

    @property
    def booted(self) -> datetime | None:
        """When the boot began that crashed."""
        if self.boot_started_at is not None or self.uptime_seconds is None:
            return self.boot_started_at
        try:
            return self.occurred_at - timedelta(seconds=self.uptime_seconds)
        except (OverflowError, ValueError):  # a host may claim any uptime
            return None


_COLUMNS = tuple(getattr(Panic, name) for name in _Row.__dataclass_fields__)


def _run_of(session: Session, panic: Panic) -> list[_Row]:
    own = session.execute(
        select(*_COLUMNS).where(col(Panic.incident_id) == panic.incident_id).limit(_ROWS)
        if panic.incident_id is not None
        else select(*_COLUMNS).where(col(Panic.id) == panic.id)
    ).all()
    rows = [_Row(*row) for row in own]
    incident = session.get(Incident, panic.incident_id) if panic.incident_id is not None else None
    if panic.signature_key.startswith("unknown") or panic.deliberate or (incident and incident.wave):
        return rows
    same = session.execute(
        select(*_COLUMNS)
        .where(Panic.signature_key == panic.signature_key, col(Panic.deliberate).is_(False))
        .order_by(col(Panic.occurred_at).desc())
        .limit(_ROWS)
    ).all()
    ordered = [_Row(*row) for row in same]
    later = max((r.occurred_at for r in ordered), default=panic.occurred_at)
    run: list[_Row] = []
    for row in ordered:
        if later - row.occurred_at > QUIET:
            if row.occurred_at < panic.occurred_at:
                break
            run = []  # a run after this panic's: not its own
        run.append(row)
        later = row.occurred_at
    known = {(r.host, r.occurred_at) for r in rows}
    return rows + [r for r in run if (r.host, r.occurred_at) not in known]


def _trace(rows: Sequence[_Row]) -> Trace:
    return read_trace(
        kernels=(r.kernel for r in rows),
        builds=(r.kernel_build for r in rows),
        modules=(r.module for r in rows),
        functions=(name for r in rows for name in (r.function, *r.frames[:6])),
        kinds={r.kind for r in rows},
    )


def _low(name: str | None) -> str | None:
    return " ".join(name.lower().split()) if name else None
