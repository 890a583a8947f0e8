"""`[analysis]`, the part that says where debug information comes from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

HttpUrl = Annotated[str, Field(pattern=r"^https?://[^\s\"'<>]+$", max_length=500)]


class DebuginfoConfig(BaseModel):
    """Where debug information of kernels comes from, and how much room it may take."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    debuginfo_dirs: tuple[Path, ...] = Field(
        default=(Path("/usr/lib/debug"),),
        max_length=20,
        description="Directories laid out as /usr/lib/debug, looked through by build id and kernel release.",
    )
    debuginfod_urls: tuple[HttpUrl, ...] = Field(
        default=(),
        max_length=5,
        description="debuginfod servers to ask, in this order. None: nothing is fetched.",
    )
    cache_dir: Path | None = Field(
        default=None,
        description="Where fetched debug information is kept. Default: `debuginfo` in the store directory.",
    )
    cache_limit: int = Field(
        default=20 * 1024**3,
        ge=1024**2,
        description="Bytes that the cache may take; what was used longest ago goes first.",
    )
    download_limit: int = Field(
        default=4 * 1024**3, ge=1024**2, description="Bytes that one file from debuginfod may have."
    )
    download_timeout: float = Field(
        default=1800.0, gt=0, le=86400, description="Seconds for one file from debuginfod."
    )
