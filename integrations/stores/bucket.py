"""A prefix in an S3 bucket."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any, cast

import botocore.exceptions
import structlog
from s3fs import S3FileSystem

from integrations.stores.places import Place, S3Access

log = structlog.get_logger(__name__)

_S3_BLOCK = 8 * 1024 * 1024  # S3 takes pieces of 5 MiB or more; each open part holds one in memory
_TRIES = 2


class S3Place(Place):
    """A prefix in a bucket. An object is there whole or not at all: S3 itself says so."""

    def __init__(self, root: str, access: S3Access) -> None:
        self.root = root
        self.fs = S3FileSystem(
            key=access.access_key,
            secret=access.secret_key,
            endpoint_url=access.endpoint,
            client_kwargs={"region_name": access.region} if access.region else {},
            # A copy comes again by itself: to insist for minutes here would only hide from its readers why it waits.
            config_kwargs={"connect_timeout": 10, "read_timeout": 60, "retries": {"total_max_attempts": 2}},
            max_concurrency=2,
            use_listings_cache=False,
            skip_instance_cache=True,
        )
        self.fs.retries = _TRIES

    def make_folder(self, path: str) -> None:
        """A bucket has none."""

    def remove_folder(self, path: str) -> None:
        """A bucket has none."""

    def begin(self, path: str) -> Any:
        return self.fs.open(path, "wb", block_size=_S3_BLOCK, fill_cache=False)

    def finish(self, file: Any, path: str) -> None:
        file.close()

    def discard(self, file: Any, path: str) -> None:
        try:
            file.discard()
        except (OSError, botocore.exceptions.BotoCoreError) as error:
            # A lifecycle rule on the bucket ends what is left of it; the page on the store says so.
            log.warning("store.upload_not_aborted", path=path, error=str(error))
        finally:
            file.buffer = io.BytesIO()
            file.closed = True  # else its finaliser would upload what is left

    def chunks(self, path: str, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        """In requests of 8 MiB, each forgotten once it was handed on."""
        end = int(self.fs.info(path)["size"]) if length is None else start + length
        while start < end:
            piece = cast("bytes", self.fs.cat_file(path, start=start, end=min(start + _S3_BLOCK, end)))
            if not piece:
                return
            yield piece
            start += len(piece)

    def free(self) -> int | None:
        return None

    def sign(self, path: str, seconds: int) -> str | None:
        return cast("str", self.fs.sign(path, expiration=seconds))
