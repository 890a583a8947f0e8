"""`python -m tests.bench copy`: 1 GiB of random bytes from a real sshd to a central store, beside scp of the same file.

Both ends are this machine: sshd on loopback, the file in a crash directory, the store a directory on the same disk.
Rounds alternate, so that what else the machine does falls on both. `python -m
tests.bench.copy --mib N` copies less, `--rounds N` more often.
"""

from __future__ import annotations

import argparse
import asyncio
import getpass
import json
import os
import resource
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT)]

from commands.copies import rows  # noqa: E402
from commands.copies.config import CentralConfig  # noqa: E402
from commands.copies.desk import CopyDesk  # noqa: E402
from commands.inventory import HostEntry  # noqa: E402
from integrations.ssh import SshConfig  # noqa: E402
from integrations.stores import CentralStore, SftpAddress, SftpLink  # noqa: E402
from storage import CopyState  # noqa: E402
from tests.bench._process import free_port  # noqa: E402
from tests.hosts.world import close_world, make_world  # noqa: E402

SSHD = Path("/usr/sbin/sshd")
HELPER = ROOT / "deploy" / "host" / "panicroom-host"
STAMP = "202611230532"
MIB = 1024 * 1024


def no_sftp(_address: SftpAddress) -> SftpLink:
    raise AssertionError("the store of this benchmark is a directory")


def prepare(folder: Path, size: int) -> tuple[int, Path]:
    """Keys, the helper with another crash directory, a dump, sshd's configuration: (port, dump)."""
    crash = folder / "crash" / STAMP
    crash.mkdir(parents=True)
    dump = crash / f"dump.{STAMP}"
    with dump.open("wb") as file:
        file.write(b"makedumpfile".ljust(16, b"\0") + (1).to_bytes(8, "big") * 2 + bytes(4096 - 32))
        left = size - 4096 - 16
        while left:
            left -= file.write(os.urandom(min(left, 4 * MIB)))
        file.write(b"\xff" * 16)
    script = HELPER.read_text()
    helper = folder / "panicroom-host"
    helper.write_text(script.replace("found=/var/crash", f"found={folder}/crash"))
    for name in ("host_key", "client_key"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)], check=True)
    shutil.copy(folder / "client_key.pub", folder / "authorized_keys")
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    port = free_port()
    (folder / "sshd_config").write_text(
        f"ListenAddress 127.0.0.1:{port}\nHostKey {folder}/host_key\nAuthorizedKeysFile {folder}/authorized_keys\n"
        f"PidFile {folder}/pid\nStrictModes no\nUsePAM no\nPasswordAuthentication no\n"
        "KbdInteractiveAuthentication no\nPermitRootLogin prohibit-password\nSubsystem sftp internal-sftp\n"
    )
    public = " ".join((folder / "host_key.pub").read_text().split()[:2])
    (folder / "known_hosts").write_text(f"[127.0.0.1]:{port} {public}\n")
    return port, dump


def start_sshd(folder: Path, port: int) -> subprocess.Popen[bytes]:
    with (folder / "sshd.log").open("wb") as log:
        process = subprocess.Popen([SSHD, "-D", "-e", "-f", folder / "sshd_config"], stderr=log)
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return process
        except OSError:
            time.sleep(0.02)
    raise RuntimeError((folder / "sshd.log").read_text())


