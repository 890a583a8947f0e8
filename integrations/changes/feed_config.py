"""Who may tell of changes, and which files tell of them."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator

_SHORTEST = 16
SUFFIXES = (".toml", ".csv", ".json")


class FeedConfig(BaseModel):
    """`[feed]`: changes told by a deploy pipeline (`POST /v1/changes`) and by files."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    tokens: tuple[SecretStr, ...] = Field(
        default=(),
        max_length=20,
        description="Tokens for `POST /v1/changes`, one a pipeline: sent as `Authorization: Bearer …`, or used as the "
        f"secret of a signature. At least {_SHORTEST} characters each. `server.shared_secrets` may sign, too.",
    )
    files: tuple[Path, ...] = Field(
        default=(),
        max_length=50,
        description="Files that tell of changes: `changes.toml`, `.csv` or `.json`. A relative one stands beside "
        "panicroom.toml. They are read again when they have changed.",
    )
    every: float = Field(default=30.0, ge=1, le=3600, description="Seconds between two looks at the files.")

    @field_validator("tokens")
    @classmethod
    def _long_enough(cls, tokens: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        if any(len(t.get_secret_value()) < _SHORTEST for t in tokens):
            raise ValueError(f"each token needs at least {_SHORTEST} characters: `openssl rand -hex 32`")
        return tokens

    @field_validator("files")
    @classmethod
    def _of_a_form(cls, files: tuple[Path, ...]) -> tuple[Path, ...]:
        wrong = [str(f) for f in files if f.suffix.lower() not in SUFFIXES]
        if wrong:
            raise ValueError(f"{wrong[0]} must end with {', '.join(SUFFIXES)}")
        return files
