"""Runs on hosts as rows: begun once for a request, told in one message, finished or cancelled.

All functions work inside the caller's transaction; call `context.wake()` after it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Table, and_, bindparam, func, insert
from sqlalchemy import select as columns
from sqlalchemy import update as set_columns
from sqlmodel import Session, SQLModel, col, or_, select

from commands.errors import Impossible, NotFound
from commands.hosts.patience import Patience
from commands.incident import thread
from storage import (
    ChangeLink,
    Incident,
    Panic,
    Report,
    RunbookRun,
    RunState,
    SlackMessage,
    StepResult,
    panic_ref,
)
from storage.inbox import insert_once

ACTIVE = (RunState.WAITING, RunState.RUNNING)
FINISHED_STEPS = ("ok", "warn", "failed", "skipped")


class AlreadyRunning(Impossible):
    """One is running already. Wait for it, or cancel it."""

    def __init__(self, run: RunbookRun) -> None:
        self.run_id = run.id or 0
        self.kind = run.kind
        super().__init__(f"a {run.kind} run of {panic_ref(run.panic_id)} is under way.")


def run_and_panic(session: Session, run_id: int) -> tuple[RunbookRun, Panic]:
    query = select(RunbookRun, Panic).join(Panic, col(Panic.id) == col(RunbookRun.panic_id))
    run, panic = session.exec(query.where(RunbookRun.id == run_id)).one()
    return run, panic


def message_key(run: RunbookRun) -> str:
    return f"{run.kind}:{run.id}"


def begin(
    session: Session,
    *,
    kind: str,
    panic: Panic,
    asked_by: str,
    request_id: str,
    steps: Iterable[tuple[str, str]],
    renderer: str,
    patience: Patience,
    now: datetime,
) -> tuple[RunbookRun, bool]:
    """The run for this request, and whether it is new. Its message is said in the panic's thread.

    The same request (worked on again after a restart) finds its own run. Raises AlreadyRunning when another
    run of that kind and panic is under way.
    """
    digest = hashlib.blake2s(request_id.encode(), digest_size=6).hexdigest()
    workflow_id = f"{kind}:{panic_ref(panic.id)}:{digest}"
    known = session.exec(select(RunbookRun).where(RunbookRun.workflow_id == workflow_id)).first()
    if known is not None:
        return known, False
    active = active_runs(session, panic_id=panic.id, kind=kind)
    if active:
        raise AlreadyRunning(active[0])
    assert panic.id is not None
    run = RunbookRun(
        kind=kind,
        panic_id=panic.id,
        workflow_id=workflow_id,
        state=RunState.WAITING,
        asked_by=asked_by,
        asked_at=now,
        give_up_at=now + timedelta(seconds=patience.give_up_after),
    )
    session.add(run)
    session.flush()
    assert run.id is not None
    blank = {"run_id": run.id, "state": "waiting", "summary": "", "facts": {}, "outputs": []}
    rows = [blank | {"position": n, "name": name, "title": title} for n, (name, title) in enumerate(steps)]
    if rows:
        session.execute(insert(_sheet(StepResult)), rows)
    incident = incident_of(session, panic)
    if incident is not None and incident.id is not None:
        thread.say(session, incident.id, message_key(run), renderer=renderer, subject_id=run.id, now=now)
        thread.note(
            session, incident.id, kind, f"{kind} of {panic_ref(panic.id)} started",
            actor=asked_by, panic_id=panic.id, at=now,
        )  # fmt: skip
        thread.touch(session, incident.id)
    return run, True


def active_runs(
    session: Session, *, panic_id: int | None = None, kind: str | None = None
) -> list[RunbookRun]:
    query = select(RunbookRun).where(col(RunbookRun.state).in_(ACTIVE)).order_by(col(RunbookRun.id))
    if panic_id is not None:
        query = query.where(RunbookRun.panic_id == panic_id)
    if kind is not None:
        query = query.where(RunbookRun.kind == kind)
    return list(session.exec(query))


def steps_of(session: Session, run_id: int) -> list[StepResult]:
    query = select(StepResult).where(StepResult.run_id == run_id).order_by(col(StepResult.position))
    return list(session.exec(query.execution_options(populate_existing=True)))


def names_left(session: Session, run_id: int) -> list[str]:
    """The steps that have not finished, in order."""
    query = (
        select(StepResult.name)
        .where(StepResult.run_id == run_id, col(StepResult.state).not_in(FINISHED_STEPS))
        .order_by(col(StepResult.position))
    )
    return list(session.exec(query))


def facts_of(session: Session, run_id: int) -> dict[str, Any]:
    """The facts of all finished steps, later steps over earlier ones."""
    merged: dict[str, Any] = {}
    query = select(StepResult.facts).where(StepResult.run_id == run_id).order_by(col(StepResult.position))
    for facts in session.exec(query):
        merged.update(facts or {})
    return merged


def change(session: Session, run_id: int, **values: Any) -> RunbookRun:
    """Set columns of a run and have its message drawn again."""
    run = session.get_one(RunbookRun, run_id)
    for name, value in values.items():
        setattr(run, name, value)
    session.add(run)
    thread.redraw(session, message_key(run))
    return run


@dataclass(frozen=True)
class Ended:
    """A step's end: what it found, what of it is known of the panic now, and the report that it brought, if any."""

    name: str
    state: str
    summary: str
    facts: Mapping[str, Any]
    outputs: Sequence[Mapping[str, Any]]
    at: datetime
    panic: Mapping[str, Any] = field(default_factory=dict)  # columns of Panic
    report: Mapping[str, Any] | None = None  # a row of Report


