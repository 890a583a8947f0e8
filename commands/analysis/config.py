"""`[analysis]`: where debug information comes from, and what a program that reads a dump may take."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from commands.sizes import Size
from integrations.debuginfo import DebuginfoConfig


class AnalysisConfig(DebuginfoConfig):
    """`[analysis]`: where debug information of kernels comes from, and what a program that reads a dump may take."""

    cache_limit: Size = Field(
        default=20 * 1024**3,
        ge=1024**2,
        description="Bytes that the cache may take; what was used longest ago goes first.",
    )
    download_limit: Size = Field(
        default=4 * 1024**3, ge=1024**2, description="Bytes that one file from debuginfod may have."
    )
    tool: Literal["auto", "drgn", "crash"] = Field(
        default="auto", description="The program that reads dumps; auto: drgn, else crash."
    )
    time_limit: float = Field(
        default=900.0, gt=0, le=86400, description="Seconds after which the program is ended."
    )
    cpu_limit: int = Field(
        default=900, ge=1, le=86400, description="Seconds of CPU time after which it is ended."
    )
    memory_limit: Size = Field(
        default=4 * 1024**3, ge=64 * 1024**2, description="Bytes of address space that it may take."
    )
    output_limit: Size = Field(
        default=16 * 1024**2, ge=65536, le=1024**3, description="Bytes of its answer that are kept."
    )
    at_once: int = Field(default=1, ge=1, le=16, description="Dumps that are read at the same time.")
    work_dir: Path | None = Field(
        default=None,
        description="Where a copied dump is put together to be read; it needs room for the largest. Default: "
        "`analysis` in the store directory.",
    )
