"""Uploaded files: tickets for the external upload, the bytes, the file objects."""

from __future__ import annotations

import asyncio
import mimetypes
import re
from pathlib import Path
from typing import Any

from bot.demo.workspace.errors import ApiError
from bot.demo.workspace.identity import Ids
from bot.demo.workspace.journal import Journal
from bot.demo.workspace.slackapp import SlackApp

Json = dict[str, Any]

MAX_FILE_BYTES = 1024**3
#: Slack shows these as text snippets.
_TEXT = {"txt": "text", "log": "text", "json": "json", "md": "markdown", "patch": "diff", "sh": "shell"}


class FileCabinet:
    """Files by id. Bytes live in `directory`, or in memory when it is None."""

    def __init__(self, directory: Path | None, *, app: SlackApp, ids: Ids, journal: Journal) -> None:
        self._directory = directory
        self._app = app
        self._ids = ids
        self._journal = journal
        self._files: dict[str, Json] = {}
        self._pending: dict[str, Json] = {}
        self._memory: dict[str, bytes] = {}

    def load(self) -> None:
        self._files.update(self._journal.load("file"))

    def find(self, file_id: str) -> Json | None:
        return self._files.get(file_id)

    def expect(self, *, filename: str, length: int, base: str, alt: str = "") -> tuple[str, str]:
        """(upload URL, file id) for a file of `length` bytes."""
        if not 0 < length <= MAX_FILE_BYTES:
            raise ApiError("invalid_arguments", messages=["length must be between 1 byte and 1 GB"])
        ticket = self._ids.token(32)
        file_id = self._ids.id("F")
        self._pending[ticket] = {"id": file_id, "name": filename, "size": length, "base": base, "alt": alt}
        return f"{base}/upload/{ticket}", file_id

    def expected(self, ticket: str) -> Json | None:
        return self._pending.get(ticket)

    async def receive(self, ticket: str, content: bytes) -> None:
        """The bytes for an upload ticket. Raises ApiError when they are not as many as announced."""
        announced = self._pending[ticket]
        if len(content) != announced["size"]:
            raise ApiError("file_upload_size_restricted", status=400)
        if self._directory is None:
            self._memory[announced["id"]] = content
        else:
            await asyncio.to_thread(_write, self._directory / announced["id"], content)
        announced["uploaded"] = True

    def complete(self, file_id: str, *, title: str | None, created: int) -> Json:
        """The file object of an upload that is done; not yet shared anywhere."""
        announced = next(
            (f for f in self._pending.values() if f["id"] == file_id and f.get("uploaded")), None
        )
        if announced is None:
            raise ApiError("file_not_found")
        name, base = announced["name"], announced["base"]
        suffix = name.rpartition(".")[2].lower() if "." in name else ""
        shown = re.sub(r"[^A-Za-z0-9._-]", "_", name).lower() or "file"
        document: Json = {
            "id": file_id,
            "created": created,
            "timestamp": created,
            "name": name,
            "title": title or name,
            "mimetype": _mimetype(name),
            "filetype": _TEXT.get(suffix, suffix or "binary"),
            "pretty_type": suffix.upper() or "Binary",
            "user": self._app.bot_user_id,
            "user_team": "T0PANICROOM",
            "editable": False,
            "size": announced["size"],
            "mode": "snippet" if suffix in _TEXT else "hosted",
            "is_external": False,
            "is_public": True,
            "public_url_shared": False,
            "url_private": f"{base}/files/{file_id}/{shown}",
            "url_private_download": f"{base}/files/{file_id}/download/{shown}",
            "permalink": f"{base}/files/{self._app.bot_user_id}/{file_id}/{shown}",
            "channels": [],
            "groups": [],
            "ims": [],
            "shares": {},
            "has_rich_preview": False,
            "file_access": "visible",
        }
        if announced["alt"]:
            document["alt_txt"] = announced["alt"]
        self._pending = {key: f for key, f in self._pending.items() if f["id"] != file_id}
        self._files[file_id] = document
        self._journal.put("file", file_id, document)
        return document

    def share(self, file_id: str, *, channel: str, private: bool, ts: str, thread_ts: str | None) -> None:
        """Record where a file was shared (`shares` of the file object)."""
        document = self._files[file_id]
        share: Json = {"ts": ts, "reply_users": [], "reply_users_count": 0, "reply_count": 0}
        if thread_ts is not None:
            share["thread_ts"] = thread_ts
        kind = document["shares"].setdefault("private" if private else "public", {})
        kind.setdefault(channel, []).append(share)
        document["groups" if private else "channels"].append(channel)
        self._journal.put("file", file_id, document)

    async def delete(self, file_id: str) -> list[tuple[str, str]]:
        """The bytes are removed and the file object becomes a tombstone; (channel, ts) of each message it was in."""
        document = self._files[file_id]
        shares = [
            (channel, share["ts"])
            for kind in document["shares"].values()
            for channel, entries in kind.items()
            for share in entries
        ]
        tombstone: Json = {"id": file_id, "mode": "tombstone", "user": document["user"]}
        self._files[file_id] = tombstone
        self._journal.put("file", file_id, tombstone)
        if self._directory is None:
            self._memory.pop(file_id, None)
        else:
            await asyncio.to_thread((self._directory / file_id).unlink, missing_ok=True)
        return shares

    async def content(self, file_id: str) -> bytes:
        """The bytes of a file that `find` knows."""
        if self._directory is None:
            return self._memory[file_id]
        return await asyncio.to_thread((self._directory / file_id).read_bytes)


def _mimetype(name: str) -> str:
    kind, encoding = mimetypes.guess_type(name)
    if encoding == "gzip":
        return "application/gzip"
    return kind or "application/octet-stream"


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
