"""The front desk: whatever Slack sends is acknowledged at once, and what must not be lost is committed before.

Bolt would acknowledge an event before its listener runs and poll every 10 ms for a listener's own
acknowledgement. So the desk stands in front of it, for HTTP and for Socket Mode alike: it stores what changes
something, answers Slack, and hands the request to Bolt's dispatch from a queue.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import structlog
from slack_bolt.async_app import AsyncApp
from slack_bolt.request.async_request import AsyncBoltRequest
from sqlalchemy.exc import SQLAlchemyError

from bot.slack_payloads import Incoming, action_of, event_text, identify, to_ask
from commands.router import Router
from integrations.slack.client import SlackClient, patiently
from integrations.slack.errors import SlackError
from integrations.slack.text import code
from storage import Database
from storage.inbox import InboxError, RequestInbox
from storage.requests import TRIES, begin, finish, given_up, unfinished

log = structlog.get_logger(__name__)

_REMEMBERED = 5000  # requests that were not stored, to answer a repeated delivery with the same silence
_WORKERS = 8
_TAKEN_UP = 500  # stored requests read at a time
_ANSWER_WITHIN = 2.5  # seconds; Slack gives up after three
# Acknowledgements go first: work begins when nothing came in for a moment, or has waited this long.
_QUIET = 0.01
_LONGEST_WAIT = {"command": 1.0, "event": 1.0}
_LONGEST_CLICK_WAIT = 0.25  # a click may open a form, and its trigger lives for three seconds


@dataclass(frozen=True)
class Answer:
    """What Slack is told: an HTTP status and a JSON body (or nothing)."""

    status: int = 200
    body: dict[str, Any] | None = None


@dataclass(frozen=True)
class Job:
    """A request to be worked off: `stored` in the database, perhaps by an earlier process (`resumed`)."""

    incoming: Incoming
    stored: bool
    arrived: float
    resumed: bool = False


class FrontDesk:
    """`accept()` answers within milliseconds; workers do the rest."""

    def __init__(
        self,
        db: Database,
        inbox: RequestInbox,
        router: Router,
        bolt: AsyncApp,
        slack: SlackClient,
        *,
        queue: int = 2000,
    ) -> None:
        self.db = db
        self.inbox = inbox
        self.router = router
        self.bolt = bolt
        self.slack = slack
        self._queue: asyncio.Queue[Job] = asyncio.Queue(queue)
        self.on_request: Callable[[str], None] = lambda _kind: None
        self._last_accepted = 0.0
        self._in_hand: set[str] = set()  # stored requests that are queued or worked on
        self._arriving: Counter[str] = Counter()  # requests that are being stored
        self._news = asyncio.Event()
        self._more_stored = False  # there are stored requests that found no room in the queue
        self._seen: OrderedDict[str, None] = OrderedDict()
        self._workers: list[asyncio.Task[None]] = []
        # One of several: all is stored, for Slack delivers one event to two of them, and only the leader knows all.
        self.replicated = False
        self.on_stored: Callable[[], None] = lambda: None  # by a process that does not work it off

    async def start(self) -> None:
        """Takes up what an earlier process, or a follower, acknowledged and nobody finished."""
        await self._take_up()
        self._workers = [asyncio.create_task(self._work(), name=f"slack-worker-{n}") for n in range(_WORKERS)]
        self._workers.append(asyncio.create_task(self._look(), name="slack-look"))

    def wake(self) -> None:
        """Another process may have stored something."""
        self._news.set()

    async def _look(self) -> None:
        while True:
            await self._news.wait()
            self._news.clear()
            await self._take_up_safely()

    async def _take_up(self) -> None:
        """Stored requests that nobody has in hand, as many as the queue holds; the rest when there is room again."""
        self._more_stored = self._queue.full()
        if self._more_stored:
            return
        in_hand = {*self._in_hand, *self._arriving}
        rows = await self.db.read(lambda s: unfinished(s, _TAKEN_UP, but=in_hand))
        taken = 0
        for row in rows:
            if row.dedupe in self._in_hand or row.dedupe in self._arriving:
                continue
            try:
                incoming = Incoming(row.kind, row.dedupe, json.loads(row.body))
            except ValueError as error:  # a damaged row holds up nobody else's
                await self._put_aside(row.dedupe, f"its row cannot be read: {error}")
                continue
            if not self._enqueue_stored(incoming, resumed=True):
                break
            taken += 1
        self._more_stored = self._more_stored or len(rows) == _TAKEN_UP
        if taken:
            log.info("slack.requests_resumed", count=taken)

    def _enqueue_stored(self, incoming: Incoming, *, resumed: bool = False) -> bool:
        """Full: the row is committed, and is taken up when there is room."""
        try:
            self._queue.put_nowait(Job(incoming, True, time.monotonic(), resumed))
        except asyncio.QueueFull:
            self._more_stored = True
            return False
        self._in_hand.add(incoming.dedupe)
        return True

    async def stop(self) -> None:
        for worker in self._workers:
            worker.cancel()
        await asyncio.gather(*self._workers, return_exceptions=True)

    # -- in front of the acknowledgement ----------------------------------------------------------------

    async def accept(self, payload: dict[str, Any]) -> Answer:
        """Raises BadPayload for what is nothing that Slack sends."""
        self._last_accepted = time.monotonic()
        if payload.get("type") == "url_verification":
            return Answer(body={"challenge": str(payload.get("challenge") or "")})
        incoming = identify(payload)
        self.on_request(incoming.kind)
        if incoming.kind == "other":
            return Answer()  # ssl_check and the like
        if incoming.kind == "block_suggestion":
            return await self._suggest(incoming)
        if incoming.kind == "view_submission":
            callback = str((payload.get("view") or {}).get("callback_id") or "")
            errors = self.router.check(callback, to_ask(incoming, _silent, self.slack.bot_user_id))
            if errors:
                return Answer(body={"response_action": "errors", "errors": errors})
        if self._acts(incoming):
            return await self._store(incoming)
        if incoming.dedupe in self._seen:
            return Answer()
        self._remember(incoming.dedupe)
        try:
            self._queue.put_nowait(Job(incoming, False, time.monotonic()))
        except asyncio.QueueFull:
            del self._seen[incoming.dedupe]  # delivered again, it is to be heard
            return self._busy(incoming)
        return Answer()

    def _acts(self, incoming: Incoming) -> bool:
        """Whether the request changes something, and so must survive a crash of ours."""
        if self.replicated:
            return True
        payload = incoming.payload
        if incoming.kind == "command":
            return self.router.acts(str(payload.get("text") or ""))
        if incoming.kind == "block_actions":
            act = self.router.actions.get(action_of(payload)[0].split(":", 1)[0])
            return act is not None and act.acts
        if incoming.kind == "view_submission":
            return True
        if incoming.kind == "shortcut":
            act = self.router.shortcuts.get(str(payload.get("callback_id") or ""))
            return act is not None and act.acts
        if incoming.kind == "event":
            event = payload.get("event") or {}
            said = event_text(event, self.slack.bot_user_id)
            return event.get("type") == "app_mention" and self.router.acts(said)
        return False

    async def _store(self, incoming: Incoming) -> Answer:
        self._arriving[incoming.dedupe] += 1  # before it is committed: a look must not take it up, too
        try:
            return await self._store_arriving(incoming)
        finally:
            self._arriving[incoming.dedupe] -= 1
            if not self._arriving[incoming.dedupe]:
                del self._arriving[incoming.dedupe]

    async def _store_arriving(self, incoming: Incoming) -> Answer:
        try:
            stored = await self.inbox.add(
                dedupe=incoming.dedupe,
                kind=incoming.kind,
                body=json.dumps(incoming.payload, separators=(",", ":")),
            )
        except (InboxError, SQLAlchemyError) as error:
            log.error("slack.request_not_stored", kind=incoming.kind, error=str(error))
            return self._busy(incoming)
        if not self._workers:
            self.on_stored()
        elif not stored.duplicate:
            self._enqueue_stored(incoming)
        return Answer()

    def _busy(self, incoming: Incoming) -> Answer:
        text = (
            ":hourglass: Panicroom has more to do than it can take. Nothing was done; try again in a minute."
        )
        if incoming.kind == "command":
            return Answer(body={"response_type": "ephemeral", "text": text})
        if incoming.kind == "view_submission":
            blocks = [
                b
                for b in (incoming.payload.get("view") or {}).get("blocks") or []
                if b.get("type") == "input"
            ]
            if blocks:
                return Answer(body={"response_action": "errors", "errors": {blocks[0]["block_id"]: text}})
        return Answer(status=503)

    async def _suggest(self, incoming: Incoming) -> Answer:
        """The options of an external select have to be in the answer itself."""
        try:
            async with asyncio.timeout(_ANSWER_WITHIN):
                response = await self.bolt.async_dispatch(_bolt_request(incoming))
        except TimeoutError:
            log.warning("slack.options_late")
            return Answer(body={"options": []})
        try:
            body = json.loads(response.body) if response.body else {"options": []}
        except ValueError:
            body = {"options": []}
        return Answer(body=body)

    def _remember(self, dedupe: str) -> None:
        self._seen[dedupe] = None
        while len(self._seen) > _REMEMBERED:
            self._seen.popitem(last=False)

    # -- behind it ------------------------------------------------------------------------------------

    async def _work(self) -> None:
        while True:
            job = await self._queue.get()
            try:
                await self._until_quiet(job)
                await self._dispatch(job)
            except asyncio.CancelledError:
                raise
            except Exception:
                log.exception("slack.request_failed", kind=job.incoming.kind, request=job.incoming.dedupe)
            finally:
                self._in_hand.discard(job.incoming.dedupe)
            if self._more_stored and self._queue.empty():
                await self._take_up_safely()

    async def _until_quiet(self, job: Job) -> None:
        longest = _LONGEST_WAIT.get(job.incoming.kind, _LONGEST_CLICK_WAIT)
        while True:
            now = time.monotonic()
            left = min(_QUIET - (now - self._last_accepted), longest - (now - job.arrived))
            if left <= 0:
                return
            await asyncio.sleep(left)

    async def _take_up_safely(self) -> None:
        try:
            await self._take_up()
        except SQLAlchemyError:
            self._more_stored = True
            log.exception("slack.take_up_failed")

    async def _dispatch(self, job: Job) -> None:
        incoming = job.incoming
        if job.resumed and not await self.db.write(lambda s: begin(s, incoming.dedupe)):
            if await self.db.read(lambda s: given_up(s, incoming.dedupe)):
                await self._tell_given_up(incoming)
            return
        response = await self.bolt.async_dispatch(_bolt_request(incoming))
        failed = response is None or response.status >= 500
        if job.stored:
            error = (
                f"the handler failed (status {response.status if response else 'none'})" if failed else None
            )
            await self.db.write(lambda s: finish(s, incoming.dedupe, error))

    async def _put_aside(self, dedupe: str, why: str) -> None:
        log.error("slack.request_unreadable", request=dedupe, error=why)
        await self.db.write(lambda s: finish(s, dedupe, why))

    async def _tell_given_up(self, incoming: Incoming) -> None:
        """Acknowledged is answered for, though it be with bad news."""
        log.error("slack.request_given_up", kind=incoming.kind, request=incoming.dedupe)
        ask = to_ask(incoming, _silent, self.slack.bot_user_id)
        said = f"{incoming.payload.get('command') or ''} {ask.text or ask.label}".strip() or incoming.kind
        text = (
            f":warning: {code(said[:200])} was given up: Panicroom's process ended {TRIES} times while it worked on "
            "it. Look whether it was done before you try once more, and tell your Panicroom admin."
        )
        if not ask.channel or not ask.user:
            log.warning("slack.nobody_to_answer", text=text)
            return
        try:
            await patiently(
                lambda: self.slack.ephemeral(ask.channel, ask.user, text, thread_ts=ask.thread_ts)
            )
        except SlackError as error:
            log.warning("slack.answer_lost", error=str(error))


def _bolt_request(incoming: Incoming) -> AsyncBoltRequest:
    """`socket_mode` is Bolt's word for "the payload was verified by whoever received it"."""
    return AsyncBoltRequest(body=incoming.payload, mode="socket_mode")


async def _silent(
    text: str, blocks: list[dict[str, Any]] | None = None, *, replace: bool = False, in_channel: bool = False
) -> None:
    """For checks that only look: there is nobody to answer."""
