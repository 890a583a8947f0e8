"""A host's files in a temporary root, for the scripts under deploy/host: run word for word, by real shells."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bot.demo.hosts import captures

DEPLOY = Path(__file__).parents[2] / "deploy" / "host"
REPORT = DEPLOY / "panicroom-report"
SECRET = "0123456789abcdef0123456789abcdef"
LINUX = "Linux version 6.1.0-56-cloud-amd64"
BOOT_NOW = "93114d55-1a0a-4b0c-b033-5a7c17b232f0"
DASH, BUSYBOX = shutil.which("dash"), shutil.which("busybox")
# How each shell is called; busybox brings its own tools (and its own wget) as well.
SHELLS = [name for name, found in (("dash", DASH), ("busybox", BUSYBOX)) if found]

# What the journal and wtmp say is kept in files; only the calls that the scripts make are understood.
_JOURNALCTL = """#!/bin/sh
boot= lines= form=short-iso kernel=
while [ $# -gt 0 ]; do
    case $1 in
        --list-boots) cat "@/journal/boots"; exit 0 ;;
        -b) boot=$2; shift ;;
        -n) lines=$2; shift ;;
        -o) form=$2; shift ;;
        -k) kernel=yes ;;
        -q | --no-pager) ;;
        *) echo "journalctl: $1?" >&2; exit 1 ;;
    esac
    shift
done
case $form in
    short-unix) file=@/journal/$boot.unix ;;
    cat) file=@/journal/$boot.kernel ;;
    *) file=@/journal/$boot.text ;;
esac
[ -f "$file" ] || exit 1
if [ -n "$lines" ]; then tail -n "$lines" "$file"; else cat "$file"; fi
"""


def iso(seconds: float) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(int(seconds), UTC).isoformat().replace("+00:00", "Z")


@dataclass
class Host:
    """`root` has the host's files below it; `run` runs panicroom-report over them."""

    root: Path
    shell: str = "dash"
    settings: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("bin", "journal", "crash", "etc", "proc/sys/kernel/random", "run"):
            (self.root / name).mkdir(parents=True)
        self.crash = self.root / "crash"
        self.spool = self.root / "var/lib/panicroom"
        self.spool.parent.mkdir(parents=True)
        self.pstore = self.root / "var/lib/systemd/pstore"
        self.write("proc/sys/kernel/random/boot_id", BOOT_NOW + "\n")
        self.write("proc/sys/kernel/osrelease", "6.1.0-56-cloud-amd64\n")
        self.write("proc/cmdline", "root=/dev/vda rw crashkernel=192M\n")
        self.write("sys/class/dmi/id/sys_vendor", "QEMU\n")
        self.write("sys/class/dmi/id/product_name", "Standard PC (Q35 + ICH9, 2009)\n")
        self.write("journal/boots", "")
        self.secret(SECRET)
        self.program("journalctl", _JOURNALCTL.replace("@", str(self.root)))
        self.program("hostname", "#!/bin/sh\necho 192.0.2.17 2001:db8::17\n")
        self.program("last", f"#!/bin/sh\ncat {self.root}/wtmp 2>/dev/null\n")
        path = f"{self.root}/bin:/usr/bin:/bin"
        if self.shell == "busybox":
            applets = self.root / "applets"
            applets.mkdir()
            assert BUSYBOX is not None
            subprocess.run([BUSYBOX, "--install", "-s", applets], check=True)
            path = f"{self.root}/bin:{applets}"
        self.settings = {
            "url": "http://127.0.0.1:1",
            "secret_file": str(self.root / "etc/secret"),
            "host": "web-17",
            "crash_dir": str(self.crash),
            "spool": str(self.spool),
            "run_dir": str(self.root / "run/panicroom"),
            "first_run_days": "36500",
            "attempts": "1",
            "backoff": "0",
            "settle": "0",
            "path": path,
            "root": str(self.root),
            **self.settings,
        }

    def write(self, name: str, text: str | bytes, *, at: float | None = None) -> Path:
        file = self.root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
        if at is not None:
            os.utime(file, (at, at))
        return file

    def program(self, name: str, text: str) -> None:
        file = self.write(f"bin/{name}", text)
        file.chmod(0o755)

    def secret(self, value: str) -> None:
        self.write("etc/secret", value + "\n").chmod(0o600)

    def crashed(self, directory: str, files: Mapping[str, str | bytes], *, at: float) -> Path:
        """A crash directory whose files were last changed at that time (unix seconds)."""
        for name, content in files.items():
            self.write(f"crash/{directory}/{name}", content, at=at)
        (self.crash / directory).mkdir(exist_ok=True)
        os.utime(self.crash / directory, (at, at))
        return self.crash / directory

    def boot(
        self, index: int, boot_id: str, first: float, last: float, lines: str, *, capture: bool = False
    ) -> None:
        """A boot of the journal, older ones first."""
        row = f"{index:3} {boot_id} Mon 2026-11-23 05:21:26 UTC Mon 2026-11-23 05:23:18 UTC\n"
        with (self.root / "journal/boots").open("a") as boots:
            boots.write(row)
        command = "elfcorehdr=0x35000000" if capture else "crashkernel=192M"
        self.write(
            f"journal/{boot_id}.kernel",
            f"{LINUX} (x)\nCommand line: root=/dev/vda {command}\n",
        )
        self.write(f"journal/{boot_id}.unix", f"{first:.6f} h kernel: Linux\n{last:.6f} h systemd[1]: end\n")
        self.write(f"journal/{boot_id}.text", lines)

    def now(self, *, booted: float, boot_id: str = BOOT_NOW) -> None:
        self.write("proc/stat", f"cpu 1 2 3\nbtime {int(booted)}\n")
        self.write("proc/sys/kernel/random/boot_id", boot_id + "\n")

    @property
    def config(self) -> Path:
        text = "# settings\n\n" + "".join(f"{key} = {value}\n" for key, value in self.settings.items())
        file = self.root / "etc/report.conf"
        if not file.exists() or file.read_text() != text:
            file.write_text(text)
        return file

    @property
    def command(self) -> list[str]:
        return [BUSYBOX, "sh"] if self.shell == "busybox" and BUSYBOX else [DASH or "sh"]

    def start(self, *options: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [*self.command, REPORT, "--config", self.config, *options],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd="/", env={"PATH": "/usr/bin:/bin"},
            start_new_session=True,
        )  # fmt: skip

    def run(self, *options: str, url: str | None = None) -> subprocess.CompletedProcess[bytes]:
        if url is not None:
            self.settings["url"] = url
        process = self.start(*options)
        out, err = process.communicate(timeout=60)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def bodies(self) -> list[dict[str, Any]]:
        """What a dry run prints."""
        done = self.run("--dry-run")
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    def spooled(self, state: str = "out") -> list[str]:
        return sorted(p.name for p in (self.spool / state).glob("*.json"))

    def tree(self) -> dict[str, tuple[int, int]]:
        """Every file, its size and when it changed."""
        found = {}
        for path in self.root.rglob("*"):
            status = path.lstat()
            found[str(path.relative_to(self.root))] = (status.st_size, status.st_mtime_ns)
        return found


