"""Makes links, checks them, and reads a dump's parts in order for whoever holds one."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TypeVar

import structlog
from sqlmodel import Session, col, select

from commands.context import Context
from commands.errors import Impossible
from commands.fetch import links
from commands.fetch.config import FetchConfig
from commands.fetch.links import Closed, Opened
from commands.fetch.token import link_key, number_in, opens, token_of
from integrations.stores import CentralStore, NotKept, Shelf, StoreError
from storage import DumpCopy, DumpLink, DumpPart, FetchState, Panic, panic_ref

log = structlog.get_logger(__name__)
T = TypeVar("T")

PATH = "/v1/dumps/"
_DIRECT_PARTS = 8  # each of their addresses takes half a section of a Slack message


class Unset(Impossible):
    """A link needs the address at which the bot is reached: set `server.public_url` (`[server]` in panicroom.toml)."""


@dataclass(frozen=True)
class Made:
    """A link as a person is given it: one address, or those of the parts in order, signed by the store."""

    link: DumpLink
    copy: DumpCopy
    urls: tuple[str, ...]


class FetchDesk:
    """`close` it at the end. All that the store does runs in threads of its own."""

    def __init__(
        self, context: Context, store: CentralStore | None, config: FetchConfig, *, public_url: str | None
    ) -> None:
        self.context = context
        self.store = store
        self.config = config
        self.public_url = public_url.rstrip("/") if public_url else None
        self._key: bytes | None = None
        self._threads = ThreadPoolExecutor(config.at_once, thread_name_prefix="dumps")
        self.room = asyncio.Semaphore(config.at_once)

    async def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def resume(self) -> None:
        """At the start: what an earlier process was sending broke off."""
        left = await self.context.db.write(lambda s: links.end_left(s, self.context.clock()))
        if left:
            self.context.wake()

    # -- links --------------------------------------------------------------------------------------------

    async def issue(self, panic: Panic, asked_by: str, request_id: str) -> Made:
        """Raises Impossible: no copy, no store, no address."""
        store = self.store
        if store is None:
            raise Impossible("no central store is set (`central.url`): there is nothing to fetch.")
        copy = await self.context.db.read(lambda s: links.copy_to_fetch(s, panic))
        if (copy.place or "").rstrip("/").rpartition("/")[0] != store.url.rstrip("/"):
            raise Impossible(
                f"the copy of the dump of {panic_ref(panic.id)} is in another store than the one that is set."
            )
        signed = await self._signed(copy) if store.kind == "s3" and self.config.direct else ()
        if not signed and self.public_url is None:
            raise Unset
        now = self.context.clock()
        link = await self.context.db.write(
            lambda s: links.issue(
                s, copy, asked_by=asked_by, request_id=request_id, direct=bool(signed), uses=self.config.uses,
                now=now, expires_at=now + self.config.expires,
            )
        )  # fmt: skip
        self.context.wake()
        log.info("dump.link_made", link=link.id, panic=panic_ref(panic.id), direct=link.direct)
        return Made(link, copy, signed or (f"{self.public_url}{PATH}{token_of(link, await self.key())}",))

    async def _signed(self, copy: DumpCopy) -> tuple[str, ...]:
        """The parts' addresses; none where there are too many of them for a message."""

        def parts(session: Session) -> list[int]:
            query = select(DumpPart.number).where(DumpPart.copy_id == copy.id).order_by(col(DumpPart.number))
            return list(session.exec(query))

        numbers = await self.context.db.read(parts)
        if not 0 < len(numbers) <= _DIRECT_PARTS:
            return ()
        seconds = max(1, int(self.config.expires.total_seconds()))

        def sign() -> tuple[str, ...]:
            assert self.store is not None
            with self.store.open(_folder(copy)) as shelf:
                made = [shelf.sign(number, seconds) for number in numbers]
            return tuple(url for url in made if url is not None)

        try:
            made = await self._blocking(sign)
        except StoreError as error:
            raise Impossible(f"the central store made no address: {error}") from error
        return made if len(made) == len(numbers) else ()

    async def key(self) -> bytes:
        if self._key is None:
            self._key = await asyncio.to_thread(link_key, self.context.store_dir)
        return self._key

    # -- fetches ------------------------------------------------------------------------------------------

    async def look(self, token: str) -> tuple[DumpLink, DumpCopy]:
        """What a token is for. Raises Closed: forged, or its asker may read dumps no longer."""
        number, key = number_in(token), await self.key()

        def read(session: Session) -> tuple[DumpLink, DumpCopy] | None:
            link = session.get(DumpLink, number) if number is not None else None
            if link is None or link.direct:
                return None
            return link, session.get_one(DumpCopy, link.copy_id)

        found = await self.context.db.read(read)
        if found is None or not opens(token, found[0], key):
            raise Closed("bad_link", "this is no link of ours, or not as it was made.", gone=False)
        if not await self.context.access.reads_dumps(found[0].asked_by):
            raise Closed("not_allowed", "who asked for this link may not read dumps any more.", gone=False)
        return found

    async def begin(self, link: DumpLink, start: int, remote: str) -> Opened:
        """Counts a use. Raises Closed."""
        now = self.context.clock()
        opened = await self.context.db.write(lambda s: links.open_link(s, link, start, remote, now))
        self.context.wake()
        return opened

    async def end(self, opened: Opened, reached: int, note: str = "") -> None:
        whole = not note and reached >= opened.size
        state = FetchState.FINISHED if whole else FetchState.BROKEN
        now = self.context.clock()
        await self.context.db.write(lambda s: links.end(s, opened.fetch_id, state, reached, note, now))
        self.context.wake()
        log.info(
            "dump.fetch", panic=panic_ref(opened.panic_id), state=state.value, reached=reached, note=note
        )

    async def pieces(self, opened: Opened) -> AsyncGenerator[bytes, None]:
        """The dump's bytes from `start`, at most some MiB at a time. Raises a StoreError, Damaged.

        A part's end is held back until the part's sha256 was right: what is damaged never arrives as a whole.
        """
        stack, source = await self._blocking(lambda: self._open(opened))
        try:
            while (piece := await self._blocking(lambda: next(source, None))) is not None:
                yield piece
        finally:
            await self._blocking(stack.close)

    def _open(self, opened: Opened) -> tuple[ExitStack, Iterator[bytes]]:
        assert self.store is not None
        with ExitStack() as stack:
            shelf = stack.enter_context(self.store.open(opened.folder))
            stand = shelf.sizes()
            bad = [number for number, size, _ in opened.parts if stand.get(number) != size]
            if bad or sum(size for _, size, _ in opened.parts) != opened.size:
                raise Damaged(
                    f"part {bad[0]} is not there as it was written" if bad else "parts of it are not known"
                )
            return stack.pop_all(), _pieces(shelf, opened)
        raise AssertionError  # nothing above swallows what is raised

    async def _blocking(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)


class Damaged(Exception):
    """What stands in the store is not what was written there."""


def _pieces(shelf: Shelf, opened: Opened) -> Iterator[bytes]:
    """A part of which only the end is wanted is read whole, too: its sha256 is of all of it."""
    skip = opened.start
    for number, size, sha256 in opened.parts:
        if skip >= size:
            skip -= size
            continue
        digest, held = hashlib.sha256(), b""
        try:
            for piece in shelf.read(number):
                digest.update(piece)
                if held:
                    yield held
                held, skip = piece[skip:], max(0, skip - len(piece))
        except NotKept as error:
            raise Damaged(f"part {number} is gone") from error
        if digest.hexdigest() != sha256:
            raise Damaged(f"part {number} does not read as it was written")
        if held:
            yield held


def _folder(copy: DumpCopy) -> str:
    return (copy.place or "").rstrip("/").rpartition("/")[2]
