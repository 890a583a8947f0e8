"""The search box of the form: tickets as the tracker knows them, or, when it is slow or down, as we know them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

import structlog
from sqlalchemy import or_
from sqlmodel import Session, col, select

from commands.access import Role
from commands.changes.blocks import suggestion
from commands.context import Context
from commands.router import Ask
from integrations.changes import BadKey, Change, ChangeError, ChangeTracker, read_key
from integrations.slack import blocks as b
from storage import ChangeLink, ChangeRecord, Panic, parse_ref

log = structlog.get_logger(__name__)

ANSWER_WITHIN = 1.8  # seconds; Slack takes an answer for three, on the way there and back
_QUIET = timedelta(seconds=15)  # a tracker that was slow is not asked at each letter
_SHOWN = 25
_LAST_KNOWN = "as last known; the tracker does not answer"


class SearchBox:
    """Answers `block_suggestion`. Nothing typed: the tickets that name the panic's host."""

    def __init__(
        self,
        ctx: Context,
        tracker: Callable[[], ChangeTracker],
        suggestions: Callable[[Panic], Awaitable[Sequence[Change]]],
        *,
        within: float = ANSWER_WITHIN,
    ) -> None:
        self.ctx = ctx
        self.tracker = tracker
        self.suggestions = suggestions
        self.within = within
        self._quiet_until: datetime | None = None

    async def options(self, ask: Ask) -> list[dict[str, Any]]:
        """At most 25 options, within `within` seconds whatever the tracker does. Raises CommandError."""
        typed = (ask.value or "").strip()[:200]
        found: Sequence[Change] | None = None
        if self._quiet_until is None or self.ctx.clock() >= self._quiet_until:
            try:
                async with asyncio.timeout(self.within):
                    await self.ctx.access.require(ask.user, Role.RESPONDER, "search for a change")
                    found = await self._asked(ask, typed)
                self._quiet_until = None
            except (TimeoutError, ChangeError) as error:
                if not (isinstance(error, ChangeError) and error.permanent):
                    self._quiet_until = self.ctx.clock() + _QUIET
                log.warning("changes.search_box_alone", error=str(error) or f"no answer in {self.within:g} s")
        else:
            async with asyncio.timeout(self.within):
                await self.ctx.access.require(ask.user, Role.RESPONDER, "search for a change")
        if found:
            options = {c.key: b.option(suggestion(c), c.key) for c in found}
        elif found is None:
            known = await self.ctx.db.read(lambda s: last_known(s, typed))
            options = {k: b.option(text, k, description=_LAST_KNOWN) for k, text in known.items()}
        else:
            options = {}
        key = _key(typed)
        if key is not None and key not in options and (found is None or not found):
            words = "link it; it is looked up afterwards" if found is None else "the tracker does not know it"
            options = {key: b.option(key, key, description=words)} | options
        return list(options.values())[:_SHOWN]

    async def _asked(self, ask: Ask, typed: str) -> Sequence[Change]:
        if typed:
            return await self.tracker().search(typed)
        panic_id = parse_ref(_panic_of(ask), "P")
        panic = await self.ctx.db.read(lambda s: s.get(Panic, panic_id)) if panic_id else None
        return await self.suggestions(panic) if panic is not None else []


def last_known(session: Session, typed: str) -> dict[str, str]:
    """{key: one line} of tickets that were linked or found before, the latest first, whose key or summary fits."""
    words = [word for word in typed.split() if word][:8]
    linked = select(ChangeLink.key, ChangeLink.summary, ChangeLink.status).where(ChangeLink.url != "")
    seen = select(ChangeRecord.key, ChangeRecord.summary, ChangeRecord.status).where(
        ChangeRecord.source == "jira"
    )
    for word in words:
        linked = linked.where(
            or_(
                col(ChangeLink.key).icontains(word, autoescape=True),
                col(ChangeLink.summary).icontains(word, autoescape=True),
            )
        )
        seen = seen.where(
            or_(
                col(ChangeRecord.key).icontains(word, autoescape=True),
                col(ChangeRecord.summary).icontains(word, autoescape=True),
            )
        )
    rows = [
        *session.exec(linked.order_by(col(ChangeLink.id).desc()).limit(4 * _SHOWN)).all(),
        *session.exec(seen.order_by(col(ChangeRecord.last_told).desc()).limit(_SHOWN)).all(),
    ]
    known: dict[str, str] = {}
    for key, summary, status in rows:
        if _key(key) == key:
            told = Change(key, summary, status, "", None, None, None, None, "", "jira")
            known.setdefault(key, suggestion(told))
    return known


def _key(text: str) -> str | None:
    try:
        return read_key(text)
    except BadKey:
        return None


def _panic_of(ask: Ask) -> str:
    try:
        told = json.loads(str((ask.view or {}).get("private_metadata") or ""))
    except ValueError:
        return ""
    return str(told.get("panic") or "") if isinstance(told, dict) else ""
