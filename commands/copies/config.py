"""`[central]`: where dumps are copied to, and how gently."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator

from commands.hosts.patience import Patience
from commands.sizes import Size
from integrations.stores import BadStoreUrl, read_url

_MIB = 1024**2


class CentralConfig(BaseModel):
    """`[central]`: the store that vmcores are copied to, and the pace that a host just back in service can bear."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: str | None = Field(
        default=None,
        description="`file:///srv/panics` (a directory or an NFS mount), `sftp://user@host/srv/panics` (its host key "
        "in `ssh.known_hosts`, the key of `[ssh]`) or `s3://bucket/prefix`. Without it no dump is copied.",
    )
    part_size: Size = Field(
        default=64 * _MIB,
        ge=_MIB,
        le=4 * 1024 * _MIB,
        description="Bytes of a part, which is what is sent again after a cut connection; `64MiB`.",
    )
    bandwidth: Size | None = Field(
        default=None, ge=65536, description="Most bytes a second to the store, all copies together; `50MB`."
    )
    concurrency: int = Field(default=2, ge=1, le=64, description="Copies at work at the same time.")
    budget: Size | None = Field(
        default=None,
        ge=_MIB,
        description="Most bytes of dumps in the store; a copy that would exceed it waits.",
    )
    keep_free: Size = Field(
        default=1024 * _MIB,
        ge=0,
        description="Bytes that a copy leaves free, where the store can tell how many there are.",
    )
    critical: bool = Field(
        default=True,
        description="Hosts of criticality `critical` get bundle and copy without anybody asking, once they are back.",
    )
    endpoint: str | None = Field(
        default=None, pattern="^https?://[^ ]+$", description="Of an S3 server that is not Amazon's."
    )
    region: str | None = Field(default=None, description="The bucket's region.")
    access_key: str | None = Field(
        default=None,
        description="S3 access key; without it, what the AWS tools would find (environment, profile, role).",
    )
    secret_key: SecretStr | None = Field(default=None, description="Its secret.")
    patience: Patience = Field(
        default=Patience(first=5.0, longest=300.0, give_up_after=86400.0, breaks=50),
        description="How long a host or a store that does not answer is waited for; counted anew with each part.",
    )

    @field_validator("url")
    @classmethod
    def _is_url(cls, value: str | None) -> str | None:
        if value is None:
            return None
        try:
            read_url(value)
        except BadStoreUrl as error:
            raise ValueError(str(error)) from error
        return value
