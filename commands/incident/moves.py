"""Who wants to know when a panic changes its thread: told inside the transaction in which it does."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from sqlalchemy import event, inspect
from sqlmodel import Session

from storage import Panic

Hook = Callable[[Session, int, int | None, int], None]


@contextmanager
def telling_moves(session: Session, hooks: Sequence[Hook]) -> Iterator[None]:
    """Around a transaction's work: `hook(session, panic_id, old, new)` for each panic whose incident is another one
    after it. A panic that came and went in between is not told of, and neither is a new panic's first thread."""
    before: dict[int, int | None] = {}
    after: dict[int, int | None] = {}

    def watch(flushing: Session, _context: Any, _instances: Any) -> None:
        for row in flushing.dirty:
            if isinstance(row, Panic) and row.id is not None:
                history = inspect(row).attrs.incident_id.history
                if history.has_changes():
                    before.setdefault(row.id, history.deleted[0] if history.deleted else None)
                    after[row.id] = row.incident_id

    event.listen(session, "before_flush", watch)
    try:
        yield
        session.flush()
    finally:
        event.remove(session, "before_flush", watch)
    for panic_id, new in after.items():
        old = before[panic_id]
        if new is not None and old is not None and new != old:
            for hook in hooks:
                hook(session, panic_id, old, new)
