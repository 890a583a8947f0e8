"""What an erasure does outside of the tables: one item at a time, each of which may be done again."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Awaitable, Callable, Sequence

import structlog

from commands.context import Context
from commands.forget import ledger
from integrations.slack.errors import SlackError, SlackRateLimited, SlackRefused
from integrations.stores import CentralStore, StoreError
from storage import ErasureItem, ItemOutcome, MessageState, SlackMessage

log = structlog.get_logger(__name__)
_NO_FILE = frozenset({"file_not_found", "file_deleted"})

Done = tuple[ItemOutcome, str]
_GONE: Done = (ItemOutcome.GONE, "")


class Hands:
    """`forget_workflows` takes the beginnings of workflow ids: what the workflows' own database holds of them goes."""

    def __init__(
        self,
        context: Context,
        store: CentralStore | None,
        forget_workflows: Callable[[Sequence[str]], Awaitable[None]],
    ) -> None:
        self.context = context
        self.store = store
        self.forget_workflows = forget_workflows

    async def do(self, item: ErasureItem) -> Done:
        """OPEN, with why: it may be had later. Raises nothing that the neighbours do."""
        try:
            if item.kind == ledger.CENTRAL:
                return await asyncio.to_thread(self._central, item.key)
            if item.kind == ledger.FOLDER:
                return await asyncio.to_thread(self._folder, item.key)
            if item.kind == ledger.WORKFLOW:
                await self.forget_workflows([item.key])
                return _GONE
            return await self._file(item)
        except StoreError as error:
            return ItemOutcome.OPEN, str(error)
        except SlackRefused as error:
            return (ItemOutcome.OPEN if error.mendable else ItemOutcome.UNREACHED), str(error)
        except (SlackError, OSError) as error:
            return ItemOutcome.OPEN, str(error)

    def _central(self, folder: str) -> Done:
        if self.store is None:
            return ItemOutcome.UNREACHED, "no central store is set"
        with self.store.open(folder) as shelf:
            shelf.remove()
            left = shelf.sizes()
        return (ItemOutcome.OPEN, f"{len(left)} parts are still there") if left else _GONE

    def _folder(self, name: str) -> Done:
        """The panic's folder, in the store directory itself and in each folder of it (`panics/P-41`)."""
        for path in (*self.context.store_dir.glob(name), *self.context.store_dir.glob(f"*/{name}")):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        return _GONE

    async def _file(self, item: ErasureItem) -> Done:
        """The file, and the message that it came with: its words stay in Slack when the file goes."""
        slack, place = self.context.slack, item.place
        found = await slack.find(place["channel"], thread_ts=place["thread"], oldest=place["since"] - 600)
        for message in found:
            if any(file_id == item.key for file_id, _ in message.files):
                await slack.delete(place["channel"], message.ts)
        try:
            await slack.delete_file(item.key)
        except SlackRefused as error:
            if error.code not in _NO_FILE:
                raise
        return _GONE

    # -- messages -----------------------------------------------------------------------------------------

    async def message(self, item: ErasureItem) -> Done:
        """Whether what stands in Slack was written over. One that cannot be edited is deleted."""
        row = await self.context.db.read(lambda s: s.get(SlackMessage, int(item.key)))
        channel, ts = item.place["channel"], item.place["ts"]
        if row is None:
            return await self._delete(channel, ts)
        settled = row.state is MessageState.SENT and row.sent >= row.wanted
        if settled and row.ts == ts:
            return _GONE
        if row.state is MessageState.FAILED or (row.ts is not None and row.ts != ts):
            # Refused, or said anew because Slack would not edit the one that stood.
            return await self._delete(channel, ts)
        return ItemOutcome.OPEN, row.error or "it waits for its turn in Slack"

    async def _delete(self, channel: str, ts: str) -> Done:
        try:
            await self.context.slack.delete(channel, ts)
        except SlackRateLimited as error:
            return ItemOutcome.OPEN, str(error)
        except SlackRefused as error:
            return (ItemOutcome.OPEN if error.mendable else ItemOutcome.UNREACHED), str(error)
        except SlackError as error:
            return ItemOutcome.OPEN, str(error)
        return _GONE
