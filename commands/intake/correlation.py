"""One panic, many witnesses: whether two tell of the same crash, and what each adds to what is known.

A panic is keyed on host and crashed boot: the boot's id when both know it, else the boot's start (time of death
minus printk time, ±120 s). A report that does not say when is the same panic when it brings the very same lines,
and one with neither (no readable text, no boot id) only when it died at about the same time.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlmodel import Session, select

from commands.incident.wording import redacted, taint
from commands.intake.reading import Reading
from commands.inventory import HostEntry
from storage import DumpState, Host, Panic, Signature

BOOT_START_TOLERANCE = timedelta(seconds=120)
SAME_DEATH = timedelta(seconds=120)
_DUMP_RANK = {
    DumpState.UNKNOWN: 0,
    DumpState.NONE: 1,
    DumpState.UNVERIFIED: 2,
    DumpState.EMPTY: 3,
    DumpState.INCOMPLETE: 3,
    DumpState.COMPLETE: 4,
}


def is_witness(panic: Panic, reading: Reading, same_boot: timedelta = BOOT_START_TOLERANCE) -> bool:
    """Whether this reading of a report of the panic's own host tells of that panic."""
    if panic.boot_id is not None and reading.boot_id is not None:
        return panic.boot_id == reading.boot_id
    if panic.boot_started_at is not None and reading.boot_started_at is not None:
        return abs(panic.boot_started_at - reading.boot_started_at) <= same_boot
    if same_words(panic, reading):
        return True
    return abs(panic.occurred_at - reading.occurred_at) <= SAME_DEATH and not contradicts(panic, reading)


def contradicts(panic: Panic, reading: Reading) -> bool:
    """Two different crashes, both readable, are not one panic only because they are near in time."""
    both_read = panic.kind != "unknown" and reading.crash.crash
    return both_read and panic.signature_key != reading.crash.signature.key


def same_words(panic: Panic, reading: Reading) -> bool:
    """The very lines of one crash, told again by somebody who does not know when it was. Printk's microseconds do
    not come out alike twice; lines without them may."""
    uptime = reading.crash.uptime
    return (
        uptime is not None and panic.uptime_seconds == uptime and panic.crash_lines == lines_of(reading) != ""
    )


def lines_of(reading: Reading) -> str:
    return "\n".join(reading.crash.lines)[:200_000] if reading.crash.crash else ""


def new_panic(reading: Reading, entry: HostEntry | None, *, now: datetime) -> Panic:
    panic = Panic(
        host=reading.host,
        ring=(entry.ring if entry else None) or reading.ring,
        hardware=(entry.hardware if entry else None) or reading.hardware or reading.crash.hardware,
        criticality=entry.criticality if entry else "normal",
        owner=entry.owner if entry else None,
        occurred_at=reading.occurred_at,
        reported_at=now,
        title="cause unknown: no crash text",
        signature_key="unknown",
    )
    add_facts(panic, reading)
    return panic


def add_facts(panic: Panic, reading: Reading, *, replaces: bool = False, dates: bool = False) -> bool:
    """What this witness knows and the panic did not. True when the panic's cause was read (anew).

    A person's reclassification is not overruled; a readable crash replaces an unreadable one, and one with
    its head replaces one whose head was lost. `replaces`: this reading stands above the one there is, as the whole
    text does above the first lines of it. `dates`: so far, when it died is known to minutes only.
    """
    crash = reading.crash
    panic.boot_id = panic.boot_id or reading.boot_id
    panic.boot_started_at = panic.boot_started_at or reading.boot_started_at
    panic.hardware = panic.hardware or reading.hardware or crash.hardware
    panic.running_kernel = reading.running_kernel or panic.running_kernel
    panic.down_since = panic.down_since or reading.down_since
    if reading.source == "alertmanager":  # the host itself knows better when it was back
        panic.back_at = panic.back_at or reading.back_at
    else:
        panic.back_at = reading.back_at or panic.back_at
    if dates and reading.occurred_at_certain:
        panic.occurred_at = reading.occurred_at
    if _DUMP_RANK[reading.dump_state] > _DUMP_RANK[panic.dump_state]:
        panic.dump_state = reading.dump_state
        panic.dump_path = reading.dump_path or panic.dump_path
        panic.dump_size = reading.dump_size if reading.dump_size is not None else panic.dump_size
    panic.kernel = panic.kernel or reading.kernel
    better = crash.crash and (
        replaces or panic.kind == "unknown" or (panic.head_lost and not crash.head_lost)
    )
    if len(reading.text) > len(panic.text) and (better or not crash.crash or panic.kind == "unknown"):
        panic.text = reading.text
    if not better or panic.reclassified:
        return False
    _take_cause(panic, reading)
    return True


def _take_cause(panic: Panic, reading: Reading) -> None:
    crash = reading.crash
    panic.kind = str(crash.kind)
    panic.title = redacted(crash.title, panic.host)[:400]
    panic.signature_key = crash.signature.key[:300]
    panic.function, panic.module = crash.function, crash.module
    panic.frames = [f.function for f in crash.frames][:32]
    panic.taint = [taint(name) for name in crash.taint]
    panic.process = crash.process
    panic.kernel = crash.kernel or panic.kernel
    panic.kernel_build = crash.kernel_build
    panic.arch = crash.arch
    panic.uptime_seconds = crash.uptime
    panic.deliberate, panic.head_lost = crash.deliberate, crash.head_lost
    panic.crash_lines = lines_of(reading)
    panic.text = reading.text
    if reading.occurred_at_certain:
        panic.occurred_at = reading.occurred_at


def remember_signature(session: Session, panic: Panic, title: str) -> None:
    """The signature's first and last sight. The unknown has no signature to remember."""
    if panic.signature_key == "unknown":
        return
    known = session.get(Signature, panic.signature_key)
    if known is None:
        session.add(
            Signature(
                key=panic.signature_key,
                kind=panic.kind,
                title=title[:400],
                first_seen=panic.occurred_at,
                last_seen=panic.occurred_at,
            )
        )
    else:
        known.first_seen = min(known.first_seen, panic.occurred_at)
        known.last_seen = max(known.last_seen, panic.occurred_at)
        session.add(known)
    session.flush()


def remember_host(session: Session, name: str, entry: HostEntry | None, panic: Panic) -> None:
    host = session.exec(select(Host).where(Host.name == name)).first() or Host(name=name)
    if entry is not None:
        host.address, host.ring, host.owner = entry.address or entry.name, entry.ring, entry.owner
        host.criticality, host.in_inventory = entry.criticality, True
    host.hardware = (entry.hardware if entry else None) or panic.hardware or host.hardware
    session.add(host)
