"""What `docs/host-setup.md` has an administrator do on a host, done in the guest."""

from __future__ import annotations

import asyncio
import subprocess
from pathlib import Path

from tests import forks
from tests.vm.bot import SECRET, RunningBot
from tests.vm.guest import GATEWAY, NAME, File, Guest

DEPLOY = Path(__file__).parents[2] / "deploy" / "host"


async def install(guest: Guest, bot_port: int) -> None:
    """The shipped scripts by their installer, the unprivileged user with the bot's key, and the one sudo rule."""
    key = guest.folder / "triage_key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "panicroom", "-f", key], check=True)
    public = key.with_suffix(".pub").read_bytes()
    await guest.put(
        *(File(f"/root/host/{shipped.name}", shipped.read_bytes()) for shipped in DEPLOY.iterdir()),
        File("/root/secret", f"{SECRET}\n".encode(), 0o600),
        File("/root/authorized_keys", b"restrict " + public),
        File("/root/sudoers", b"triage ALL=(root) NOPASSWD: /usr/local/sbin/panicroom-host\n"),
    )
    told = await guest.run(
        f"""set -eu
        useradd --system --create-home --shell /bin/sh triage
        usermod -aG adm,systemd-journal triage
        install -d -m 0700 -o triage -g triage ~triage/.ssh
        install -m 0600 -o triage -g triage /root/authorized_keys ~triage/.ssh/authorized_keys
        install -m 0440 /root/sudoers /etc/sudoers.d/panicroom
        visudo -cf /etc/sudoers.d/panicroom
        sh /root/host/install.sh http://{GATEWAY}:{bot_port} </root/secret
        """,
        seconds=300,
    )
    assert "secret=valid" in told.text, told


async def examine(bot: RunningBot) -> tuple[int, str]:
    """`panicroom host-setup --check` of the guest: its exit status and what it says."""
    done = await asyncio.to_thread(
        forks.panicroom, "host-setup", "--check", NAME, "--config", str(bot.config), cwd=bot.folder
    )
    return done.returncode, done.stdout + done.stderr


async def install_netconsole(guest: Guest, port: int) -> None:
    """The kernel's own lines, with their numbers, by UDP to the bot. What it has said since it booted comes first."""
    await guest.run(f"modprobe netconsole netconsole=+@/eth0,{port}@{GATEWAY}/")
