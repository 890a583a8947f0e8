"""debuginfod's protocol, as far as it is needed: `GET /buildid/HEX/debuginfo`.

Servers follow redirects and chain to each other; what comes is looked at before it is used.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import aiohttp
import structlog

from integrations.debuginfo.cache import Cache
from integrations.debuginfo.errors import (
    DebuginfodDown,
    DebuginfodRefused,
    DebuginfoError,
    NotServed,
    TooLarge,
    WrongFile,
)

log = structlog.get_logger(__name__)
_CHUNK = 1024 * 1024

Progress = Callable[[int, int | None], Awaitable[None]]  # bytes so far, bytes in all where they are known


async def nothing(_done: int, _total: int | None) -> None:
    return None


class Debuginfod:
    """Asks servers in their order; the first that has the build wins."""

    def __init__(self, urls: Sequence[str], cache: Cache, *, limit: int, timeout: float) -> None:
        self.urls = tuple(url.rstrip("/") for url in urls)
        self.cache = cache
        self.limit = limit
        self.timeout = timeout

    async def fetch(self, build_id: str, progress: Progress = nothing) -> Path:
        """The debug information of a build, from the cache or a server.

        Raises NotServed when no server has it, else the DebuginfoError of the last server that failed.
        """
        known = await asyncio.to_thread(self.cache.find, build_id)
        if known is not None:
            return known
        worst: DebuginfoError | None = None
        for url in self.urls:
            try:
                return await self._from(url, build_id, progress)
            except NotServed:
                continue
            except DebuginfoError as error:
                log.warning("debuginfod.failed", url=url, build_id=build_id, error=str(error))
                if worst is None or not error.permanent:
                    worst = error  # one that may be mended is worth waiting for
        if worst is not None:
            raise worst
        raise NotServed(f"build id {build_id} is not at {', '.join(self.urls) or 'any server'}.")

    async def _from(self, url: str, build_id: str, progress: Progress) -> Path:
        part = self.cache.begin(build_id)
        try:
            await self._download(f"{url}/buildid/{build_id}/debuginfo", part, progress)
            return await asyncio.to_thread(self.cache.keep, part, build_id)
        finally:
            part.unlink(missing_ok=True)

    async def _download(self, address: str, part: Path, progress: Progress) -> None:
        patience = aiohttp.ClientTimeout(total=self.timeout, sock_connect=30, sock_read=120)
        try:
            async with (
                aiohttp.ClientSession(timeout=patience) as session,
                session.get(address, headers={"User-Agent": "panicroom"}, max_redirects=5) as answer,
            ):
                self._check(answer)
                done = 0
                with part.open("xb") as file:
                    async for chunk in answer.content.iter_chunked(_CHUNK):
                        done += len(chunk)
                        if done > self.limit:
                            raise TooLarge(f"the server sends more than {self.limit} bytes.")
                        await asyncio.to_thread(file.write, chunk)
                        await progress(done, answer.content_length)
        except (aiohttp.TooManyRedirects, aiohttp.InvalidURL) as error:
            raise DebuginfodRefused(f"{address}: {type(error).__name__}.") from error
        except (aiohttp.ClientError, TimeoutError) as error:
            raise DebuginfodDown(f"{address}: {type(error).__name__} {error}".strip() + ".") from error
        except OSError as error:
            raise WrongFile(f"it could not be written to the cache: {error.strerror or error}.") from error

    def _check(self, answer: aiohttp.ClientResponse) -> None:
        if answer.status == 404:
            raise NotServed(f"{answer.url} has it not.")
        if answer.status == 429 or answer.status >= 500:
            raise DebuginfodDown(f"{answer.url} was answered with HTTP {answer.status}.")
        if answer.status != 200:
            raise DebuginfodRefused(f"{answer.url} was answered with HTTP {answer.status}.")
        if answer.content_length is not None and answer.content_length > self.limit:
            raise TooLarge(f"the server announces {answer.content_length} bytes.")
