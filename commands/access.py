"""Who may: Slack users and user groups -> viewer, responder, admin."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from enum import IntEnum

import structlog
from pydantic import BaseModel, ConfigDict, Field

from commands.errors import Refused
from integrations.slack.text import escape

log = structlog.get_logger(__name__)

_ASK_AGAIN = 5.0  # seconds until a group that Slack could not tell is asked for again


class Role(IntEnum):
    """Each role may do all that the one before it may."""

    NOBODY = 0
    VIEWER = 1  # list, show, help
    RESPONDER = 2  # triage, evidence, link, acknowledge, resolve
    ADMIN = 3  # merge, split, reclassify, quarantine

    @property
    def word(self) -> str:
        return self.name.lower()


class AccessConfig(BaseModel):
    """`[access]`: Slack user ids (`U…`, `W…`) and user group ids (`S…`) a role."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    everyone: str = Field(default="viewer", pattern="^(nobody|viewer|responder|admin)$")
    viewers: tuple[str, ...] = ()
    responders: tuple[str, ...] = ()
    admins: tuple[str, ...] = ()
    dump_readers: tuple[str, ...] = ()  # may ask for links to dumps, as admins may


class Access:
    """Answers who may, with user groups read from Slack and remembered for a minute.

    When Slack cannot say who is in a group, the last known members count; with none known, nobody is in it.
    """

    def __init__(
        self,
        config: AccessConfig,
        members_of: Callable[[str], Awaitable[Sequence[str]]],
        *,
        remember_seconds: float = 60.0,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.config = config
        self._members_of = members_of
        self._remember = remember_seconds
        self._monotonic = monotonic
        self._groups: dict[str, tuple[float, frozenset[str]]] = {}

    async def role_of(self, user: str) -> Role:
        for role, entries in (
            (Role.ADMIN, self.config.admins),
            (Role.RESPONDER, self.config.responders),
            (Role.VIEWER, self.config.viewers),
        ):
            if user in entries:
                return max(role, Role[self.config.everyone.upper()])
            for entry in entries:
                if entry.startswith("S") and user in await self._group(entry):
                    return max(role, Role[self.config.everyone.upper()])
        return Role[self.config.everyone.upper()]

    async def reads_dumps(self, user: str) -> bool:
        """Whether this user may have a dump, which is a host's memory: admins, and those named for it."""
        entries = self.config.dump_readers
        if user in entries or await self.role_of(user) >= Role.ADMIN:
            return True
        return any([user in await self._group(entry) for entry in entries if entry.startswith("S")])

    async def require(self, user: str, needed: Role, what: str) -> None:
        """Raises Refused, which says what role is needed and which one this user has."""
        has = await self.role_of(user)
        if has < needed:
            shown = f"`{what}`" if what[:1] in "/@" else f"*{escape(what)}*"
            raise Refused(
                f"{shown} needs the role *{needed.word}*; yours is *{has.word}*. "
                "An admin of Panicroom can give it to you (`[access]` in panicroom.toml)."
            )

    async def _group(self, group: str) -> frozenset[str]:
        now = self._monotonic()
        known = self._groups.get(group)
        if known is not None and now - known[0] < self._remember:
            return known[1]
        try:
            members = frozenset(await self._members_of(group))
        except Exception as error:  # noqa: BLE001 - any failure of Slack: the last known members count
            log.warning("usergroup.unreadable", group=group, error=str(error))
            members = known[1] if known else frozenset()
            now -= max(0.0, self._remember - _ASK_AGAIN)
        self._groups[group] = (now, members)
        return members