def functions(shell: str, folder: Path, code: str) -> list[str]:
    """A command that runs `code` with the functions of panicroom-report, none of its main part."""
    script = REPORT.read_text()
    head, separator, _ = script.partition("\nmode=run\nwhile ")
    assert separator
    file = folder / f"functions.{shell}.sh"
    file.write_text(f"{head}\n{code}\n")
    return [BUSYBOX, "sh", str(file)] if shell == "busybox" and BUSYBOX else [DASH or "sh", str(file)]


def captured(host: Host, case: str) -> captures.Capture:
    """Lays a real host's crash directory, journal and pstore into the root, with their own times."""
    capture = captures.load(case)
    for entry in capture.listing:
        if entry.type != "f" or "/" not in entry.path:
            continue
        if entry.path in capture.crash_files:
            content = capture.crash_files[entry.path].encode("utf-8", "surrogateescape")
        elif entry.path in capture.dumps:
            ends = capture.dumps[entry.path]
            content = ends.head + bytes(100_000) + ends.tail
        else:
            content = bytes(min(entry.size, 100_000))
        host.write(f"crash/{entry.path}", content, at=entry.mtime)
        os.utime((host.crash / entry.path).parent, (entry.mtime, entry.mtime))
    if capture.pstore is not None:
        host.write("var/lib/systemd/pstore/7711233241570/dmesg.txt", capture.pstore, at=capture.booted)
        host.write(
            "var/lib/systemd/pstore/7711233241570/dmesg-erst-7711233241570607105", "x", at=capture.crash
        )
    past = [b for b in capture.boots if b.index < 0]
    for boot in past:
        host.boot(
            boot.index,
            boot.boot_id,
            boot.first_entry / 1e6,
            boot.last_entry / 1e6,
            f"{iso(boot.last_entry / 1e6)} crash-lab sshd[350]: Accepted publickey for root\n",
            capture=capture.crashed_boot < boot.index,
        )
    host.now(booted=capture.booted)
    return capture
