"""The guest's image: built once for what it is made of, and kept for the next run.

It lies in the user's cache (`$XDG_CACHE_HOME/panicroom/vm`), in a folder named by the digest of everything under
`image/`: a change there builds another one, and older ones are removed.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

RECIPE = Path(__file__).with_name("image")
# What has to be there, and the Debian package that brings it.
TOOLS = {
    "qemu-system-x86_64": "qemu-system-x86",
    "qemu-img": "qemu-utils",
    "debootstrap": "debootstrap",
    "mkfs.ext4": "e2fsprogs",
    "ssh": "openssh-client",
    "setpriv": "util-linux",
    "unshare": "util-linux",
}
_BUILD_SECONDS = 1500
_PATH = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"


class ImageNotBuilt(Exception):
    """The guest's image could not be built. The end of the build's log follows."""


@dataclass(frozen=True)
class Image:
    """A built image: a raw disk that is never written to, and what QEMU and SSH need beside it."""

    folder: Path
    build_seconds: float = 0.0  # 0: it was there

    @property
    def disk(self) -> Path:
        return self.folder / "disk.img"

    @property
    def kernel(self) -> Path:
        return self.folder / "vmlinuz"

    @property
    def initrd(self) -> Path:
        return self.folder / "initrd.img"

    @property
    def root_key(self) -> Path:
        return self.folder / "root_key"

    @property
    def host_key(self) -> str:
        """`ssh-ed25519 AAAA…`, made while the image was built: no first connection has to be believed."""
        return (self.folder / "host_key.pub").read_text().strip()

    @property
    def kernel_version(self) -> str:
        return (self.folder / "kernel").read_text().strip()


def missing(path: str = _PATH) -> str:
    """Why no guest can run here, with the command that mends it; "" when one can."""
    packages = sorted({p for tool, p in TOOLS.items() if shutil.which(tool, path=path) is None})
    if packages:
        return f"needs a virtual machine: apt-get install {' '.join(packages)}"
    if os.geteuid() != 0 and not (cache() / digest()).is_dir():
        return "the guest's image is made in a chroot: run `make test-vm` once as root"
    return ""


def cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "panicroom" / "vm"


def digest() -> str:
    """Of each file under `image/`, its name and whether it can be executed included."""
    seen = hashlib.sha256()
    for file in sorted(p for p in RECIPE.rglob("*") if p.is_file()):
        content = file.read_bytes()
        mode = "x" if os.access(file, os.X_OK) else "-"
        seen.update(f"{file.relative_to(RECIPE)} {mode} {len(content)}\n".encode() + content)
    return seen.hexdigest()[:16]


def built() -> Image:
    """The image of this recipe; a second process that wants it waits for the first. Raises ImageNotBuilt."""
    home = cache()
    home.mkdir(parents=True, exist_ok=True)
    wanted = home / digest()
    with (home / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if wanted.is_dir():
            return Image(wanted)
        for other in home.iterdir():
            if other.is_dir():
                shutil.rmtree(other)
        began = time.monotonic()
        work = Path(tempfile.mkdtemp(prefix="building-", dir=home))
        _build(work)
        work.rename(wanted)
        return Image(wanted, time.monotonic() - began)


def _build(work: Path) -> None:
    """In a mount namespace of its own: whatever becomes of the build, none of its mounts is left in the cache."""
    log = work / "build.log"
    with log.open("wb") as written:
        process = subprocess.Popen(
            ["unshare", "--mount", RECIPE / "build.sh", work],
            stdin=subprocess.DEVNULL, stdout=written, stderr=subprocess.STDOUT,
            env={**os.environ, "PATH": _PATH}, start_new_session=True,
        )  # fmt: skip
        try:
            status = process.wait(_BUILD_SECONDS)
        finally:
            with contextlib.suppress(ProcessLookupError):  # all of it has ended
                os.killpg(process.pid, signal.SIGKILL)
    if status != 0:
        raise ImageNotBuilt(f"{ImageNotBuilt.__doc__}\n{log.read_text(errors='replace')[-4000:]}")
