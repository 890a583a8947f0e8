"""From Slack to a verb: one `Ask` whatever the person used (slash command, button, modal, mention, shortcut)."""

from __future__ import annotations

import difflib
import json
import re
import shlex
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import structlog
from sqlmodel import Session

from commands.access import Access, Role
from commands.errors import BadArguments, CommandError, Refused
from integrations.slack.errors import SlackError
from integrations.slack.text import code
from storage import AuditEntry, Database
from storage.requests import settle

log = structlog.get_logger(__name__)

_ID = re.compile(r"(?<![\w-])[PpIi]-\d{1,12}(?![\w-])")


class Respond(Protocol):
    """Answers the person who asked, visible to them alone unless `in_channel`."""

    async def __call__(
        self,
        text: str,
        blocks: list[dict[str, Any]] | None = None,
        *,
        replace: bool = False,
        in_channel: bool = False,
    ) -> None: ...


@dataclass(frozen=True)
class Ask:
    """One request of one person.

    `request_id` is the same when the same request is worked on again after a restart: derive idempotency
    keys from it. `value` is the button's value; `view` is the modal's view object at submission, `values`
    its state as {block_id: {action_id: element state}}.
    """

    request_id: str
    user: str
    channel: str
    text: str = ""  # what follows the verb
    thread_ts: str | None = None
    message_ts: str | None = None
    value: str | None = None
    trigger_id: str | None = None
    view: Mapping[str, Any] | None = None
    values: Mapping[str, Any] = field(default_factory=dict)
    message: Mapping[str, Any] | None = None  # of a message shortcut
    verb: str = ""
    label: str = ""  # what the button says
    response_url: str = (
        ""  # for forms: where the person is answered within half an hour, also where the bot is not
    )
    respond: Respond | None = None

    async def reply(
        self,
        text: str,
        blocks: list[dict[str, Any]] | None = None,
        *,
        replace: bool = False,
        in_channel: bool = False,
    ) -> None:
        if self.respond is not None:
            await self.respond(text, blocks, replace=replace, in_channel=in_channel)

    def words(self) -> list[str]:
        """The arguments, split as a shell would; quotes that do not close are an error with a hint."""
        try:
            return shlex.split(self.text.replace("“", '"').replace("”", '"').replace("’", "'"))
        except ValueError as error:
            raise BadArguments(f"a quote is not closed in {code(self.text)}.") from error


Handler = Callable[[Ask], Awaitable[None]]
Check = Callable[[Ask], dict[str, str]]


@dataclass(frozen=True)
class Verb:
    """A `/panic` verb. `acts`: it changes something, so it is committed before it is acknowledged."""

    name: str
    handler: Handler
    role: Role
    usage: str
    help: str
    example: str
    acts: bool = True
    aliases: tuple[str, ...] = ()
    hidden: bool = False


@dataclass(frozen=True)
class Act:
    """A button, menu entry, modal or shortcut.

    `acts` is false for what only opens a modal: its trigger lives 3 s and cannot be resumed.
    """

    name: str
    handler: Handler
    role: Role
    acts: bool = True
    check: Check | None = None  # modals: {block_id: what is wrong}, pure and quick


