"""What a bundle is made of: the list as data, a file's entry in the manifest, and the archive itself."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
import tomllib
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from commands.hosts.patience import Patience


class BundleFile(BaseModel):
    """A fixed command and the file that its output becomes; `families` empty means every host."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9.-]{0,60}$")
    argv: tuple[str, ...] = Field(min_length=1)
    families: tuple[str, ...] = ()
    timeout: float = Field(default=20.0, gt=0, le=300)
    cap: int = Field(default=262144, gt=0, le=64 * 1024 * 1024)


class BundleList(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    file: tuple[BundleFile, ...]

    def of(self, family: str | None) -> tuple[BundleFile, ...]:
        return tuple(f for f in self.file if not f.families or family in f.families)


class EvidenceConfig(BaseModel):
    """`[evidence]`: patience with the host, what is taken of its logs, what Slack gets."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    patience: Patience = Patience()
    journal_cap: int = Field(
        default=8 * 1024 * 1024,
        ge=65536,
        le=128 * 1024 * 1024,
        description="Bytes at most that are taken of one journal, its last ones. All of them go to the store; the "
        "bundle has the last MiB.",
    )
    journal_timeout: float = Field(default=60.0, gt=0, le=600)
    journal_lines: int = Field(
        default=5000,
        ge=100,
        le=1_000_000,
        description="Lines at most of all that the boot that crashed logged; its last ones.",
    )
    slack_days: int = Field(
        default=30,
        ge=0,
        le=3650,
        description="Days that an uploaded bundle or report stays in Slack; the store keeps its own. 0: for good.",
    )
    redact: bool = True  # false only where Slack may hold what the host holds


class Entry(BaseModel):
    """One line of the manifest. `error` is None when the command did what it should.

    `whole` is where the store has all of a log of which the bundle has only a part, with its sha256 and size.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    file: str
    sha256: str | None = None  # of the file in this archive
    size: int | None = None
    command: str | None = None
    exit_status: int | None = None
    started_at: str | None = None
    seconds: float | None = None
    truncated: bool = False
    error: str | None = None
    note: str | None = None
    whole: str | None = None
    whole_sha256: str | None = None
    whole_size: int | None = None


@cache
def bundle_list() -> BundleList:
    text = resources.files("commands.evidence").joinpath("bundle.toml").read_text("utf-8")
    return BundleList.model_validate(tomllib.loads(text))


def manifest_bytes(manifest: Mapping[str, Any]) -> bytes:
    return (json.dumps(manifest, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode(
        "utf-8", "replace"
    )


def make_archive(folder: str, files: Mapping[str, bytes], mtime: int) -> bytes:
    """A tar.gz of `folder/NAME` files. The same files and `mtime` (seconds) give the same bytes."""
    packed = io.BytesIO()
    with (
        gzip.GzipFile(filename="", mode="wb", fileobj=packed, mtime=mtime, compresslevel=6) as squeezed,
        tarfile.open(fileobj=squeezed, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        for name in sorted(files):
            info = tarfile.TarInfo(f"{folder}/{name}")
            info.size, info.mtime, info.mode = len(files[name]), mtime, 0o644
            archive.addfile(info, io.BytesIO(files[name]))
    return packed.getvalue()
