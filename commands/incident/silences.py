"""Planned work: `/panic silence host:web-* for:2h` records and threads quietly, and expires by itself."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from sqlmodel import Session, col, select

from commands.access import Role
from commands.context import Context
from commands.durations import read_duration
from commands.errors import BadArguments, NotFound
from commands.router import Ask, Router
from integrations.slack.text import code, date, escape, user
from storage import Silence
from storage.requests import once

_LONGEST_SILENCE = timedelta(days=30)


class SilenceDesk:
    """The handlers of silence, unsilence and silences."""

    def __init__(self, context: Context) -> None:
        self.context = context

    async def _change(self, act: Callable[[Session], str], ask: Ask) -> None:
        """Once for each request: after a crash between the effect and its record, the effect stands."""

        def guarded(session: Session) -> str | None:
            return act(session) if once(session, ask.request_id) else None

        answer = await self.context.db.write(guarded)
        self.context.wake()
        if answer is not None:
            await ask.reply(answer)

    async def silence(self, ask: Ask) -> None:
        pattern, length, reason = parse_silence(ask.words())

        def act(session: Session) -> str:
            until = self.context.clock() + length
            session.add(
                Silence(
                    pattern=pattern,
                    until=until,
                    reason=reason,
                    created_by=ask.user,
                    created_at=self.context.clock(),
                )
            )
            return (
                f":no_bell: Panics of {code(pattern)} are recorded and threaded, and nobody is mentioned, "
                f"until {date(until)}. {code(f'/panic unsilence {pattern}')} ends it sooner."
            )

        await self._change(act, ask)

    async def unsilence(self, ask: Ask) -> None:
        words = ask.words()
        if len(words) != 1:
            raise BadArguments("say which silence to end.", example="/panic unsilence web-*")
        pattern = words[0].removeprefix("host:").lower()

        def act(session: Session) -> str:
            now = self.context.clock()
            rows = session.exec(
                select(Silence).where(
                    Silence.pattern == pattern, Silence.until > now, col(Silence.ended_at).is_(None)
                )
            ).all()
            if not rows:
                raise NotFound(f"no silence for {code(pattern)} is active. `/panic silences` lists them.")
            for row in rows:
                row.ended_at = now
                session.add(row)
            return f":bell: {code(pattern)} is no longer silenced."

        await self._change(act, ask)

    async def silences(self, ask: Ask) -> None:
        now = self.context.clock()
        rows = await self.context.db.read(
            lambda s: s.exec(
                select(Silence)
                .where(Silence.until > now, col(Silence.ended_at).is_(None))
                .order_by(col(Silence.until))
            ).all()
        )
        lines = [
            f"• {code(r.pattern)} until {date(r.until)}, by {user(r.created_by)}"
            + (f": {escape(r.reason)}" if r.reason else "")
            for r in rows[:30]
        ]
        await ask.reply(
            "\n".join(lines) or "No host is silenced. `/panic silence host:web-* for:2h kernel rollout`"
        )


def parse_silence(words: list[str]) -> tuple[str, timedelta, str]:
    """`host:web-* for:2h reason…` -> (pattern, length, reason)."""
    example = "/panic silence host:web-* for:2h kernel rollout"
    pattern, length, rest = "", None, []
    for word in words:
        if word.startswith("host:"):
            pattern = word[5:].strip().lower()
        elif word.startswith("for:"):
            try:
                length = read_duration(word[4:])
            except ValueError as error:
                raise BadArguments(
                    f"`for:` wants a length of time such as 30m, 2h or 1d ({error}).", example=example
                ) from error
        else:
            rest.append(word)
    if not pattern or len(pattern) > 255:
        raise BadArguments("say which hosts: `host:NAME`, globs are fine.", example=example)
    if length is None or length <= timedelta(0):
        raise BadArguments("say for how long: `for:2h`.", example=example)
    if length > _LONGEST_SILENCE:
        raise BadArguments("a silence lasts 30 days at most.", example=example)
    return pattern, length, " ".join(rest)[:500]


def register_silences(router: Router, desk: SilenceDesk) -> None:
    responder, viewer = Role.RESPONDER, Role.VIEWER
    verb = router.verb
    verb(
        "silence",
        desk.silence,
        role=responder,
        usage="silence host:GLOB for:2h [why]",
        help="planned work: record, but mention nobody",
        example="/panic silence host:web-* for:2h kernel rollout",
    )
    verb(
        "unsilence",
        desk.unsilence,
        role=responder,
        usage="unsilence GLOB",
        help="end a silence",
        example="/panic unsilence web-*",
    )
    verb(
        "silences",
        desk.silences,
        role=viewer,
        usage="silences",
        help="which hosts are silenced",
        example="/panic silences",
        acts=False,
    )
