"""A guest under QEMU: a Debian with kdump and sshd that a test may crash.

Emulated (TCG) unless VM_ACCEL=kvm asks for the machine's own: under TCG a guest is the same on every machine. What the
guest calls 10.0.2.2 is this machine's loopback; its port 22 is a free port here.
"""

from __future__ import annotations

import asyncio
import io
import os
import re
import subprocess
import tarfile
import time
from dataclasses import dataclass
from pathlib import Path

from tests.bench._process import free_port
from tests.vm.image import Image
from tests.vm.waiting import until

NAME = "crash-lab"
GATEWAY = "10.0.2.2"  # this machine, as the guest sees it
CRASHKERNEL = "192M"
BOOT = 600.0  # seconds; 40 on an idle machine with two cores
_MEMORY = 768  # MiB
# A plain model: with "max" an emulated guest boots half as fast again (more modules, 5-level paging).
_ACCELERATORS = {
    "tcg": ["-accel", "tcg,thread=multi,tb-size=256", "-cpu", "Nehalem"],
    "kvm": ["-accel", "kvm", "-cpu", "host"],
}


@dataclass(frozen=True)
class Answer:
    """What a command in the guest said; `status` 255 when SSH itself failed."""

    status: int
    out: bytes
    err: str

    @property
    def text(self) -> str:
        return self.out.decode("utf-8", "replace")


@dataclass(frozen=True)
class File:
    """A file to be put into the guest, at an absolute path."""

    path: str
    content: bytes
    mode: int = 0o644
    owner: str = "root"


class CommandFailed(AssertionError):
    """A command in the guest failed that must not."""


