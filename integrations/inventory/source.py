"""Asking a source: at most so many bytes, at most so long."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import aiohttp

_PIECE = 64 * 1024


class SourceFailed(Exception):
    """The source gave no answer."""


@dataclass(frozen=True)
class Answer:
    """What it said; None when it says that nothing has changed since `etag`."""

    raw: bytes | None
    etag: str | None = None


async def from_file(path: Path, *, limit: int) -> Answer:
    def read() -> bytes:
        with path.open("rb") as file:
            return file.read(limit + 1)

    try:
        return Answer(_within(await asyncio.to_thread(read), limit))
    except OSError as error:
        raise SourceFailed(f"{path} cannot be read: {error.strerror or error}") from error


async def from_command(argv: Sequence[str], *, limit: int, timeout: float) -> Answer:
    """Standard output of `argv`, which no shell sees. Whatever it started ends with it."""
    try:
        process = await asyncio.create_subprocess_exec(
            *argv, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE, start_new_session=True,
        )  # fmt: skip
    except OSError as error:
        raise SourceFailed(f"{argv[0]} cannot be started: {error.strerror or error}") from error
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        async with asyncio.timeout(timeout):
            raw, said = await asyncio.gather(
                _read(process.stdout, limit), _read(process.stderr, _PIECE, cut=True)
            )
            status = await process.wait()
    except TimeoutError as error:
        raise SourceFailed(f"{argv[0]} took longer than {timeout:g} s") from error
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
    if status != 0:
        lines = said.decode("utf-8", "replace").strip().splitlines()
        raise SourceFailed(f"{argv[0]} ended with status {status}: {lines[-1][:300] if lines else 'no word'}")
    return Answer(raw)


async def _read(stream: asyncio.StreamReader, limit: int, *, cut: bool = False) -> bytes:
    """All of it; beyond the limit it is an error, or is read and forgotten (`cut`)."""
    held = bytearray()
    while piece := await stream.read(_PIECE):
        if len(held) <= limit:
            held += piece
        if len(held) > limit and not cut:
            _within(bytes(held), limit)
    return bytes(held[:limit])


async def from_address(
    url: str, *, token: str | None, etag: str | None, limit: int, timeout: float
) -> Answer:
    """Redirections are not followed: the token is for this address alone."""
    headers = {"Accept": "application/json"}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    if etag:
        headers["If-None-Match"] = etag
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=timeout)) as http,
            http.get(url, headers=headers, allow_redirects=False) as answer,
        ):
            if answer.status == 304 and etag:
                return Answer(None, etag)
            if answer.status != 200:
                raise SourceFailed(f"it answered {answer.status}")
            raw = bytearray()
            async for piece in answer.content.iter_chunked(_PIECE):
                raw += piece
                if len(raw) > limit:
                    break
            return Answer(_within(bytes(raw), limit), answer.headers.get("ETag"))
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        reason = str(error) or f"no answer within {timeout:g} s"
        raise SourceFailed(f"it cannot be reached: {reason[:300]}") from error


def _within(raw: bytes, limit: int) -> bytes:
    if len(raw) > limit:
        raise SourceFailed(f"it is larger than {limit} bytes (inventory.limit)")
    return raw
