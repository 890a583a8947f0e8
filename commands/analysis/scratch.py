"""Where `panicroom analyze` puts a dump together. A process that was killed clears nothing away: others do.

Each directory is locked (flock) by the process that uses it, and the kernel lets go of the lock when that process is
gone, however it went. Directories of the bot's own runs (`run-12`) are cleared by the desk, which knows its runs.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import structlog

log = structlog.get_logger(__name__)
_PREFIX = "by-hand-"


@contextmanager
def folder_by_hand(base: Path) -> Iterator[Path]:
    """A directory of this process's own below `base`, which is removed at the end."""
    base.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _locked(base):  # nobody clears away what is made and not locked yet
        made = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=base)).resolve()
        handle = os.open(made, os.O_RDONLY | os.O_DIRECTORY)
        fcntl.flock(handle, fcntl.LOCK_EX)
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)
        os.close(handle)


def clear_left(base: Path) -> int:
    """Removes the directories below `base` whose processes are gone; returns how many there were. Blocking."""
    if not base.is_dir():
        return 0
    removed = 0
    with _locked(base):
        for folder in base.glob(f"{_PREFIX}*"):
            try:
                handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            except OSError as error:  # gone by itself, or nothing of ours
                log.info("analysis.not_cleared", folder=str(folder), error=str(error))
                continue
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue  # in use
            else:
                shutil.rmtree(folder, ignore_errors=True)
                removed += not folder.exists()
            finally:
                os.close(handle)
    if removed:
        log.info("analysis.cleared", folders=removed)
    return removed


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