class Router:
    """Knows every verb, button and modal; checks the role, writes the audit, turns errors into hints."""

    def __init__(self, db: Database, access: Access, *, command: str = "/panic") -> None:
        self.db = db
        self.access = access
        self.command = command
        self.verbs: dict[str, Verb] = {}
        self._aliases: dict[str, str] = {}
        self.actions: dict[str, Act] = {}
        self.views: dict[str, Act] = {}
        self.shortcuts: dict[str, Act] = {}
        self.options: dict[str, Callable[[Ask], Awaitable[list[dict[str, Any]]]]] = {}

    # -- registration, called by each verb's slack.py -------------------------------------------------

    def verb(
        self,
        name: str,
        handler: Handler,
        *,
        role: Role,
        usage: str,
        help: str,
        example: str,
        acts: bool = True,
        aliases: tuple[str, ...] = (),
    ) -> None:
        self.verbs[name] = Verb(name, handler, role, usage, help, example, acts, aliases)
        for alias in aliases:
            self._aliases[alias] = name

    def action(self, action_id: str, handler: Handler, *, role: Role, acts: bool = True) -> None:
        self.actions[action_id] = Act(action_id, handler, role, acts)

    def modal(self, callback_id: str, handler: Handler, *, role: Role, check: Check | None = None) -> None:
        self.views[callback_id] = Act(callback_id, handler, role, True, check)

    def shortcut(self, callback_id: str, handler: Handler, *, role: Role, acts: bool = False) -> None:
        self.shortcuts[callback_id] = Act(callback_id, handler, role, acts)

    # -- dispatch -------------------------------------------------------------------------------------

    def find_verb(self, text: str) -> Verb | None:
        """The verb that the first word is; `card` where ids stand in place of one."""
        word = text.strip().split(None, 1)[0].lower() if text.strip() else "help"
        verb = self.verbs.get(self._aliases.get(word, word))
        if verb is None and (_ID.fullmatch(word) or (_ID.search(text) and not self._near(word))):
            verb = self.verbs.get("card")
        return verb

    def _near(self, word: str) -> list[str]:
        """The verb that was perhaps meant."""
        names = [n for n, v in self.verbs.items() if not v.hidden]
        return difflib.get_close_matches(word, names, n=1, cutoff=0.5)

    def acts(self, text: str) -> bool:
        """Whether this command line changes something (then it is stored before it is acknowledged)."""
        verb = self.find_verb(text)
        return verb is not None and verb.acts

    async def command_line(self, ask: Ask, *, spoken: str | None = None) -> None:
        """`/panic TEXT` or `@panicroom TEXT`; `ask.text` holds TEXT."""
        prefix = spoken or self.command
        verb = self.find_verb(ask.text)
        if verb is None:
            await ask.reply(self._unknown(ask.text, prefix))
            return
        rest = ask.text.strip().split(None, 1)
        if verb.name == "card" and rest[0].lower() != "card":
            rest = ["card", ask.text]
        act = Act(verb.name, verb.handler, verb.role, verb.acts)
        await self._run(
            act,
            replace(ask, text=rest[1] if len(rest) > 1 else "", verb=verb.name),
            f"{prefix} {verb.name}",
            verb,
            prefix,
        )

    async def click(self, action_id: str, ask: Ask) -> None:
        """A button; `action_id` may carry a suffix after `:` to be unique in its message."""
        act = self.actions.get(action_id.split(":", 1)[0])
        if act is None:
            await ask.reply("This button belongs to an older version of Panicroom. Use `/panic help`.")
            return
        await self._run(act, replace(ask, verb=act.name), ask.label or act.name)

    async def submit(self, callback_id: str, ask: Ask) -> None:
        act = self.views.get(callback_id)
        if act is None:
            log.warning("modal.unknown", callback_id=callback_id)
            return
        await self._run(act, replace(ask, verb=act.name), act.name)

    async def use_shortcut(self, callback_id: str, ask: Ask) -> None:
        act = self.shortcuts.get(callback_id)
        if act is None:
            log.warning("shortcut.unknown", callback_id=callback_id)
            return
        await self._run(act, replace(ask, verb=act.name), act.name)

    def check(self, callback_id: str, ask: Ask) -> dict[str, str]:
        act = self.views.get(callback_id)
        return act.check(ask) if act is not None and act.check is not None else {}

    async def _run(
        self, act: Act, ask: Ask, said: str, verb: Verb | None = None, prefix: str | None = None
    ) -> None:
        """A CommandError is an answer, not a failure; anything else is told to the person and raised on."""
        subject = (ask.value or ask.text or _subject_of(ask))[:300]
        try:
            await self.access.require(ask.user, act.role, said)
            await act.handler(ask)
        except Refused as refusal:
            await self._audit(ask, act.name, subject, "refused", str(refusal))
            await ask.reply(f":no_entry: {refusal}")
        except CommandError as error:
            if act.acts:
                await self._audit(ask, act.name, subject, "failed", str(error))
            example = error.example or (verb.example if verb and isinstance(error, BadArguments) else None)
            shown = f"\nFor example: `{self._spoken(example, prefix)}`" if example else ""
            await ask.reply(f":warning: {error}{shown}")
        except SlackError as error:
            await self._audit(ask, act.name, subject, "failed", str(error), broke=True)
            await ask.reply(f":warning: {error}")
        except Exception as error:
            what = f"{type(error).__name__}: {error}"[:2000]
            await self._audit(ask, act.name, subject, "failed", what, broke=True)
            await ask.reply(
                f":boom: `{said}` failed inside Panicroom ({type(error).__name__}). It is logged under "
                f"`{ask.request_id}`. Try once more, then tell your Panicroom admin."
            )
            raise
        else:
            if act.acts:
                await self._audit(ask, act.name, subject, "done", "")

    async def _audit(
        self, ask: Ask, verb: str, subject: str, outcome: str, detail: str, *, broke: bool = False
    ) -> None:
        """One row a request: worked on again after a restart, it is not told twice."""

        def record(session: Session) -> None:
            if settle(session, ask.request_id, failed=broke):
                session.add(
                    AuditEntry(actor=ask.user, verb=verb, subject=subject, outcome=outcome, detail=detail)
                )

        await self.db.write(record)

    def _spoken(self, example: str, prefix: str | None) -> str:
        """An example as it can be typed where the person is: slash commands do nothing in a thread."""
        return re.sub(r"\A/\S+", prefix or self.command, example)

    def _unknown(self, text: str, prefix: str) -> str:
        words = text.strip().split(None, 1)
        typed = words[0].lower() if words else ""
        near = self._near(typed)
        hint = f" Did you mean `{prefix} {near[0]}`?" if near else ""
        example = self._spoken(self.verbs[near[0]].example if near else "/panic list since:7d", prefix)
        return (
            f":grey_question: I do not know {code(typed[:40])}.{hint}\n"
            f"For example: `{example}` · all verbs: `{prefix} help`"
        )


def _subject_of(ask: Ask) -> str:
    """What a form was opened for, for the audit: the ids in its `private_metadata`."""
    try:
        told = json.loads((ask.view or {}).get("private_metadata") or "{}")
    except (ValueError, TypeError, RecursionError):
        return ""
    if not isinstance(told, dict):
        return ""
    return str(told.get("subject") or told.get("panic") or "")
