"""People correct the bot: merge, split, reclassify. Each is remembered with what is needed to undo it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlmodel import Session, col, select

from commands.errors import BadArguments, Impossible
from commands.incident import placing, thread
from commands.incident.config import IncidentConfig, RoutingConfig
from commands.incident.membership import UNKNOWN
from integrations.kernel import Kind
from integrations.slack.text import escape, shorten, user
from storage import Correction, Incident, IncidentState, Panic, incident_ref, panic_ref

KINDS = tuple(str(k) for k in Kind)
_READ = ("kind", "title", "signature_key", "reclassified", "deliberate")  # of a panic
_KEPT = ("state", "merged_into_id", "severity", "signature_key", "title", "previous_id")  # of an incident


def merge(session: Session, source: Incident, target: Incident, actor: str, now: datetime) -> Correction:
    """All panics of `source` go to `target`; the old thread points there."""
    if source.id == target.id:
        raise Impossible(f"{incident_ref(source.id)} cannot be merged into itself.")
    if target.state is IncidentState.RESOLVED:
        raise Impossible(
            f"{incident_ref(target.id)} is resolved. Reopen it first.",
            example=f"/panic reopen {incident_ref(target.id)}",
        )
    panics = session.exec(select(Panic).where(Panic.incident_id == source.id)).all()
    before = {"panics": {str(p.id): source.id for p in panics}, "incidents": _snapshot(source, target)}
    for panic in panics:
        panic.incident_id = target.id
        session.add(panic)
    source.state, source.merged_into_id = IncidentState.MERGED, target.id
    target.last_panic_at = max(target.last_panic_at, source.last_panic_at)
    if source.severity == "critical":
        target.severity = "critical"
    session.add(source)
    session.add(target)
    after = {"into": target.id, "incidents": _snapshot(source, target)}
    said = f":twisted_rightwards_arrows: {user(actor)} merged {incident_ref(source.id)} into {incident_ref(target.id)}."
    return _correct(
        session,
        "merge",
        source.id or 0,
        None,
        before,
        after,
        actor,
        now,
        said,
        (source, target),
    )


def split(
    session: Session, panic: Panic, config: IncidentConfig, routing: RoutingConfig, actor: str, now: datetime
) -> Correction:
    """The panic gets a thread of its own."""
    old = _thread_of(session, panic)
    if not session.exec(select(Panic.id).where(Panic.incident_id == old.id, Panic.id != panic.id)).first():
        raise Impossible(f"{panic_ref(panic.id)} is alone in {incident_ref(old.id)} already.")
    before = {"panics": {str(panic.id): old.id}, "incidents": _snapshot(old)}
    fresh = placing.open_alone(session, panic, routing, now)
    said = f":scissors: {user(actor)} split {panic_ref(panic.id)} off {incident_ref(old.id)}: {incident_ref(fresh.id)}."
    return _correct(
        session,
        "split",
        old.id or 0,
        panic.id,
        before,
        {"into": fresh.id, "incidents": _snapshot(old, fresh)},
        actor,
        now,
        said,
        (old, fresh),
    )


def reclassify(
    session: Session,
    panic: Panic,
    kind: str,
    title: str,
    config: IncidentConfig,
    routing: RoutingConfig,
    actor: str,
    now: datetime,
) -> Correction:
    """Another kind (one of the kernel's own names), and a title; later witnesses do not overrule a person.

    The signature keeps its frame: kind and frame make the key.
    """
    if kind not in KINDS:
        raise BadArguments(
            f"`{escape(kind[:40])}` is no kind of crash. Known: {', '.join(KINDS)}.",
            example=f"/panic reclassify {panic_ref(panic.id)} kernel_bug kernel BUG in ext4_writepages",
        )
    old = _thread_of(session, panic)
    before: dict[str, Any] = {
        "panics": {str(panic.id): panic.incident_id},
        "panic": {name: getattr(panic, name) for name in _READ},
    }
    title = shorten(title.strip(), 300)
    panic.signature_key = _signature(panic, kind, title)
    if title or panic.kind == UNKNOWN:
        panic.title = title or kind.replace("_", " ")
    panic.kind, panic.reclassified, panic.deliberate = kind, True, False
    candidates = session.exec(
        select(Incident).where(
            Incident.signature_key == panic.signature_key, Incident.state != IncidentState.MERGED
        )
    ).all()
    before["incidents"] = _snapshot(old, *candidates)
    session.add(panic)
    session.flush()
    placement = placing.move(session, panic, config, routing, now)
    incidents = (old,) if old.id == placement.incident.id else (old, placement.incident)
    touched = {str(i.id) for i in incidents}
    before["incidents"] = {ref: known for ref, known in before["incidents"].items() if ref in touched}
    after = {"into": placement.incident.id, "incidents": _snapshot(*incidents)}
    said = (
        f":label: {user(actor)} reclassified {panic_ref(panic.id)} as {escape(kind)}: {escape(panic.title)}."
    )
    return _correct(session, "reclassify", old.id or 0, panic.id, before, after, actor, now, said, incidents)


def _signature(panic: Panic, kind: str, title: str) -> str:
    """The frame stays, when there is one; else the title that a person gave says what belongs together."""
    if kind == UNKNOWN:
        return UNKNOWN
    rest = panic.signature_key.split("|", 1)[1] if "|" in panic.signature_key else panic.function
    return f"{kind}|{rest or title.lower() or panic.host}"[:300]


def _thread_of(session: Session, panic: Panic) -> Incident:
    if panic.incident_id is None:
        raise Impossible(f"{panic_ref(panic.id)} has no thread: it came from an old crash directory.")
    return session.get_one(Incident, panic.incident_id)


def spoken(correction: Correction) -> str:
    """`the merge of I-8 into I-7`, for what is said of it."""
    if correction.verb == "merge":
        return f"the merge of {incident_ref(correction.incident_id)} into {incident_ref(correction.after['into'])}"
    if correction.verb == "split":
        return f"the split of {panic_ref(correction.panic_id)} off {incident_ref(correction.incident_id)}"
    return f"the reclassification of {panic_ref(correction.panic_id)}"


def undo(session: Session, incident: Incident, actor: str, now: datetime) -> Correction:
    """Takes back the newest correction that touches this incident and was not taken back yet.

    Panics go back to where they were, and the incidents to the state they were in, unless somebody (or another
    report) has changed them since. Raises Impossible when there is none, or when a newer correction of the same
    panics has to be undone first.
    """
    standing = session.exec(
        select(Correction)
        .where(col(Correction.undone_at).is_(None))
        .order_by(col(Correction.id).desc())
        .limit(500)
    ).all()
    last = next((c for c in standing if incident.id in (c.incident_id, c.after.get("into"))), None)
    if last is None:
        raise Impossible(f"there is no correction of {incident_ref(incident.id)} to undo.")
    for newer in standing:
        if (newer.id or 0) > (last.id or 0) and newer.before["panics"].keys() & last.before["panics"].keys():
            ref = incident_ref(newer.after.get("into"))
            raise Impossible(
                f"the same panics were corrected again later ({newer.verb}). Undo that first.",
                example=f"/panic undo {ref}",
            )
    moved = session.exec(
        select(Panic).where(col(Panic.id).in_([int(ref) for ref in last.before["panics"]]))
    ).all()
    touched = {int(ref) for ref in last.before["incidents"]} | {last.after["into"]}
    for panic in moved:
        if panic.incident_id is not None and panic.incident_id in touched:
            panic.incident_id = last.before["panics"][str(panic.id)]
        for name, value in last.before.get("panic", {}).items():
            setattr(panic, name, value)
        session.add(panic)
    session.flush()
    incidents = tuple(session.get_one(Incident, ref) for ref in sorted(touched))
    for each in incidents:
        _restore(session, each, last)
    for panic in moved:
        thread.show_text(session, panic, now)
    last.undone_at, last.undone_by = now, actor
    session.add(last)
    said = f":rewind: {user(actor)} undid {spoken(last)}."
    _tell(session, f"undo:{last.id}", "undo", said, actor, now, incidents)
    return last


def _restore(session: Session, incident: Incident, correction: Correction) -> None:
    """Back to the state before the correction, where nothing else has changed it since."""
    before = correction.before["incidents"].get(str(incident.id))
    after = correction.after["incidents"].get(str(incident.id), {})
    now_is = _snapshot(incident)[str(incident.id)]
    if before is None:
        # The correction opened it: without panics it is no thread of its own any more.
        if not session.exec(select(Panic.id).where(Panic.incident_id == incident.id)).first():
            incident.state, incident.merged_into_id = IncidentState.MERGED, correction.incident_id
    else:
        for name, value in before.items():
            if now_is[name] == after.get(name):
                setattr(incident, name, IncidentState(value) if name == "state" else value)
    session.add(incident)


def _snapshot(*incidents: Incident) -> dict[str, dict[str, Any]]:
    return {
        str(i.id): {name: str(v) if isinstance(v := getattr(i, name), IncidentState) else v for name in _KEPT}
        for i in incidents
    }


def _correct(
    session: Session,
    verb: str,
    incident_id: int,
    panic_id: int | None,
    before: dict[str, Any],
    after: dict[str, Any],
    actor: str,
    now: datetime,
    said: str,
    incidents: tuple[Incident, ...],
) -> Correction:
    correction = Correction(
        verb=verb, incident_id=incident_id, panic_id=panic_id, before=before, after=after, actor=actor, at=now
    )
    session.add(correction)
    session.flush()
    undo_hint = f" `/panic undo {incident_ref(incidents[-1].id)}` takes it back."
    _tell(session, f"correction:{correction.id}", verb, said + undo_hint, actor, now, incidents)
    return correction


def _tell(
    session: Session,
    key: str,
    verb: str,
    said: str,
    actor: str,
    now: datetime,
    incidents: tuple[Incident, ...],
) -> None:
    for incident in incidents:
        thread.note(session, incident.id or 0, verb, said, actor=actor, at=now)
        thread.say(session, incident.id or 0, f"{key}:{incident.id}", text=said, now=now)
        thread.touch(session, incident.id or 0)