def by_scp(folder: Path, port: int, dump: Path) -> tuple[float, float]:
    """(seconds, CPU seconds of this end)."""
    target = folder / "scp-copy"
    before, began = _children(), time.monotonic()
    subprocess.run(
        [
            "scp", "-q", "-F", "none", "-i", str(folder / "client_key"), "-P", str(port),
            "-o", f"UserKnownHostsFile={folder}/known_hosts",
            f"{getpass.getuser()}@127.0.0.1:{dump}", str(target),
        ],
        check=True,
    )  # fmt: skip
    seconds, spent = time.monotonic() - began, _children() - before
    target.unlink()
    return seconds, spent


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def by_bot(folder: Path, port: int) -> dict[str, float]:
    """In a process of its own, so that its memory is its own."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.copy", "--carry", str(folder), "--port", str(port)],
        check=True, stdout=subprocess.PIPE, cwd=ROOT,
    )  # fmt: skip
    shutil.rmtree(folder / "central")
    found: dict[str, float] = json.loads(done.stdout)
    return found


async def carry(folder: Path, port: int) -> dict[str, float]:
    """One copy by the bot's own desk: seconds until the last part stood in the store, until it was verified, memory."""
    central = folder / "central"
    central.mkdir(mode=0o700)
    work = Path(tempfile.mkdtemp(dir=folder))
    ssh = SshConfig(
        user=getpass.getuser(), key_file=folder / "client_key", known_hosts=folder / "known_hosts",
        helper=("sh", str(folder / "panicroom-host")),
    )  # fmt: skip
    world = await make_world(
        work, None, hosts=(HostEntry(name="bench-1", address="127.0.0.1", port=port),), ssh=ssh
    )
    store = CentralStore(central.as_uri(), sftp=no_sftp)
    config = CentralConfig(url=central.as_uri(), keep_free=0)
    desk = CopyDesk(world.context, world.visits, store, config, settle=0.1)
    (dump,) = (folder / "crash" / STAMP).iterdir()
    at = datetime.fromtimestamp(dump.stat().st_mtime - 60, UTC)
    panic_id, _ = await world.panic("bench-1", occurred_at=at)
    world.workflows.start()
    samples: list[float] = []
    stop = threading.Event()
    sampler = threading.Thread(target=_sample, args=(samples, stop), daemon=True)
    began = time.monotonic()
    await desk.begin(panic_id, "U0ONCALL", "bench")
    times: dict[CopyState, float] = {}
    spent: dict[CopyState, float] = {}
    while True:
        copy = await world.db.read(lambda s: rows.latest(s, panic_id))
        assert copy is not None
        if copy.state not in times:
            times[copy.state], spent[copy.state] = time.monotonic(), time.process_time()
            if copy.state is CopyState.COPYING:
                sampler.start()
        if copy.state in rows.ENDED:
            break
        await asyncio.sleep(0.1)  # a look costs CPU, which is what is measured
    stop.set()
    assert copy.state is CopyState.VERIFIED, copy.error
    await world.workflows.stop()
    await desk.close()
    await close_world(world)
    third = len(samples) // 3
    return {
        "found": times[CopyState.COPYING] - began,
        "copied": times[CopyState.CHECKING] - times[CopyState.COPYING],
        "checked": times[CopyState.VERIFIED] - times[CopyState.CHECKING],
        "cpu": spent[CopyState.CHECKING] - spent[CopyState.COPYING],
        "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "early": max(samples[:third], default=0.0),
        "late": max(samples[-third:], default=0.0),
    }


def _sample(samples: list[float], stop: threading.Event) -> None:
    """Resident MiB, ten times a second."""
    page = resource.getpagesize()
    while not stop.wait(0.1):
        samples.append(int(Path("/proc/self/statm").read_text().split()[1]) * page / MIB)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench copy", description=__doc__)
    parser.add_argument("--mib", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--carry", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, default=0, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.carry is not None:
        print(json.dumps(asyncio.run(carry(given.carry, given.port))))
        return 0
    if not SSHD.exists() or shutil.which("scp") is None:
        print(
            "needs OpenSSH's server and scp: apt-get install openssh-server openssh-client", file=sys.stderr
        )
        return 2
    with tempfile.TemporaryDirectory(prefix="panicroom-bench-") as name:
        return measure(Path(name), given.mib * MIB, given.rounds)


def measure(folder: Path, size: int, rounds: int) -> int:
    port, dump = prepare(folder, size)
    sshd = start_sshd(folder, port)
    try:
        by_scp(folder, port, dump)  # the file is in the page cache from here on, for both
        scp: list[tuple[float, float]] = []
        bot: list[dict[str, float]] = []
        for number in range(rounds):
            first: Any = number % 2
            if not first:
                scp.append(by_scp(folder, port, dump))
            bot.append(by_bot(folder, port))
            if first:
                scp.append(by_scp(folder, port, dump))
            told = bot[-1]
            print(
                f"round {number + 1}: scp {size / scp[-1][0] / 1e6:6.1f} MB/s, "
                f"bot {size / told['copied'] / 1e6:6.1f} MB/s (ratio {scp[-1][0] / told['copied']:.2f}), "
                f"CPU of this end {scp[-1][1]:.1f} s and {told['cpu']:.1f} s, "
                f"checked in {told['checked']:.1f} s more, peak {told['peak']:.0f} MiB",
                flush=True,
            )
    finally:
        sshd.terminate()
        sshd.wait(10)
    ratios = [s[0] / b["copied"] for s, b in zip(scp, bot, strict=True)]
    speed = size / statistics.median(b["copied"] for b in bot) / 1e6
    print(
        f"{size / MIB:.0f} MiB: bot {statistics.median(ratios):.2f} x scp (median of {rounds}; {min(ratios):.2f} to "
        f"{max(ratios):.2f}); scp {size / statistics.median(s[0] for s in scp) / 1e6:.1f} MB/s, bot {speed:.1f} MB/s; "
        f"peak {max(b['peak'] for b in bot):.0f} MiB (first third of the copy {max(b['early'] for b in bot):.0f}, "
        f"last third {max(b['late'] for b in bot):.0f})"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