class Guest:
    """One machine with a disk of its own over the image's. `start` and `power_off` may alternate."""

    def __init__(self, image: Image, folder: Path) -> None:
        self.image = image
        self.folder = folder
        self.port = free_port()
        self.known_hosts = folder / "known_hosts"
        self.known_hosts.write_text(f"[127.0.0.1]:{self.port} {image.host_key}\n")
        self._disk = folder / "disk.qcow2"
        self._serial = folder / "serial.log"
        self._process: subprocess.Popen[bytes] | None = None
        subprocess.run(
            ["qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", image.disk, self._disk], check=True
        )

    # -- power ---------------------------------------------------------------------------------------------------

    def start(self, *, crashkernel: str | None = CRASHKERNEL) -> None:
        """Switches it on; `crashkernel` None leaves the parameter out, so that nothing is kept for kdump."""
        assert self._process is None, "it runs already"
        append = "root=/dev/vda rw console=ttyS0,115200 net.ifnames=0 systemd.show_status=0"
        if crashkernel is not None:
            append += f" crashkernel={crashkernel}"
        with (self.folder / "qemu.log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    # whatever becomes of the tests, the machine goes with them
                    "setpriv", "--pdeathsig", "KILL",
                    "qemu-system-x86_64", "-machine", "q35", *_ACCELERATORS[os.environ.get("VM_ACCEL", "tcg")],
                    "-m", str(_MEMORY), "-smp", "2", "-nodefaults", "-display", "none",
                    "-kernel", self.image.kernel, "-initrd", self.image.initrd, "-append", append,
                    "-drive", f"file={self._disk},if=none,id=disk,format=qcow2,cache=unsafe",
                    "-device", "virtio-blk-pci,drive=disk",
                    "-netdev", f"user,id=net,hostfwd=tcp:127.0.0.1:{self.port}-:22",
                    "-device", "virtio-net-pci,netdev=net", "-device", "virtio-rng-pci",
                    "-chardev", f"file,id=serial,path={self._serial},append=on", "-serial", "chardev:serial",
                ],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip

    async def power_off(self) -> None:
        """As an operator would: a clean shutdown, until the machine is off."""
        assert self._process is not None
        await self.run("systemctl poweroff", check=False)
        await asyncio.to_thread(self._process.wait, BOOT)
        self._process = None

    def stop(self) -> None:
        """As a pulled plug."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(30)
            self._process = None

    # -- SSH, with OpenSSH's own client ---------------------------------------------------------------------------

    async def run(
        self, command: str, *, given: bytes = b"", check: bool = True, seconds: float = 120
    ) -> Answer:
        """As root. Raises CommandFailed with what it said, unless `check` is False."""
        client = await asyncio.create_subprocess_exec(
            "ssh", "-q", "-F", "none", "-i", str(self.image.root_key), "-p", str(self.port),
            "-o", "BatchMode=yes", "-o", "ConnectTimeout=20", "-o", "IdentitiesOnly=yes",
            "-o", "ServerAliveInterval=5", "-o", "ServerAliveCountMax=4",
            "-o", "StrictHostKeyChecking=yes", "-o", f"UserKnownHostsFile={self.known_hosts}",
            "root@127.0.0.1", command,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        try:
            async with asyncio.timeout(seconds):
                out, err = await client.communicate(given)
        except TimeoutError:
            client.kill()
            out, err = await client.communicate()
        answer = Answer(client.returncode or 0, out, err.decode("utf-8", "replace"))
        if check and answer.status != 0:
            raise CommandFailed(
                f"{command}\nstatus {answer.status}\n{answer.text[-2000:]}\n{answer.err[-2000:]}"
            )
        return answer

    async def put(self, *files: File) -> None:
        """All of them over one connection; folders that are missing are made."""
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as archive:
            for file in files:
                entry = tarfile.TarInfo(file.path.lstrip("/"))
                entry.mode, entry.uname, entry.gname = file.mode, file.owner, file.owner
                entry.size, entry.mtime = len(file.content), int(time.time())
                archive.addfile(entry, io.BytesIO(file.content))
        await self.run("tar -x -p -C /", given=packed.getvalue())

    async def boot_id(self) -> str:
        """Of the boot that answers now; "" when nobody does."""
        answer = await self.run("cat /proc/sys/kernel/random/boot_id", check=False, seconds=30)
        return answer.text.strip() if answer.status == 0 else ""

    async def until_up(self, *, after: str = "") -> str:
        """Until a boot other than `after` answers; its id."""

        async def answered() -> str:
            assert self._process is not None
            assert self._process.poll() is None, (self.folder / "qemu.log").read_text()
            found = await self.boot_id()
            return found if found != after else ""

        return await until(answered, "the guest answers over SSH", seconds=BOOT, told=self.last_words)

    async def until_armed(self) -> None:
        """Until the capture kernel is loaded: from here on a panic is dumped."""

        async def loaded() -> bool:
            return (await self.run("cat /sys/kernel/kexec_crash_loaded", check=False)).text.strip() == "1"

        await until(loaded, "kdump has loaded its kernel", seconds=BOOT, told=self.last_words)

    # -- the crash, and the serial console -------------------------------------------------------------------------

    async def panic(self, trigger: str) -> int:
        """Runs `trigger`, which does not come back; where the console's words of the crash will begin.

        What was written so far is on the disk first, as on a host that has run for a while.
        """
        await self.run("journalctl --sync; sync")
        begin = len(self.console())
        # setsid: the trigger goes on when its session is closed, and the session ends before the crash does it in
        await self.run(f"setsid sh -c 'sleep 1; {trigger}' >/dev/null 2>&1 </dev/null &")
        return begin

    def console(self, begin: int = 0) -> str:
        """What the guest has written to its serial console since it was first switched on."""
        if not self._serial.exists():
            return ""
        return self._serial.read_bytes().decode("latin-1")[begin:]

    async def until_console(self, pattern: str, begin: int, *, count: int = 1, seconds: float = BOOT) -> None:
        wanted = re.compile(pattern)

        async def seen() -> bool:
            return len(wanted.findall(self.console(begin))) >= count

        what = f"{pattern!r} on the console, {count} times"
        await until(seen, what, seconds=seconds, every=0.1, told=self.last_words)

    def last_words(self) -> str:
        """The end of the console, for whoever has to find out why a test failed."""
        return "\n".join(self.console().splitlines()[-40:])