# A run of the whole runbook writes these some ten times, and fifty runs may be under way: no object is loaded for them.
def _sheet(table: type[SQLModel]) -> Table:
    sheet: Table = table.__table__  # type: ignore[attr-defined]
    return sheet


_runs, _steps, _panics, _incidents = (_sheet(t) for t in (RunbookRun, StepResult, Panic, Incident))
_RUN = (
    columns(_runs.c.state, _runs.c.kind, _runs.c.panic_id, _panics.c.incident_id, _incidents.c.merged_into_id)
    .join(_panics, _panics.c.id == _runs.c.panic_id)
    .outerjoin(_incidents, _incidents.c.id == _panics.c.incident_id)
    .where(_runs.c.id == bindparam("run"))
)
_MERGED_INTO = columns(_incidents.c.merged_into_id).where(_incidents.c.id == bindparam("incident"))
_INCIDENT_OF = columns(_panics.c.incident_id).where(_panics.c.id == bindparam("panic"))
_THIS_STEP = and_(_steps.c.run_id == bindparam("run"), _steps.c.name == bindparam("step"))
_BEGIN = (
    set_columns(_steps)
    .where(_THIS_STEP, _steps.c.state.not_in(FINISHED_STEPS))
    .values(state="running", started_at=bindparam("now"))
)
_END = (
    set_columns(_steps)
    .where(_THIS_STEP)
    .values(
        state=bindparam("to"), summary=bindparam("said"), facts=bindparam("found"),
        outputs=bindparam("printed"), finished_at=bindparam("now"),
    )
)  # fmt: skip
_REACHED = (
    set_columns(_runs)
    .where(_runs.c.id == bindparam("run_id"))
    .values(
        state=RunState.RUNNING,
        started_at=func.coalesce(_runs.c.started_at, bindparam("now", type_=_runs.c.started_at.type)),
        next_try_at=None,
        note="",
    )
)
_SKIP = (
    set_columns(_steps)
    .where(_steps.c.run_id == bindparam("run"), _steps.c.state.not_in(FINISHED_STEPS))
    .values(state="skipped", finished_at=bindparam("now"))
)


def turn(
    session: Session,
    run_id: int,
    ended: Ended | None,
    name: str | None,
    now: datetime,
    *,
    reached: bool = False,
) -> bool:
    """A step's end and the next one's begin: their rows, what is known of the panic now, the messages that show them.

    `reached`: the host is there, so a run that waited for it runs now.
    False when the run is over (cancelled): what `ended` is told all the same, and `name` does not begin.
    """
    session.flush()
    connection = session.connection()
    state, kind, panic_id, incident_id, merged_into = connection.execute(_RUN, {"run": run_id}).one()
    goes_on = state in ACTIVE
    stale = [f"{kind}:{run_id}"] if ended is not None or goes_on else []
    if ended is not None:
        _end(session, run_id, panic_id, ended)
        living = incident_id if merged_into is None else _living(connection, merged_into)
        stale += [thread.parent_key(living)] if living is not None else []  # it counts the runbook's steps
    if name is not None and goes_on:
        connection.execute(_BEGIN, {"run": run_id, "step": name, "now": now})
        if reached and state is RunState.WAITING:
            connection.execute(_REACHED, {"run_id": run_id, "now": now})
    if stale:
        thread.redraw(session, *stale)
    return goes_on


def step_begins(session: Session, run_id: int, name: str, now: datetime) -> bool:
    """`turn` where no step was before it."""
    return turn(session, run_id, None, name, now)


