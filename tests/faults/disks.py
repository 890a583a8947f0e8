"""A filesystem of a few MiB that can be filled and emptied."""

from __future__ import annotations

import contextlib
import errno
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

MIB = 1024 * 1024
# The mount is seen by those alone who hold the namespace, and gone with the last of them.
_HOLD = 'mount -t tmpfs -o size="$2",mode=0700 none "$1" && echo ready && exec cat'


@contextmanager
def small_disk(place: Path, size: int) -> Iterator[Path]:
    """The directory of a tmpfs of `size` bytes. Under CI it is a failure that there can be none, else a skip."""
    place.mkdir()
    unshare = ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--user", "--map-root-user"])]
    try:
        holder = subprocess.Popen(
            [*unshare, "sh", "-c", _HOLD, "sh", str(place), str(size)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
    except OSError as error:
        _cannot(f"unshare: {error.strerror}")
        raise
    assert holder.stdout is not None
    try:
        if holder.stdout.readline().strip() != "ready":
            _cannot(holder.communicate(timeout=30)[1].strip() or "unshare said nothing")
        yield Path(f"/proc/{holder.pid}/root{place}")
    finally:
        with contextlib.suppress(BrokenPipeError):
            holder.communicate(timeout=30)


def _cannot(why: str) -> None:
    said = f"a small tmpfs cannot be mounted here: {why}"
    if os.environ.get("CI"):
        pytest.fail(said)
    pytest.skip(said)


def fill(place: Path) -> Path:
    """Somebody else takes all the room that is left; remove the file to give it back."""
    file = place / "somebody-elses"
    with file.open("wb", buffering=0) as others:
        step = MIB
        while step:
            try:
                others.write(bytes(step))
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
                step //= 2
    return file
