"""Triage and evidence over a real OpenSSH server, with the root-owned helper that we ship, by the bot as a process."""

from __future__ import annotations

import getpass
import io
import json
import os
import shutil
import socket
import subprocess
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest

from bot.demo.hosts import captures
from bot.demo.workspace.testing import running_workspace, visible_text
from integrations.inbound import signed_headers
from tests.bench._process import REPORT_SECRET, bot_process, free_port

pytestmark = pytest.mark.timeout(300)  # its steps have deadlines of their own
SSHD = Path("/usr/sbin/sshd")
HELPER = Path(__file__).parents[2] / "deploy" / "host" / "panicroom-host"
STAMP = "202611230532"


@pytest.fixture
def sshd(tmp_path: Path) -> Iterator[tuple[int, Path]]:
    """sshd on a free loopback port with keys of its own; gives the port and the folder of the keys."""
    if not SSHD.exists() or shutil.which("ssh-keygen") is None:
        hint = "needs OpenSSH's server: apt-get install openssh-server"
        if os.environ.get("CI"):
            pytest.fail(hint)
        pytest.skip(hint)
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    for name in ("host_key", "client_key"):
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / name)], check=True
        )
    shutil.copy(tmp_path / "client_key.pub", tmp_path / "authorized_keys")
    port = free_port()
    (tmp_path / "sshd_config").write_text(
        f"ListenAddress 127.0.0.1:{port}\nHostKey {tmp_path}/host_key\nAuthorizedKeysFile {tmp_path}/authorized_keys\n"
        f"PidFile {tmp_path}/pid\nStrictModes no\nUsePAM no\nPasswordAuthentication no\n"
        "KbdInteractiveAuthentication no\nPermitRootLogin prohibit-password\n"
    )
    public = " ".join((tmp_path / "host_key.pub").read_text().split()[:2])
    (tmp_path / "known_hosts").write_text(f"[127.0.0.1]:{port} {public}\n")
    with (tmp_path / "sshd.log").open("wb") as log:
        process = subprocess.Popen([SSHD, "-D", "-e", "-f", tmp_path / "sshd_config"], stderr=log)
    try:
        deadline = time.monotonic() + 45
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                assert process.poll() is None, (tmp_path / "sshd.log").read_text()
                assert time.monotonic() < deadline, "sshd does not listen"
                time.sleep(0.02)  # waits for a condition with a deadline
        yield port, tmp_path
    finally:
        process.terminate()
        process.wait(10)


def _helper(folder: Path) -> tuple[Path, str]:
    """The shipped helper with another crash directory, and the crash that lies in it."""
    crash = folder / "crash" / STAMP
    crash.mkdir(parents=True)
    text = next(iter(captures.load("null-deref").crash_files.values()))
    (crash / f"dmesg.{STAMP}").write_text(text)
    dump = captures.load("sysrq-c").dumps
    ends = next(iter(dump.values()))
    (crash / f"dump.{STAMP}").write_bytes(ends.head + bytes(1_000_000) + ends.tail)
    script = HELPER.read_text()
    assert "found=/var/crash" in script
    helper = folder / "panicroom-host"
    helper.write_text(script.replace("found=/var/crash", f"found={folder}/crash"))
    helper.chmod(0o755)
    return helper, text


async def test_triage_and_evidence_over_a_real_sshd(sshd: tuple[int, Path], tmp_path: Path) -> None:
    port, keys = sshd
    helper, text = _helper(keys)
    extra = f"""
[ssh]
user = {json.dumps(getpass.getuser())}
key_file = {json.dumps(str(keys / "client_key"))}
agent = false
known_hosts = {json.dumps(str(keys / "known_hosts"))}
helper = ["sh", {json.dumps(str(helper))}]
[[hosts]]
name = "real-1"
address = "127.0.0.1"
port = {port}
ring = "lab"
"""
    folder = tmp_path / "bot"
    folder.mkdir()
    async with (
        running_workspace() as slack,
        bot_process(folder, slack, extra=extra) as url,
        aiohttp.ClientSession() as http,
    ):
        body = json.dumps({"id": "e2e", "host": "real-1", "text": text}).encode()
        headers = {
            "Content-Type": "application/json",
            **signed_headers(REPORT_SECRET, int(time.time()), body),
        }
        async with http.post(f"{url}/v1/panics", data=body, headers=headers) as answer:
            assert answer.status == 202, await answer.text()
        parent = await slack.message(
            "real-1 panicked: NULL pointer dereference in labcrash_read_cookie", timeout=60
        )
        on_call = slack.person("U0ONCALL")
        await on_call.click(parent, "Run triage")
        parent = await slack.changed(parent, lambda m: "Runbook 6/6" in visible_text(m), timeout=90)
        kernel = subprocess.run(["uname", "-r"], capture_output=True, text=True, check=True).stdout.strip()
        told = await slack.reply(parent, lambda m: "Ready for the next panic" in visible_text(m), timeout=60)
        assert kernel in visible_text(told)
        await on_call.click(parent, "Collect evidence")
        bundle = await slack.reply(
            parent, lambda m: any(f["name"].endswith(".tar.gz") for f in m.get("files", [])), timeout=90
        )
        content = await slack.download(bundle["files"][0])
    with tarfile.open(fileobj=io.BytesIO(content), mode="r:gz") as archive:
        files = {m.name: archive.extractfile(m).read() for m in archive.getmembers() if m.isfile()}  # type: ignore[union-attr]
    uname = next(body for name, body in files.items() if "uname" in name)
    assert kernel.encode() in uname
    assert any(b"labcrash_read_cookie" in body for name, body in files.items() if "dmesg" in name)