def step_ends(session: Session, run_id: int, ended: Ended) -> None:
    """`turn` where no step is after it."""
    turn(session, run_id, ended, None, ended.at)


def _end(session: Session, run_id: int, panic_id: int, ended: Ended) -> None:
    values: dict[str, Any] = {"to": ended.state, "said": ended.summary, "found": dict(ended.facts)}
    values |= {
        "printed": [dict(o) for o in ended.outputs],
        "now": ended.at,
        "run": run_id,
        "step": ended.name,
    }
    session.connection().execute(_END, values)
    if ended.panic:
        panic = session.get_one(Panic, panic_id)
        for column, value in ended.panic.items():
            setattr(panic, column, value)
        session.add(panic)
    if ended.report is not None:
        insert_once(session, Report, [dict(ended.report)], ("host", "external_id"))


def _living(connection: Connection, incident_id: int | None) -> int | None:
    """Where an incident lives on that may be merged into another."""
    merged_into = incident_id
    while merged_into is not None:
        incident_id = merged_into
        merged_into = connection.execute(_MERGED_INTO, {"incident": incident_id}).scalar_one()
    return incident_id


def finish(session: Session, run_id: int, state: RunState, note: str, now: datetime) -> RunbookRun | None:
    """End a run; None when it had ended before. Steps that never ran are told as skipped."""
    run = session.get_one(RunbookRun, run_id)
    if run.state not in ACTIVE:
        return None
    run.state, run.finished_at, run.note, run.next_try_at = state, now, note, None
    session.add(run)
    session.flush()
    connection = session.connection()
    connection.execute(_SKIP, {"run": run_id, "now": now})
    incident_id = connection.execute(_INCIDENT_OF, {"panic": run.panic_id}).scalar_one()
    living = _living(connection, incident_id)
    stale = [message_key(run)]
    if living is not None:
        thread.note(
            session, living, run.kind, f"{run.kind} of {panic_ref(run.panic_id)} {state.value}",
            actor=run.cancelled_by or run.asked_by, panic_id=run.panic_id, at=now,
        )  # fmt: skip
        stale.append(thread.parent_key(living))
    thread.redraw(session, *stale)
    return run


def cancel(
    session: Session, panic_id: int, by: str, now: datetime, kind: str | None = None
) -> list[RunbookRun]:
    """Cancel what runs for a panic. Raises NotFound when nothing does."""
    active = active_runs(session, panic_id=panic_id, kind=kind)
    if not active:
        what = f"no {kind} run" if kind else "nothing"
        raise NotFound(f"{what} is under way for {panic_ref(panic_id)}.")
    for run in active:
        assert run.id is not None
        run.cancelled_by = by
        finish(session, run.id, RunState.CANCELLED, "", now)
    return active


def cancelled_by(session: Session, panic_id: int, by: str, kind: str | None = None) -> list[RunbookRun]:
    """The last runs of a panic that this person cancelled, one a kind."""
    query = (
        select(RunbookRun)
        .where(
            RunbookRun.panic_id == panic_id,
            RunbookRun.state == RunState.CANCELLED,
            RunbookRun.cancelled_by == by,
        )
        .order_by(col(RunbookRun.id))
    )
    return list({run.kind: run for run in session.exec(query) if kind in (None, run.kind)}.values())


def tickets_of(session: Session, panic: Panic, *states: str) -> list[ChangeLink]:
    """The change tickets beside a panic: its own, and those of the other panics in its incident. By key."""
    incident = incident_of(session, panic)
    mine = col(ChangeLink.panic_id) == panic.id
    if incident is not None:
        beside = select(Panic.id).where(col(Panic.incident_id).in_({panic.incident_id, incident.id}))
        mine = or_(mine, col(ChangeLink.panic_id).in_(beside))
    query = select(ChangeLink).where(mine, col(ChangeLink.state).in_(states))
    return list(session.exec(query.order_by(col(ChangeLink.key), col(ChangeLink.panic_id))))


def where_told(session: Session, run_id: int) -> tuple[str, str] | None:
    """(channel, ts) of the run's message once it stands in Slack."""
    run = session.get_one(RunbookRun, run_id)
    message = session.exec(select(SlackMessage).where(SlackMessage.key == message_key(run))).first()
    return (message.channel, message.ts) if message is not None and message.ts else None


def incident_of(session: Session, panic: Panic) -> Incident | None:
    """The incident in whose thread a panic is told; a merged one leads to where it lives on."""
    incident = session.get(Incident, panic.incident_id) if panic.incident_id else None
    while incident is not None and incident.merged_into_id is not None:
        incident = session.get(Incident, incident.merged_into_id)
    return incident
